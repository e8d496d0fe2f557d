//! Mails whose right answer is known.

use super::{Chance, EvaluateError, LONGEST_MAIL, View};
use crate::archive::{self, ArchiveError, Place};
use crate::message::UnixTime;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// A mail, as far as it is compared.
#[derive(Clone, Debug, Default)]
pub struct Doc {
    /// Its view.
    pub text: Arc<[u8]>,
    /// Its Message-ID.
    pub id: Option<String>,
    /// What it refers to.
    pub related: Vec<String>,
    /// Who wrote it; empty if that is unknown.
    pub author: String,
    /// When.
    pub date: Option<UnixTime>,
    /// Whether its structure could be told for certain; else it was taken as it lies.
    pub readable: bool,
}

/// A mail that could not be read at all, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub place: Place,
    /// Why, in words.
    pub reason: String,
}

impl From<&ArchiveError> for Skipped {
    fn from(error: &ArchiveError) -> Self {
        Skipped { place: error.place(), reason: error.to_string() }
    }
}

/// Mails of known labels.
#[derive(Debug, Default)]
pub struct Labels {
    /// The labels, by name; those of the training mail.
    pub names: Vec<String>,
    /// Label and mail, to learn from.
    pub train: Vec<(u32, Doc)>,
    /// Label and mail, to ask about.
    pub test: Vec<(u32, Doc)>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

/// Mails in the order of their dates, with their threads.
#[derive(Debug, Default)]
pub struct Threads {
    /// All of them.
    pub mails: Vec<Doc>,
    /// The thread of each, a number.
    pub thread: Vec<u32>,
    /// The first `pool` mails are there before the first question.
    pub pool: usize,
    /// Those that are asked about, in order: each has an earlier mail of its thread.
    pub questions: Vec<usize>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

/// Either.
#[derive(Debug)]
pub enum Corpus {
    /// Which peer?
    Labels(Labels),
    /// Which message?
    Threads(Threads),
}

/// Reads labelled mail: a folder for each label, a mail in each file.
///
/// With `tune` the test mail is not read: each label's last fifth of the training mail stands for
/// it, so that settings can be chosen without having seen the test.
///
/// # Errors
/// Fewer than two labels have mail, or no test mail has one of these labels.
pub fn labelled(
    train: &Path,
    test: &Path,
    view: View,
    tune: bool,
    saw: &mut dyn FnMut(),
) -> Result<Labels, EvaluateError> {
    let mut found = Labels::default();
    for folder in archive::folders(train)? {
        let mut docs = Vec::new();
        read_folder(&folder, view, &mut docs, &mut found.skipped, saw);
        if docs.is_empty() {
            continue;
        }
        let label = u32::try_from(found.names.len()).unwrap_or(u32::MAX);
        found.names.push(name(&folder));
        // The last ones are the newest: newsgroups and lists number their mails.
        let kept = if tune { docs.len() - docs.len() / 5 } else { docs.len() };
        let later = docs.split_off(kept);
        found.train.extend(docs.into_iter().map(|doc| (label, doc)));
        found.test.extend(later.into_iter().map(|doc| (label, doc)));
    }
    if found.names.len() < 2 {
        return Err(EvaluateError::Labels(train.to_owned(), found.names.len()));
    }
    if !tune {
        for folder in archive::folders(test)? {
            let Some(label) = found.names.iter().position(|known| *known == name(&folder)) else {
                continue;
            };
            let label = u32::try_from(label).unwrap_or(u32::MAX);
            let mut docs = Vec::new();
            read_folder(&folder, view, &mut docs, &mut found.skipped, saw);
            found.test.extend(docs.into_iter().map(|doc| (label, doc)));
        }
    }
    if found.test.is_empty() {
        return Err(EvaluateError::NoTest(test.to_owned()));
    }
    Ok(found)
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Mails of a folder in the order of the numbers in their names, if they have such.
fn read_folder(
    folder: &Path,
    view: View,
    docs: &mut Vec<Doc>,
    skipped: &mut Vec<Skipped>,
    saw: &mut dyn FnMut(),
) {
    let mails = match archive::mails(folder, LONGEST_MAIL) {
        Ok(mails) => mails.one_in_each_file(),
        Err(error) => return skipped.push(Skipped::from(&error)),
    };
    let mut found: Vec<(u64, Doc)> = Vec::new();
    for mail in mails {
        saw();
        match mail {
            Ok(mail) => {
                let number = mail.place.path.file_name().and_then(|name| name.to_str()?.parse().ok());
                found.push((number.unwrap_or(0), view.read(&mail.bytes)));
            }
            Err(error) => skipped.push(Skipped::from(&error)),
        }
    }
    found.sort_by_key(|(number, _)| *number);
    docs.extend(found.into_iter().map(|(_, doc)| doc));
}

/// Reads all mails under some paths.
///
/// # Errors
/// One of the paths does not exist.
pub fn read_mails(
    paths: &[impl AsRef<Path>],
    view: View,
    skipped: &mut Vec<Skipped>,
    saw: &mut dyn FnMut(),
) -> Result<Vec<Doc>, ArchiveError> {
    let mut docs = Vec::new();
    for path in paths {
        for mail in archive::mails(path.as_ref(), LONGEST_MAIL)? {
            saw();
            match mail {
                Ok(mail) => docs.push(view.read(&mail.bytes)),
                Err(error) => skipped.push(Skipped::from(&error)),
            }
        }
    }
    Ok(docs)
}

/// Mails in the order of their dates, each once, and the thread of each, a number.
///
/// # Errors
/// One of the paths does not exist.
pub fn conversations(
    paths: &[impl AsRef<Path>],
    view: View,
    skipped: &mut Vec<Skipped>,
    saw: &mut dyn FnMut(),
) -> Result<(Vec<Doc>, Vec<u32>), ArchiveError> {
    let mut mails = read_mails(paths, view, skipped, saw)?;
    let mut known = HashSet::new();
    mails.retain(|mail| mail.id.as_ref().is_none_or(|id| known.insert(id.clone())));
    order(&mut mails);
    let threads = thread_numbers(&mails);
    Ok((mails, threads))
}

/// Which threads, and which questions about them.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How many mails are there before the first question.
    pub pool: usize,
    /// What of a mail is compared.
    pub view: View,
    /// Take the newest mails, as they follow each other, rather than threads from everywhere.
    pub newest: bool,
    /// Choose the questions among earlier mails, so that settings can be chosen on them.
    pub tune: bool,
    /// The luck that draws the threads.
    pub seed: u64,
}

/// Reads mails (a maildir, an mbox, a folder of either) and their threads.
///
/// Whole threads are drawn by luck from everywhere until there are as many mails as are wanted;
/// with [`Wish::newest`], and if there are no more, the newest mails are taken instead. In the
/// order of their dates the first `pool` of them are there before the first question, and the
/// questions are among those after it, a fifth of the pool's number but at least 2,000 (fewer if
/// there are no more). Each question is asked when everything before it is in the pool.
///
/// # Errors
/// There are too few mails, or none of the questions has an earlier mail of its thread.
pub fn threads(path: &Path, wish: Wish, saw: &mut dyn FnMut()) -> Result<Threads, EvaluateError> {
    let Wish { pool, tune, .. } = wish;
    let mut skipped = Vec::new();
    let mut mails = read_mails(&[path], wish.view, &mut skipped, saw)?;
    order(&mut mails);
    let room = mails.len().saturating_sub(pool) / if tune { 2 } else { 1 };
    let asked = room.min((pool / 5).max(2000));
    if asked == 0 || pool == 0 {
        return Err(EvaluateError::TooFew { path: path.to_owned(), mails: mails.len(), pool });
    }
    if !wish.newest {
        thin(&mut mails, wish.pool + asked * if wish.tune { 2 } else { 1 }, wish.seed);
    }
    let thread = thread_numbers(&mails);
    let end = mails.len() - if tune { asked } else { 0 };
    let begin = end - asked - pool;
    let mails = mails.get(begin..end).unwrap_or_default().to_vec();
    let thread = thread.get(begin..end).unwrap_or_default().to_vec();
    let mut first: HashMap<u32, usize> = HashMap::new();
    let mut questions = Vec::new();
    for (at, number) in thread.iter().enumerate() {
        let earlier = *first.entry(*number).or_insert(at);
        if at >= pool && earlier < at {
            questions.push(at);
        }
    }
    if questions.is_empty() {
        return Err(EvaluateError::NoThreads(path.to_owned()));
    }
    Ok(Threads { mails, thread, pool, questions, skipped })
}

/// Keeps whole threads, drawn by luck, until there are `wanted` mails; the newest if there are more.
fn thin(mails: &mut Vec<Doc>, wanted: usize, seed: u64) {
    let thread = thread_numbers(mails);
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for number in &thread {
        *sizes.entry(*number).or_default() += 1;
    }
    let mut drawn: Vec<(u32, usize)> = sizes.into_iter().collect();
    Chance::new(seed).shuffle(&mut drawn);
    let mut total = 0;
    let kept: HashSet<u32> = drawn
        .into_iter()
        .take_while(|(_, size)| {
            let more = total < wanted;
            total += size;
            more
        })
        .map(|(number, _)| number)
        .collect();
    let mut numbers = thread.iter();
    mails.retain(|_| numbers.next().is_some_and(|number| kept.contains(number)));
}

/// Orders mails by date; one without a date stays behind the one before it.
fn order(mails: &mut Vec<Doc>) {
    let mut last = UnixTime(i64::MIN);
    let mut dated: Vec<(UnixTime, Doc)> = Vec::with_capacity(mails.len());
    for doc in mails.drain(..) {
        last = doc.date.unwrap_or(last);
        dated.push((last, doc));
    }
    dated.sort_by_key(|(date, _)| *date);
    mails.extend(dated.into_iter().map(|(_, doc)| doc));
}

/// Mails that name each other, or the same third one, are of one thread.
fn thread_numbers(mails: &[Doc]) -> Vec<u32> {
    let mut of_id: HashMap<&str, u32> = HashMap::new();
    let mut parent: Vec<u32> = Vec::new();
    let mut numbers = Vec::with_capacity(mails.len());
    for doc in mails {
        let own = u32::try_from(parent.len()).unwrap_or(u32::MAX);
        parent.push(own);
        let mut root = own;
        for id in doc.id.iter().chain(&doc.related) {
            let known = *of_id.entry(id.as_str()).or_insert(root);
            let other = top(&mut parent, known);
            root = top(&mut parent, root);
            let (low, high) = (other.min(root), other.max(root));
            set(&mut parent, high, low);
            root = low;
        }
        numbers.push(own);
    }
    numbers.into_iter().map(|own| top(&mut parent, own)).collect()
}

fn set(parent: &mut [u32], of: u32, to: u32) {
    if let Some(place) = parent.get_mut(of as usize) {
        *place = to;
    }
}

fn top(parent: &mut [u32], of: u32) -> u32 {
    let mut at = of;
    while let Some(up) = parent.get(at as usize).copied()
        && up != at
    {
        let above = parent.get(up as usize).copied().unwrap_or(up);
        set(parent, at, above);
        at = above;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(id: &str, related: &[&str]) -> Doc {
        Doc {
            id: (!id.is_empty()).then(|| id.to_owned()),
            related: related.iter().map(|s| (*s).to_owned()).collect(),
            ..Doc::default()
        }
    }

    #[test]
    fn threads_are_joined_by_any_id_they_share() {
        let mails = [
            doc("a", &[]),
            doc("b", &["a"]),
            doc("c", &["gone"]),
            doc("d", &["gone2", "gone"]),
            doc("", &[]),
            doc("e", &["b", "d"]), // joins the two
            doc("f", &[]),
            doc("a", &[]), // the same mail again
        ];
        assert_eq!(thread_numbers(&mails), [0, 0, 0, 0, 4, 0, 6, 0]);
    }

    #[test]
    fn threads_are_drawn_whole() {
        let mut mails: Vec<Doc> = (0..100).map(|n| doc(&n.to_string(), &[&(n % 10).to_string()])).collect();
        thin(&mut mails, 25, 1);
        let ids: Vec<usize> = mails.iter().map(|doc| doc.id.as_ref().unwrap().parse().unwrap()).collect();
        assert_eq!(ids.len(), 30, "three threads of ten");
        assert!(ids.is_sorted(), "in their order");
        let threads: HashSet<usize> = ids.iter().map(|id| id % 10).collect();
        assert_eq!(threads.len(), 3);
        thin(&mut mails, 1000, 1);
        assert_eq!(mails.len(), 30);
    }

    #[test]
    fn mails_without_a_date_stay_where_they_are() {
        let dated = |id: &str, date: Option<i64>| Doc { date: date.map(UnixTime), ..doc(id, &[]) };
        let mut mails = vec![dated("1", Some(5)), dated("2", None), dated("3", Some(1)), dated("4", Some(9))];
        order(&mut mails);
        let ids: Vec<_> = mails.iter().filter_map(|doc| doc.id.as_deref()).collect();
        assert_eq!(ids, ["3", "1", "2", "4"]);
    }
}
