//! Values by number: a million messages have a few thousand authors, and a few headers.

use super::codec::{Damaged, Reader, Writer};
use std::collections::HashMap;
use std::hash::Hash;
use std::io;

/// The number of a value, for as long as it is held.
pub(super) type Name = u32;

/// The values in use, each once, counted.
#[derive(Debug)]
pub(super) struct Names<K> {
    numbers: HashMap<K, Name>,
    rows: Vec<Option<(K, u32)>>,
    free: Vec<Name>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Names { numbers: HashMap::new(), rows: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash> Names<K> {
    /// The number of a value, held once more.
    pub(super) fn hold(&mut self, value: &K) -> Name {
        if let Some(name) = self.numbers.get(value).copied() {
            if let Some(Some((_, held))) = self.rows.get_mut(name as usize) {
                *held += 1;
            }
            return name;
        }
        let row = Some((value.clone(), 1));
        let name = match self.free.pop() {
            Some(name) => {
                if let Some(free) = self.rows.get_mut(name as usize) {
                    *free = row;
                }
                name
            }
            None => {
                self.rows.push(row);
                u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(value.clone(), name);
        name
    }

    /// Held once less. Whether nobody holds it any more.
    pub(super) fn release(&mut self, name: Name) -> bool {
        let Some(row) = self.rows.get_mut(name as usize) else { return false };
        let Some((value, held)) = row else { return false };
        *held -= 1;
        let last = *held == 0;
        if last {
            self.numbers.remove(value);
            *row = None;
            self.free.push(name);
        }
        last
    }

    pub(super) fn number(&self, value: &K) -> Option<Name> {
        self.numbers.get(value).copied()
    }

    pub(super) fn value(&self, name: Name) -> Option<&K> {
        self.rows.get(name as usize)?.as_ref().map(|(value, _)| value)
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>, write: impl Fn(&mut Writer<'_>, &K)) -> io::Result<()> {
        out.all(self.rows.iter(), 4096, |out, row| match row {
            None => out.u32(0),
            Some((value, held)) => {
                out.u32(*held);
                write(out, value);
            }
        })?;
        out.all(self.free.iter(), 4096, |out, name| out.u32(*name))
    }

    /// What was written down.
    pub(super) fn load(
        input: &mut Reader<'_>,
        read: impl Fn(&mut Reader<'_>) -> Result<K, Damaged>,
    ) -> Result<Self, Damaged> {
        let rows = input.all(4096, |input| {
            let held = input.u32()?;
            if held == 0 { Ok(None) } else { Ok(Some((read(input)?, held))) }
        })?;
        let free = input.all(4096, Reader::u32)?;
        let numbers =
            (0..).zip(&rows).filter_map(|(name, row)| Some((row.as_ref()?.0.clone(), name))).collect();
        Ok(Names { numbers, rows, free })
    }

    /// Bytes in memory, `heap` for what a value holds beside itself.
    pub(super) fn memory_bytes(&self, heap: impl Fn(&K) -> usize) -> usize {
        let values: usize = self.rows.iter().flatten().map(|(value, _)| heap(value)).sum();
        let places = self.numbers.capacity() * 8 / 7 * (size_of::<(K, Name)>() + 1);
        self.rows.capacity() * size_of::<Option<(K, u32)>>() + places + values + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lives_as_long_as_it_is_held() {
        let mut names = Names::default();
        let first = names.hold(&"a");
        assert_eq!((names.hold(&"a"), names.number(&"a")), (first, Some(first)));
        assert!(!names.release(first));
        assert_eq!(names.value(first), Some(&"a"));
        assert!(names.release(first));
        assert_eq!((names.value(first), names.number(&"a")), (None, None));
        assert_eq!(names.hold(&"b"), first, "used again");
        assert!(!names.release(7));
    }
}
