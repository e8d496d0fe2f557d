//! Lists of postings: which messages have a word, and how often, newest first.
//!
//! A list is a chain of blocks of 16 to 256 bytes in one store, the newest block first. A block
//! holds the number of bytes in use, the block before it, and its postings: the first ordinal, then
//! gaps, as varints whose lowest bit says that a count above one follows.
//! Adding to a list touches its newest block alone; nothing moves, so that no addition is slow.

use super::codec::{Damaged, Reader, Writer};
use std::io;

/// Bytes of a chunk of the store: what is asked of the allocator at once.
const CHUNK: usize = UNITS_OF_CHUNK as usize * UNIT;
const UNITS_OF_CHUNK: u32 = 1 << 16;
/// The smallest block, and the unit in which places are counted.
const UNIT: usize = 16;
/// Blocks have `UNIT << class` bytes.
const CLASSES: u32 = 5;
/// Bytes in use, then the block before it.
const HEAD_BYTES: u8 = 5;
const HEAD: usize = HEAD_BYTES as usize;
/// The longest posting: a varint of 33 bits and a count.
const LONGEST: usize = 6;
/// A word that occurs more often in a message counts as often as this.
pub(super) const MAX_COUNT: u8 = 255;

/// Where a block is: its class in the upper three bits, its unit in the others, plus 1; 0 is none.
/// So there are at most 8 GiB of postings.
type Place = u32;
const UNITS: u32 = (1 << 29) - 2;

/// One list: 8 bytes, and the blocks. A list of a single posting has no block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The newest ordinal.
    last: u32,
    /// Of a single posting [`SINGLE`] and its count, else the newest block.
    tail: u32,
}

/// Bit of a place that no block has: classes end at 4.
const SINGLE: u32 = 7 << 29;

/// The blocks of all lists of an index.
#[derive(Debug, Default)]
pub(super) struct Postings {
    chunks: Vec<Box<[u8]>>,
    /// Units that were given out.
    used: u32,
    /// Blocks that were given back, by class.
    free: [Vec<u32>; CLASSES as usize],
}

impl List {
    /// No list at all.
    pub(super) const NONE: List = List { last: 0, tail: 0 };

    /// The newest ordinal.
    pub(super) fn last(self) -> u32 {
        self.last
    }

    /// A list of one posting.
    pub(super) fn new(ordinal: u32, count: u8) -> Self {
        List { last: ordinal, tail: SINGLE | u32::from(count) }
    }

    pub(super) fn write(self, out: &mut Writer<'_>) {
        out.u32(self.last);
        out.u32(self.tail);
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(List { last: input.u32()?, tail: input.u32()? })
    }

    fn single(self) -> Option<u8> {
        (self.tail & SINGLE == SINGLE).then(|| u8::try_from(self.tail & 0xff).unwrap_or(MAX_COUNT))
    }
}

fn split(place: Place) -> Option<(u32, u32)> {
    let place = place.checked_sub(1)?;
    Some((place >> 29, place & ((1 << 29) - 1)))
}

fn size(class: u32) -> usize {
    UNIT << class
}

impl Postings {
    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let free: usize = self.free.iter().map(|list| list.capacity() * 4).sum();
        self.chunks.len() * CHUNK + free
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        out.u32(self.used);
        out.end()?;
        for free in &self.free {
            out.all(free.iter(), 1 << 16, |out, unit| out.u32(*unit))?;
        }
        out.all(self.chunks.iter(), 1, |out, chunk| out.bytes(chunk))
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        input.next()?;
        let used = input.u32()?;
        let mut free: [Vec<u32>; CLASSES as usize] = Default::default();
        for free in &mut free {
            *free = input.all(1 << 16, Reader::u32)?;
        }
        let chunks = input.all(1, |input| {
            let chunk = input.bytes()?;
            if chunk.len() == CHUNK { Ok(chunk.into_boxed_slice()) } else { Err(Damaged::Format) }
        })?;
        Ok(Postings { chunks, used, free })
    }

    fn block(&self, place: Place) -> &[u8] {
        let Some((class, unit)) = split(place) else { return &[] };
        let at = unit as usize * UNIT;
        let chunk = self.chunks.get(at / CHUNK).map(|chunk| &chunk[..]).unwrap_or_default();
        chunk.get(at % CHUNK..at % CHUNK + size(class)).unwrap_or_default()
    }

    fn block_mut(&mut self, place: Place) -> &mut [u8] {
        let Some((class, unit)) = split(place) else { return &mut [] };
        let at = unit as usize * UNIT;
        let chunk = self.chunks.get_mut(at / CHUNK).map(|chunk| &mut chunk[..]).unwrap_or_default();
        chunk.get_mut(at % CHUNK..at % CHUNK + size(class)).unwrap_or_default()
    }

    /// An empty block. `None` when the store is full.
    fn take(&mut self, class: u32, before: Place) -> Option<Place> {
        let free = self.free.get_mut(class as usize)?.pop();
        let unit = match free {
            Some(unit) => unit,
            None => {
                let units = 1_u32 << class;
                let (per_chunk, at) = (UNITS_OF_CHUNK, self.used);
                // No block lies across two chunks.
                let fits = at % per_chunk + units <= per_chunk;
                let unit = if fits { at } else { at.next_multiple_of(per_chunk) };
                if unit + units > UNITS {
                    return None;
                }
                self.used = unit + units;
                if self.chunks.len() * CHUNK < self.used as usize * UNIT {
                    self.chunks.push(vec![0; CHUNK].into_boxed_slice());
                }
                unit
            }
        };
        let place = (class << 29 | unit) + 1;
        let block = self.block_mut(place);
        block.fill(0);
        if let Some((used, rest)) = block.split_first_mut() {
            *used = HEAD_BYTES;
            if let Some(to) = rest.first_chunk_mut() {
                *to = before.to_le_bytes();
            }
        }
        Some(place)
    }

    /// Adds a posting that is newer than all others of the list. Whether there was room.
    pub(super) fn push(&mut self, list: &mut List, ordinal: u32, count: u8) -> bool {
        if let Some(first) = list.single() {
            let Some(tail) = self.take(0, 0) else { return false };
            let last = list.last;
            list.tail = tail;
            self.append(tail, last, 0, first);
        }
        let gap = ordinal.wrapping_sub(list.last);
        if self.append(list.tail, ordinal, gap, count) {
            list.last = ordinal;
            return true;
        }
        let class = split(list.tail).map_or(0, |(class, _)| (class + 1).min(CLASSES - 1));
        let Some(tail) = self.take(class, list.tail) else { return false };
        list.tail = tail;
        list.last = ordinal;
        self.append(tail, ordinal, 0, count)
    }

    /// Writes a posting into a block if it has room; the first one of a block whole, others as
    /// their gap.
    fn append(&mut self, place: Place, ordinal: u32, gap: u32, count: u8) -> bool {
        let block = self.block_mut(place);
        let Some((used, _)) = block.split_first_mut() else { return false };
        let at = usize::from(*used);
        let value = u64::from(if at == HEAD { ordinal } else { gap }) << 1 | u64::from(count > 1);
        let mut bytes = [0_u8; LONGEST];
        let mut n = 0;
        let mut left = value;
        for byte in &mut bytes {
            n += 1;
            *byte = (left & 0x7f) as u8;
            left >>= 7;
            if left == 0 {
                break;
            }
            *byte |= 0x80;
        }
        if count > 1 {
            if let Some(byte) = bytes.get_mut(n) {
                *byte = count;
            }
            n += 1;
        }
        let Some(new) = u8::try_from(at + n).ok() else { return false };
        let (Some(to), Some(from)) = (block.get_mut(at..at + n), bytes.get(..n)) else { return false };
        to.copy_from_slice(from);
        if let Some(used) = block.first_mut() {
            *used = new;
        }
        true
    }

    /// Reads a byte of the newest block, so that it is at hand.
    pub(super) fn touch(&self, list: List) -> u8 {
        if list.single().is_some() { 0 } else { self.block(list.tail).first().copied().unwrap_or(0) }
    }

    /// Calls `found` with ordinals and counts, block by block from the newest, ascending within a
    /// block, until a block ends after `enough` postings. How many there were.
    pub(super) fn each(&self, list: List, enough: usize, mut found: impl FnMut(u32, u8)) -> usize {
        if let Some(count) = list.single() {
            found(list.last, count);
            return 1;
        }
        let mut place = list.tail;
        let mut n = 0;
        while place != 0 && n < enough {
            let block = self.block(place);
            n += read(block, &mut found);
            place = before(block);
        }
        n
    }

    /// The same, until `found` says no.
    pub(super) fn each_until(&self, list: List, enough: usize, mut found: impl FnMut(u32, u8) -> bool) {
        if let Some(count) = list.single() {
            found(list.last, count);
            return;
        }
        let (mut place, mut goes_on, mut n) = (list.tail, true, 0);
        while place != 0 && goes_on && n < enough {
            let block = self.block(place);
            n += read_while(block, |ordinal, count| {
                goes_on = found(ordinal, count);
                goes_on
            });
            place = before(block);
        }
    }

    /// The counts of these messages, ascending ordinals, where the list has them. `found` gets the
    /// index in `wanted` and the count. Only the first posting is read of blocks with none of them.
    /// The answer is how many postings were looked at.
    pub(super) fn find(&self, list: List, wanted: &[u32], mut found: impl FnMut(usize, u8)) -> usize {
        let (mut left, mut n) = (wanted, 0);
        if let Some(count) = list.single() {
            if let Ok(at) = left.binary_search(&list.last) {
                found(at, count);
            }
            return 1;
        }
        let mut place = list.tail;
        while place != 0 && !left.is_empty() {
            let block = self.block(place);
            let from = first(block);
            let start = left.partition_point(|ordinal| *ordinal < from);
            let (older, here) = left.split_at_checked(start).unwrap_or_default();
            if !here.is_empty() {
                let mut here = here.iter().copied().enumerate().peekable();
                n += read(block, |ordinal, count| {
                    while here.next_if(|(_, wanted)| *wanted < ordinal).is_some() {}
                    if let Some((at, _)) = here.next_if(|(_, wanted)| *wanted == ordinal) {
                        found(start + at, count);
                    }
                });
            }
            left = older;
            place = before(block);
            n += 1;
        }
        n
    }

    /// Gives back the blocks of a list.
    pub(super) fn release(&mut self, list: List) {
        if list.single().is_some() {
            return;
        }
        let mut place = list.tail;
        while let Some((class, unit)) = split(place) {
            place = before(self.block(place));
            if let Some(free) = self.free.get_mut(class as usize) {
                free.push(unit);
            }
        }
    }
}

/// The block before this one.
fn before(block: &[u8]) -> Place {
    block.get(1..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// A varint, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut shift, mut rest) = (0_u64, 0_u32, bytes);
    loop {
        let (byte, after) = rest.split_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
        shift += 7;
        if shift > 35 {
            return None;
        }
    }
}

fn in_use(block: &[u8]) -> &[u8] {
    let used = block.first().map_or(0, |used| usize::from(*used));
    block.get(HEAD..used).unwrap_or_default()
}

/// The first ordinal of a block.
fn first(block: &[u8]) -> u32 {
    varint(in_use(block)).and_then(|(value, _)| u32::try_from(value >> 1).ok()).unwrap_or(0)
}

/// Calls `found` with all postings of a block. How many there were.
fn read(block: &[u8], mut found: impl FnMut(u32, u8)) -> usize {
    read_while(block, |ordinal, count| {
        found(ordinal, count);
        true
    })
}

/// Calls `found` with the postings of a block until it says no. How many there were.
fn read_while(block: &[u8], mut found: impl FnMut(u32, u8) -> bool) -> usize {
    let mut rest = in_use(block);
    let (mut ordinal, mut n) = (0_u32, 0);
    while let Some((value, after)) = varint(rest) {
        rest = after;
        ordinal = ordinal.wrapping_add(u32::try_from(value >> 1).unwrap_or(0));
        let mut count = 1;
        if value & 1 == 1
            && let Some((byte, after)) = rest.split_first()
        {
            count = *byte;
            rest = after;
        }
        n += 1;
        if !found(ordinal, count) {
            break;
        }
    }
    #[cfg(test)]
    READ.with(|read| read.set(read.get() + n));
    n
}

#[cfg(test)]
thread_local! {
    /// Postings read by this thread, for the tests of what hostile input costs.
    pub(super) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(postings: &Postings, list: List) -> Vec<(u32, u8)> {
        let mut out = Vec::new();
        postings.each(list, usize::MAX, |ordinal, count| out.push((ordinal, count)));
        out.sort_unstable();
        out
    }

    fn filled(gaps: &[(u32, u8)]) -> (Postings, List, Vec<(u32, u8)>) {
        let mut postings = Postings::default();
        let mut list: Option<List> = None;
        let mut ordinal = 0_u32;
        let mut expected = Vec::new();
        for (gap, count) in gaps {
            ordinal = ordinal.saturating_add(*gap);
            match &mut list {
                None => list = Some(List::new(ordinal, *count)),
                Some(list) => assert!(postings.push(list, ordinal, *count)),
            }
            expected.push((ordinal, *count));
        }
        (postings, list.unwrap(), expected)
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read(
            gaps in proptest::collection::vec((1_u32..3_000_000, 1_u8..=255), 1..600),
            enough in 1_usize..100,
        ) {
            let (mut postings, list, expected) = filled(&gaps);
            prop_assert_eq!(all(&postings, list), expected.clone());
            // The newest ones are those that a budget reads.
            let mut some = Vec::new();
            let n = postings.each(list, enough, |ordinal, _| some.push(ordinal));
            prop_assert!(n >= enough.min(gaps.len()) && n < enough + 256);
            let oldest = some.iter().min().copied().unwrap_or(0);
            prop_assert_eq!(some.len(), expected.iter().filter(|(o, _)| *o >= oldest).count());
            // Wanted ones are found, others are not.
            let wanted: Vec<u32> = expected.iter().step_by(3).flat_map(|(o, _)| [*o, *o + 1]).collect();
            let mut wanted = wanted;
            wanted.sort_unstable();
            wanted.dedup();
            let mut found = Vec::new();
            postings.find(list, &wanted, |at, count| found.push((wanted[at], count)));
            found.sort_unstable();
            let there: Vec<(u32, u8)> =
                expected.iter().filter(|(o, _)| wanted.binary_search(o).is_ok()).copied().collect();
            prop_assert_eq!(found, there);
            // What is given back is used again.
            let used = postings.used;
            postings.release(list);
            let mut again: Option<List> = None;
            for (ordinal, count) in &expected {
                match &mut again {
                    None => again = Some(List::new(*ordinal, *count)),
                    Some(list) => prop_assert!(postings.push(list, *ordinal, *count)),
                }
            }
            prop_assert_eq!(postings.used, used);
            prop_assert_eq!(all(&postings, again.unwrap()), expected);
        }
    }

    #[test]
    fn a_posting_is_short() {
        let (postings, _, expected) = filled(&[(40, 1); 100_000]);
        assert!(postings.used as usize * UNIT < expected.len() * 11 / 10, "{}", postings.used);
    }
}
