//! The report of `cmr-mail import`: what was imported, read out of the database and made a page.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::exit::{CANT_CREATE, Outcome, SOFTWARE, UNAVAILABLE, fail};
use super::out;
use crate::config::Config;
use crate::gateway::clock;
use crate::message::UnixTime;
use crate::report::{self, MOST, Mail, Totals};
use crate::store::imports::{self, Fate};
use crate::store::messages::{self, Kind, Stored, Text};
use crate::store::{Snapshot, StoreError};

/// Of a text so much is looked at, in bytes: it holds whatever a mail has to say, and so many of them
/// as are looked at fit into memory whatever the archive holds.
const TEXT: usize = 16 << 10;

/// A message, and the files that it lies in.
#[derive(Debug, Default)]
struct Place {
    folder: usize,
    thread: Option<i64>,
    bytes: u64,
    copies: u64,
    copied: u64,
}

/// Writes the report about what was imported from these paths.
///
/// # Errors
/// The database can't be read, or the page not written.
pub(super) fn write(config: &Config, paths: &[PathBuf], to: &Path, threads: usize) -> Outcome {
    let Some(snapshot) = Snapshot::open(&config.gateway.data_dir)? else {
        return fail(UNAVAILABLE, "there is no database yet: nothing to report about");
    };
    let roots: Vec<PathBuf> =
        paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    let mut folders: Vec<String> = Vec::new();
    let mut totals = Totals {
        paths: paths.iter().map(|path| path.display().to_string()).collect(),
        made: clock::now().rfc3339().chars().take(10).collect(),
        ..Totals::default()
    };
    let places = places(&snapshot, paths, &roots, &mut folders, &mut totals)?;
    let mails = mails(&snapshot, &places, &folders, &mut totals)?;
    drop(snapshot);
    let figures =
        report::figures(mails, threads, &mut |what| out::note(&format!("cmr-mail: report: {what}")));
    let page = report::page(&totals, &figures).or_else(|error| fail(SOFTWARE, error.to_string()))?;
    // Whole or not at all, and what was there before stays until then.
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        std::io::Write::write_all(&mut file, page.as_bytes())?;
        file.persist(to).map_err(|error| error.error)
    });
    match written {
        Ok(_) => Ok(()),
        Err(error) => fail(CANT_CREATE, format!("{}: {error}", to.display())),
    }
}

/// Which messages lie under these paths.
fn places(
    snapshot: &Snapshot,
    paths: &[PathBuf],
    roots: &[PathBuf],
    folders: &mut Vec<String>,
    totals: &mut Totals,
) -> Outcome<HashMap<i64, Place>> {
    let mut places: HashMap<i64, Place> = HashMap::new();
    let mut numbers: HashMap<PathBuf, usize> = HashMap::new();
    imports::each(snapshot.conn(), |name, row| {
        let path = Path::new(OsStr::from_bytes(name));
        let Some(root) = paths.iter().chain(roots).find(|root| path.starts_with(root)) else { return Ok(()) };
        if row.fate == Fate::Failed {
            totals.failed += 1;
        }
        let Some(seq) = row.seq else { return Ok(()) };
        // A file with more than one mail is a folder by itself.
        let folder = if row.at > 0 || path == root { path } else { path.parent().unwrap_or(path) };
        let next = folders.len();
        let number = *numbers.entry(folder.to_owned()).or_insert(next);
        if number == next {
            folders.push(folder_name(folder, root));
        }
        let place = places.entry(seq).or_default();
        if place.bytes > 0 {
            place.copies += 1;
            place.copied += row.bytes.min(place.bytes);
            place.bytes = place.bytes.max(row.bytes);
        } else {
            *place =
                Place { folder: number, thread: row.thread, bytes: row.bytes.max(1), ..Place::default() };
        }
        Ok(())
    })?;
    Ok(places)
}

fn folder_name(folder: &Path, root: &Path) -> String {
    let inside = folder.strip_prefix(root).unwrap_or(folder);
    let name = if inside.as_os_str().is_empty() {
        Path::new(folder.file_name().unwrap_or_default())
    } else {
        inside
    };
    name.display().to_string()
}

/// The mails that are looked at; the totals are about all of them.
fn mails(
    snapshot: &Snapshot,
    places: &HashMap<i64, Place>,
    folders: &[String],
    totals: &mut Totals,
) -> Outcome<Vec<Mail>> {
    let conn = snapshot.conn();
    let mut times: Vec<(Option<UnixTime>, i64)> = Vec::new();
    let mut months: BTreeMap<String, u64> = BTreeMap::new();
    let mut in_folder = vec![0_u64; folders.len()];
    for (seq, place) in places {
        let Some(head) = messages::head(conn, *seq)? else { continue };
        let time = time(&head);
        times.push((time, *seq));
        let month = time.map_or_else(|| "-".to_owned(), |time| time.rfc3339().chars().take(7).collect());
        *months.entry(month).or_default() += 1;
        if let Some(count) = in_folder.get_mut(place.folder) {
            *count += 1;
        }
        totals.mails += 1;
        totals.bytes += place.bytes + place.copied;
        totals.copies += place.copies;
        totals.copied_bytes += place.copied;
    }
    totals.months = months.into_iter().collect();
    totals.folders = folders.iter().cloned().zip(in_folder).collect();
    totals.folders.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    times.sort();
    // Evenly by time; only these are read.
    let all = times.len();
    let mut names: HashMap<String, String> = HashMap::new();
    let mut mails = Vec::new();
    for (at, (time, seq)) in times.into_iter().enumerate() {
        if all > MOST && (at + 1) * MOST / all == at * MOST / all {
            continue;
        }
        let Some(place) = places.get(&seq) else { continue };
        let (Some(head), Some(text)) = (messages::head(conn, seq)?, messages::text(conn, seq)?) else {
            continue;
        };
        let folder = folders.get(place.folder).cloned().unwrap_or_default();
        mails.push(mail(&head, &text, time, (folder, place), &mut names)?);
    }
    Ok(mails)
}

/// The beginning of a text, as far as it is looked at.
fn beginning(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.get(..TEXT).unwrap_or(body))
}

/// When a mail was written; what had no usable date is dated to the first second of 1970.
fn time(head: &Stored) -> Option<UnixTime> {
    Some(head.origin_time).filter(|time| time.as_secs() > 1)
}

fn mail(
    head: &Stored,
    text: &Text,
    time: Option<UnixTime>,
    (folder, place): (String, &Place),
    names: &mut HashMap<String, String>,
) -> std::result::Result<Mail, StoreError> {
    let address = head.author.to_string();
    let address = address.strip_prefix("mailto:").unwrap_or(&address).to_owned();
    let whole = beginning(&text.body);
    let (mut subject, mut name) = (String::new(), None);
    let mut rest: &str = &whole;
    if head.kind == Kind::Learned {
        let (lines, body) = whole.split_once("\n\n").unwrap_or((&whole, ""));
        rest = body;
        for line in lines.lines() {
            if let Some(from) = line.strip_prefix("From: ") {
                name = from.rsplit_once(" <").map(|(name, _)| name.to_owned());
            } else if let Some(about) = line.strip_prefix("Subject: ") {
                about.clone_into(&mut subject);
            }
        }
    } else {
        whole
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect::<String>()
            .clone_into(&mut subject);
    }
    // One name for each address: the first one seen.
    let author = match name {
        Some(name) => names.entry(address.clone()).or_insert(name).clone(),
        None => names.get(&address).cloned().unwrap_or(address),
    };
    let text = if head.kind == Kind::Learned { format!("{subject}\n\n{rest}") } else { whole.into_owned() };
    let (thread, bytes) = (place.thread, place.bytes);
    Ok(Mail { id: head.id, author, folder, subject, time, thread, text: text.into_bytes(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_beginning_is_looked_at() {
        assert_eq!(beginning(b"short"), "short");
        let long = "\u{e4}".repeat(TEXT) + "end";
        let cut = beginning(long.as_bytes());
        assert!(cut.len() <= TEXT + 3 && cut.starts_with("\u{e4}"), "{}", cut.len());
        let odd = beginning(&long.as_bytes()[1..]).into_owned();
        assert!(odd.len() <= TEXT + 6, "cut within a character: {}", odd.len());
    }
}
