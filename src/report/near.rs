//! Each mail's nearest ones, by what they save.

use super::Mail;
use crate::message::Address;
use crate::policy::Scope;
use crate::pool::{Audience, Entry, Limits, Pool, Query};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// So many of each mail's nearest ones are kept.
pub(super) const NEAREST: usize = 12;

/// A mail near another one, X.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Which.
    pub mail: u32,
    /// C(X) − C(X|Y), in bits.
    pub bits: f64,
    /// As a share of C(X).
    pub share: f64,
    /// Near enough to be called a match.
    pub is_match: bool,
}

/// The nearest ones of each mail, nearest first.
pub type Graph = Vec<Vec<Near>>;

/// The name of an author as a peer.
pub(super) fn peer(author: &str) -> Option<Address> {
    Address::new(format!("author:{}", author.replace(['\r', '\n'], " "))).ok()
}

/// All mails in a pool of their own, with their authors as peers. Their numbers are their places.
pub(super) fn pool(mails: &[Mail]) -> Pool {
    let limits = Limits { max_messages: usize::MAX, max_bytes: u64::MAX, ..Limits::default() };
    let mut pool = Pool::new(limits);
    for (at, mail) in (0..).zip(mails) {
        let Some(author) = peer(&mail.author) else { continue };
        let entry = Entry {
            seq: at,
            id: mail.id,
            sender: author.clone(),
            hops: vec![author.clone()],
            author,
            scope: Scope::Public,
        };
        pool.insert(&entry, &mail.text);
    }
    pool
}

/// The nearest ones of each.
pub(super) fn graph(pool: &Pool, mails: &[Mail], threads: usize) -> Graph {
    each(mails.len(), threads, |at| {
        let Some(mail) = mails.get(at) else { return Vec::new() };
        let query = Query { except: Some(mail.id), age: 0.0, ..Query::new(&mail.text, Audience::Public) };
        let found = pool.search(&query, NEAREST, &|_| None);
        found
            .iter()
            .filter_map(|it| {
                let (bits, share, is_match) = (it.gain_bits, it.gain_share, it.is_match);
                Some(Near { mail: u32::try_from(it.seq).ok()?, bits, share, is_match })
            })
            .collect()
    })
}

/// What `work` makes of each number below `count`, in order, by so many threads.
pub(super) fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    const AT_ONCE: usize = 64;
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let run = || {
            let mut mine = Vec::new();
            loop {
                let from = next.fetch_add(AT_ONCE, Ordering::Relaxed);
                if from >= count {
                    return mine;
                }
                mine.extend((from..count.min(from + AT_ONCE)).map(|at| (at, work(at))));
            }
        };
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        all.extend(others.into_iter().filter_map(|other| other.join().ok()).flatten());
        all
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, it)| it).collect()
}
