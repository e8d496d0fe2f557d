//! What is in an archive: figures made of compression distances, and the page that shows them.
//!
//! This room knows texts with an author, a folder, a time and a thread, and the pool's way of
//! measuring how near they are. It must never know files, the database, the network or the clock:
//! the same mails give the same page, byte for byte.
//!
//! **Bounds.** Of a large archive [`MOST`] mails are looked at, evenly by time; work and memory do
//! not grow beyond that, and the page is smaller than [`PAGE`] bytes whatever the mails hold.

mod clusters;
mod doubles;
mod layout;
mod near;
mod open;
mod page;
mod people;
#[cfg(test)]
mod tests;

pub use clusters::Cluster;
pub use doubles::Double;
pub use layout::Map;
pub use near::{Graph, Near};
pub use open::Open;
pub use page::{PAGE, PageError, page};
pub use people::Likeness;

use crate::distance::{Deflate, Vocabulary, density};
use crate::message::{MessageId, UnixTime};
use crate::policy::junk;

/// As many mails are looked at.
pub const MOST: usize = 20_000;

/// A mail of the archive.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its public id.
    pub id: MessageId,
    /// Who wrote it, to be shown and compared.
    pub author: String,
    /// In which folder it lies.
    pub folder: String,
    /// What it is about.
    pub subject: String,
    /// When it was written, if that is known.
    pub time: Option<UnixTime>,
    /// A hash of what its thread began with.
    pub thread: Option<i64>,
    /// Its subject and text.
    pub text: Vec<u8>,
    /// Its length in the archive.
    pub bytes: u64,
}

/// What is known of the archive as a whole.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// What was imported: its names.
    pub paths: Vec<String>,
    /// Mails, as messages.
    pub mails: u64,
    /// Their bytes in the archive.
    pub bytes: u64,
    /// Exact copies beside them.
    pub copies: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Mails that could not be taken.
    pub failed: u64,
    /// Mails by month, `2026-01` (`-` for those without a date), in order.
    pub months: Vec<(String, u64)>,
    /// Mails by folder, the largest first.
    pub folders: Vec<(String, u64)>,
    /// When the report was made, for people.
    pub made: String,
}

/// Something that looks like junk.
#[derive(Clone, Debug, PartialEq)]
pub struct Junk {
    /// Which mail.
    pub mail: u32,
    /// What it costs, as a share of its bits.
    pub density: f64,
    /// How far that is from people's texts.
    pub score: f64,
}

/// Everything that the page shows.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The mails that were looked at, in the order of their times.
    pub mails: Vec<Mail>,
    /// Each mail's nearest ones.
    pub graph: Graph,
    /// Where each lies.
    pub map: Map,
    /// What belongs together, the largest first.
    pub clusters: Vec<Cluster>,
    /// The cluster of each mail.
    pub cluster: Vec<u32>,
    /// What is nearly the same.
    pub doubles: Vec<Double>,
    /// What looks like junk, the worst first.
    pub junk: Vec<Junk>,
    /// Who writes like whom.
    pub people: Vec<Likeness>,
    /// What was asked, and perhaps answered elsewhere.
    pub open: Vec<Open>,
}

/// Of `mails`, in the order of their times, so many as are looked at, evenly.
#[must_use]
pub fn sample(mut mails: Vec<Mail>, most: usize) -> Vec<Mail> {
    mails.sort_by_key(|mail| (mail.time, mail.id));
    let all = mails.len();
    if all <= most {
        return mails;
    }
    let mut at = 0;
    mails.retain(|_| {
        let kept = (at + 1) * most / all > at * most / all;
        at += 1;
        kept
    });
    mails
}

/// Looks at an archive, with so many threads. `told` hears what is being done.
#[must_use]
pub fn figures(mails: Vec<Mail>, threads: usize, told: &mut dyn FnMut(&str)) -> Figures {
    let mails = sample(mails, MOST);
    told("comparing");
    let pool = near::pool(&mails);
    let graph = near::graph(&pool, &mails, threads);
    told("drawing the map");
    let cluster = clusters::of(&graph);
    let map = layout::map(&graph, &cluster);
    told("looking for what belongs together");
    let model = Vocabulary::of(mails.iter().map(|mail| mail.text.as_slice()));
    let clusters = clusters::describe(&mails, &graph, &cluster, &model);
    told("looking for what is nearly the same");
    let doubles = doubles::of(&mails, &graph, threads);
    let junk = junk_of(&mails, threads);
    told("comparing authors");
    let people = people::of(&pool, &mails);
    let open = open::of(&mails, &graph);
    Figures { mails, graph, map, clusters, cluster, doubles, junk, people, open }
}

/// What looks like junk by how much of it depends on itself.
fn junk_of(mails: &[Mail], threads: usize) -> Vec<Junk> {
    let coder = Deflate::default();
    let found = near::each(mails.len(), threads, |at| {
        let mail = mails.get(at)?;
        let density = density(&coder, &mail.text)?;
        let length = mail.text.len();
        junk::is_junk(density, length).then(|| Junk {
            mail: u32::try_from(at).unwrap_or(0),
            density,
            score: junk::score(density, length),
        })
    });
    let mut junk: Vec<Junk> = found.into_iter().flatten().collect();
    junk.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.mail.cmp(&b.mail)));
    junk
}
