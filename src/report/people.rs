//! Who writes like whom: authors as peers, each known by what it has written.

use super::Mail;
use super::near::peer;
use crate::pool::Pool;
use std::collections::BTreeMap;

/// So many authors are compared, those with the most mails.
const AUTHORS: usize = 40;
/// An author with fewer mails is not known well enough.
const FEWEST: usize = 4;
/// What is read of each author: so many mails, so many bytes of each.
const READ: (usize, usize) = (16, 2 << 10);
/// So many others are named for each.
const NAMED: usize = 3;

/// An author, and who writes most like them.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness {
    /// Who.
    pub author: String,
    /// With how many mails.
    pub mails: usize,
    /// Who knows their words best, and the share of bits that saves.
    pub like: Vec<(String, f64)>,
}

/// The authors with the most mails.
pub(super) fn of(pool: &Pool, mails: &[Mail]) -> Vec<Likeness> {
    let mut by: BTreeMap<&str, Vec<&Mail>> = BTreeMap::new();
    for mail in mails {
        by.entry(&mail.author).or_default().push(mail);
    }
    let mut authors: Vec<(&str, Vec<&Mail>)> =
        by.into_iter().filter(|(_, all)| all.len() >= FEWEST).collect();
    authors.sort_by_key(|(author, all)| (std::cmp::Reverse(all.len()), *author));
    authors.truncate(AUTHORS);
    authors
        .iter()
        .map(|(author, all)| {
            let mut text = Vec::new();
            for mail in all.iter().step_by(all.len() / READ.0 + 1) {
                text.extend_from_slice(mail.text.get(..READ.1).unwrap_or(&mail.text));
                text.push(b'\n');
            }
            let others: Vec<&str> =
                authors.iter().map(|(other, _)| *other).filter(|other| other != author).collect();
            let peers: Vec<_> = others.iter().filter_map(|other| peer(other)).collect();
            let costs = pool.peer_costs(&text, &peers);
            let mut like: Vec<(String, f64)> = others
                .iter()
                .zip(&costs)
                .filter(|(_, cost)| cost.signal)
                .map(|(other, cost)| ((*other).to_owned(), cost.gain_share))
                .collect();
            like.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            like.truncate(NAMED);
            Likeness { author: (*author).to_owned(), mails: all.len(), like }
        })
        .collect()
}
