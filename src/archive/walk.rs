//! Files and folders: which mails lie under a path.

use super::{ArchiveError, Mbox, Place, Quoting, Stored};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// How deep folders are walked below the path that was named.
pub const DEEPEST: usize = 16;

/// The mails under a path, one after the other.
///
/// A file that begins with a `From ` line is an mbox, another file one mail. A folder with a
/// `cur` in it is a Maildir: its `cur` and `new` are read, never its `tmp`, and the folders of a
/// Maildir++ beside them (`.Sent`). In other folders every file is read, those whose name begins
/// with a dot excepted, and every folder walked; links to folders are not followed, because they
/// may lead round in a circle.
#[derive(Debug)]
pub struct Mails {
    most: usize,
    as_mbox: bool,
    /// What is still to be looked at, with its depth.
    ahead: VecDeque<(PathBuf, usize)>,
    within: Option<Mbox<BufReader<File>>>,
}

/// The mails under `path`, none longer than `most` bytes.
///
/// # Errors
/// There is nothing at `path`, or it is neither a file nor a folder. What is wrong further down
/// comes in its place in the stream.
pub fn mails(path: &Path, most: usize) -> Result<Mails, ArchiveError> {
    kind(path)?;
    Ok(Mails { most, as_mbox: true, ahead: VecDeque::from([(path.to_owned(), 0)]), within: None })
}

/// The folders in a folder, by name; those that begin with a dot excepted.
///
/// # Errors
/// It can't be read, or is no folder.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    kind(path)?;
    let mut found = entries(path)?;
    found.retain(|entry| entry.is_dir() && !is_hidden(entry));
    Ok(found)
}

impl Mails {
    /// Takes every file for one mail, also one that begins with a `From ` line (which is cut).
    #[must_use]
    pub fn one_in_each_file(mut self) -> Self {
        self.as_mbox = false;
        self
    }

    /// What a path yields at once; a folder's content is put ahead instead.
    fn look(&mut self, path: PathBuf, depth: usize) -> Option<Result<Stored, ArchiveError>> {
        let looked = match kind(&path) {
            Ok(Kind::Folder) if depth > 0 && path.is_symlink() => Err(ArchiveError::Link(path)),
            Ok(Kind::Folder) if depth >= DEEPEST => Err(ArchiveError::TooDeep(path)),
            Ok(Kind::Folder) => folder(&path).map(|inside| {
                for path in inside.into_iter().rev() {
                    self.ahead.push_front((path, depth + 1));
                }
                None
            }),
            Ok(Kind::File) => self.open(path),
            Err(error) => Err(error),
        };
        looked.map_or_else(|error| Some(Err(error)), |mail| mail.map(Ok))
    }

    fn open(&mut self, path: PathBuf) -> Result<Option<Stored>, ArchiveError> {
        let unreadable = |source| unreadable(&path, source);
        let mut input = BufReader::with_capacity(256 * 1024, File::open(&path).map_err(unreadable)?);
        let is_mbox = input.fill_buf().map_err(unreadable)?.starts_with(b"From ");
        if is_mbox && self.as_mbox {
            self.within = Some(Mbox::new(input, path, Quoting::Guess, self.most)?);
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(self.most).unwrap_or(u64::MAX).saturating_add(1);
        input.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        let place = Place { path, at: None };
        if bytes.len() > self.most {
            return Err(ArchiveError::TooLong { place, most: self.most });
        }
        if is_mbox {
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..end);
        }
        Ok(Some(Stored { bytes, place }))
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
            let (path, depth) = self.ahead.pop_front()?;
            if let Some(found) = self.look(path, depth) {
                return Some(found);
            }
        }
    }
}

enum Kind {
    File,
    Folder,
}

/// Symbolic links count as what they point at.
fn kind(path: &Path) -> Result<Kind, ArchiveError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ArchiveError::Missing(path.to_owned()),
        _ => unreadable(path, source),
    })?;
    match metadata.file_type() {
        kind if kind.is_dir() => Ok(Kind::Folder),
        kind if kind.is_file() => Ok(Kind::File),
        _ => Err(ArchiveError::Special(path.to_owned())),
    }
}

/// What of a folder is to be looked at.
fn folder(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = entries(path)?;
    if path.join("cur").is_dir() {
        found.retain(|entry| {
            let name = entry.file_name().unwrap_or_default();
            let is_folder = name.to_string_lossy().starts_with('.') && entry.join("cur").is_dir();
            name == "cur" || name == "new" || is_folder
        });
    } else {
        found.retain(|entry| !is_hidden(entry));
    }
    Ok(found)
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let unreadable = |source| unreadable(path, source);
    let found = fs::read_dir(path).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = found.collect::<io::Result<Vec<PathBuf>>>().map_err(unreadable)?;
    found.sort();
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn unreadable(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Unreadable { place: Place { path: path.to_owned(), at: None }, source }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        for said in
            ["/2: the mail has more than 5 bytes", "/3: is neither", "/4: is a link", "/5: there is no such"]
        {
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
