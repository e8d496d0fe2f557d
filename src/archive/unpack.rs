//! Compressed files, read as if they were not.

use super::tree::open_file;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// As much of what was read is kept, so that a reader can go back; further back the file is read
/// anew.
const BACK: usize = 1 << 20;

/// Read at once.
const CHUNK: usize = 64 << 10;

/// zstd's window may be as large as its own tools accept without being asked: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By the bytes that a file begins with.
    pub(super) fn of(begin: &[u8]) -> Option<Packing> {
        match begin {
            [0x1f, 0x8b, 8, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            _ => None,
        }
    }

    fn open(self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let file = BufReader::with_capacity(CHUNK, open_file(path)?);
        Ok(match self {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// The content of a compressed file.
pub(super) struct Unpacked {
    path: PathBuf,
    packing: Packing,
    input: Box<dyn Read + Send>,
    /// What was read last: what lies behind `at` and what lies ahead of it.
    kept: VecDeque<u8>,
    /// Where in the content `kept` begins.
    begin: u64,
    /// The place in `kept`.
    at: usize,
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Unpacked {
    pub(super) fn open(path: &Path, packing: Packing) -> io::Result<Unpacked> {
        Ok(Unpacked {
            path: path.to_owned(),
            packing,
            input: packing.open(path)?,
            kept: VecDeque::new(),
            begin: 0,
            at: 0,
        })
    }

    fn position(&self) -> u64 {
        self.begin.saturating_add(self.at as u64)
    }
}

impl Read for Unpacked {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.kept.len() {
            if self.at >= 2 * BACK {
                let old = self.at - BACK;
                self.kept.drain(..old);
                (self.begin, self.at) = (self.begin.saturating_add(old as u64), BACK);
            }
            let mut chunk = vec![0; CHUNK];
            let read = self.input.read(&mut chunk)?;
            self.kept.extend(chunk.get(..read).unwrap_or_default());
        }
        let (first, second) = self.kept.as_slices();
        Ok(match self.at.checked_sub(first.len()) {
            None => first.get(self.at..).unwrap_or_default(),
            Some(at) => second.get(at..).unwrap_or_default(),
        })
    }

    fn consume(&mut self, n: usize) {
        self.at = self.at.saturating_add(n).min(self.kept.len());
    }
}

impl Seek for Unpacked {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => to,
            SeekFrom::Current(by) => self.position().saturating_add_signed(by),
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        if to < self.begin {
            *self = Unpacked::open(&self.path, self.packing)?;
        } else {
            self.at = usize::try_from(to - self.begin).unwrap_or(usize::MAX).min(self.kept.len());
        }
        while self.position() < to {
            let there = self.fill_buf()?.len();
            if there == 0 {
                break;
            }
            let left = usize::try_from(to - self.position()).unwrap_or(usize::MAX);
            self.consume(there.min(left));
        }
        Ok(self.position())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "numbers that are small")]

    use super::*;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn what_is_packed_is_read_from_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let gz = dir.path().join("a.gz");
        let mut packed =
            flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
        packed.write_all(&content[..2_000_000]).unwrap();
        packed.finish().unwrap();
        // A second member, as after an append.
        let more = File::options().append(true).open(&gz).unwrap();
        let mut packed = flate2::write::GzEncoder::new(more, flate2::Compression::fast());
        packed.write_all(&content[2_000_000..]).unwrap();
        packed.finish().unwrap();
        let zst = dir.path().join("a.zst");
        zstd::stream::copy_encode(&content[..], File::create(&zst).unwrap(), 1).unwrap();
        for path in [gz, zst] {
            let begin = std::fs::read(&path).unwrap();
            let packing = Packing::of(&begin).unwrap();
            let mut whole = Vec::new();
            Unpacked::open(&path, packing).unwrap().read_to_end(&mut whole).unwrap();
            assert!(whole == content);
            let mut input = Unpacked::open(&path, packing).unwrap();
            for place in [4_500_000_u64, 4_000_000, 100, 2_000_001, 0, 4_999_999] {
                assert_eq!(input.seek(SeekFrom::Start(place)).unwrap(), place);
                let mut byte = [0];
                input.read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], content[place as usize], "{place}");
            }
            assert_eq!(input.seek(SeekFrom::Start(9_000_000)).unwrap(), 5_000_000, "no further than its end");
            assert!(input.kept.len() <= 2 * BACK + CHUNK, "what is kept is bounded");
        }
        assert_eq!(Packing::of(b"From x"), None);
    }
}
