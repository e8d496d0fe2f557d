//! What to send back to a peer that has sent a message which it knows best itself (section 3.2).

use super::{RoutingPolicy, Subject, Surroundings};
use crate::distance::{Coder, Deflate, WINDOW, oldest};
use crate::message::Address;
use crate::pool::{Audience, Entry, NOMINEES, Pool, Query};
use std::cmp::Ordering;

/// How many candidates are measured.
const MEASURED: usize = 8;
/// How many neighbours of a candidate stand for the rest of the pool.
const REST: usize = 3;
/// How many of the newest messages of the peer stand for what it has sent.
const SENT: usize = 16;

/// The public cached message Zj that maximises Dj = D(Zj, Z without Zj) − D(X, Zj) among those
/// that `may_go` to the peer.
///
/// Computed is an approximation:
/// - Candidates are the nearest messages to X followed by what the peer has sent (section 3.2
///   allows that: "Alice can concatenate other messages from Bob to X"), since only there
///   D(X, Zj) is small; of these the 8 nearest that may go.
/// - The rest R of the pool is represented by the candidate's 3 nearest messages: others hardly
///   change C(Zj|Z). In D(Zj, R) = C(Zj|R) + C(R|Zj) the second term is C(R) − (C(Zj) − C(Zj|R))
///   by symmetry of information, where C(R) is the same for all; so 2·C(Zj|R) − C(Zj) is compared.
pub(super) fn choose(
    pool: &Pool,
    around: &dyn Surroundings,
    subject: &Subject<'_>,
    peer: &Address,
    policy: &RoutingPolicy,
    may_go: &dyn Fn(&Entry) -> bool,
) -> Option<Entry> {
    let coder = Deflate::default();
    let mut guess = oldest(&subject.message.body, WINDOW / 2).to_vec();
    for body in pool.sent_by(peer, SENT).into_iter().filter_map(|seq| around.body(seq)) {
        guess.extend_from_slice(oldest(&body, WINDOW.saturating_sub(guess.len())));
    }
    let query = Query {
        except: Some(subject.id),
        age: 0.0,
        metric: policy.metric,
        ..Query::new(&guess, Audience::Public)
    };
    let candidates = pool
        .search(&query, NOMINEES, around)
        .into_iter()
        .filter_map(|scored| pool.get(scored.seq))
        .filter(|z| may_go(z))
        .take(MEASURED);
    let worth = |z: &Entry| {
        let body = around.body(z.seq)?;
        let near = Query { except: Some(z.id), age: 0.0, ..Query::new(&body, Audience::Public) };
        let rest: Vec<u8> = pool
            .search(&near, REST, around)
            .into_iter()
            .filter_map(|scored| around.body(scored.seq))
            .flat_map(|y| oldest(&y, WINDOW / REST).to_vec())
            .collect();
        let z_view = oldest(&body, WINDOW);
        let from_rest = 2.0 * coder.bits_given(z_view, &rest) - coder.bits(z_view);
        Some(from_rest - coder.measure(&guess, z_view).raw())
    };
    candidates
        .filter_map(|z| Some((worth(&z)?, z)))
        .max_by(|(a, x), (b, y)| {
            // Of equals the older one.
            a.partial_cmp(b).unwrap_or(Ordering::Equal).then(y.seq.cmp(&x.seq))
        })
        .map(|(_, z)| z)
}
