//! Everything out again: each cached message as a file, or as a mail that any program shows.
//!
//! This room knows stored messages and the forms in which they are written. It must never know the
//! pool, the daemon, or why somebody wants them. It writes to a place that was empty before, and
//! nowhere else.
//!
//! A list beside the messages ([`LIST`]) says of each what its bytes don't: who may see it, what it
//! is, and who wrote it. It is written last: where it stands, the export is complete.

use crate::mail::compose::{ComposeError, KeepMail, keep};
use crate::mail::{self, Caps, Reading};
use crate::message::{Address, Limits, MessageId, UnixTime};
use crate::policy::Scope;
use crate::store::messages::{self, Kind, Stored, Text};
use crate::store::{Snapshot, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The list's name in a folder; beside a file NAME it is `.NAME` and this.
pub const LIST: &str = ".cmr-mail-export.jsonl";

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Maildir with a mail for each message.
    Maildir,
    /// An mbox (mboxrd) with a mail for each message.
    Mbox,
    /// A folder with a file for each message, its exact bytes.
    Cmr,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something is there already.
    #[error("{} exists and is not empty: name a place that is", .0.display())]
    Taken(PathBuf),
    /// The system does not let us.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database can't be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A mail can't be written.
    #[error("{0}")]
    Compose(#[from] ComposeError),
    /// The list is not what an export wrote.
    #[error("{} is no list of an export: line {line}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// A line of the list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The public id.
    pub id: MessageId,
    /// SHA-256 of the message's bytes, hexadecimal.
    pub sha256: String,
    /// Who may see it.
    pub scope: Scope,
    /// What it is.
    pub kind: Kind,
    /// Who wrote it: base64, because an address holds any bytes.
    author: String,
}

impl Line {
    /// Who wrote it; `None` if that is no address.
    #[must_use]
    pub fn author(&self) -> Option<Address> {
        Address::new(STANDARD.decode(&self.author).ok()?).ok()
    }
}

/// Who writes the mails of a Maildir or an mbox.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Its mail address.
    pub address: &'a str,
    /// Its host name.
    pub hostname: &'a str,
}

/// Where the list of an export at `path` stands.
#[must_use]
pub fn list_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.join(LIST);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{LIST}"))
}

/// Reads the list of an export.
///
/// # Errors
/// There is none, or it is not what an export wrote.
pub fn read_list(path: &Path) -> Result<Vec<Line>, ExportError> {
    let list = list_of(path);
    let file = File::open(&list).map_err(io_at(&list))?;
    let mut lines = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(io_at(&list))?;
        let wrong = |_| ExportError::List { path: list.clone(), line: number + 1 };
        lines.push(serde_json::from_str(&line).map_err(wrong)?);
    }
    Ok(lines)
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> ExportError {
    move |source| ExportError::Io { path: path.to_owned(), source }
}

/// Writes every cached message to `path`.
///
/// # Errors
/// Something is there already, or it can't be read or written; what was written by then stays.
pub fn export(
    snapshot: &Snapshot,
    path: &Path,
    format: Format,
    gateway: &Gateway<'_>,
    watch: &mut dyn FnMut(&Exported),
) -> Result<Exported, ExportError> {
    let mut writer = Writer::new(path, format)?;
    let mut list: Vec<u8> = Vec::new();
    let mut done = Exported::default();
    messages::each_whole(snapshot.conn(), |stored, text| {
        let wire = text.wire();
        let mail = || kept(stored, text, &wire, gateway);
        writer.write(stored, &wire, mail)?;
        let sha256 = Sha256::digest(&wire).iter().map(|byte| format!("{byte:02x}")).collect();
        let (scope, kind, author) = (stored.scope, stored.kind, STANDARD.encode(stored.author.as_bytes()));
        let line = Line { id: stored.id, sha256, scope, kind, author };
        serde_json::to_writer(&mut list, &line).map_err(|error| io_at(path)(error.into()))?;
        list.push(b'\n');
        done.messages += 1;
        done.bytes += wire.len() as u64;
        watch(&done);
        Ok::<(), ExportError>(())
    })?;
    writer.finish()?;
    let to = list_of(path);
    let written = new_file(&to).and_then(|mut file| {
        file.write_all(&list)?;
        file.sync_all()
    });
    written.map_err(io_at(&to))?;
    Ok(done)
}

/// A mail that holds this message and from which it can be read again, byte for byte: what is to be
/// read beside it is left out where a reader would take it for something else.
fn kept(stored: &Stored, text: &Text, wire: &[u8], gateway: &Gateway<'_>) -> Result<Vec<u8>, ExportError> {
    let id = stored.id.to_string();
    let mail = |body| {
        let mail = KeepMail {
            gateway: gateway.address,
            hostname: gateway.hostname,
            id: &id,
            date: stored.origin_time,
            body,
            message: wire,
        };
        keep(&mail).map(|mail| mail.split(|byte| *byte == b'\r').collect::<Vec<_>>().concat())
    };
    let shown = mail(&text.body)?;
    if holds(&shown, wire, gateway) { Ok(shown) } else { Ok(mail(&[])?) }
}

/// Whether this message, and no other, is read out of a mail.
fn holds(raw: &[u8], wire: &[u8], gateway: &Gateway<'_>) -> bool {
    let limits = Limits { max_hops: usize::MAX, max_line: usize::MAX, max_body: usize::MAX };
    let reading = Reading {
        posting: &[],
        envelope_recipients: &[],
        hostname: gateway.hostname,
        loop_marker: "none",
        limits,
        caps: Caps::default(),
        forwarded: false,
    };
    let found = mail::extract(raw, &reading);
    found.faults.is_empty() && matches!(found.messages.as_slice(), [one] if one.bytes == wire)
}

/// A file, not there before, for nobody but its owner: what is local must not be read by others.
fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// A folder, as [`new_file`].
fn new_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Where messages go.
struct Writer {
    path: PathBuf,
    format: Format,
    mbox: Option<BufWriter<File>>,
}

impl Writer {
    fn new(path: &Path, format: Format) -> Result<Writer, ExportError> {
        let io = io_at(path);
        let mut writer = Writer { path: path.to_owned(), format, mbox: None };
        if format == Format::Mbox {
            // It is written last, and must not fail then.
            let list = list_of(path);
            if list.exists() {
                return Err(ExportError::Taken(list));
            }
            let file = new_file(path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => ExportError::Taken(path.to_owned()),
                _ => io(error),
            })?;
            writer.mbox = Some(BufWriter::new(file));
            return Ok(writer);
        }
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(ExportError::Taken(path.to_owned()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_folder(path).map_err(&io)?,
            Err(error) => return Err(io(error)),
        }
        if format == Format::Maildir {
            for part in ["cur", "new", "tmp"] {
                new_folder(&path.join(part)).map_err(&io)?;
            }
        }
        Ok(writer)
    }

    fn write(
        &mut self,
        stored: &Stored,
        wire: &[u8],
        mail: impl FnOnce() -> Result<Vec<u8>, ExportError>,
    ) -> Result<(), ExportError> {
        // By number, so that an import takes them in the same order.
        let name = format!("{:012}.{}", stored.seq, stored.id);
        match (&mut self.mbox, self.format) {
            (Some(mbox), _) => {
                let written = write_mbox(mbox, &mail()?, stored.origin_time);
                written.map_err(io_at(&self.path))
            }
            (None, Format::Cmr) => self.file(Path::new(&format!("{name}.cmr")), wire),
            (None, _) => self.file(&Path::new("cur").join(format!("{name}.cmr-mail:2,S")), &mail()?),
        }
    }

    fn file(&self, name: &Path, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.path.join(name);
        new_file(&path).and_then(|mut file| file.write_all(bytes)).map_err(io_at(&path))
    }

    /// Makes it durable.
    fn finish(self) -> Result<(), ExportError> {
        let synced = match self.mbox {
            Some(mbox) => {
                mbox.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all())
            }
            // One sync for all files instead of one for each.
            None => File::open(&self.path).and_then(|folder| Ok(rustix::fs::syncfs(folder)?)),
        };
        synced.map_err(io_at(&self.path))
    }
}

/// A mail of an mbox, quoted as mboxrd.
fn write_mbox(to: &mut impl Write, mail: &[u8], time: UnixTime) -> io::Result<()> {
    writeln!(to, "From cmr-mail {}", asctime(time))?;
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let marks = line.iter().take_while(|byte| **byte == b'>').count();
        if line.get(marks..).is_some_and(|rest| rest.starts_with(b"From ")) {
            to.write_all(b">")?;
        }
        to.write_all(line)?;
    }
    to.write_all(if mail.ends_with(b"\n") { b"\n" } else { b"\n\n" })
}

/// `Thu Jan  1 00:00:00 1970`
fn asctime(time: UnixTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = time.rfc3339();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let day = usize::try_from(time.as_secs().div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let month = part(5, 7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    format!(
        "{} {} {:>2} {} {}",
        DAYS.get(day).unwrap_or(&"Thu"),
        MONTHS.get(month).unwrap_or(&"Jan"),
        part(8, 10).trim_start_matches('0'),
        part(11, 19),
        part(0, 4)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_mbox() {
        assert_eq!(asctime(UnixTime(0)), "Thu Jan  1 00:00:00 1970");
        assert_eq!(asctime(UnixTime(1_796_212_799_000_000)), "Wed Dec  2 11:59:59 2026");
        let mut out = Vec::new();
        write_mbox(&mut out, b"A: b\n\nFrom x\n>From y\n> From z", UnixTime(0)).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "From cmr-mail Thu Jan  1 00:00:00 1970\nA: b\n\n>From x\n>>From y\n> From z\n\n"
        );
    }
}
