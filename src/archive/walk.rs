//! The mails under a path, one after the other.

use super::tree::{Tree, Unit, entries, open_file, tree, unreadable};
use super::unpack::{Packing, Unpacked};
use super::{ArchiveError, Mbox, Place, Quoting, Stored};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// How deep folders are walked below the path that was named.
pub const DEEPEST: usize = 16;

/// What an mbox is read from.
pub trait Input: BufRead + Seek + Send + std::fmt::Debug {}

impl<T: BufRead + Seek + Send + std::fmt::Debug> Input for T {}

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// One mail.
    Mail(Stored),
    /// An mbox.
    Mails(Mbox<Box<dyn Input>>),
}

impl Unit {
    /// Opens the file; `most` is the length of the longest mail that is read.
    ///
    /// # Errors
    /// It can't be read, or is one mail and too long.
    pub fn open(&self, most: usize) -> Result<Content, ArchiveError> {
        self.open_at(&self.path, most)
    }

    /// As [`Unit::open`], where the file is called otherwise now.
    ///
    /// # Errors
    /// As [`Unit::open`].
    pub fn open_at(&self, path: &Path, most: usize) -> Result<Content, ArchiveError> {
        let unreadable = |source| unreadable(path, source);
        let mut file = open_file(path).map_err(unreadable)?;
        let mut begin = Vec::with_capacity(8);
        file.by_ref().take(8).read_to_end(&mut begin).map_err(unreadable)?;
        if let Some(packing) = Packing::of(&begin) {
            let mut input = Unpacked::open(path, packing).map_err(unreadable)?;
            let is_mbox = !self.in_maildir && input.fill_buf().map_err(unreadable)?.starts_with(b"From ");
            return if is_mbox {
                mbox(Box::new(input), path, most)
            } else {
                one(Vec::new(), input, path, most)
            };
        }
        if !self.in_maildir && begin.starts_with(b"From ") {
            file.rewind().map_err(unreadable)?;
            return mbox(Box::new(BufReader::with_capacity(256 * 1024, file)), path, most);
        }
        begin.reserve(usize::try_from(self.size).unwrap_or(0).min(most));
        one(begin, file, path, most)
    }
}

fn mbox(input: Box<dyn Input>, path: &Path, most: usize) -> Result<Content, ArchiveError> {
    Mbox::new(input, path.to_owned(), Quoting::Guess, most).map(Content::Mails)
}

/// A file that is one mail, of which the first bytes were read already.
fn one(mut bytes: Vec<u8>, rest: impl Read, path: &Path, most: usize) -> Result<Content, ArchiveError> {
    let limit = most.saturating_add(1).saturating_sub(bytes.len());
    rest.take(u64::try_from(limit).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    let place = Place { path: path.to_owned(), at: None };
    if bytes.len() > most {
        return Err(ArchiveError::TooLong { place, most });
    }
    // Some programs leave the line of an mbox on a single mail.
    if bytes.starts_with(b"From ") {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..end);
    }
    Ok(Content::Mail(Stored { bytes, place }))
}

/// The mails under a path, one after the other; [`tree`] says which these are.
#[derive(Debug)]
pub struct Mails {
    most: usize,
    as_mbox: bool,
    tree: Tree,
    within: Option<Mbox<Box<dyn Input>>>,
}

/// The mails under `path`, none longer than `most` bytes.
///
/// # Errors
/// There is nothing at `path`, or it is neither a file nor a folder. What is wrong further down
/// comes in its place in the stream.
pub fn mails(path: &Path, most: usize) -> Result<Mails, ArchiveError> {
    Ok(Mails { most, as_mbox: true, tree: tree(path)?, within: None })
}

/// The folders in a folder, by name; those that begin with a dot excepted.
///
/// # Errors
/// It can't be read, or is no folder.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let hidden = |path: &Path| path.to_string_lossy().starts_with('.');
    if !path.exists() {
        return Err(ArchiveError::Missing(path.to_owned()));
    }
    let found = entries(path)?.into_iter().filter(|name| !hidden(name)).map(|name| path.join(name));
    Ok(found.filter(|entry| entry.is_dir()).collect())
}

impl Mails {
    /// Takes every file for one mail, also one that begins with a `From ` line (which is cut).
    #[must_use]
    pub fn one_in_each_file(mut self) -> Self {
        self.as_mbox = false;
        self
    }
}

impl Iterator for Mails {
    type Item = Result<Stored, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mbox) = &mut self.within {
                match mbox.next() {
                    Some(mail) => return Some(mail),
                    None => self.within = None,
                }
            }
            let mut unit = match self.tree.next()? {
                Ok(unit) => unit,
                Err(ArchiveError::Beside(_)) => continue,
                Err(error) => return Some(Err(error)),
            };
            unit.in_maildir |= !self.as_mbox;
            match unit.open(self.most) {
                Ok(Content::Mail(mail)) => return Some(Ok(mail)),
                Ok(Content::Mails(mbox)) => self.within = Some(mbox),
                Err(ArchiveError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn texts(found: Mails) -> Vec<String> {
        found
            .map(|mail| match mail {
                Ok(mail) => String::from_utf8(mail.bytes).unwrap(),
                Err(error) => format!("! {error}"),
            })
            .collect()
    }

    #[test]
    fn a_maildir_with_its_folders_is_read_in_order() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cur/2:2,S", "c2"),
            ("cur/1:2,S", "c1"),
            ("new/3", "n3"),
            ("tmp/4", "t4"),
            ("dovecot.index", "no mail"),
            (".Sent/cur/5", "s5"),
            (".notes/6", "no mail"),
        ] {
            write(root.path(), name, text);
        }
        assert_eq!(texts(mails(root.path(), 100).unwrap()), ["s5", "c1", "c2", "n3"]);
    }

    #[test]
    fn mboxes_and_mails_in_folders() {
        let root = tempfile::tempdir().unwrap();
        let line = "From x Thu Jan  1 00:00:00 1970\n";
        write(root.path(), "a/two", &format!("{line}A: 1\n\none\n\n{line}A: 2\n\ntwo\n"));
        write(root.path(), "b", "A: 3\n\nthree\n");
        write(root.path(), ".hidden", "x");
        write(root.path(), "empty", "");
        assert_eq!(
            texts(mails(root.path(), 100).unwrap()),
            ["A: 1\n\none\n", "A: 2\n\ntwo\n", "A: 3\n\nthree\n", ""]
        );
        let whole = texts(mails(root.path(), 1000).unwrap().one_in_each_file());
        assert_eq!(whole.len(), 3);
        assert!(whole[0].starts_with("A: 1\n\none\n\nFrom x"), "{whole:?}");
        assert_eq!(folders(root.path()).unwrap(), [root.path().join("a")]);
    }

    #[test]
    fn what_is_wrong_comes_in_its_place_and_stops_nothing() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "1", "12345");
        write(root.path(), "2", "123456");
        let _socket = UnixListener::bind(root.path().join("3")).unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("4")).unwrap();
        std::os::unix::fs::symlink("nothing", root.path().join("5")).unwrap();
        let found = texts(mails(root.path(), 5).unwrap());
        assert!(found.iter().any(|text| text == "12345"));
        for said in [
            "/2: the mail has more than 5 bytes",
            "/3: is neither",
            "/4: is a symbolic link",
            "/5: is a symbolic link",
        ] {
            assert!(
                found.iter().any(|text| text.starts_with('!') && text.contains(said)),
                "{said}: {found:?}"
            );
        }
        let deep = root.path().join("d/".repeat(DEEPEST + 1));
        write(&deep, "6", "x");
        let found = texts(mails(root.path(), 5).unwrap());
        assert!(found.iter().any(|text| text.contains("folders deep")), "{found:?}");
        assert!(matches!(mails(&root.path().join("none"), 5), Err(ArchiveError::Missing(_))));
        assert!(matches!(mails(&root.path().join("3"), 5), Err(ArchiveError::Special(_))));
        assert!(folders(&root.path().join("1")).is_err());
    }
}
