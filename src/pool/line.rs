//! A line of the table of sums: what is read of memory, and compared, at once.
//!
//! It knows tags and numbers. It must never know what they stand for.

/// Entries of a line, 64 bytes.
pub(super) const LINE: usize = 8;

/// In place of a column: the sums are in the row of this number.
pub(super) const ROW: u16 = u16::MAX;

/// One feature's sum of one column, or where its row is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) tag: u32,
    /// 0 for a free entry.
    pub(super) column: u16,
    /// Or the number of the row.
    pub(super) sum: u16,
}

/// Entries, part by part, so that all eight tags are compared at once and without a branch: which of
/// them it is cannot be foretold, and the processor would wait for each line to know where the next is.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Line {
    tags: [u32; LINE],
    columns: [u16; LINE],
    sums: [u16; LINE],
}

/// Some of a line's entries: the lowest bit of a byte for each. Bytes and no bits, because that is what
/// the processor has after it has compared all at once.
pub(super) type Places = u64;

/// All of them.
const ALL: Places = 0x0101_0101_0101_0101;

/// The first of some places.
pub(super) fn first_of(places: Places) -> Option<usize> {
    (places != 0).then(|| places.trailing_zeros() as usize / 8)
}

/// The places, the lowest first.
pub(super) fn each_of(mut places: Places) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = first_of(places);
        places &= places.wrapping_sub(1);
        lowest
    })
}

/// Where something is equal.
fn equal<T: Copy + PartialEq>(all: &[T; LINE], one: T) -> Places {
    let mut bytes = [0; LINE];
    bytes.iter_mut().zip(all).for_each(|(byte, here)| *byte = u8::from(*here == one));
    u64::from_le_bytes(bytes)
}

impl Line {
    /// The entries of a column.
    pub(super) fn of_column(&self, column: u16) -> Places {
        equal(&self.columns, column)
    }

    pub(super) fn free(&self) -> Places {
        self.of_column(0)
    }

    /// Those that are not free.
    pub(super) fn taken(&self) -> Places {
        ALL & !self.free()
    }

    /// The entries of a feature.
    pub(super) fn of(&self, tag: u32) -> Places {
        equal(&self.tags, tag) & self.taken()
    }

    pub(super) fn entry(&self, at: usize) -> Entry {
        let copied = |of: &[u16; LINE]| of.get(at).copied().unwrap_or_default();
        Entry {
            tag: self.tags.get(at).copied().unwrap_or_default(),
            column: copied(&self.columns),
            sum: copied(&self.sums),
        }
    }

    /// The entry with the least sum, rows aside, of the equal ones the first.
    pub(super) fn least(&self) -> Option<usize> {
        // The place in the lowest bits, so that the least of all numbers is found without a branch.
        let keys = (0_u32..)
            .zip(&self.columns)
            .zip(&self.sums)
            .map(|((at, column), sum)| if *column == ROW { u32::MAX } else { u32::from(*sum) << 3 | at });
        keys.min().filter(|key| *key < u32::MAX).map(|key| key as usize % LINE)
    }

    /// Adds to an entry's sum.
    pub(super) fn add(&mut self, at: usize, parts: u16) {
        if let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.saturating_add(parts);
        }
    }

    pub(super) fn set(&mut self, at: usize, entry: Entry) {
        let Line { tags, columns, sums } = self;
        if let (Some(tag), Some(column), Some(sum)) =
            (tags.get_mut(at), columns.get_mut(at), sums.get_mut(at))
        {
            (*tag, *column, *sum) = (entry.tag, entry.column, entry.sum);
        }
    }

    /// Reads it.
    pub(super) fn touch(&self) -> u32 {
        self.tags.first().copied().unwrap_or_default()
    }

    /// The number of a feature's row.
    pub(super) fn row(&self, tag: u32) -> Option<u16> {
        self.row_of(self.of(tag))
    }

    /// The number of a feature's row among these entries of it.
    pub(super) fn row_of(&self, entries: Places) -> Option<u16> {
        first_of(entries & self.of_column(ROW)).map(|at| self.entry(at).sum)
    }
}
