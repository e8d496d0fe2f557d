//! Which files under a path hold mail.
//!
//! A folder with a `cur` or a `new` in it is a Maildir: the files in these two are mails, those in
//! its `tmp` never. Other folders are walked, in a Maildir too (`.Sent` of a Maildir++, `Sent` of
//! other layouts); names that begin with a dot are passed over unless they are folders of a
//! Maildir++. A file beside the folders of a Maildir belongs to some program unless it begins like
//! a mail. A folder with a file `.noindex` is passed over with all that is in it. Symbolic links
//! are not followed, because they may lead round in a circle; the path that was named may be one.

use super::unpack::Packing;
use super::{ArchiveError, DEEPEST, Place};
use rustix::fs::OFlags;
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that holds mail: one, or an mbox of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it lay when it was found.
    pub path: PathBuf,
    /// What stays the same while it lies there: the path, for a mail of a Maildir without `cur`
    /// or `new` and without the flags that its name ends with.
    pub name: PathBuf,
    /// The folder that people see: the Maildir, the folder of files, the mbox.
    pub folder: PathBuf,
    /// It lies in a Maildir, so that it is one mail whatever it begins with.
    pub in_maildir: bool,
    /// Bytes.
    pub size: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub modified: i64,
}

/// What a folder is to the files in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Every file is a mail, or an mbox.
    Files,
    /// `cur` or `new`.
    Maildir,
    /// Beside those: a file is a mail only if it begins like one.
    Beside,
}

/// The units under a path, in the order of their names, and what was passed over and why.
#[derive(Debug)]
pub struct Tree {
    ahead: VecDeque<Ahead>,
    /// Mails of the present Maildir: one may be renamed from `new` to `cur` meanwhile.
    seen: HashSet<PathBuf>,
}

#[derive(Debug)]
enum Ahead {
    /// What lies at a path, how deep, in what.
    Path(PathBuf, usize, Within),
    Unit(Box<Unit>),
    Fault(ArchiveError),
}

/// What lies under `path`.
///
/// # Errors
/// There is nothing at `path`, or it is neither a file nor a folder, or it is a part of a Maildir
/// and not the whole. What is wrong further down comes in its place.
pub fn tree(path: &Path) -> Result<Tree, ArchiveError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ArchiveError::Missing(path.to_owned()),
        _ => unreadable(path, source),
    })?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Err(ArchiveError::Special(path.to_owned()));
    }
    if metadata.is_dir()
        && let Some(parent) = path.parent()
        && path.file_name().is_some_and(is_maildir_part)
        && is_maildir(parent)
    {
        return Err(ArchiveError::Part(path.to_owned()));
    }
    // A link that was named is followed, here and nowhere else.
    let path = if path.is_symlink() {
        fs::canonicalize(path).map_err(|source| unreadable(path, source))?
    } else {
        path.to_owned()
    };
    Ok(Tree { ahead: VecDeque::from([Ahead::Path(path, 0, Within::Files)]), seen: HashSet::new() })
}

impl Iterator for Tree {
    type Item = Result<Unit, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ahead.pop_front()? {
                Ahead::Unit(unit) => return Some(Ok(*unit)),
                Ahead::Fault(fault) => return Some(Err(fault)),
                Ahead::Path(path, depth, within) => {
                    match self.look(&path, depth, within) {
                        Ok(Some(unit)) => return Some(Ok(unit)),
                        Ok(None) => {}
                        // It was moved or removed since its folder was read.
                        Err(ArchiveError::Unreadable { source, .. })
                            if depth > 0 && source.kind() == io::ErrorKind::NotFound => {}
                        Err(fault) => return Some(Err(fault)),
                    }
                }
            }
        }
    }
}

impl Tree {
    fn look(&mut self, path: &Path, depth: usize, within: Within) -> Result<Option<Unit>, ArchiveError> {
        let metadata = fs::symlink_metadata(path).map_err(|source| unreadable(path, source))?;
        if metadata.is_dir() {
            if depth >= DEEPEST {
                return Err(ArchiveError::TooDeep(path.to_owned()));
            }
            self.folder(path, depth, within)?;
            return Ok(None);
        }
        let folder = if depth == 0 { path } else { path.parent().unwrap_or(path) };
        file(path, folder, &metadata, within)
    }

    /// Puts what a folder holds ahead.
    fn folder(&mut self, path: &Path, depth: usize, within: Within) -> Result<(), ArchiveError> {
        let names = entries(path)?;
        if names.iter().any(|name| name.as_os_str() == ".noindex") {
            return Ok(());
        }
        let maildir = within != Within::Maildir && names.iter().any(|name| is_mail_folder(&path.join(name)));
        let inside = if maildir { Within::Beside } else { within };
        let mut ahead = Vec::new();
        for name in names {
            let entry = path.join(&name);
            let hidden = name.as_os_str().as_bytes().starts_with(b".");
            if maildir && name.as_os_str() == "tmp" {
                continue;
            }
            if maildir && is_mail_folder(&entry) && is_maildir_part(name.as_os_str()) {
                match self.mails(path, &entry) {
                    Ok(units) => ahead.extend(units),
                    Err(fault) => ahead.push(Ahead::Fault(fault)),
                }
            } else if !hidden || (maildir && is_maildir(&entry)) {
                // Of what lies beside a Maildir only folders are looked for further down.
                ahead.push(Ahead::Path(entry, depth + 1, inside));
            }
        }
        self.seen.clear();
        for next in ahead.into_iter().rev() {
            self.ahead.push_front(next);
        }
        Ok(())
    }

    /// The mails in `cur` or `new` of a Maildir.
    fn mails(&mut self, maildir: &Path, part: &Path) -> Result<Vec<Ahead>, ArchiveError> {
        let mut found = Vec::new();
        for name in entries(part)? {
            let path = part.join(&name);
            if name.as_os_str().as_bytes().starts_with(b".") {
                continue;
            }
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    found.push(Ahead::Fault(unreadable(&path, source)));
                    continue;
                }
            };
            if metadata.is_dir() {
                found.push(Ahead::Fault(ArchiveError::FolderInMaildir(path)));
                continue;
            }
            match file(&path, maildir, &metadata, Within::Maildir) {
                Ok(Some(mut unit)) => {
                    unit.name = maildir.join(OsStr::from_bytes(without_flags(name.as_os_str().as_bytes())));
                    if self.seen.insert(unit.name.clone()) {
                        found.push(Ahead::Unit(Box::new(unit)));
                    }
                }
                Ok(None) => {}
                Err(fault) => found.push(Ahead::Fault(fault)),
            }
        }
        Ok(found)
    }
}

/// A file as a unit, if it is one.
fn file(
    path: &Path,
    folder: &Path,
    metadata: &Metadata,
    within: Within,
) -> Result<Option<Unit>, ArchiveError> {
    if metadata.is_symlink() {
        return Err(ArchiveError::Link(path.to_owned()));
    }
    if !metadata.is_file() {
        return Err(ArchiveError::Special(path.to_owned()));
    }
    if within == Within::Beside && !begins_like_mail(path)? {
        return Err(ArchiveError::Beside(path.to_owned()));
    }
    Ok(Some(Unit {
        path: path.to_owned(),
        name: path.to_owned(),
        folder: folder.to_owned(),
        in_maildir: within == Within::Maildir,
        size: metadata.len(),
        modified: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
    }))
}

impl Unit {
    /// The file as it is called now: programs that read mail rename what they mark as read. `None`:
    /// it is gone.
    #[must_use]
    pub fn found_again(&self) -> Option<PathBuf> {
        let wanted = self.name.file_name()?.as_bytes();
        let maildir = self.name.parent().filter(|_| self.in_maildir)?;
        ["cur", "new"].iter().find_map(|part| {
            let part = maildir.join(part);
            let names = entries(&part).ok()?;
            let name = names.into_iter().find(|name| without_flags(name.as_os_str().as_bytes()) == wanted)?;
            Some(part.join(name))
        })
    }
}

/// The part of a name before its flags: `:2,S`, or `;2,S` and `!2,S` where a colon can't stand in a
/// name (VFAT).
fn without_flags(name: &[u8]) -> &[u8] {
    let flags = |at: usize| matches!(name.get(at..at + 3), Some([b':' | b';' | b'!', b'1' | b'2', b',']));
    (0..name.len()).rev().find(|at| flags(*at)).and_then(|at| name.get(..at)).unwrap_or(name)
}

fn is_maildir_part(name: &OsStr) -> bool {
    name == "cur" || name == "new" || name == "tmp"
}

/// Whether this is `cur` or `new`, a folder.
fn is_mail_folder(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "cur" || name == "new")
        && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_maildir(path: &Path) -> bool {
    !path.is_symlink() && ["cur", "new"].iter().any(|part| is_mail_folder(&path.join(part)))
}

/// Whether a file begins with the name of a header field, or with the line of an mbox, or is
/// compressed.
fn begins_like_mail(path: &Path) -> Result<bool, ArchiveError> {
    let mut begin = Vec::new();
    let read = open_file(path).and_then(|file| file.take(256).read_to_end(&mut begin));
    read.map_err(|source| unreadable(path, source))?;
    Ok(Packing::of(&begin).is_some() || super::begins_like_mail(&begin))
}

/// Opens what was a regular file when it was looked at. A link, a pipe or a device that stands there
/// by now is neither followed nor waited for.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file any more"))
}

/// The names in a folder, in order.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let unreadable = |source| unreadable(path, source);
    let found = fs::read_dir(path).map_err(unreadable)?.map(|entry| entry.map(|it| it.file_name().into()));
    let mut found = found.collect::<io::Result<Vec<PathBuf>>>().map_err(unreadable)?;
    found.sort();
    Ok(found)
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Unreadable { place: Place { path: path.to_owned(), at: None }, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, name: impl AsRef<Path>) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "Subject: x\n\nx\n").unwrap();
    }

    fn names(root: &Path) -> Vec<String> {
        tree(root)
            .unwrap()
            .map(|found| match found {
                Ok(unit) => unit.name.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
                Err(error) => format!("! {error}").replace(&format!("{}/", root.display()), ""),
            })
            .collect()
    }

    #[test]
    fn flags_are_no_part_of_a_name() {
        for (name, rest) in [
            ("1.a.host:2,S", "1.a.host"),
            ("1.a.host;2,RS", "1.a.host"),
            ("1.a.host!2,", "1.a.host"),
            ("1.a.host:1,x", "1.a.host"),
            ("1.a.host,S=12,W=13:2,", "1.a.host,S=12,W=13"),
            ("1.a.host", "1.a.host"),
            ("1:2x", "1:2x"),
            ("", ""),
        ] {
            assert_eq!(without_flags(name.as_bytes()), rest.as_bytes(), "{name}");
        }
    }

    #[test]
    fn maildirs_in_every_layout() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "cur/2:2,S",
            "cur/3;2,S",
            "new/1",
            "new/2", // just being moved
            "tmp/4",
            "cur/.hidden",
            ".Sent/cur/5!2,",
            ".Sent/tmp/6",
            ".Archive.2019/new/7",
            ".notes/8",
            "Lists/rust/cur/9",
            "only-tmp/tmp/10",
            "skipped/cur/11",
            "skipped/.noindex",
            "skipped/deep/cur/12",
        ] {
            write(root.path(), name);
        }
        fs::write(root.path().join("dovecot.index"), [1, 2, 3]).unwrap();
        assert_eq!(
            names(root.path()),
            [
                ".Archive.2019/7",
                ".Sent/5",
                "Lists/rust/9",
                "2",
                "3",
                "! dovecot.index: lies beside the folders of a Maildir and does not begin like a mail",
                "1",
                "only-tmp/tmp/10",
            ]
        );
    }

    #[test]
    fn names_that_are_no_text_and_links() {
        let root = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"cur/\xff\xfe:2,S");
        write(root.path(), odd);
        write(root.path(), "cur/b");
        symlink(root.path().join("cur/b"), root.path().join("cur/c")).unwrap();
        symlink(root.path(), root.path().join("round")).unwrap();
        let found: Vec<_> = tree(root.path()).unwrap().collect();
        let units: Vec<_> = found.iter().filter_map(|it| it.as_ref().ok()).collect();
        assert_eq!(units[0].name.file_name().unwrap().as_bytes(), b"b");
        assert_eq!(units[1].name.file_name().unwrap().as_bytes(), b"\xff\xfe");
        let links = found.iter().filter(|it| matches!(it, Err(ArchiveError::Link(_)))).count();
        assert_eq!((units.len(), links), (2, 2));
        let through = root.path().join("link");
        symlink(root.path().join("cur").parent().unwrap(), &through).unwrap();
        assert!(tree(&through).unwrap().any(|it| it.is_ok()), "a link that was named is followed");
    }

    #[test]
    fn a_mail_is_found_again_under_its_new_name() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "new/1.a");
        fs::create_dir(root.path().join("cur")).unwrap();
        let unit = tree(root.path()).unwrap().next().unwrap().unwrap();
        fs::rename(root.path().join("new/1.a"), root.path().join("cur/1.a:2,RS")).unwrap();
        assert_eq!(unit.found_again(), Some(root.path().join("cur/1.a:2,RS")));
        fs::remove_file(root.path().join("cur/1.a:2,RS")).unwrap();
        assert_eq!(unit.found_again(), None);
    }

    #[test]
    fn what_became_a_link_or_a_pipe_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "secret");
        write(root.path(), "m/cur/1");
        let path = root.path().join("m/cur/1");
        let unit = tree(&root.path().join("m")).unwrap().next().unwrap().unwrap();
        assert!(unit.open(100).is_ok());
        fs::remove_file(&path).unwrap();
        symlink(root.path().join("secret"), &path).unwrap();
        assert!(matches!(unit.open(100), Err(ArchiveError::Unreadable { .. })), "not followed");
        fs::remove_file(&path).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let said = unit.open(100).unwrap_err().to_string();
        assert!(said.contains("it is no regular file any more"), "and not waited for: {said}");
    }

    #[test]
    fn a_part_of_a_maildir_is_not_the_whole() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cur/1");
        assert!(matches!(tree(&root.path().join("cur")), Err(ArchiveError::Part(_))));
        assert!(matches!(tree(&root.path().join("none")), Err(ArchiveError::Missing(_))));
        write(root.path(), "mails/cur-is-no-folder");
        assert_eq!(names(&root.path().join("mails")), ["cur-is-no-folder"]);
        assert_eq!(names(&root.path().join("mails/cur-is-no-folder")), [""]);
    }
}
