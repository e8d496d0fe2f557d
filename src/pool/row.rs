//! What more than a few generations have of a feature: a table that is looked into at the number of the
//! generation, and in cells behind it. Numbers follow one another, so there is no need to spread them.
//!
//! It knows numbers. It must never know what they stand for.

use super::codec::{Damaged, Reader, Writer};

/// A row has so many cells. What more peers have than that tells them apart no better.
pub(super) const MOST_CELLS: usize = 96;
/// The smallest row.
const LEAST_CELLS: usize = 12;
/// So many cells are looked at for a generation, unless the row is as large as it may be: then all are, until it is
/// overfull.
const NEAR: usize = 8;

/// One generation's sum; an empty cell is of generation 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) generation: u16,
    /// In parts.
    pub(super) sum: u16,
}

/// The sums of one feature.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    cells: Box<[Cell]>,
    /// Cells that are not empty.
    used: u8,
    /// Some generation found no room.
    is_overfull: bool,
}

impl Row {
    /// All of it, empty cells included.
    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Whether some generation found no room: others have the feature that are not here.
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Whether no generation is here.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Where a generation is looked for first.
    fn start(&self, generation: u16) -> usize {
        usize::from(generation) % self.cells.len().max(1)
    }

    /// Reads where a generation is looked for first, so that it is at hand.
    pub(super) fn touch(&self, generation: u16) -> u32 {
        self.cells.get(self.start(generation)).map_or(0, |cell| u32::from(cell.sum))
    }

    /// Reads some of all of it.
    pub(super) fn touch_all(&self) -> u32 {
        // 64 bytes are a line of the processor's cache.
        self.cells.iter().step_by(64 / size_of::<Cell>()).fold(0, |sum, cell| sum ^ u32::from(cell.sum))
    }

    /// The cells where a generation may be.
    fn near(&mut self, generation: u16) -> impl Iterator<Item = &mut Cell> {
        let start = self.start(generation);
        let near = if self.cells.len() < MOST_CELLS || self.is_overfull { NEAR } else { MOST_CELLS };
        let (before, behind) = self.cells.split_at_mut_checked(start).unwrap_or_default();
        behind.iter_mut().chain(before).take(near)
    }

    /// Adds to a generation's sum, if there is room for it.
    pub(super) fn add(&mut self, generation: u16, parts: u16) {
        // Mostly it is the first one that is looked at.
        let start = self.start(generation);
        if let Some(cell) = self.cells.get_mut(start).filter(|cell| cell.generation == generation) {
            cell.sum = cell.sum.saturating_add(parts);
            return;
        }
        let near = self.near(generation).find(|cell| [0, generation].contains(&cell.generation));
        if let Some(cell) = near {
            let is_new = cell.generation == 0;
            *cell = Cell { generation, sum: cell.sum.saturating_add(parts) };
            self.used += u8::from(is_new);
        } else if self.cells.len() < MOST_CELLS {
            let size = (self.cells.len() * 2).clamp(LEAST_CELLS, MOST_CELLS);
            let old = std::mem::take(self);
            self.cells = vec![Cell::default(); size].into_boxed_slice();
            for cell in old.cells.iter().filter(|cell| cell.generation > 0) {
                self.add(cell.generation, cell.sum);
            }
            self.add(generation, parts);
        } else {
            self.is_overfull = true;
        }
    }

    /// Takes from a generation's sum. The cell stays: others may stand behind it.
    pub(super) fn subtract(&mut self, generation: u16, parts: u16) {
        if let Some(cell) = self.near(generation).find(|cell| cell.generation == generation) {
            cell.sum = cell.sum.saturating_sub(parts);
        }
    }

    /// Forgets generations.
    pub(super) fn retain(&mut self, still: impl Fn(u32) -> bool) {
        let old = std::mem::take(self);
        let stays = |cell: &&Cell| cell.generation > 0 && still(u32::from(cell.generation));
        let staying = old.cells.iter().filter(stays).count();
        if staying > 0 {
            // As large as it has to be from the start: to grow to it again costs most of all.
            let sizes = std::iter::successors(Some(LEAST_CELLS), |size| Some(size * 2));
            let size = sizes.take_while(|size| *size < MOST_CELLS).find(|size| size * 3 >= staying * 4);
            self.cells = vec![Cell::default(); size.unwrap_or(MOST_CELLS)].into_boxed_slice();
        }
        for cell in old.cells.iter().filter(stays) {
            self.add(cell.generation, cell.sum);
        }
        // Who found no room is not known: it counts again when half of the others are gone.
        self.is_overfull |= old.is_overfull && usize::from(self.used) * 2 > MOST_CELLS;
    }

    /// Writes all of it down.
    pub(super) fn write(&self, out: &mut Writer<'_>) {
        out.size(self.cells.len());
        out.u8(u8::from(self.is_overfull));
        for cell in &self.cells {
            out.u16(cell.generation);
            out.u16(cell.sum);
        }
    }

    /// What was written down.
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        let cells = 0..input.size()?.min(MOST_CELLS);
        let is_overfull = input.u8()? > 0;
        let cells = cells.map(|_| Ok(Cell { generation: input.u16()?, sum: input.u16()? }));
        let cells = cells.collect::<Result<Box<[Cell]>, Damaged>>()?;
        let used = cells.iter().filter(|cell| cell.generation > 0).count();
        Ok(Row { cells, used: u8::try_from(used).unwrap_or(u8::MAX), is_overfull })
    }

    /// Bytes in memory beside itself, what the allocator adds included.
    pub(super) fn memory_bytes(&self) -> usize {
        self.cells.len() * size_of::<Cell>() + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_overfull(
            steps in proptest::collection::vec((1_u16..300, 1_u16..9, 0_u8..20), 0..400),
        ) {
            let (mut row, mut map) = (Row::default(), BTreeMap::<u16, u16>::new());
            for (generation, parts, step) in steps {
                if step == 0 {
                    row.retain(|number| number % 7 != u32::from(generation % 7));
                    map.retain(|number, _| number % 7 != generation % 7);
                } else if step == 1 {
                    row.subtract(generation, parts);
                    map.entry(generation).and_modify(|sum| *sum = sum.saturating_sub(parts));
                } else {
                    row.add(generation, parts);
                    *map.entry(generation).or_default() += parts;
                }
                let here: BTreeMap<u16, u16> =
                    row.cells().iter().filter(|cell| cell.generation > 0).map(|cell| (cell.generation, cell.sum)).collect();
                prop_assert_eq!(here.len(), usize::from(row.used));
                if row.is_overfull() {
                    prop_assert!(here.len() == MOST_CELLS && map.len() > MOST_CELLS);
                    return Ok(());
                }
                prop_assert_eq!(&here, &map);
                prop_assert_eq!(row.is_empty(), map.is_empty());
            }
        }
    }

    #[test]
    fn what_is_overfull_counts_again_when_half_of_it_is_gone() {
        let mut row = Row::default();
        // All of them want the same cell.
        (1..=96).for_each(|nth| row.add(nth * 96, 1));
        assert!(!row.is_overfull());
        assert_eq!(row.cells().iter().filter(|cell| cell.sum == 1).count(), 96);
        row.add(97, 1);
        assert!(row.is_overfull());
        row.retain(|generation| generation > 10 * 96);
        assert!(row.is_overfull());
        row.retain(|generation| generation > 60 * 96);
        assert!(!row.is_overfull());
        row.add(98, 1);
        assert_eq!(row.cells().iter().filter(|cell| cell.sum == 1).count(), 37);
    }
}
