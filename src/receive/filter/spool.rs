//! A mail on its way through: small ones in memory, others in a file that has no name, so that
//! nothing is left of them whatever happens. It is not flushed to the disk: until the next hop has
//! taken the mail, the mail server in front has it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

/// Bytes that stay in memory.
const IN_MEMORY: usize = 128 * 1024;

/// A mail that is coming in, or is there.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    /// What is not in the file (yet).
    memory: Vec<u8>,
    file: Option<Arc<File>>,
    /// Bytes in the file.
    filed: u64,
}

impl Spool {
    /// An empty one. `dir`: where the file is made if one is needed.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Spool { dir: dir.to_owned(), memory: Vec::new(), file: None, filed: 0 }
    }

    /// Bytes in it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.filed.saturating_add(self.memory.len() as u64)
    }

    /// Appends.
    ///
    /// # Errors
    /// The file can't be made or written, because there is no room for it as a rule.
    pub async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.memory.len().saturating_add(bytes.len()) > IN_MEMORY {
            self.flush().await?;
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes from `at` on, as many as are convenient; none at the end.
    ///
    /// # Errors
    /// The file can't be read, or is shorter than what was written.
    pub async fn read(&self, at: u64) -> io::Result<Vec<u8>> {
        let Some(file) = self.file.clone().filter(|_| at < self.filed) else {
            let from = usize::try_from(at.saturating_sub(self.filed)).unwrap_or(usize::MAX);
            return Ok(self.memory.get(from..).unwrap_or_default().to_vec());
        };
        let most = usize::try_from(self.filed.saturating_sub(at)).unwrap_or(usize::MAX).min(IN_MEMORY);
        let read = move || {
            let mut bytes = vec![0; most];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        spawn_blocking(read).await.unwrap_or_else(|failed| Err(io::Error::other(failed)))
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub async fn whole(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.length()).unwrap_or(0));
        while (bytes.len() as u64) < self.length() {
            let more = self.read(bytes.len() as u64).await?;
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// Brings what is in memory to the file.
    async fn flush(&mut self) -> io::Result<()> {
        let (dir, file, at) = (self.dir.clone(), self.file.clone(), self.filed);
        let bytes = std::mem::take(&mut self.memory);
        let write = move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(dir)?),
            };
            file.write_all_at(&bytes, at)?;
            Ok((file, bytes))
        };
        let (file, mut bytes) =
            spawn_blocking(write).await.unwrap_or_else(|failed| Err(io::Error::other(failed)))?;
        self.filed = self.filed.saturating_add(bytes.len() as u64);
        bytes.clear();
        (self.file, self.memory) = (Some(file), bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_in_comes_out_and_only_a_part_of_it_lies_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        for (pieces, filed) in [(0, false), (1, false), (17, true), (100, true)] {
            let mut spool = Spool::new(dir.path());
            let mut all = Vec::new();
            for piece in 0..pieces {
                let bytes: Vec<u8> =
                    (0..20_011_u32).map(|at| (at.wrapping_mul(piece + 7) % 251) as u8).collect();
                spool.push(&bytes).await.unwrap();
                all.extend(bytes);
                assert!(spool.memory.capacity() <= 2 * IN_MEMORY, "{}", spool.memory.capacity());
            }
            assert_eq!(spool.length(), all.len() as u64);
            assert_eq!(spool.file.is_some(), filed);
            assert_eq!(spool.whole().await.unwrap(), all);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        }
    }

    #[tokio::test]
    async fn no_place_for_the_file_is_an_error() {
        let mut spool = Spool::new(Path::new("/nowhere/at/all"));
        spool.push(&vec![0; IN_MEMORY]).await.unwrap();
        assert!(spool.push(&[0]).await.is_err());
    }
}
