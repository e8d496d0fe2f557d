//! What more than a few columns have of a feature: a sum for each number of a column where numbers are low, so that
//! nothing is looked for, or else a table that is looked into at the number, and in cells behind it. Numbers follow one
//! another, so there is no need to spread them.
//!
//! It knows numbers. It must never know what they stand for.

use super::codec::{Damaged, Reader, Writer};

/// A row that is no longer by number has so many cells. What more columns have than that tells peers apart no better.
pub(super) const MOST_CELLS: usize = 96;
/// The smallest row.
const LEAST_CELLS: usize = 12;
/// A row by number has room for numbers below this: as many bytes as the largest of cells.
const MOST_NUMBERS: usize = 192;
/// By so many numbers it grows: half a line of the processor's cache.
const STEP: usize = 16;
/// So many cells are looked at for a column, unless the row is as large as it may be: then all are, until it is
/// overfull.
const NEAR: usize = 8;

/// One column's sum; an empty cell is of column 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) column: u16,
    /// In parts.
    pub(super) sum: u16,
}

/// The sums of one feature.
#[derive(Clone, Debug)]
pub(super) enum Row {
    /// At the place of its number: while no column of the feature has a high number, which is so for good
    /// with up to about 80 peers. Nothing is looked for, and there is room for all.
    ByNumber(Box<[u16]>),
    /// Those that have it, wherever there was room.
    Listed(Listed),
}

impl Default for Row {
    fn default() -> Self {
        Row::Listed(Listed::default())
    }
}

/// Columns and their sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    cells: Box<[Cell]>,
    /// Cells that are not empty.
    used: u8,
    /// Some column found no room.
    is_overfull: bool,
}

impl Row {
    /// Calls `found` with the number and the sum of every column that has it, and of some that have nothing.
    pub(super) fn each(&self, mut found: impl FnMut(u16, u16)) {
        match self {
            Row::ByNumber(sums) => (0..).zip(sums).for_each(|(number, sum)| found(number, *sum)),
            Row::Listed(row) => row.cells.iter().for_each(|cell| found(cell.column, cell.sum)),
        }
    }

    /// Whether some column found no room: others have the feature that are not here.
    pub(super) fn is_overfull(&self) -> bool {
        matches!(self, Row::Listed(row) if row.is_overfull)
    }

    /// Whether no column is here.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Row::ByNumber(sums) => sums.iter().all(|sum| *sum == 0),
            Row::Listed(row) => row.cells.iter().all(|cell| cell.sum == 0),
        }
    }

    /// Reads where a column is looked for first, so that it is at hand.
    pub(super) fn touch(&self, column: u16) -> u32 {
        match self {
            Row::ByNumber(sums) => sums.get(usize::from(column)).map_or(0, |sum| u32::from(*sum)),
            Row::Listed(row) => row.cells.get(row.start(column)).map_or(0, |cell| u32::from(cell.sum)),
        }
    }

    /// Reads some of all of it.
    pub(super) fn touch_all(&self) -> u32 {
        // 64 bytes are a line of the processor's cache.
        match self {
            Row::ByNumber(sums) => sums.iter().step_by(32).fold(0, |all, sum| all ^ u32::from(*sum)),
            Row::Listed(row) => row.cells.iter().step_by(16).fold(0, |all, cell| all ^ u32::from(cell.sum)),
        }
    }

    /// Adds to a column's sum, if there is room for it.
    pub(super) fn add(&mut self, column: u16, parts: u16) {
        let number = usize::from(column);
        match self {
            Row::ByNumber(sums) => match sums.get_mut(number) {
                Some(sum) => *sum = sum.saturating_add(parts),
                None => self.make_room(column, parts),
            },
            Row::Listed(row) => {
                if !row.add(column, parts) {
                    self.make_room(column, parts);
                }
            }
        }
    }

    /// Adds to the sum of a column for which there is no place.
    fn make_room(&mut self, column: u16, parts: u16) {
        let old = std::mem::take(self);
        let mut highest = column;
        old.each(|number, sum| highest = highest.max(if sum > 0 { number } else { 0 }));
        let numbers = (usize::from(highest) + 1).next_multiple_of(STEP);
        if numbers <= MOST_NUMBERS {
            let mut sums = vec![0_u16; numbers].into_boxed_slice();
            let mut put = |number: u16, sum: u16| {
                if let Some(at) = sums.get_mut(usize::from(number)).filter(|_| number > 0) {
                    *at = at.saturating_add(sum);
                }
            };
            old.each(&mut put);
            put(column, parts);
            *self = Row::ByNumber(sums);
            return;
        }
        let mut row = match old {
            Row::Listed(row) => row,
            Row::ByNumber(sums) => {
                let mut row = Listed::with_room(MOST_CELLS);
                (0..).zip(sums).filter(|(_, sum)| *sum > 0).for_each(|(number, sum)| row.put(number, sum));
                row
            }
        };
        row.put(column, parts);
        *self = Row::Listed(row);
    }

    /// Takes from a column's sum.
    pub(super) fn subtract(&mut self, column: u16, parts: u16) {
        let sum = match self {
            Row::ByNumber(sums) => sums.get_mut(usize::from(column)),
            // The cell stays: others may stand behind it.
            Row::Listed(row) => row.near(column).find(|cell| cell.column == column).map(|cell| &mut cell.sum),
        };
        if let Some(sum) = sum {
            *sum = sum.saturating_sub(parts);
        }
    }

    /// Forgets columns: `still` is by number, all bits of those that stay, and none of the others and of 0.
    pub(super) fn retain(&mut self, still: &[u16]) {
        match self {
            // Without a branch: the processor does many at a time.
            Row::ByNumber(sums) => sums.iter_mut().zip(still).for_each(|(sum, still)| *sum &= still),
            Row::Listed(row) => row.retain(still),
        }
    }

    /// Writes all of it down.
    pub(super) fn write(&self, out: &mut Writer<'_>) {
        match self {
            Row::ByNumber(sums) => {
                out.u8(2);
                out.size(sums.len());
                sums.iter().for_each(|sum| out.u16(*sum));
            }
            Row::Listed(row) => {
                out.u8(u8::from(row.is_overfull));
                out.size(row.cells.len());
                for cell in &row.cells {
                    out.u16(cell.column);
                    out.u16(cell.sum);
                }
            }
        }
    }

    /// What was written down.
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        let kind = input.u8()?;
        let size = input.size()?;
        if kind == 2 {
            let sums = (0..size.min(MOST_NUMBERS)).map(|_| input.u16());
            return Ok(Row::ByNumber(sums.collect::<Result<Box<[u16]>, Damaged>>()?));
        }
        let cells = (0..size.min(MOST_CELLS)).map(|_| Ok(Cell { column: input.u16()?, sum: input.u16()? }));
        let cells = cells.collect::<Result<Box<[Cell]>, Damaged>>()?;
        let used = cells.iter().filter(|cell| cell.column > 0).count();
        Ok(Row::Listed(Listed { cells, used: u8::try_from(used).unwrap_or(u8::MAX), is_overfull: kind == 1 }))
    }

    /// Bytes in memory beside itself, what the allocator adds included.
    pub(super) fn memory_bytes(&self) -> usize {
        8 + match self {
            Row::ByNumber(sums) => size_of_val(&**sums),
            Row::Listed(row) => size_of_val(&*row.cells),
        }
    }
}

impl Listed {
    /// Where a column is looked for first.
    fn start(&self, column: u16) -> usize {
        usize::from(column) % self.cells.len().max(1)
    }

    /// The cells where a column may be.
    fn near(&mut self, column: u16) -> impl Iterator<Item = &mut Cell> {
        let start = self.start(column);
        let near = if self.cells.len() < MOST_CELLS || self.is_overfull { NEAR } else { MOST_CELLS };
        let (before, behind) = self.cells.split_at_mut_checked(start).unwrap_or_default();
        behind.iter_mut().chain(before).take(near)
    }

    /// Adds to a column's sum. Whether there was room, or never will be.
    fn add(&mut self, column: u16, parts: u16) -> bool {
        // Mostly it is the first one that is looked at.
        let start = self.start(column);
        if let Some(cell) = self.cells.get_mut(start).filter(|cell| cell.column == column) {
            cell.sum = cell.sum.saturating_add(parts);
            return true;
        }
        let near = self.near(column).find(|cell| [0, column].contains(&cell.column));
        if let Some(cell) = near {
            let is_new = cell.column == 0;
            *cell = Cell { column, sum: cell.sum.saturating_add(parts) };
            self.used += u8::from(is_new);
            return true;
        }
        self.is_overfull |= self.cells.len() >= MOST_CELLS;
        self.is_overfull
    }

    fn with_room(cells: usize) -> Self {
        Listed { cells: vec![Cell::default(); cells].into_boxed_slice(), ..Listed::default() }
    }

    /// Adds to a column's sum, and grows for it if need be.
    fn put(&mut self, column: u16, parts: u16) {
        while !self.add(column, parts) {
            let size = (self.cells.len() * 2).clamp(LEAST_CELLS, MOST_CELLS);
            let old = std::mem::replace(self, Listed::with_room(size));
            old.cells.iter().filter(|cell| cell.column > 0).for_each(|cell| self.put(cell.column, cell.sum));
        }
    }

    fn retain(&mut self, still: &[u16]) {
        let old = std::mem::take(self);
        let is_still = |column: u16| still.get(usize::from(column)).is_some_and(|still| *still > 0);
        let stays = |cell: &&Cell| cell.sum > 0 && is_still(cell.column);
        let staying = old.cells.iter().filter(stays).count();
        if staying > 0 {
            // As large as it has to be from the start: to grow to it again costs most of all.
            let sizes = std::iter::successors(Some(LEAST_CELLS), |size| Some(size * 2));
            let size = sizes.take_while(|size| *size < MOST_CELLS).find(|size| size * 3 >= staying * 4);
            *self = Listed::with_room(size.unwrap_or(MOST_CELLS));
        }
        old.cells.iter().filter(stays).for_each(|cell| self.put(cell.column, cell.sum));
        // Who found no room is not known: it counts again when half of the others are gone.
        self.is_overfull |= old.is_overfull && usize::from(self.used) * 2 > MOST_CELLS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sums_of(row: &Row) -> BTreeMap<u16, u16> {
        let mut sums = BTreeMap::new();
        row.each(|number, sum| {
            if sum > 0 {
                assert_eq!(sums.insert(number, sum), None, "{number} comes twice");
            }
        });
        sums
    }

    fn mask(still: impl Fn(u16) -> bool) -> Vec<u16> {
        (0..10_000).map(|number| if number > 0 && still(number) { u16::MAX } else { 0 }).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_overfull(
            steps in proptest::collection::vec((1_u16..300, 1_u16..9, 0_u8..20), 0..400),
            // Some rows have low numbers alone, some high ones after a while.
            low in 0_usize..400,
        ) {
            let (mut row, mut map) = (Row::default(), BTreeMap::<u16, u16>::new());
            for (nth, (column, parts, step)) in steps.into_iter().enumerate() {
                let column = if nth < low { column % 190 + 1 } else { column };
                if step == 0 {
                    row.retain(&mask(|number| number % 7 != column % 7));
                    map.retain(|number, _| number % 7 != column % 7);
                } else if step == 1 {
                    row.subtract(column, parts);
                    map.entry(column).and_modify(|sum| *sum = sum.saturating_sub(parts));
                } else {
                    row.add(column, parts);
                    *map.entry(column).or_default() += parts;
                }
                map.retain(|_, sum| *sum > 0);
                let mut bytes = Vec::new();
                let mut out = Writer::new(&mut bytes);
                row.write(&mut out);
                out.end().unwrap();
                let mut from = &bytes[..];
                let mut input = Reader::new(&mut from);
                input.next().unwrap();
                let read = Row::read(&mut input).unwrap();
                prop_assert_eq!((sums_of(&read), read.is_overfull()), (sums_of(&row), row.is_overfull()));
                if row.is_overfull() {
                    prop_assert!(sums_of(&row).len() <= MOST_CELLS && nth >= low);
                    return Ok(());
                }
                prop_assert_eq!(&sums_of(&row), &map);
                prop_assert_eq!(row.is_empty(), map.is_empty());
            }
        }
    }

    #[test]
    fn low_numbers_have_room_for_all() {
        let mut row = Row::default();
        (1..192).for_each(|number| row.add(number, 1));
        assert_eq!((sums_of(&row).len(), row.is_overfull()), (191, false));
        // A high number comes to such as more have than there is room for otherwise.
        row.add(5_000, 1);
        assert_eq!((sums_of(&row).len(), row.is_overfull()), (MOST_CELLS, true));
    }

    #[test]
    fn what_is_overfull_counts_again_when_half_of_it_is_gone() {
        let mut row = Row::default();
        // All of them want the same cell.
        (1..=96).for_each(|nth| row.add(nth * 96, 1));
        assert!(!row.is_overfull());
        assert_eq!(sums_of(&row).len(), 96);
        row.add(97, 1);
        assert!(row.is_overfull());
        row.retain(&mask(|column| column > 10 * 96));
        assert!(row.is_overfull());
        row.retain(&mask(|column| column > 60 * 96));
        assert!(!row.is_overfull());
        row.add(98, 1);
        assert_eq!(sums_of(&row).len(), 37);
    }
}
