//! How much of each frequent word and of each pair of words every generation of a peer's messages
//! has, summed up: scoring peers by these must not read all the postings of frequent words.
//!
//! A feature's sums stand in one line of [`LINE`] entries, as long as a line of the processor's
//! cache, together with those of other features that want the same line. What more than [`FEW`]
//! generations have stands in a row of its own. When a line is full, a new feature takes the place
//! of the one that was seen least; when a row is full, what is new is left out.

use super::codec::{Damaged, Reader, Writer};
use std::io;

/// Entries of a line, 64 bytes.
const LINE: usize = 8;
/// At most so many lines: 16 MB.
const MOST_LINES: usize = 1 << 18;
/// There are twice as many lines as soon as so many entries of eight are in use.
const DENSE: usize = 5;
/// With more generations than these a feature has a row.
const FEW: usize = 5;
/// At most so many rows …
const MOST_ROWS: usize = 40_000;
/// … of so many cells. What more peers have than that tells them apart no better.
const MOST_CELLS: usize = 96;
/// The smallest row.
const LEAST_CELLS: usize = 12;
/// So many cells are looked at for a generation.
const NEAR: usize = 8;
/// A sum is kept in parts of one in so many.
const UNIT: f32 = 64.0;

/// In place of a generation: the sums are in the row of this number.
const ROW: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: u32,
    /// 0 for a free entry.
    generation: u16,
    /// Or the number of the row.
    sum: u16,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([Entry; LINE]);

/// One generation's sum in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    generation: u16,
    sum: u16,
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

/// The whole part, at most what an entry holds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(parts: f32) -> u16 {
    parts.clamp(0.0, f32::from(u16::MAX)) as u16
}

/// What more than a few generations have of a feature: a table that is looked into at the number
/// of the generation, and a few cells behind it. Numbers follow one another, so there is no need
/// to spread them.
type Row = Box<[Cell]>;

/// The cells where a generation may be.
fn cells(row: &mut [Cell], generation: u16) -> impl Iterator<Item = &mut Cell> {
    let start = usize::from(generation) % row.len().max(1);
    let (before, behind) = row.split_at_mut_checked(start).unwrap_or_default();
    behind.iter_mut().chain(before).take(NEAR)
}

/// Adds to a generation's cell.
fn add_to(row: &mut Row, generation: u16, parts: u16) {
    if let Some(cell) = cells(row, generation).find(|cell| [0, generation].contains(&cell.generation)) {
        cell.generation = generation;
        cell.sum = cell.sum.saturating_add(parts);
    } else if row.len() < MOST_CELLS {
        let size = (row.len() * 2).clamp(LEAST_CELLS, MOST_CELLS);
        let old = std::mem::replace(row, vec![Cell::default(); size].into_boxed_slice());
        for cell in old.iter().filter(|cell| cell.generation > 0) {
            add_to(row, cell.generation, cell.sum);
        }
        add_to(row, generation, parts);
    }
}

impl Sums {
    fn place(&self, tag: u32) -> usize {
        // The lines are a power of two, the uppermost bits of the tag say which.
        (tag >> (32 - self.lines.len().trailing_zeros())) as usize
    }

    /// Reads what a feature is looked for in, so that it is at hand.
    pub(super) fn touch(&self, feature: u64) -> u32 {
        self.lines.get(self.place(tag(feature))).and_then(|line| line.0.first()).map_or(0, |entry| entry.tag)
    }

    /// The same with its row, if it has one.
    pub(super) fn touch_row(&self, feature: u64, generation: u32) -> u32 {
        let tag = tag(feature);
        let Some(line) = self.lines.get(self.place(tag)) else { return 0 };
        let row = line.0.iter().find(|entry| entry.tag == tag && entry.generation == ROW);
        let row = row.and_then(|entry| self.rows.get(usize::from(entry.sum)));
        let cell = row.and_then(|row| row.get(generation as usize % row.len().max(1)));
        cell.map_or(0, |cell| u32::from(cell.sum))
    }

    /// Adds to a feature's sum of a generation.
    pub(super) fn add(&mut self, feature: u64, generation: u32, amount: f32, seed: u32) {
        let Some(generation) = u16::try_from(generation).ok().filter(|g| *g > 0 && *g < ROW) else { return };
        let tag = tag(feature);
        // Rounded up or down by a lot that is always the same, so that many small amounts add up.
        let lot = (tag ^ seed).wrapping_mul(0x85eb_ca6b) >> 8;
        let parts = whole(amount * UNIT + lot as f32 / (1 << 24) as f32);
        if parts == 0 {
            return;
        }
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        let mut others = 0;
        for entry in &mut line.0 {
            if entry.tag != tag || entry.generation == 0 {
                continue;
            }
            if entry.generation == generation {
                entry.sum = entry.sum.saturating_add(parts);
                return;
            }
            if entry.generation == ROW {
                if let Some(row) = self.rows.get_mut(usize::from(entry.sum)) {
                    add_to(row, generation, parts);
                }
                return;
            }
            others += 1;
        }
        if others >= FEW {
            self.give_row(place, tag, Cell { generation, sum: parts });
            return;
        }
        let new = Entry { tag, generation, sum: parts };
        if let Some(free) = line.0.iter_mut().find(|entry| entry.generation == 0) {
            *free = new;
            self.used += 1;
            if self.used > self.lines.len() * DENSE && self.lines.len() < MOST_LINES {
                self.grow();
            }
            return;
        }
        let least = line.0.iter_mut().filter(|entry| entry.generation != ROW).min_by_key(|entry| entry.sum);
        if let Some(least) = least.filter(|entry| entry.sum <= parts) {
            *least = new;
        }
    }

    /// Takes from a feature's sum of a generation, at least what [`Sums::add`] has added; a sum of
    /// which nothing is left goes.
    pub(super) fn subtract(&mut self, feature: u64, generation: u32, amount: f32) {
        let Some(generation) = u16::try_from(generation).ok().filter(|g| *g > 0 && *g < ROW) else { return };
        let tag = tag(feature);
        let parts = whole((amount * UNIT).ceil());
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        let mut here = line.0.iter_mut().filter(|entry| entry.tag == tag && entry.generation > 0);
        let Some(entry) = here.find(|entry| [ROW, generation].contains(&entry.generation)) else { return };
        if entry.generation == ROW {
            if let Some(row) = self.rows.get_mut(usize::from(entry.sum)) {
                // The cell stays: others may stand behind it.
                let cell = cells(row, generation).find(|cell| cell.generation == generation);
                cell.into_iter().for_each(|cell| cell.sum = cell.sum.saturating_sub(parts));
            }
            return;
        }
        entry.sum = entry.sum.saturating_sub(parts);
        if entry.sum == 0 {
            *entry = Entry::default();
            self.used -= 1;
        }
    }

    /// Gives a feature that many generations have a row, if there is one left.
    fn give_row(&mut self, place: usize, tag: u32, new: Cell) {
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
        for entry in line.0.iter_mut().filter(|entry| entry.tag == tag && entry.generation > 0) {
            add_to(row, entry.generation, entry.sum);
            *entry = Entry::default();
            self.used -= 1;
        }
        add_to(row, new.generation, new.sum);
        if let Some(free) = line.0.iter_mut().find(|entry| entry.generation == 0) {
            *free = Entry { tag, generation: ROW, sum: number };
            self.used += 1;
        }
    }

    /// Forgets a feature.
    pub(super) fn clear(&mut self, feature: u64) {
        let tag = tag(feature);
        let place = self.place(tag);
        let Some(line) = self.lines.get_mut(place) else { return };
        for entry in line.0.iter_mut().filter(|entry| entry.tag == tag && entry.generation > 0) {
            if entry.generation == ROW {
                if let Some(row) = self.rows.get_mut(usize::from(entry.sum)) {
                    *row = Row::default();
                }
                self.free_rows.push(entry.sum);
            }
            *entry = Entry::default();
            self.used -= 1;
        }
    }

    /// The sums of a feature by generation.
    pub(super) fn each(&self, feature: u64, mut found: impl FnMut(u32, f32)) {
        let tag = tag(feature);
        let Some(line) = self.lines.get(self.place(tag)) else { return };
        for entry in line.0.iter().filter(|entry| entry.tag == tag && entry.generation > 0) {
            if entry.generation == ROW {
                let row = self.rows.get(usize::from(entry.sum)).map(|row| &row[..]).unwrap_or_default();
                for cell in row.iter().filter(|cell| cell.sum > 0) {
                    found(u32::from(cell.generation), f32::from(cell.sum) / UNIT);
                }
            } else {
                found(u32::from(entry.generation), f32::from(entry.sum) / UNIT);
            }
        }
    }

    /// Forgets generations.
    pub(super) fn retain(&mut self, still: impl Fn(u32) -> bool) {
        let Sums { lines, used, rows, free_rows } = self;
        for entry in lines.iter_mut().flat_map(|line| &mut line.0).filter(|entry| entry.generation > 0) {
            let stays = if entry.generation == ROW {
                rows.get_mut(usize::from(entry.sum)).is_some_and(|row| {
                    let old = std::mem::take(row);
                    for cell in
                        old.iter().filter(|cell| cell.generation > 0 && still(u32::from(cell.generation)))
                    {
                        add_to(row, cell.generation, cell.sum);
                    }
                    !row.is_empty()
                })
            } else {
                still(u32::from(entry.generation))
            };
            if !stays {
                if entry.generation == ROW {
                    free_rows.push(entry.sum);
                }
                *entry = Entry::default();
                *used -= 1;
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
                let here = line.0.iter().filter(|entry| entry.generation > 0 && entry.tag >> bit & 1 == half);
                new.0.iter_mut().zip(here).for_each(|(to, from)| *to = *from);
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
            for entry in &line.0 {
                out.u32(entry.tag);
                out.u16(entry.generation);
                out.u16(entry.sum);
            }
        })?;
        out.all(self.rows.iter(), 1024, |out, row| {
            out.size(row.len());
            for cell in &**row {
                out.u16(cell.generation);
                out.u16(cell.sum);
            }
        })?;
        out.all(self.free_rows.iter(), 4096, |out, row| out.u16(*row))
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        input.next()?;
        let used = input.size()?;
        let lines = input.all(4096, |input| {
            let mut line = Line::default();
            for entry in &mut line.0 {
                *entry = Entry { tag: input.u32()?, generation: input.u16()?, sum: input.u16()? };
            }
            Ok(line)
        })?;
        let rows = input.all(1024, |input| {
            let cells = 0..input.size()?.min(MOST_CELLS);
            cells.map(|_| Ok(Cell { generation: input.u16()?, sum: input.u16()? })).collect()
        })?;
        let free_rows = input.all(4096, Reader::u16)?;
        if !lines.len().is_power_of_two() || lines.len() > MOST_LINES {
            return Err(Damaged::Format);
        }
        Ok(Sums { lines, used, rows, free_rows })
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let cells: usize = self.rows.iter().map(|row| row.len() * size_of::<Cell>() + 8).sum();
        self.lines.capacity() * size_of::<Line>() + self.rows.capacity() * size_of::<Row>() + cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(sums: &Sums, feature: u64) -> Vec<(u32, f32)> {
        let mut out = Vec::new();
        sums.each(feature, |generation, sum| out.push((generation, sum)));
        out.sort_by_key(|(generation, _)| *generation);
        out
    }

    #[test]
    fn adds_up_and_forgets() {
        let mut sums = Sums::default();
        for n in 0..20_000_u64 {
            sums.add(n % 5000, 1 + u32::try_from(n % 3).unwrap(), 0.5, 7);
        }
        // Small amounts are rounded fairly.
        for seed in 0..10_000 {
            sums.add(9999, 1, 0.01, seed);
        }
        assert!((90.0..110.0).contains(&sums_of(&sums, 9999)[0].1), "{:?}", sums_of(&sums, 9999));
        assert_eq!(sums_of(&sums, 7), [(1, 0.5), (2, 1.0), (3, 0.5)]);
        sums.clear(7);
        assert_eq!(sums_of(&sums, 7), []);
        sums.retain(|generation| generation != 2);
        assert!(sums_of(&sums, 8).iter().all(|(generation, _)| *generation != 2));
        assert_eq!(sums_of(&sums, 123_456), []);
    }

    #[test]
    fn what_was_added_can_be_taken_back() {
        let mut sums = Sums::default();
        for feature in 0..300 {
            for generation in 1..=(1 + u32::try_from(feature).unwrap() % 10) {
                sums.add(feature, generation, 0.07, 3);
                sums.add(feature, 20, 0.5, 3);
            }
        }
        let before: Vec<_> = (0..300).map(|feature| sums_of(&sums, feature)).collect();
        for (feature, before) in (0..300).zip(before) {
            for generation in 1..=10 {
                sums.subtract(feature, generation, 0.07);
            }
            let other: Vec<_> = before.into_iter().filter(|(generation, _)| *generation == 20).collect();
            assert_eq!(sums_of(&sums, feature), other);
        }
    }

    #[test]
    fn what_many_have_is_in_a_row_and_what_everybody_has_is_left_out_at_some_time() {
        let mut sums = Sums::default();
        for generation in 1..60_000 {
            sums.add(1, generation, 1.0, 0);
        }
        assert_eq!(sums_of(&sums, 1).len(), MOST_CELLS);
        sums.add(1, 40, 2.0, 0);
        assert_eq!(sums_of(&sums, 1)[39], (40, 3.0));
        sums.retain(|generation| generation % 2 == 0);
        assert_eq!(sums_of(&sums, 1).len(), MOST_CELLS / 2);
        (2..40).step_by(2).for_each(|generation| sums.add(1, generation, 1.0, 0));
        assert_eq!(sums_of(&sums, 1)[3], (8, 2.0));
        sums.retain(|_| false);
        assert_eq!((sums_of(&sums, 1), sums.used), (Vec::new(), 0));
        // Its row serves again.
        (1..30).for_each(|generation| sums.add(2, generation, 1.0, 0));
        assert_eq!((sums_of(&sums, 2).len(), sums.rows.len()), (29, 1));
        sums.clear(2);
        assert_eq!((sums_of(&sums, 2), sums.used), (Vec::new(), 0));
    }

    #[test]
    fn growing_loses_nothing_that_has_room() {
        let mut sums = Sums::default();
        for feature in 0..40_000 {
            sums.add(feature, 5, 1.0, 0);
        }
        let kept = (0..40_000).filter(|f| sums_of(&sums, *f) == [(5, 1.0)]).count();
        assert!(kept > 38_000, "{kept}");
        assert_eq!(sums.used, kept);
    }

    #[test]
    fn its_memory_is_bounded_and_what_is_seen_again_outlasts_what_is_not() {
        let mut sums = Sums::default();
        for feature in 0..1000 {
            (0..4).for_each(|_| sums.add(feature, 1, 0.5, 0));
        }
        for feature in 1000..6_000_000 {
            sums.add(feature, 2, 0.5, 0);
        }
        assert_eq!(sums.memory_bytes(), MOST_LINES * size_of::<Line>());
        assert!((0..1000).all(|feature| sums_of(&sums, feature) == [(1, 2.0)]));
        assert_eq!(sums_of(&sums, 5_999_999), [(2, 0.5)], "the newest are here");
    }
}
