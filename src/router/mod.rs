//! The routing decision: what is a message X like, who gets it, and who gets what it is like.
//!
//! One pure function, [`decide`], and its reasons. It knows messages, the pool and what the caller
//! says about peers. It must never know transports, the database, the clock or who a person is:
//! time and luck (a seed) are passed in, and the same arguments give the same decision.
//!
//! What it does, by specification sections 3.2, 3.3 and A3:
//! 1. **Match.** X is measured against the public messages of the pool; the best `matches` ones
//!    above the thresholds of [`crate::pool`] are its matches.
//! 2. **Exchange** (A3). Each match Y goes to the router that took X from its author (to X's
//!    neighbour if that can't be sent to), and X to the router that took Y from its author. A router that
//!    is a stranger is believed about authors of its own domain; else the author's own address is taken.
//! 3. **Walk** (3.2), see [`Strategy`]: X goes to the peers whose sent text codes it shortest.
//! 4. **Flow** (3.3). Nothing goes to an address in its own header, to ourselves, to who can't be
//!    sent to, to who is known to have it, or twice; all of it together at most `max_forwards`.
//!    Local messages go nowhere.
//!
//! X must not be in the pool yet, nor credited to its sender: decide first, insert afterwards.

mod choose;
mod compensate;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

pub use policy::{NoSignal, RoutingPolicy, Strategy};

use crate::message::{Address, Message, MessageId, UnixTime};
use crate::policy::{Scope, is_key_exchange};
use crate::pool::{Audience, Entry, Pool, Query, Question, Scored, Texts};
use plan::{No, Plan};
use serde::{Deserialize, Serialize};

/// The message X that is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// X as it came: without our own line.
    pub message: &'a Message,
    /// Its public id.
    pub id: MessageId,
    /// Who may see it.
    pub scope: Scope,
    /// Whether it was created here, for a person or the operator.
    pub is_post: bool,
}

impl Subject<'_> {
    /// Whether we are the first router that it comes to.
    fn is_new(&self) -> bool {
        self.is_post || self.message.hops.len() == 1
    }
}

/// A peer that X may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its address.
    pub address: Address,
    /// Named by the operator: considered before all others.
    pub pinned: bool,
    /// Whether anything may be sent there now.
    pub may_send: bool,
    /// If not: why, in words.
    pub reason: Option<String>,
    /// Whether it is known to have X, by something else than X's header.
    pub has: bool,
}

/// What the decision has to know about addresses that nobody could list in advance, and the texts
/// of cached messages.
pub trait Surroundings: Texts {
    /// Whether an address is one of ours, aliases of people included.
    fn is_own(&self, address: &Address) -> bool;

    /// Whether a peer is known to have a message, by something else than the message's header:
    /// we sent it there, or it came from there again.
    fn has(&self, address: &Address, id: MessageId) -> bool;

    /// The other addresses of the gateway behind an address, as far as it has proved that it has
    /// several: what stands in a header, or was sent, under one of them concerns all.
    fn others(&self, _address: &Address) -> Vec<Address> {
        Vec::new()
    }

    /// Whether the gateway at an address is no stranger: the operator named it, or set a key for it.
    fn is_acquainted(&self, address: &Address) -> bool;

    /// Whether anything may be sent to an address that is not among the contacts.
    ///
    /// # Errors
    /// Why not, in words.
    fn may_send(&self, address: &Address) -> Result<(), String>;
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// X.
    This,
    /// The cached message of this number.
    Match(i64),
}

/// One message for one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// To whom.
    pub to: Address,
    /// What.
    pub what: What,
    /// The messages because of which this one is of use there; none for a step of a walk. Only headers say that
    /// the peer has one of them, and nobody signs what stands below their first lines (nor, without a key, the
    /// first): it is asked, before it gets what it has not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<What>,
    /// Why, in words.
    pub why: String,
}

/// A peer that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerScore {
    /// Its address.
    pub address: Address,
    /// C(X|Yi), bits: what X costs when everything that this peer has sent is known.
    pub bits: f64,
    /// Its place, 1 is the best; of peers that know nothing about X by lot.
    pub rank: usize,
    /// Whether X goes there.
    pub chosen: bool,
    /// Whether X may go there in the place of a chosen one that has no time for it.
    #[serde(default)]
    pub spare: bool,
    /// Why, or why not, in words.
    pub why: String,
}

/// A cached message that is like X.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Its number.
    pub seq: i64,
    /// Its public id.
    pub id: MessageId,
    /// C(X) − C(X|Y), bits.
    pub gain_bits: f64,
    /// The gain as a share of C(X), 0 to 1.
    pub gain_share: f64,
    /// C(X|Y), bits.
    pub one_sided_bits: f64,
    /// D(X,Y), bits.
    pub distance_raw: f64,
    /// Whether its author posted it here, so that X may be a later answer to a person of ours.
    pub ours: bool,
}

/// What happens with X, and why. Holds no wording of any message, so that what is erased from the
/// pool is not kept here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// In one sentence.
    pub verdict: String,
    /// In several, with the numbers.
    pub reasons: Vec<String>,
    /// Every peer that was considered, best first.
    pub peers: Vec<PeerScore>,
    /// Nearest first.
    pub matches: Vec<Match>,
    /// In order of importance.
    pub forwards: Vec<Forward>,
}

/// Decides about X.
#[must_use]
pub fn decide(
    subject: &Subject<'_>,
    pool: &Pool,
    peers: &[Contact],
    around: &dyn Surroundings,
    policy: &RoutingPolicy,
    now: UnixTime,
    seed: u64,
) -> Decision {
    let message = subject.message;
    if is_key_exchange(&message.body) {
        let verdict = "a key exchange: neither matched nor forwarded".to_owned();
        return Decision { verdict, ..Decision::default() };
    }
    // Public messages only, whoever asks: a decision is about what may leave the house.
    let question = pool.question(&message.body, Audience::Public);
    let found = matches(subject, &question, policy, around);
    let mut plan = Plan::new(subject, peers, around, policy.max_forwards);
    plan.say(match found.first() {
        Some(best) => format!(
            "{} of {} cached messages match; the nearest, {}, saves {:.1} of {:.1} bits ({})",
            found.len(),
            pool.len(),
            best.id,
            best.gain_bits,
            best.gain_bits + best.one_sided_bits,
            percent(best.gain_share)
        ),
        None => format!("none of {} cached messages is near enough", pool.len()),
    });
    let scores = if subject.scope == Scope::Local {
        plan.say("it is local: it goes to nobody, and nothing is sent because of it".to_owned());
        Vec::new()
    } else {
        let met_here: Vec<Scored> =
            found.iter().filter(|y| !is_exchanged(&mut plan, pool, y)).copied().collect();
        exchange_matches(&mut plan, pool, &met_here, subject, policy);
        let scores = choose::peers(&mut plan, &question, peers, policy, now, seed, &found);
        let everywhere = subject.is_new() || policy.policy == Strategy::Literal;
        exchange_subject(&mut plan, pool, &met_here, everywhere, policy);
        scores
    };
    let matches: Vec<Match> = found
        .iter()
        .map(|s| Match {
            seq: s.seq,
            id: s.id,
            gain_bits: s.gain_bits,
            gain_share: s.gain_share,
            one_sided_bits: s.one_sided_bits,
            distance_raw: s.distance_raw,
            ours: pool.get(s.seq).is_some_and(|y| around.is_own(y.home_router())),
        })
        .collect();
    let (reasons, forwards) = plan.done();
    Decision { verdict: verdict(&matches, &scores, &forwards), reasons, peers: scores, matches, forwards }
}

/// The messages that are near enough, nearest first.
fn matches(
    subject: &Subject<'_>,
    question: &Question<'_>,
    policy: &RoutingPolicy,
    around: &dyn Surroundings,
) -> Vec<Scored> {
    let query = Query {
        except: Some(subject.id),
        metric: policy.metric,
        age: policy.age,
        matches: true,
        ..Query::new(&subject.message.body, Audience::Public)
    };
    question.search(&query, policy.matches, around)
}

/// Whether we took Y from its author: a person here, or a peer that is nobody's client.
fn is_first_router_of(plan: &Plan<'_>, y: &Entry) -> bool {
    y.hops.len() == 1 || plan.is_own(y.home_router())
}

/// Whether X and its match met before: a gateway that X came by has the match as well, so that it has
/// sent the one to the home of the other. Else every gateway on the way would do it again. A match whose
/// first router we are is ours to exchange in any case: that is what X has come for.
fn is_exchanged(plan: &mut Plan<'_>, pool: &Pool, scored: &Scored) -> bool {
    let Some(y) = pool.get(scored.seq) else { return true };
    if is_first_router_of(plan, &y) {
        return false;
    }
    let (subject, around) = (plan.subject(), plan.around());
    let has = |gateway: &Address| y.hops.iter().any(|it| it.same_place(gateway)) || around.has(gateway, y.id);
    let met = subject.message.hops.addresses().find(|it| {
        **it != subject.message.origin().address && (has(it) || around.others(it).iter().any(has))
    });
    let Some(met) = met.cloned() else { return false };
    plan.say(format!("{met}, which sent it on, has {} as well: they are exchanged", y.id));
    true
}

/// A3: Y to the addresses in the header of X, of which one is enough; and of the matches the best ones,
/// because other gateways on the way of X have good ones too.
fn exchange_matches(
    plan: &mut Plan<'_>,
    pool: &Pool,
    found: &[Scored],
    subject: &Subject<'_>,
    policy: &RoutingPolicy,
) {
    let (home, neighbour) = (subject.message.home_router(), &subject.message.sender().address);
    let origin = &subject.message.origin().address;
    if found.is_empty() {
        return;
    }
    if subject.is_post || plan.is_own(home) {
        plan.reserve(1);
        plan.say("it was posted here, so its matches are for our own answer".to_owned());
        return;
    }
    let literal = policy.policy == Strategy::Literal;
    let most = if literal { found.len() } else { policy.answers };
    if found.len() > most {
        plan.say(format!("the {most} nearest matches are sent back (answers = {most})"));
    }
    for scored in found.iter().take(most) {
        let Some(y) = pool.get(scored.seq) else {
            continue;
        };
        let believed = literal || plan.believes(home, origin);
        let mut targets = match believed {
            true => vec![(home, "which this router took from its author")],
            false => vec![(origin, "which was written there")],
        };
        if neighbour != home && (believed || plan.around().is_acquainted(neighbour)) {
            targets.push((neighbour, "which this neighbour sent"));
        }
        for (to, who) in targets {
            let why = format!("{} saves {:.1} bits of {}, {who}", y.id, scored.gain_bits, subject.id);
            match plan.send_cached(to, &y, Some(What::This), why) {
                Ok(()) => break,
                Err(no) => {
                    plan.say(format!("{} does not go to {to}: {no}", y.id));
                    // Who can't be reached is represented by the neighbour; who has it is served.
                    if !matches!(no, No::Cannot(_)) {
                        break;
                    }
                }
            }
        }
    }
}

/// A3: X to the addresses in the header of Y, of which the one nearest to the author is enough.
///
/// In a walk the first router of X does so (`everywhere`), and the first router of Y. Others send their
/// Y to the first router of X, which finds X there and sends it to where Y was written: in a simulated
/// network of 30 gateways the exchange of both by every gateway on the way cost 10 % more bodies and
/// 70 % more offers, and found nothing more (`docs/network.md`).
fn exchange_subject(
    plan: &mut Plan<'_>,
    pool: &Pool,
    found: &[Scored],
    everywhere: bool,
    policy: &RoutingPolicy,
) {
    for scored in found {
        let Some(y) = pool.get(scored.seq) else {
            continue;
        };
        let believed = policy.policy == Strategy::Literal || plan.believes(y.home_router(), y.origin());
        let home = if believed { y.home_router() } else { y.origin() };
        let why = format!("it matches {}, which was written there ({:.1} bits)", y.id, scored.gain_bits);
        if plan.is_own(home) {
            plan.say(format!("{} was posted here: its author may want to know", y.id));
        } else if !everywhere && !is_first_router_of(plan, &y) {
            plan.say(format!("where {} was written they hear of it from its first router", y.id));
        } else if let Err(no) = plan.send_subject(home, Some(What::Match(scored.seq)), why)
            && no != No::Twice
        {
            plan.say(format!("it does not go to {home}, where {} was written: {no}", y.id));
        }
    }
}

fn verdict(matches: &[Match], peers: &[PeerScore], forwards: &[Forward]) -> String {
    let plural = |n: usize, one: &str, many: &str| {
        if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
    };
    let chosen = peers.iter().filter(|p| p.chosen).count();
    let matched =
        if matches.is_empty() { "no match".to_owned() } else { plural(matches.len(), "match", "matches") };
    let walked = match (chosen, peers.len()) {
        (_, 0) => String::new(),
        (0, n) => format!(", goes on to none of {}", plural(n, "peer", "peers")),
        (k, n) => format!(", goes on to {k} of {}", plural(n, "peer", "peers")),
    };
    let sent = if forwards.is_empty() {
        "nothing for other gateways".to_owned()
    } else {
        plural(forwards.len(), "forward in all", "forwards in all")
    };
    format!("{matched}{walked}; {sent}")
}

/// A share of 1 as whole percent.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
