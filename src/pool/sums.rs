//! How much of each frequent word and of each pair of words every generation of a peer's messages has, summed up:
//! scoring peers by these must not read all the postings of frequent words. A generation has its sums in a column, which
//! is a number that another one gets when it counts no more.
//!
//! A feature's sums stand in one line of [`LINE`] entries, as long as a line of the processor's cache, together with those
//! of other features that want the same line. What more than [`FEW`] columns have stands in a row of its own. When a line is
//! full, a new feature takes the place of the one that was seen least; what more columns have than a row has room for is
//! not counted.

use super::codec::{Damaged, Reader, Writer};
use super::line::{Entry, LINE, Line, Places, ROW, each_of, first_of};
use super::row::Row;
use std::io;

/// At most so many lines: 8 MB. (Twice as many tell 20 newsgroups, or 1,000 authors, apart no better.)
const MOST_LINES: usize = 1 << 17;
/// There are twice as many lines as soon as so many entries of eight are in use.
const DENSE: usize = 5;
/// With more columns than these a feature has a row.
const FEW: u32 = 5;
/// At most so many rows.
const MOST_ROWS: usize = 40_000;
/// A sum is kept in parts of one in so many.
pub(super) const UNIT: f32 = 64.0;

/// What was found of a feature.
pub(super) enum Found<'s> {
    /// No column has it.
    None,
    /// A few have it.
    Few(&'s Line, Places),
    /// These have it, in parts of [`UNIT`].
    Row(&'s Row),
}

impl Found<'_> {
    /// Reads some of every line of it, so that it is at hand, if it counts.
    pub(super) fn touch(&self) -> u32 {
        match self {
            Found::Row(row) if !row.is_overfull() => row.touch_all(),
            _ => 0,
        }
    }

    /// The columns that have it, and their sums.
    #[cfg(test)]
    fn all(&self) -> Vec<(u32, f32)> {
        match self {
            Found::None => Vec::new(),
            Found::Few(line, here) => few(line, *here).collect(),
            Found::Row(row) => {
                let mut all = Vec::new();
                row.each(|number, sum| {
                    if sum > 0 {
                        all.push((u32::from(number), f32::from(sum) / UNIT))
                    }
                });
                all
            }
        }
    }
}

/// The columns that have a feature, and their sums.
pub(super) fn few(line: &Line, here: Places) -> impl Iterator<Item = (u32, f32)> {
    each_of(here).map(|at| {
        let entry = line.entry(at);
        (u32::from(entry.column), f32::from(entry.sum) / UNIT)
    })
}

/// The sums.
#[derive(Debug)]
pub(super) struct Sums {
    lines: Vec<Line>,
    /// Entries in use.
    used: usize,
    rows: Vec<Row>,
    free_rows: Vec<u16>,
}

impl Default for Sums {
    fn default() -> Self {
        Sums { lines: vec![Line::default(); 1 << 6], used: 0, rows: Vec::new(), free_rows: Vec::new() }
    }
}

/// The name of a feature in the table.
fn tag(feature: u64) -> u32 {
    let mixed = feature.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// How much is added: in parts of [`UNIT`], and these in parts of 1 << 16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount(u32);

impl Amount {
    /// At most what an entry holds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is beyond is cut off")]
    pub(super) fn new(amount: f32) -> Self {
        Amount((amount * (UNIT * 65_536.0)) as u32)
    }

    /// Whole parts, rounded up or down by a lot that is always the same, so that many small amounts
    /// add up.
    fn parts(self, seed: u32) -> u16 {
        let lot = seed.wrapping_mul(0x85eb_ca6b) >> 16;
        u16::try_from(self.0.saturating_add(lot) >> 16).unwrap_or(u16::MAX)
    }

    fn most_parts(self) -> u16 {
        u16::try_from(self.0.saturating_add(0xffff) >> 16).unwrap_or(u16::MAX)
    }
}

impl Sums {
    fn place(&self, tag: u32) -> usize {
        // The lines are a power of two, the uppermost bits of the tag say which.
        (tag >> (32 - self.lines.len().trailing_zeros())) as usize
    }

    /// Reads what a feature is looked for in, so that it is at hand.
    pub(super) fn touch(&self, feature: u64) -> u32 {
        self.lines.get(self.place(tag(feature))).map_or(0, Line::touch)
    }

    /// Reads what features will be added to for a column, so that it is at hand: their lines, then the
    /// cells of their rows. In steps of few instructions each, because the processor looks ahead for
    /// so many instructions and not for so many places.
    pub(super) fn touch_all(&self, features: impl Iterator<Item = u64> + Clone, column: u32) -> u32 {
        let ready = features.clone().fold(0, |sum, feature| sum ^ self.touch(feature));
        let rows: Vec<u16> = features
            .filter_map(|feature| {
                let tag = tag(feature);
                self.lines.get(self.place(tag))?.row(tag)
            })
            .collect();
        let column = u16::try_from(column).unwrap_or_default();
        let rows = rows.into_iter().filter_map(|row| self.rows.get(usize::from(row)));
        rows.fold(ready, |sum, row| sum ^ row.touch(column))
    }

    /// Adds to a feature's sum of a column.
    pub(super) fn add(&mut self, feature: u64, column: u32, amount: Amount, seed: u32) {
        let Some(column) = u16::try_from(column).ok().filter(|g| *g > 0 && *g < ROW) else { return };
        let tag = tag(feature);
        let parts = amount.parts(tag ^ seed);
        if parts == 0 {
            return;
        }
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        let here = line.of(tag);
        if let Some(known) = first_of(here & line.of_column(column)) {
            line.add(known, parts);
            return;
        }
        if here != 0 {
            if let Some(row) = line.row_of(here) {
                if let Some(row) = self.rows.get_mut(usize::from(row)) {
                    row.add(column, parts);
                }
                return;
            }
            if here.count_ones() >= FEW {
                self.give_row(place, tag, column, parts);
                return;
            }
        }
        let new = Entry { tag, column, sum: parts };
        if let Some(free) = first_of(line.free()) {
            line.set(free, new);
            self.used += 1;
            if self.used > self.lines.len() * DENSE && self.lines.len() < MOST_LINES {
                self.grow();
            }
        } else if let Some(least) = line.least().filter(|at| line.entry(*at).sum <= parts) {
            line.set(least, new);
        }
    }

    /// Takes from a feature's sum of a column, at least what [`Sums::add`] has added; a sum of
    /// which nothing is left goes.
    pub(super) fn subtract(&mut self, feature: u64, column: u32, amount: Amount) {
        let Some(column) = u16::try_from(column).ok().filter(|g| *g > 0 && *g < ROW) else { return };
        let tag = tag(feature);
        let parts = amount.most_parts();
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        let here = line.of(tag);
        if let Some(row) = line.row_of(here) {
            if let Some(row) = self.rows.get_mut(usize::from(row)) {
                row.subtract(column, parts);
            }
            return;
        }
        let Some(at) = first_of(here & line.of_column(column)) else { return };
        let entry = line.entry(at);
        let sum = entry.sum.saturating_sub(parts);
        line.set(at, if sum == 0 { Entry::default() } else { Entry { sum, ..entry } });
        self.used -= usize::from(sum == 0);
    }

    /// Gives a feature that many columns have a row, if there is one left.
    fn give_row(&mut self, place: usize, tag: u32, column: u16, parts: u16) {
        let number = match self.free_rows.pop() {
            Some(number) => number,
            None if self.rows.len() < MOST_ROWS => {
                self.rows.push(Row::default());
                u16::try_from(self.rows.len() - 1).unwrap_or(0)
            }
            None => return,
        };
        let (Some(line), Some(row)) = (self.lines.get_mut(place), self.rows.get_mut(usize::from(number)))
        else {
            return;
        };
        *row = Row::default();
        for at in each_of(line.of(tag)) {
            let entry = line.entry(at);
            row.add(entry.column, entry.sum);
            line.set(at, Entry::default());
            self.used -= 1;
        }
        row.add(column, parts);
        if let Some(free) = first_of(line.free()) {
            line.set(free, Entry { tag, column: ROW, sum: number });
            self.used += 1;
        }
    }

    /// Forgets a feature.
    pub(super) fn clear(&mut self, feature: u64) {
        let tag = tag(feature);
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        for at in each_of(line.of(tag)) {
            let entry = line.entry(at);
            if entry.column == ROW {
                if let Some(row) = self.rows.get_mut(usize::from(entry.sum)) {
                    *row = Row::default();
                }
                self.free_rows.push(entry.sum);
            }
            line.set(at, Entry::default());
            self.used -= 1;
        }
    }

    /// The sums of a feature.
    pub(super) fn of(&self, feature: u64) -> Found<'_> {
        let tag = tag(feature);
        let Some(line) = self.lines.get(self.place(tag)) else { return Found::None };
        let here = line.of(tag);
        if here == 0 {
            return Found::None;
        }
        match line.row_of(here) {
            Some(row) => self.rows.get(usize::from(row)).map_or(Found::None, Found::Row),
            // There was no row left for it: those that are here only came first.
            None if here.count_ones() >= FEW && self.rows.len() >= MOST_ROWS && self.free_rows.is_empty() => {
                Found::None
            }
            None => Found::Few(line, here),
        }
    }

    /// Forgets columns, all but those of which `still` says so by number.
    pub(super) fn retain(&mut self, still: impl Iterator<Item = bool>) {
        let mut still: Vec<u16> = still.map(|still| if still { u16::MAX } else { 0 }).collect();
        if let Some(nobody) = still.first_mut() {
            *nobody = 0;
        }
        let Sums { lines, used, rows, free_rows } = self;
        rows.iter_mut().for_each(|row| row.retain(&still));
        for line in lines {
            for at in each_of(line.taken()) {
                let entry = line.entry(at);
                let stays = if entry.column == ROW {
                    rows.get(usize::from(entry.sum)).is_some_and(|row| !row.is_empty())
                } else {
                    still.get(usize::from(entry.column)).is_some_and(|still| *still > 0)
                };
                if !stays {
                    if entry.column == ROW {
                        free_rows.push(entry.sum);
                    }
                    line.set(at, Entry::default());
                    *used -= 1;
                }
            }
        }
    }

    /// Twice as many lines.
    fn grow(&mut self) {
        let bit = 31 - self.lines.len().trailing_zeros();
        let mut lines = Vec::with_capacity(self.lines.len() * 2);
        for line in &self.lines {
            for half in 0..2 {
                let mut new = Line::default();
                let here = each_of(line.taken()).map(|at| line.entry(at));
                let here = here.filter(|entry| entry.tag >> bit & 1 == half);
                (0..).zip(here).for_each(|(at, entry)| new.set(at, entry));
                lines.push(new);
            }
        }
        self.lines = lines;
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        out.size(self.used);
        out.end()?;
        out.all(self.lines.iter(), 4096, |out, line| {
            for entry in (0..LINE).map(|at| line.entry(at)) {
                out.u32(entry.tag);
                out.u16(entry.column);
                out.u16(entry.sum);
            }
        })?;
        out.all(self.rows.iter(), 1024, |out, row| row.write(out))?;
        out.all(self.free_rows.iter(), 4096, |out, row| out.u16(*row))
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        input.next()?;
        let used = input.size()?;
        let lines = input.all(4096, |input| {
            let mut line = Line::default();
            for at in 0..LINE {
                line.set(at, Entry { tag: input.u32()?, column: input.u16()?, sum: input.u16()? });
            }
            Ok(line)
        })?;
        let rows = input.all(1024, Row::read)?;
        let free_rows = input.all(4096, Reader::u16)?;
        if !lines.len().is_power_of_two() || lines.len() > MOST_LINES {
            return Err(Damaged::Format);
        }
        Ok(Sums { lines, used, rows, free_rows })
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let cells: usize = self.rows.iter().map(Row::memory_bytes).sum();
        self.lines.capacity() * size_of::<Line>() + self.rows.capacity() * size_of::<Row>() + cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::row::MOST_CELLS;

    fn sums_of(sums: &Sums, feature: u64) -> Vec<(u32, f32)> {
        let mut out = sums.of(feature).all();
        out.sort_by_key(|(column, _)| *column);
        out
    }

    #[test]
    fn adds_up_and_forgets() {
        let mut sums = Sums::default();
        for n in 0..20_000_u64 {
            sums.add(n % 5000, 1 + u32::try_from(n % 3).unwrap(), Amount::new(0.5), 7);
        }
        // Small amounts are rounded fairly.
        for seed in 0..10_000 {
            sums.add(9999, 1, Amount::new(0.01), seed);
        }
        assert!((90.0..110.0).contains(&sums_of(&sums, 9999)[0].1), "{:?}", sums_of(&sums, 9999));
        assert_eq!(sums_of(&sums, 7), [(1, 0.5), (2, 1.0), (3, 0.5)]);
        sums.clear(7);
        assert_eq!(sums_of(&sums, 7), []);
        sums.retain((0..60_000_u32).map(|column| column != 2));
        assert!(sums_of(&sums, 8).iter().all(|(column, _)| *column != 2));
        assert_eq!(sums_of(&sums, 123_456), []);
    }

    #[test]
    fn what_was_added_can_be_taken_back() {
        let mut sums = Sums::default();
        for feature in 0..300 {
            for column in 1..=(1 + u32::try_from(feature).unwrap() % 10) {
                sums.add(feature, column, Amount::new(0.07), 3);
                sums.add(feature, 20, Amount::new(0.5), 3);
            }
        }
        let before: Vec<_> = (0..300).map(|feature| sums_of(&sums, feature)).collect();
        for (feature, before) in (0..300).zip(before) {
            for column in 1..=10 {
                sums.subtract(feature, column, Amount::new(0.07));
            }
            let other: Vec<_> = before.into_iter().filter(|(column, _)| *column == 20).collect();
            assert_eq!(sums_of(&sums, feature), other);
        }
    }

    #[test]
    fn what_many_have_is_in_a_row_and_what_everybody_has_is_left_out_at_some_time() {
        let mut sums = Sums::default();
        for column in 1..60_000 {
            sums.add(3, column, Amount::new(1.0), 0);
        }
        assert!(matches!(sums.of(3), Found::Row(row) if row.is_overfull()));
        sums.clear(3);
        for column in 1..=96 {
            sums.add(1, column, Amount::new(1.0), 0);
        }
        assert_eq!(sums_of(&sums, 1).len(), MOST_CELLS);
        sums.add(1, 40, Amount::new(2.0), 0);
        assert_eq!(sums_of(&sums, 1)[39], (40, 3.0));
        sums.retain((0..60_000_u32).map(|column| column % 2 == 0));
        assert_eq!(sums_of(&sums, 1).len(), MOST_CELLS / 2);
        (2..40).step_by(2).for_each(|column| sums.add(1, column, Amount::new(1.0), 0));
        assert_eq!(sums_of(&sums, 1)[3], (8, 2.0));
        sums.retain((0..60_000).map(|_| false));
        assert_eq!((sums_of(&sums, 1), sums.used), (Vec::new(), 0));
        // Its row serves again.
        (1..30).for_each(|column| sums.add(2, column, Amount::new(1.0), 0));
        assert_eq!((sums_of(&sums, 2).len(), sums.rows.len()), (29, 1));
        sums.clear(2);
        assert_eq!((sums_of(&sums, 2), sums.used), (Vec::new(), 0));
    }

    /// A few addresses that take all rows must not make those count who came first.
    #[test]
    fn where_no_row_is_left_what_many_have_says_nothing() {
        let mut sums = Sums::default();
        let all = 2 * u64::try_from(MOST_ROWS).unwrap();
        for feature in 0..all {
            (1..=6).for_each(|column| sums.add(feature, column, Amount::new(1.0), 0));
        }
        assert_eq!(sums.rows.len(), MOST_ROWS);
        assert_eq!(sums_of(&sums, 0).len(), 6);
        // Where many want the same line a feature may have fewer.
        let silent = (all - 1_000..all).filter(|feature| sums_of(&sums, *feature).is_empty()).count();
        assert!(silent > 900, "{silent}");
        sums.add(all, 1, Amount::new(1.0), 0);
        assert_eq!(sums_of(&sums, all), [(1, 1.0)], "what few have counts");
    }

    #[test]
    fn growing_loses_nothing_that_has_room() {
        let mut sums = Sums::default();
        for feature in 0..40_000 {
            sums.add(feature, 5, Amount::new(1.0), 0);
        }
        let kept = (0..40_000).filter(|f| sums_of(&sums, *f) == [(5, 1.0)]).count();
        assert!(kept > 38_000, "{kept}");
        assert_eq!(sums.used, kept);
    }

    #[test]
    fn its_memory_is_bounded_and_what_is_seen_again_outlasts_what_is_not() {
        let mut sums = Sums::default();
        for feature in 0..1000 {
            (0..4).for_each(|_| sums.add(feature, 1, Amount::new(0.5), 0));
        }
        for feature in 1000..6_000_000 {
            sums.add(feature, 2, Amount::new(0.5), 0);
        }
        assert_eq!(sums.memory_bytes(), MOST_LINES * size_of::<Line>());
        assert!((0..1000).all(|feature| sums_of(&sums, feature) == [(1, 2.0)]));
        assert_eq!(sums_of(&sums, 5_999_999), [(2, 0.5)], "the newest are here");
    }
}
