//! Which peers X goes on to.

use super::plan::{No, Plan};
use super::{Contact, NoSignal, PeerScore, RoutingPolicy, Strategy, compensate, percent};
use crate::message::{Address, UnixTime};
use crate::policy::human::show_duration;
use crate::pool::{PeerCost, Pool, Question, Scored};
use std::cmp::Ordering;

/// A peer that may or may not get X.
struct Candidate {
    cost: PeerCost,
    /// Why X can't go there.
    no: Option<No>,
    chosen: Option<String>,
    lot: u64,
}

/// Ranks the peers, plans the forwards of X, and says for each of them why.
pub(super) fn peers(
    plan: &mut Plan<'_>,
    question: &Question<'_>,
    contacts: &[Contact],
    policy: &RoutingPolicy,
    now: UnixTime,
    seed: u64,
    found: &[Scored],
) -> Vec<PeerScore> {
    let pool = question.pool();
    let considered = considered(plan, pool, contacts.len(), policy);
    let mut ranked: Vec<Candidate> = question
        .peer_costs_by(&considered, policy.metric)
        .into_iter()
        .map(|cost| {
            let no = plan.check_subject(&cost.address).err();
            let lot = lot(seed, &cost.address);
            Candidate { cost, no, chosen: None, lot }
        })
        .collect();
    ranked.sort_by(order);
    if ranked.is_empty() {
        plan.say("no peer is known that it could go on to".to_owned());
        return Vec::new();
    }
    match policy.policy {
        Strategy::Walk => walk(plan, pool, &mut ranked, policy, now, found),
        Strategy::Literal => literal(plan, &mut ranked, policy),
    }
    if policy.compensates() {
        compensate(plan, pool, &ranked, policy);
    }
    let walks = policy.policy == Strategy::Walk && ranked.iter().any(|candidate| candidate.chosen.is_some());
    ranked
        .into_iter()
        .enumerate()
        .map(|(place, candidate)| PeerScore {
            why: why(&candidate),
            spare: walks && candidate.chosen.is_none() && may_get(&candidate, policy),
            address: candidate.cost.address,
            bits: candidate.cost.bits,
            rank: place + 1,
            chosen: candidate.chosen.is_some(),
        })
        .collect()
}

/// Whether a walk may go there.
fn may_get(candidate: &Candidate, policy: &RoutingPolicy) -> bool {
    candidate.no.is_none() && (candidate.cost.signal || policy.no_signal == NoSignal::Random)
}

/// The peers that are considered: pinned ones, then those that were credited last.
fn considered(plan: &mut Plan<'_>, pool: &Pool, given: usize, policy: &RoutingPolicy) -> Vec<Address> {
    let mut all: Vec<&Contact> = plan.contacts();
    all.retain(|contact| !plan.is_own(&contact.address));
    all.sort_by_cached_key(|c| (!c.pinned, std::cmp::Reverse(pool.credited(&c.address).1), &c.address));
    if all.len() > policy.contacts {
        let left_out = all.len() - policy.contacts;
        plan.say(format!(
            "{left_out} of {given} contacts are not considered (contacts = {})",
            policy.contacts
        ));
        all.truncate(policy.contacts);
    }
    all.into_iter().map(|contact| contact.address.clone()).collect()
}

/// Peers that know something first, the nearest first; all others by lot.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    let by_lot = || a.lot.cmp(&b.lot).then_with(|| a.cost.address.cmp(&b.cost.address));
    match (a.cost.signal, b.cost.signal) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => by_lot(),
        (true, true) => {
            let nearer = a.cost.distance.partial_cmp(&b.cost.distance);
            nearer.unwrap_or(Ordering::Equal).then_with(by_lot)
        }
    }
}

/// The competitive walk: to the best peers that do not have it; the first router starts several
/// walks, each later one goes on with one.
fn walk(
    plan: &mut Plan<'_>,
    pool: &Pool,
    ranked: &mut [Candidate],
    policy: &RoutingPolicy,
    now: UnixTime,
    found: &[Scored],
) {
    let subject = plan.subject();
    let origin = subject.message.origin();
    let age = now.since(origin.time.to_unix());
    if age > policy.walk_age {
        plan.say(format!(
            "it walks no further: it is {} old (walk_age = {})",
            show_duration(age),
            show_duration(policy.walk_age)
        ));
        return;
    }
    let lines = subject.message.hops.len();
    if lines >= policy.max_hops {
        plan.say(format!(
            "it walks no further: its header has {lines} lines (max_hops = {})",
            policy.max_hops
        ));
        return;
    }
    let home = subject.message.home_router();
    // Who forges the lines below its own could make a walk begin anew at each of its steps.
    if !subject.is_new() && !plan.believes(home, &origin.address) {
        plan.say(format!("it walks no further: nothing shows that {home} took it from {}", origin.address));
        return;
    }
    // An author's own earlier message is no answer, however strong. The author of a message that
    // was posted here may be known by another address than the alias in its origin line.
    let by_others = |s: &&Scored| {
        pool.get(s.seq).is_some_and(|y| y.author != origin.address && y.hops.last() != Some(&origin.address))
    };
    let strongest = found
        .iter()
        .filter(by_others)
        .max_by(|a, b| a.gain_share.partial_cmp(&b.gain_share).unwrap_or(Ordering::Equal));
    if let Some(s) = strongest.filter(|s| s.gain_share >= policy.strong_match) {
        plan.say(format!(
            "it walks no further: {} here saves {} of it (strong_match = {})",
            s.id,
            percent(s.gain_share),
            percent(policy.strong_match)
        ));
        return;
    }
    let first = subject.is_new();
    let arrived = || {
        found.iter().filter(by_others).find_map(|s| pool.get(s.seq).filter(|y| plan.is_own(y.home_router())))
    };
    if !first && let Some(y) = arrived() {
        plan.say(format!("it walks no further: it has come to where {}, which it matches, was posted", y.id));
        return;
    }
    let wanted = if first { policy.first_walks } else { 1 };
    let sent = send_to_best(plan, ranked, wanted, policy);
    let who = if first { "we are its first router" } else { "it is on its way" };
    plan.say(format!("{who}, so it goes to {wanted} of the best peers; {sent} can get it"));
}

/// Sends X to the first `wanted` candidates that can get it. How many did.
fn send_to_best(
    plan: &mut Plan<'_>,
    ranked: &mut [Candidate],
    wanted: usize,
    policy: &RoutingPolicy,
) -> usize {
    let mut sent = 0;
    for candidate in ranked.iter_mut() {
        if sent == wanted {
            break;
        }
        if may_get(candidate, policy) && send(plan, candidate) {
            sent += 1;
        }
    }
    sent
}

fn send(plan: &mut Plan<'_>, candidate: &mut Candidate) -> bool {
    let why = if candidate.cost.signal {
        knows(&candidate.cost)
    } else {
        "drawn by lot: nobody that is left has sent anything about it".to_owned()
    };
    match plan.send_subject(&candidate.cost.address, None, why.clone()) {
        Ok(()) => {
            candidate.chosen = Some(why);
            true
        }
        Err(no) => {
            candidate.no = Some(no);
            false
        }
    }
}

/// Section 3.2 as written: the single best peer of all, senders included, and those fairly close.
fn literal(plan: &mut Plan<'_>, ranked: &mut [Candidate], policy: &RoutingPolicy) {
    let Some(best) = ranked.first() else { return };
    if !best.cost.signal {
        let sent = send_to_best(plan, ranked, 1, policy);
        plan.say(format!("no peer knows anything about it; {sent} gets it by lot"));
        return;
    }
    if best.no == Some(No::InHeader) {
        plan.say(format!("it is kept: {}, which knows it best, has sent it", best.cost.address));
        return;
    }
    let x_bits = best.cost.bits + best.cost.gain_bits;
    let limit = best.cost.bits + policy.close_margin * x_bits;
    let mut sent = 0;
    for candidate in ranked.iter_mut().filter(|c| c.cost.signal) {
        if sent == policy.close_peers.max(1) || (sent > 0 && candidate.cost.bits > limit) {
            break;
        }
        if candidate.no.is_none() && send(plan, candidate) {
            sent += 1;
        }
    }
    plan.say(format!(
        "it goes to the best peer and those within {} of it, {sent} in all",
        percent(policy.close_margin)
    ));
}

/// Section 3.2: if the best peer has sent X, it gets another message, one that costs us much and
/// it little.
fn compensate(plan: &mut Plan<'_>, pool: &Pool, ranked: &[Candidate], policy: &RoutingPolicy) {
    let Some(best) = ranked.first() else { return };
    if best.no != Some(No::InHeader) || !best.cost.signal {
        return;
    }
    let to = &best.cost.address;
    let chosen = compensate::choose(pool, plan.around(), plan.subject(), to, policy, &|y| {
        // That Bob is in the header of X says nothing about Y.
        plan.check_cached(to, y).is_ok()
    });
    match chosen {
        Some(y) => {
            let why = format!("compensation: {to} knows the message best and has sent it");
            if let Err(no) = plan.send_cached(to, &y, None, why) {
                plan.say(format!("{} does not go to {to} for compensation: {no}", y.id));
            }
        }
        None => plan.say(format!("nothing here would compensate {to}")),
    }
}

fn knows(cost: &PeerCost) -> String {
    format!(
        "what it has sent saves {:.1} of {:.1} bits ({})",
        cost.gain_bits,
        cost.gain_bits + cost.bits,
        percent(cost.gain_share)
    )
}

fn why(candidate: &Candidate) -> String {
    let cost = &candidate.cost;
    match (&candidate.chosen, &candidate.no) {
        (Some(chosen), _) => chosen.clone(),
        (None, Some(no)) => no.to_string(),
        (None, None) if cost.signal => format!("not needed: {}", knows(cost)),
        (None, None) if cost.messages == 0 => "it has sent nothing yet".to_owned(),
        (None, None) => "nothing it has sent is about this".to_owned(),
    }
}

/// A number for an address that depends on the seed and nothing else (splitmix64 over its bytes).
fn lot(seed: u64, address: &Address) -> u64 {
    let mix = |mut z: u64| {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    address.as_bytes().iter().fold(mix(seed), |state, byte| mix(state ^ u64::from(*byte)))
}
