//! Addresses by number: a million messages have a few thousand authors.

use crate::message::Address;
use std::collections::HashMap;

/// The number of an address, for as long as it is held.
pub(super) type Name = u32;

/// The addresses in use, counted.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Address, Name>,
    rows: Vec<Option<(Address, u32)>>,
    free: Vec<Name>,
    bytes: usize,
}

impl Names {
    /// The number of an address, held once more.
    pub(super) fn hold(&mut self, address: &Address) -> Name {
        if let Some(name) = self.numbers.get(address).copied() {
            if let Some(Some((_, held))) = self.rows.get_mut(name as usize) {
                *held += 1;
            }
            return name;
        }
        let row = Some((address.clone(), 1));
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
        self.bytes += address.as_bytes().len();
        self.numbers.insert(address.clone(), name);
        name
    }

    /// Held once less.
    pub(super) fn release(&mut self, name: Name) {
        let Some(row) = self.rows.get_mut(name as usize) else { return };
        let Some((address, held)) = row else { return };
        *held -= 1;
        if *held == 0 {
            self.bytes -= address.as_bytes().len();
            self.numbers.remove(address);
            *row = None;
            self.free.push(name);
        }
    }

    pub(super) fn number(&self, address: &Address) -> Option<Name> {
        self.numbers.get(address).copied()
    }

    pub(super) fn address(&self, name: Name) -> Option<&Address> {
        self.rows.get(name as usize)?.as_ref().map(|(address, _)| address)
    }

    /// Bytes in memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let each = size_of::<Option<(Address, u32)>>() + size_of::<(Address, Name)>() * 3 / 2 + 16;
        self.rows.len() * each + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lives_as_long_as_it_is_held() {
        let mut names = Names::default();
        let (a, b) = (Address::try_from("http://a/").unwrap(), Address::try_from("http://b/").unwrap());
        let first = names.hold(&a);
        assert_eq!((names.hold(&a), names.number(&a)), (first, Some(first)));
        names.release(first);
        assert_eq!(names.address(first), Some(&a));
        names.release(first);
        assert_eq!((names.address(first), names.number(&a)), (None, None));
        assert_eq!(names.hold(&b), first, "used again");
        names.release(7);
    }
}
