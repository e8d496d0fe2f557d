//! How the pool is written down: blocks of bytes, each with its length before it.
//!
//! It knows numbers and bytes. It must never know where they go, nor whether they came back
//! unharmed: who reads them compares a checksum.

use std::io::{self, Read, Write};

/// The longest block.
const LONGEST: usize = 1 << 28;

/// What was read is no pool of this version.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    /// The bytes end too early, or can't be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The bytes mean nothing.
    #[error("this is no index of this version")]
    Format,
}

/// Writes blocks.
pub(super) struct Writer<'a> {
    to: &'a mut dyn Write,
    block: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Writer { to, block: Vec::new() }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.block.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn size(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.block.extend_from_slice(bytes);
    }

    /// The end of a block.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.to.write_all(&(self.block.len() as u64).to_le_bytes())?;
        self.to.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Blocks of so many values each, and how many there are before them.
    pub(super) fn all<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        each: usize,
        mut write: impl FnMut(&mut Self, T),
    ) -> io::Result<()> {
        self.size(values.len());
        self.end()?;
        let mut left = each;
        for value in values {
            write(self, value);
            left -= 1;
            if left == 0 {
                self.end()?;
                left = each;
            }
        }
        if left < each { self.end() } else { Ok(()) }
    }
}

/// Reads them.
pub(super) struct Reader<'a> {
    from: &'a mut dyn Read,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(from: &'a mut dyn Read) -> Self {
        Reader { from, block: Vec::new(), at: 0 }
    }

    /// The next block; the one before must be read to its end.
    pub(super) fn next(&mut self) -> Result<(), Damaged> {
        let mut length = [0; 8];
        self.from.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST || self.at != self.block.len() {
            return Err(Damaged::Format);
        }
        self.block.resize(length, 0);
        self.at = 0;
        self.from.read_exact(&mut self.block)?;
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<&[u8], Damaged> {
        let end = self.at.checked_add(n).ok_or(Damaged::Format)?;
        let bytes = self.block.get(self.at..end).ok_or(Damaged::Format)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.take(N)?.try_into().map_err(|_| Damaged::Format)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damaged> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Damaged> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn size(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.u64()?).map_err(|_| Damaged::Format)
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Damaged> {
        let length = self.size()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    /// What [`Writer::all`] wrote.
    pub(super) fn all<T>(
        &mut self,
        each: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        self.next()?;
        let length = self.size()?;
        // A damaged length asks for no memory that the blocks do not fill.
        let mut values = Vec::with_capacity(length.min(1 << 22));
        while values.len() < length {
            self.next()?;
            for _ in 0..each.min(length - values.len()) {
                values.push(read(self)?);
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_half_of_it_is_damaged() {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        out.u8(7);
        out.u16(300);
        out.u32(70_000);
        out.u64(1 << 40);
        out.bytes(b"abc");
        out.end().unwrap();
        let many: Vec<u32> = (0..1000).collect();
        out.all(many.iter(), 64, |out, n| out.u32(*n)).unwrap();
        let read = |bytes: &[u8]| -> Result<Vec<u32>, Damaged> {
            let mut from = bytes;
            let mut input = Reader::new(&mut from);
            input.next()?;
            assert_eq!((input.u8()?, input.u16()?, input.u32()?, input.u64()?), (7, 300, 70_000, 1 << 40));
            assert_eq!(input.bytes()?, b"abc");
            assert!(input.u8().is_err(), "that was the block");
            input.all(64, Reader::u32)
        };
        assert_eq!(read(&bytes).unwrap(), many);
        assert!((0..bytes.len()).step_by(41).skip(2).all(|end| read(&bytes[..end]).is_err()));
        assert!(Reader::new(&mut &[0xff; 64][..]).next().is_err(), "no block is so long");
    }
}
