//! What a crash could have left of a directory, reconstructed from a recorded run.
//!
//! `tests/crash/shim.c` writes down what a process does to the files of a directory. From that
//! trace [`Replay`] rebuilds the directory as it could be found after a crash behind any
//! operation: after the end of the process everything written is there; after a loss of power
//! only what was synced must be there, and of the rest any part may be.
//!
//! The model of the disk: a sync that has returned makes durable what was written to that file
//! before it was called. A new file's name becomes durable with the file's own sync, as the
//! common Linux file systems do it; removing and renaming become durable with a sync of the
//! directory. Nothing is assumed about order between unsynced writes.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One record of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Create(String),
    Write {
        path: String,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        path: String,
        length: usize,
    },
    SyncBegin {
        path: String,
        serial: u64,
    },
    SyncEnd {
        path: String,
        serial: u64,
    },
    Unlink(String),
    Rename {
        from: String,
        to: String,
    },
    Directory {
        path: String,
        made: bool,
    },
    /// The ids that went out with "250 2.0.0".
    Ack(Vec<String>),
    /// The process ended itself here, as it was told to.
    Crash(u64),
    /// What the test itself put there, see [`note`].
    Note(String),
}

/// Appends a note of the test to the trace of a running process, and so puts it in order: what
/// the process did because of what follows the note stands behind it.
pub(crate) fn note(trace: &Path, text: &str) {
    let mut record = NOTE.to_le_bytes().to_vec();
    record.extend_from_slice(&0_u32.to_le_bytes());
    record.extend_from_slice(&0_u64.to_le_bytes());
    record.extend_from_slice(&(text.len() as u64).to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    // One append, as the recorder's own.
    let file = std::fs::File::options().append(true).create(true).open(trace);
    let written = file.and_then(|mut file| std::io::Write::write(&mut file, &record)).expect("the trace");
    assert_eq!(written, record.len());
}

/// A kind that the recorder does not use.
const NOTE: u32 = 100;

/// Reads a trace. A record that was cut off by the end of the process is left out.
///
/// # Errors
/// When something happened that the model does not know: such a trace proves nothing.
pub(crate) fn read_trace(path: &Path) -> Result<Vec<Record>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(24) {
        let number = |at: usize, size: usize| {
            head[at..at + size].iter().rev().fold(0_u64, |n, &b| n << 8 | u64::from(b))
        };
        let size = |n: u64| usize::try_from(n).expect("a size");
        let (kind, path_length) = (number(0, 4), size(number(4, 4)));
        let (a, data_length) = (number(8, 8), size(number(16, 8)));
        let Some((name, after)) = after.split_at_checked(path_length) else {
            break;
        };
        let Some((data, after)) = after.split_at_checked(data_length) else {
            break;
        };
        rest = after;
        let path = String::from_utf8_lossy(name).into_owned();
        let text = || String::from_utf8_lossy(data).into_owned();
        records.push(match kind {
            1 => Record::Create(path),
            2 => Record::Write { path, offset: size(a), data: data.to_vec() },
            3 => Record::Truncate { path, length: size(a) },
            4 => Record::SyncBegin { path, serial: a },
            5 => Record::SyncEnd { path, serial: a },
            6 => Record::Unlink(path),
            7 => Record::Rename { from: path, to: text() },
            8 => Record::Ack(acknowledged(&text())),
            9 => Record::Crash(a),
            11 => Record::Directory { path, made: true },
            12 => Record::Directory { path, made: false },
            n if n == u64::from(NOTE) => Record::Note(text()),
            _ => return Err(format!("{path}: {} is not modelled", text())),
        });
    }
    Ok(records)
}

/// The texts behind "250 2.0.0 " in what was sent, a line each.
fn acknowledged(payload: &str) -> Vec<String> {
    payload
        .lines()
        .filter_map(|line| line.split_once("250 2.0.0 "))
        .map(|(_, id)| id.trim().to_owned())
        .collect()
}

/// What of the unsynced writes is found after the crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// The process ended: everything written is there.
    Killed,
    /// Power was lost and nothing unsynced reached the disk, names included.
    Nothing,
    /// New names are there, their unsynced contents are not.
    NamesOnly,
    /// Contents are there, what became of names (removed, renamed, new) is not.
    ContentsOnly,
    /// Of each file, all but the last write.
    AllButLast,
    /// Of each file, all, and half of the last write.
    TornLast,
    /// Of each file, the last write and none before it.
    LastOnly,
    /// All of this file and nothing of the others.
    OnlyFile(String),
}

/// A state to check.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// How many records had happened.
    pub(crate) op: usize,
    /// What a crash left of them.
    pub(crate) variant: Variant,
    /// What had been acknowledged until then.
    pub(crate) acked: Arc<Vec<String>>,
    /// What had been noted until then.
    pub(crate) notes: Arc<Vec<String>>,
    /// Where the state is laid out; written anew for the next point.
    pub(crate) directory: PathBuf,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Truncate(length) => content.resize(*length, 0),
            Change::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
        }
    }

    fn torn(&self) -> Option<Change> {
        match self {
            Change::Truncate(_) => None,
            Change::Write { offset, data } => {
                Some(Change::Write { offset: *offset, data: data[..data.len() / 2].to_vec() })
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// How many changes became durable before `pending`.
    settled: usize,
}

#[derive(Clone, Debug)]
enum Naming {
    Create(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl Naming {
    fn parent(&self) -> &str {
        let (Naming::Create(path, _) | Naming::Unlink(path) | Naming::Rename(_, path)) = self;
        path.rsplit_once('/').map_or(".", |(parent, _)| parent)
    }

    fn touches(&self, name: &str) -> bool {
        match self {
            Naming::Create(path, _) | Naming::Unlink(path) => path == name,
            Naming::Rename(from, to) => from == name || to == name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Naming::Unlink(path) => {
                names.remove(path);
            }
            Naming::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// The files of a state, by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The directory while the trace is followed.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<(usize, Naming)>,
    directories: BTreeSet<String>,
    /// What a sync that has begun will make durable: the changes so far, the namings so far.
    syncs: HashMap<u64, (Option<usize>, usize, usize)>,
    op: usize,
}

impl Disk {
    fn follow(&mut self, record: &Record) {
        self.op += 1;
        match record {
            Record::Create(path) => {
                self.files.push(File::default());
                self.name(Naming::Create(path.clone(), self.files.len() - 1));
            }
            Record::Write { path, offset, data } => {
                self.change(path, Change::Write { offset: *offset, data: data.clone() })
            }
            Record::Truncate { path, length } => self.change(path, Change::Truncate(*length)),
            Record::SyncBegin { path, serial } => {
                let file = self.names.get(path).copied();
                let changes = file.map_or(0, |f| self.files[f].settled + self.files[f].pending.len());
                self.syncs.insert(*serial, (file, changes, self.op));
            }
            Record::SyncEnd { path, serial } => {
                let (file, changes, op) = self.syncs.remove(serial).expect("its begin");
                match file {
                    Some(file) => self.settle(file, changes),
                    None => self.settle_names(|naming, at| at < op && naming.parent() == path),
                }
            }
            Record::Unlink(path) => self.name(Naming::Unlink(path.clone())),
            Record::Rename { from, to } => self.name(Naming::Rename(from.clone(), to.clone())),
            Record::Directory { path, made: true } => {
                self.directories.insert(path.clone());
            }
            Record::Directory { path, made: false } => {
                self.directories.remove(path);
            }
            Record::Ack(_) | Record::Crash(_) | Record::Note(_) => {}
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push((self.op, naming));
    }

    fn change(&mut self, path: &str, change: Change) {
        let file = *self.names.get(path).unwrap_or_else(|| panic!("{path} was changed and never created"));
        self.files[file].pending.push(change);
    }

    fn settle(&mut self, number: usize, changes: usize) {
        let file = &mut self.files[number];
        let count = changes.saturating_sub(file.settled).min(file.pending.len());
        for change in file.pending.drain(..count) {
            change.apply(&mut file.durable);
        }
        file.settled += count;
        // The name that the file was created under, and what happened to that name before: a
        // file system keeps the order of what happens to one name.
        let created = self.pending_names.iter().find_map(|(at, naming)| match naming {
            Naming::Create(path, f) if *f == number => Some((*at, path.clone())),
            _ => None,
        });
        if let Some((created, path)) = created {
            self.settle_names(|naming, at| at <= created && naming.touches(&path));
        }
    }

    fn settle_names(&mut self, durable: impl Fn(&Naming, usize) -> bool) {
        let (settled, pending): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending_names)
            .into_iter()
            .partition(|(at, naming)| durable(naming, *at));
        self.pending_names = pending;
        for (_, naming) in settled {
            naming.apply(&mut self.durable_names);
        }
    }

    /// The variants that can differ from each other now.
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant::Killed, Variant::Nothing];
        let dirty: Vec<&String> = self
            .names
            .iter()
            .filter(|(_, f)| !self.files[**f].pending.is_empty())
            .map(|(name, _)| name)
            .collect();
        if !self.pending_names.is_empty() {
            variants.extend([Variant::NamesOnly, Variant::ContentsOnly]);
        }
        if !dirty.is_empty() {
            variants.extend([Variant::AllButLast, Variant::TornLast, Variant::LastOnly]);
        }
        if dirty.len() > 1 {
            variants.extend(dirty.into_iter().cloned().map(Variant::OnlyFile));
        }
        variants
    }

    fn state(&self, variant: &Variant) -> Files {
        let names = match variant {
            Variant::Nothing | Variant::ContentsOnly => &self.durable_names,
            _ => &self.names,
        };
        let content = |(name, &number): (&String, &usize)| {
            let file = &self.files[number];
            let all = file.pending.as_slice();
            let (earlier, last) = match all.split_last() {
                Some((last, earlier)) => (earlier, Some(last)),
                None => (all, None),
            };
            let mut content = file.durable.clone();
            let mut apply = |changes: &[Change]| changes.iter().for_each(|c| c.apply(&mut content));
            match variant {
                Variant::Killed | Variant::ContentsOnly => apply(all),
                Variant::Nothing | Variant::NamesOnly => {}
                Variant::AllButLast => apply(earlier),
                Variant::TornLast => {
                    apply(earlier);
                    apply(last.and_then(Change::torn).as_slice());
                }
                Variant::LastOnly => apply(last.cloned().as_slice()),
                Variant::OnlyFile(only) if only == name => apply(all),
                Variant::OnlyFile(_) => {}
            }
            (name.clone(), content)
        };
        names.iter().map(content).collect()
    }
}

/// All that a crash could have left, point by point, without repetition: a state is given out
/// again only when more had been acknowledged or noted meanwhile.
pub(crate) struct Replay {
    records: std::vec::IntoIter<Record>,
    disk: Disk,
    acked: Arc<Vec<String>>,
    notes: Arc<Vec<String>>,
    queue: Vec<Variant>,
    seen: HashMap<u64, usize>,
    scratch: PathBuf,
    stride: usize,
    from: usize,
    /// States considered, repetitions included.
    pub(crate) considered: usize,
}

impl Replay {
    /// Follows the trace; each state is laid out in `scratch`, a folder that holds nothing else.
    pub(crate) fn new(records: Vec<Record>, scratch: &Path) -> Self {
        let mut replay = Self {
            records: records.into_iter(),
            disk: Disk::default(),
            acked: Arc::default(),
            notes: Arc::default(),
            queue: Vec::new(),
            seen: HashMap::new(),
            scratch: scratch.to_owned(),
            stride: 1,
            from: 0,
            considered: 0,
        };
        replay.queue = replay.disk.variants();
        replay
    }

    /// Starts with what a directory held, all of it durable, before the recording began.
    pub(crate) fn on(mut self, before: &Files) -> Self {
        for (name, content) in before {
            self.disk.files.push(File { durable: content.clone(), ..File::default() });
            let number = self.disk.files.len() - 1;
            self.disk.names.insert(name.clone(), number);
            self.disk.durable_names.insert(name.clone(), number);
        }
        self
    }

    /// Looks behind every n-th operation only, and still around every sync and acknowledgement.
    pub(crate) fn every(mut self, n: usize) -> Self {
        self.stride = n.max(1);
        self
    }

    /// Looks behind the n-th operation and later ones only.
    pub(crate) fn from(mut self, n: usize) -> Self {
        self.from = n;
        self.queue.clear();
        self
    }

    /// Follows the whole trace and gives what the process left; the check that the recorder
    /// missed nothing compares it with the real directory.
    pub(crate) fn end(mut self) -> (Files, Vec<String>) {
        while let Some(record) = self.records.next() {
            self.hear(&record);
            self.disk.follow(&record);
        }
        (self.disk.state(&Variant::Killed), self.acked.to_vec())
    }

    fn hear(&mut self, record: &Record) {
        match record {
            Record::Ack(ids) => Arc::make_mut(&mut self.acked).extend(ids.iter().cloned()),
            Record::Note(text) => Arc::make_mut(&mut self.notes).push(text.clone()),
            _ => {}
        }
    }

    fn lay_out(&self, files: &Files) {
        std::fs::create_dir_all(&self.scratch).expect("the scratch folder");
        // The folder itself stays: a data directory's mode matters to what opens it.
        for entry in std::fs::read_dir(&self.scratch).expect("the scratch folder") {
            let path = entry.expect("an entry").path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.expect("the scratch folder is ours");
        }
        for directory in &self.disk.directories {
            std::fs::create_dir_all(self.scratch.join(directory)).expect("a folder in it");
        }
        for (name, content) in files {
            let path = self.scratch.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).expect("a folder in it");
            }
            std::fs::write(path, content).expect("a file in it");
        }
    }
}

impl Iterator for Replay {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        loop {
            while let Some(variant) = self.queue.pop() {
                self.considered += 1;
                let files = self.disk.state(&variant);
                let mut hasher = DefaultHasher::new();
                files.hash(&mut hasher);
                let acked = self.acked.len() + self.notes.len();
                let seen = self.seen.entry(hasher.finish()).or_insert(usize::MAX);
                if *seen != usize::MAX && *seen >= acked {
                    continue;
                }
                *seen = acked;
                self.lay_out(&files);
                return Some(Point {
                    op: self.disk.op,
                    variant,
                    acked: Arc::clone(&self.acked),
                    notes: Arc::clone(&self.notes),
                    directory: self.scratch.clone(),
                });
            }
            let record = self.records.next()?;
            self.hear(&record);
            self.disk.follow(&record);
            let always = matches!(
                record,
                Record::SyncBegin { .. } | Record::SyncEnd { .. } | Record::Ack(_) | Record::Note(_)
            );
            let due = always || self.disk.op.is_multiple_of(self.stride);
            if due && self.disk.op >= self.from {
                self.queue = self.disk.variants();
            }
        }
    }
}

/// Reads the files of a directory; what the recorder leaves out is left out here too.
pub(crate) fn read_files(directory: &Path) -> Files {
    fn walk(root: &Path, at: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(at).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy();
            let file_type = path.symlink_metadata().expect("metadata").file_type();
            if file_type.is_dir() {
                walk(root, &path, files);
            } else if file_type.is_file() && !name.ends_with("-shm") {
                files.insert(name.into_owned(), std::fs::read(&path).expect("readable"));
            }
        }
    }
    let mut files = Files::new();
    walk(directory, directory, &mut files);
    files
}
