//! Which mails the next hop has taken lately. The mail server in front may never hear our word
//! about one of them, because we or the connection die in that moment; then it hands the same mail
//! over again, and is told what it has missed instead of being taken at its word a second time.
//!
//! The file has a fixed size and is written in place, so it needs no room on a full disk. It is not
//! flushed: what was written survives the end of this process, not that of the machine.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

/// Its name in the spool.
const NAME: &str = "filter-receipts";
/// Receipts that are remembered; the oldest make room.
const MOST: u64 = 65_536;
/// Bytes of one in the file: number, time, name.
const SLOT: usize = 32;
/// Seconds for which one counts. Mail servers keep a mail for five days.
const AGE: u64 = 6 * 86_400;

/// What names a mail as it was handed over: the sender's own number for it, its envelope and its
/// bytes. Another mail has another number, also one with the same text.
pub(super) type Name = [u8; 16];

/// The name of a mail in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Naming(Sha256);

impl Naming {
    /// The next bytes of the text.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The text was whole. `ident`: the number that the mail server in front has for it; `envelope`:
    /// the commands with which it goes on.
    pub(super) fn name<'a>(self, ident: &str, envelope: impl Iterator<Item = &'a [u8]>) -> Name {
        let mut all = Sha256::new();
        all.update(self.0.finalize());
        let mut add = |part: &[u8]| {
            all.update((part.len() as u64).to_be_bytes());
            all.update(part);
        };
        add(ident.as_bytes());
        envelope.for_each(&mut add);
        let digest: [u8; 32] = all.finalize().into();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl Turn {
    /// Whose it is.
    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// The next hop has taken it. To be called before that is said to anybody.
    pub(super) fn taken(self) {
        self.receipts.put(self.name);
    }
}

/// The receipts of one filter.
#[derive(Debug)]
pub(super) struct Receipts {
    /// Without it they are remembered as long as this process lives.
    file: Option<File>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The number of the next one.
    next: u64,
    /// By slot.
    names: HashMap<u64, Name>,
    /// When each came.
    times: HashMap<Name, u64>,
    /// Mails whose word is waited for.
    under_way: HashSet<Name>,
}

/// What is known of a mail that is to be handed on.
#[derive(Debug)]
pub(super) enum State {
    /// The next hop has it.
    Taken,
    /// It is being handed on at this moment, for somebody who has gone away meanwhile.
    UnderWay,
    /// It may go.
    New(Turn),
}

/// One mail is handed on by one at a time, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    receipts: Arc<Receipts>,
    name: Name,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.receipts.lock().under_way.remove(&self.name);
    }
}

impl Known {
    fn put(&mut self, number: u64, time: u64, name: Name) {
        if let Some(old) = self.names.insert(number % MOST, name)
            && old != name
        {
            self.times.remove(&old);
        }
        self.times.insert(name, time);
        self.next = self.next.max(number.saturating_add(1));
    }
}

impl Receipts {
    /// Those in this directory, when nobody else writes there any more: the witness of the process before this one
    /// may be listening yet. After `patience` they are taken all the same.
    pub(super) async fn open_alone(dir: &Path, patience: Duration) -> Receipts {
        let by = Instant::now() + patience;
        let mut told = false;
        loop {
            let file = open(&dir.join(NAME));
            let locked = file.as_ref().map(|file| flock(file, FlockOperation::NonBlockingLockExclusive));
            let busy = matches!(locked, Ok(Err(rustix::io::Errno::WOULDBLOCK)));
            if !busy || Instant::now() >= by {
                if let Ok(Err(error)) = locked {
                    tracing::warn!(%error, "somebody else may write down what was passed on: a mail may come twice");
                }
                return Self::of(file, dir);
            }
            if !told {
                told = true;
                tracing::info!("waiting for the next hop's word about mails of the process before this one");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Those in this directory.
    #[cfg(test)]
    fn open(dir: &Path) -> Receipts {
        Self::of(open(&dir.join(NAME)), dir)
    }

    fn of(file: io::Result<File>, dir: &Path) -> Receipts {
        let read = file.and_then(|file| Ok((read(&file, now())?, file)));
        if let Err(error) = &read {
            tracing::warn!(%error, dir = %dir.display(), "what was passed on is not remembered on disk");
        }
        let (known, file) =
            read.map_or_else(|_| (Known::default(), None), |(known, file)| (known, Some(file)));
        Receipts { file, known: Mutex::new(known) }
    }

    /// Where they are, if they are on disk.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody hands this mail over.
    pub(super) fn begin(self: Arc<Self>, name: Name) -> State {
        let mut known = self.lock();
        if known.times.get(&name).is_some_and(|time| counts(*time, now())) {
            return State::Taken;
        }
        if !known.under_way.insert(name) {
            return State::UnderWay;
        }
        drop(known);
        State::New(Turn { receipts: self, name })
    }

    fn put(&self, name: Name) {
        let time = now();
        let number = {
            let mut known = self.lock();
            let number = known.next;
            known.put(number, time, name);
            number
        };
        let Some(file) = &self.file else { return };
        // At once and here: while another thread would be waited for, we may be killed. It is a copy of
        // a few bytes into memory of the system.
        if let Err(error) = write_at(file, number, time, name) {
            tracing::warn!(%error, "what was passed on is not remembered on disk");
        }
    }
}

/// The number of the receipt behind those that are there.
pub(super) fn next(file: &File) -> io::Result<u64> {
    Ok(read(file, now())?.next)
}

/// Writes a receipt of this moment.
pub(super) fn write(file: &File, number: u64, name: Name) -> io::Result<()> {
    write_at(file, number, now(), name)
}

fn write_at(file: &File, number: u64, time: u64, name: Name) -> io::Result<()> {
    let mut slot = Vec::with_capacity(SLOT);
    // A slot that was never written has the number 0.
    slot.extend(number.saturating_add(1).to_be_bytes());
    slot.extend(time.to_be_bytes());
    slot.extend(name);
    file.write_all_at(&slot, (number % MOST).saturating_mul(SLOT as u64))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Reads the file, and makes it as long as it is going to be.
fn read(file: &File, now: u64) -> io::Result<Known> {
    let mut all = vec![0; usize::try_from(MOST).unwrap_or(0).saturating_mul(SLOT)];
    if file.metadata()?.len() == all.len() as u64 {
        file.read_exact_at(&mut all, 0)?;
    } else {
        // Zeros that are written, and no hole: the room is there from now on.
        file.write_all_at(&all, 0)?;
        file.set_len(all.len() as u64)?;
    }
    let mut known = Known::default();
    for slot in all.chunks_exact(SLOT) {
        let number = |at: usize| {
            let bytes = slot.get(at..)?.first_chunk::<8>()?;
            Some(u64::from_be_bytes(*bytes))
        };
        let (Some(number), Some(time)) = (number(0), number(8)) else { continue };
        let Some(name) = slot.last_chunk::<16>() else { continue };
        if let Some(number) = number.checked_sub(1) {
            known.next = known.next.max(number.saturating_add(1));
            if counts(time, now) {
                known.put(number, time, *name);
            }
        }
    }
    Ok(known)
}

/// Whether one of that time still counts.
fn counts(time: u64, now: u64) -> bool {
    now.saturating_sub(time) <= AGE
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(ident: &str, envelope: &[&str], text: &[u8]) -> Name {
        let mut naming = Naming::default();
        text.chunks(3).for_each(|piece| naming.push(piece));
        naming.name(ident, envelope.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn only_the_same_mail_has_the_same_name() {
        let one = name("4fX", &["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], b"text");
        assert_eq!(one, name("4fX", &["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], b"text"));
        for other in [
            name("4fY", &["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], b"text"),
            name("4fX", &["MAIL FROM:<a@b>", "RCPT TO:<c@e>"], b"text"),
            name("4fX", &["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<c@d>"], b"text"),
            name("4fX", &["MAIL FROM:<a@b>RCPT TO:<c@d>"], b"text"),
            name("4fX", &["MAIL FROM:<a@b>", "RCPT TO:<c@d>"], b"texts"),
        ] {
            assert_ne!(one, other);
        }
    }

    fn has(receipts: &Arc<Receipts>, name: Name) -> bool {
        matches!(Arc::clone(receipts).begin(name), State::Taken)
    }

    #[test]
    fn a_mail_is_handed_on_by_one_at_a_time() {
        let receipts = Arc::new(Receipts::open(tempfile::tempdir().unwrap().path()));
        let begin = |ident| Arc::clone(&receipts).begin(name(ident, &[], b""));
        let first = begin("a");
        assert!(matches!(first, State::New(_)));
        assert!(matches!(begin("a"), State::UnderWay));
        assert!(matches!(begin("b"), State::New(_)));
        drop(first);
        let State::New(turn) = begin("a") else { panic!("it failed, and comes again") };
        turn.taken();
        assert!(matches!(begin("a"), State::Taken));
        assert!(receipts.lock().under_way.is_empty());
    }

    #[tokio::test]
    async fn who_comes_next_waits_for_the_witness_and_finds_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let (known, new) = (name("a", &[], b""), name("b", &[], b""));
        let first = Arc::new(Receipts::open_alone(dir.path(), Duration::ZERO).await);
        let State::New(turn) = Arc::clone(&first).begin(known) else { panic!() };
        turn.taken();
        // The process dies, its witness has the file and the lock on it.
        let witness = first.file().unwrap().try_clone().unwrap();
        drop(first);
        let path = dir.path().to_owned();
        let next = tokio::spawn(async move { Receipts::open_alone(&path, Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        write(&witness, super::next(&witness).unwrap(), new).unwrap();
        drop(witness);
        let next = Arc::new(next.await.unwrap());
        assert!(has(&next, known) && has(&next, new));
        // It is not waited for longer than that.
        assert!(has(&Arc::new(Receipts::open_alone(dir.path(), Duration::ZERO).await), new));
    }

    #[test]
    fn they_outlive_the_process_and_the_file_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<Name> = (0..5).map(|at| name(&at.to_string(), &[], b"")).collect();
        let length = || std::fs::metadata(dir.path().join(NAME)).unwrap().len();
        for known in 0..names.len() {
            let receipts = Arc::new(Receipts::open(dir.path()));
            for (at, name) in names.iter().enumerate() {
                assert_eq!(has(&receipts, *name), at < known, "{at} {known}");
            }
            receipts.put(names[known]);
            assert!(has(&receipts, names[known]));
            assert_eq!(length(), MOST * SLOT as u64);
        }
    }

    #[test]
    fn the_oldest_make_room_and_age_ends_them() {
        let mut known = Known::default();
        let of = |number: u64| {
            let mut name = Name::default();
            name[..8].copy_from_slice(&number.to_be_bytes());
            name
        };
        for number in 0..MOST + 3 {
            known.put(number, 0, of(number));
        }
        assert_eq!((known.names.len() as u64, known.times.len() as u64), (MOST, MOST));
        for (number, there) in [(0, false), (2, false), (3, true), (MOST + 2, true)] {
            assert_eq!(known.times.contains_key(&of(number)), there, "{number}");
        }
        for (now, there) in [(0, true), (AGE, true), (AGE + 1, false)] {
            assert_eq!(counts(0, now), there, "{now}");
        }
    }

    /// The same after the ring has gone round, and with the file of an interrupted beginning.
    #[test]
    fn the_ring_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"short").unwrap();
        let receipts = Arc::new(Receipts::open(dir.path()));
        receipts.lock().next = MOST - 1;
        for ident in ["last", "first"] {
            receipts.put(name(ident, &[], b""));
        }
        let again = Arc::new(Receipts::open(dir.path()));
        assert_eq!(again.lock().next, MOST + 1);
        assert!(["last", "first"].iter().all(|ident| has(&again, name(ident, &[], b""))));
    }

    #[test]
    fn without_a_file_they_are_in_memory() {
        let receipts = Arc::new(Receipts::open(Path::new("/nowhere/at/all")));
        let name = name("x", &[], b"");
        receipts.put(name);
        assert!(has(&receipts, name));
    }
}
