//! What is nearly the same: each of two mails costs next to nothing once the other is known.

use super::Mail;
use super::near::{Graph, each};
use crate::distance::{Coder, Deflate};
use std::collections::BTreeMap;

/// A pair is measured if the words of one save at least this share of the other. The word coder gives
/// little for words that many use: of ordinary mails even an exact copy saves only 3 to 10 percent,
/// others that are nearest 1 or 2.
const SHARE: f64 = 0.02;
/// Of each mail so many nearest ones are measured.
const MEASURED: usize = 3;
/// A shorter text says too little.
const SHORTEST: usize = 80;
/// What a text may cost, as a share of what it costs alone.
const LEFT: f64 = 0.2;

/// A group of mails that are nearly the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Double {
    /// Which, in the order of their times.
    pub mails: Vec<u32>,
    /// What would be saved by keeping only the longest of them, in bytes of the archive.
    pub saves: u64,
}

/// Groups, those first that save most.
pub(super) fn of(mails: &[Mail], graph: &Graph, threads: usize) -> Vec<Double> {
    let coder = Deflate::default();
    let same = |a: &[u8], b: &[u8]| {
        let near = |x: &[u8], y: &[u8]| coder.bits_given(x, y) <= LEFT * coder.bits(x);
        a == b || (near(a, b) && near(b, a))
    };
    let pairs = each(mails.len(), threads, |at| {
        let (Some(mail), Some(near)) = (mails.get(at), graph.get(at)) else { return Vec::new() };
        let long = |text: &[u8]| text.len() >= SHORTEST;
        near.iter()
            .take(MEASURED)
            .filter(|it| it.share >= SHARE && long(&mail.text))
            .filter(|it| {
                mails.get(it.mail as usize).is_some_and(|other| {
                    let (a, b) = (mail.text.len(), other.text.len());
                    long(&other.text) && a <= 2 * b && b <= 2 * a && same(&mail.text, &other.text)
                })
            })
            .map(|it| it.mail)
            .collect::<Vec<u32>>()
    });
    let mut up: Vec<u32> = (0..).take(mails.len()).collect();
    for (at, found) in (0_u32..).zip(pairs) {
        for other in found {
            let (a, b) = (top(&mut up, at), top(&mut up, other));
            if let Some(place) = up.get_mut(a.max(b) as usize) {
                *place = a.min(b);
            }
        }
    }
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for at in (0..).take(mails.len()) {
        groups.entry(top(&mut up, at)).or_default().push(at);
    }
    let bytes = |at: &u32| mails.get(*at as usize).map_or(0, |mail| mail.bytes);
    let mut found: Vec<Double> = groups
        .into_values()
        .filter(|all| all.len() > 1)
        .map(|mails| {
            let sum: u64 = mails.iter().map(bytes).sum();
            let saves = sum - mails.iter().map(bytes).max().unwrap_or(0);
            Double { mails, saves }
        })
        .collect();
    found.sort_by_key(|double| (std::cmp::Reverse(double.saves), double.mails.first().copied()));
    found
}

fn top(up: &mut [u32], of: u32) -> u32 {
    let mut at = of;
    while let Some(above) = up.get(at as usize).copied()
        && above != at
    {
        let next = up.get(above as usize).copied().unwrap_or(above);
        if let Some(place) = up.get_mut(at as usize) {
            *place = next;
        }
        at = next;
    }
    at
}
