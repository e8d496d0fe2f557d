//! One gateway of the network.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::alternatives::Alternatives;
use super::contacts::Contacts;
use super::network::World;
use super::rule::{Part, Rule};
use crate::evaluate::Chance;
use crate::message::{
    Acceptance, Address, Hop, Hops, Message, MessageId, Recipient, Signature, Timestamp, UnixTime,
};
use crate::policy::{Scope, may_send_to};
use crate::pool::{Entry, Limits, Pool, Texts};
use crate::router::{Contact, RoutingPolicy, Subject, Surroundings, What, decide};

/// How far ahead of its clock a gateway lets a message be dated: the shipped configuration's.
const SKEW: Duration = Duration::from_secs(60);

/// Bytes of the dictionary of one gateway.
const DICTIONARY: u64 = 64 << 20;

/// A router, with what it knows.
pub(super) struct Gateway {
    pub(super) number: u32,
    own: [Address; 1],
    /// How wrong its clock is, in microseconds.
    skew: i64,
    /// It forges the lines below its own.
    pub(super) poisons: bool,
    pub(super) alive: bool,
    pool: Pool,
    pub(super) contacts: Contacts,
    /// The first neighbours.
    neighbours: Vec<u32>,
    /// Every post that was ever here.
    seen: HashSet<u32>,
    /// The headers of those that are cached.
    cached: HashMap<u32, Hops>,
    /// Who is known to have what is cached.
    holders: HashMap<u32, Vec<u32>>,
    /// The hour, and what was accepted in it.
    hour: (i64, usize),
    /// Its last T, in microseconds: times never go back.
    last_time: i64,
    chance: Chance,
}

/// A message on its way to somebody.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) to: u32,
    pub(super) post: u32,
    pub(super) message: Arc<Message>,
    /// A step of a walk, and who else could be asked; else an exchange of matches.
    pub(super) walk: Option<Alternatives>,
    /// A match that goes to where the subject comes from; else the subject itself.
    pub(super) is_match: bool,
    /// The posts because of which the receiver is to get it: it wants nothing if it has none of them.
    pub(super) because: Vec<u32>,
}

/// What a gateway made of a message.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// The posts that it matches, best first.
    pub(super) matches: Vec<u32>,
    pub(super) transfers: Vec<Transfer>,
}

/// What a gateway says to a message that comes in.
pub(super) enum Reception {
    /// It has it already.
    Known,
    /// It has accepted too much lately.
    Busy,
    /// Its time is not reached yet: for so many microseconds.
    Early(i64),
    /// It breaks a rule of the format.
    Refused,
    /// It is taken.
    Taken,
}

impl Gateway {
    pub(super) fn new(
        number: u32,
        address: Address,
        neighbours: Vec<u32>,
        cache: usize,
        skew: i64,
        contacts: usize,
        seed: u64,
    ) -> Self {
        let limits = Limits {
            max_messages: cache,
            max_dictionary: DICTIONARY,
            max_profiles: contacts.saturating_mul(2).max(64),
            ..Limits::default()
        };
        Gateway {
            number,
            own: [address],
            skew,
            poisons: false,
            alive: true,
            pool: Pool::new(limits),
            contacts: Contacts::new(neighbours.iter().copied(), contacts),
            neighbours,
            seen: HashSet::new(),
            cached: HashMap::new(),
            holders: HashMap::new(),
            hour: (i64::MIN, 0),
            last_time: i64::MIN,
            chance: Chance::new(seed),
        }
    }

    pub(super) fn address(&self) -> &Address {
        let [own] = &self.own;
        own
    }

    /// How many posts were ever here.
    pub(super) fn visited(&self) -> usize {
        self.seen.len()
    }

    /// Bytes of its pool.
    pub(super) fn memory_bytes(&self) -> usize {
        self.pool.memory_bytes()
    }

    fn clock(&self, now: UnixTime) -> UnixTime {
        UnixTime(now.0.saturating_add(self.skew))
    }

    /// Notes that `other` has this post.
    pub(super) fn has_it(&mut self, post: u32, other: u32) {
        if let Some(known) = self.holders.get_mut(&post)
            && !known.contains(&other)
        {
            known.push(other);
        }
    }

    /// Notes that `other` did not want this post.
    pub(super) fn has_it_not(&mut self, post: u32, other: u32) {
        if let Some(known) = self.holders.get_mut(&post) {
            known.retain(|it| *it != other);
        }
    }

    /// Whether this post was ever here.
    pub(super) fn knows(&self, post: u32) -> bool {
        self.seen.contains(&post)
    }

    /// What it says to a message that `from` brings, at most `cap` an hour.
    pub(super) fn receive(
        &mut self,
        post: u32,
        message: &Message,
        from: u32,
        cap: usize,
        now: UnixTime,
    ) -> Reception {
        if self.seen.contains(&post) {
            self.has_it(post, from);
            return Reception::Known;
        }
        let hour = now.as_secs().div_euclid(3600);
        if self.hour.0 != hour {
            self.hour = (hour, 0);
        }
        if cap > 0 && self.hour.1 >= cap {
            return Reception::Busy;
        }
        let clock = self.clock(now);
        let recipient = Recipient { skew: SKEW, ..Recipient::new(clock, &self.own) };
        match message.accept(&recipient) {
            Err(_) => Reception::Refused,
            Ok(Acceptance::HeldUntil(until)) => Reception::Early(until.0.saturating_sub(clock.0).max(1)),
            Ok(Acceptance::Now) => {
                self.hour.1 += 1;
                Reception::Taken
            }
        }
    }

    /// A post of somebody who is at home here.
    pub(super) fn posted(&self, world: &World<'_>, post: u32, now: UnixTime) -> Option<Message> {
        let written = world.post(post)?;
        let alias = Address::new(format!("http://{}/a{}", self.address().host()?, written.author)).ok()?;
        let time = Timestamp::from_unix(self.clock(now), &format!("{post:07}"));
        Some(Message::new(Hop::new(time, alias), written.text.to_vec()))
    }

    /// Asks the router, then inserts the message into the pool.
    pub(super) fn route(
        &mut self,
        world: &World<'_>,
        (post, message, from): (u32, &Message, Option<u32>),
        policy: &RoutingPolicy,
        rule: Rule,
        now: UnixTime,
    ) -> Routed {
        self.seen.insert(post);
        let clock = self.clock(now);
        let id = message.id();
        let around = Around { gateway: self, world, now };
        let contacts = around.contacts(post);
        let subject = Subject { message, id, scope: Scope::Public, is_post: from.is_none() };
        let [a, b, c, d, e, f, g, h] = *id.as_bytes();
        let seed = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let decision = decide(&subject, &self.pool, &contacts, &around, policy, clock, seed);
        let number = |seq: i64| u32::try_from(seq).ok();
        let matches: Vec<u32> = decision.matches.iter().filter_map(|found| number(found.seq)).collect();
        let in_header = |to: u32| {
            let address = world.address(to);
            message.hops.addresses().any(|hop| address.is_some_and(|address| hop.same_place(address)))
        };
        let free = |to: u32| to != self.number && !in_header(to) && !around.holds(to, post);
        // Whoever is asked next if one that was chosen does not want it.
        let spare: Vec<u32> = decision
            .peers
            .iter()
            .filter(|peer| !peer.chosen)
            .filter_map(|peer| world.gateway_of(&peer.address))
            .filter(|to| free(*to) && around.may_send_number(*to))
            .collect();
        let walks: HashSet<&Address> =
            decision.peers.iter().filter(|peer| peer.chosen).map(|peer| &peer.address).collect();
        let mut wanted: Vec<(u32, u32, Option<Alternatives>, Vec<u32>)> = Vec::new();
        let mut by_lot = 0;
        for forward in &decision.forwards {
            let Some(to) = world.gateway_of(&forward.to) else { continue };
            let because = || {
                let posts = forward.because.iter().filter_map(|what| match what {
                    What::This => Some(post),
                    What::Match(seq) => number(*seq),
                });
                posts.collect::<Vec<u32>>()
            };
            match forward.what {
                What::Match(_) if rule.lacks(Part::Matches) => {}
                What::This if rule.lacks(Part::Introductions) && !walks.contains(&forward.to) => {}
                What::This if walks.contains(&forward.to) && rule.lacks(Part::Competition) => by_lot += 1,
                What::This if walks.contains(&forward.to) => {
                    wanted.push((
                        to,
                        post,
                        Some(Alternatives::new(spare.iter().copied(), world.alternatives())),
                        Vec::new(),
                    ));
                }
                What::This => wanted.push((to, post, None, because())),
                What::Match(seq) => wanted.extend(number(seq).map(|other| (to, other, None, because()))),
            }
        }
        let lines = message.hops.len();
        let mut lots: Vec<u32> = Vec::new();
        match rule {
            Rule::Flooding(hops) if lines <= hops => {
                wanted.extend(
                    self.neighbours
                        .iter()
                        .filter(|to| free(**to))
                        .map(|to| (*to, post, Some(Alternatives::default()), Vec::new())),
                );
            }
            Rule::RandomWalk(steps) if lines <= steps => by_lot = 1,
            _ => {}
        }
        if by_lot > 0 {
            lots.extend(self.contacts.present(now).map(|known| known.gateway).filter(|to| free(*to)));
            lots.retain(|to| wanted.iter().all(|(other, what, ..)| (other, *what) != (to, post)));
        }
        self.chance.shuffle(&mut lots);
        let rest = lots.split_off(by_lot.min(lots.len()));
        wanted.extend(lots.into_iter().map(|to| {
            (to, post, Some(Alternatives::new(rest.iter().copied(), world.alternatives())), Vec::new())
        }));
        self.keep(world, post, message, id);
        if !rule.lacks(Part::Learning) {
            self.learn(world, message, from, !matches.is_empty(), now);
        }
        let transfers = wanted
            .into_iter()
            .filter_map(|(to, what, walk, because)| {
                let sent = if what == post {
                    self.stamped(world, message, now)
                } else {
                    let hops = self.cached.get(&what)?.clone();
                    let body = world.post(what)?.text.to_vec();
                    self.stamped(world, &Message { signature: Signature::Unsigned, hops, body }, now)
                }?;
                self.has_it(what, to);
                let is_match = what != post;
                Some(Transfer { to, post: what, message: Arc::new(sent), walk, is_match, because })
            })
            .collect();
        Routed { matches, transfers }
    }

    fn keep(&mut self, world: &World<'_>, post: u32, message: &Message, id: MessageId) {
        let entry = Entry {
            seq: i64::from(post),
            id,
            sender: message.sender().address.clone(),
            hops: message.hops.addresses().cloned().collect(),
            author: message.origin().address.clone(),
            scope: Scope::Public,
        };
        self.cached.insert(post, message.hops.clone());
        let have = message.hops.addresses().filter_map(|hop| world.gateway_of(hop));
        self.holders.insert(post, have.filter(|other| *other != self.number).collect());
        for gone in self.pool.insert(&entry, &message.body) {
            if let Ok(gone) = u32::try_from(gone) {
                self.cached.remove(&gone);
                self.holders.remove(&gone);
            }
        }
    }

    /// Everybody in the header could be a contact; the sender has proved that it is one.
    fn learn(
        &mut self,
        world: &World<'_>,
        message: &Message,
        from: Option<u32>,
        useful: bool,
        now: UnixTime,
    ) {
        let address = |gateway: u32| world.address(gateway).cloned();
        for other in message.hops.addresses().filter_map(|hop| world.gateway_of(hop)) {
            if other != self.number {
                self.contacts.learn(other, from == Some(other), useful, &address);
            }
        }
        if useful {
            let home = world.gateway_of(message.home_router());
            for other in from.into_iter().chain(home) {
                self.contacts.credit(other, now);
            }
        }
    }

    /// The message with our line on top: step 3 of A3. A poisoner writes what it likes below.
    fn stamped(&mut self, world: &World<'_>, message: &Message, now: UnixTime) -> Option<Message> {
        let newest = message.sender().time.to_unix().0;
        let time = self.clock(now).0.max(self.last_time.saturating_add(1)).max(newest.saturating_add(2));
        self.last_time = time;
        let line = Hop::new(Timestamp::from_unix(UnixTime(time), ""), self.address().clone());
        if !self.poisons {
            return Some(message.stamped(line));
        }
        let mut lines = vec![line];
        if let Some(named) = world.named().filter(|named| *named != self.address()) {
            let before = Timestamp::from_unix(UnixTime(time.saturating_sub(1)), "");
            lines.push(Hop::new(before, named.clone()));
        }
        lines.push(message.origin().clone());
        Some(Message { signature: Signature::Unsigned, hops: Hops::new(lines)?, body: message.body.clone() })
    }
}

/// What the router asks about the gateway.
struct Around<'a> {
    gateway: &'a Gateway,
    world: &'a World<'a>,
    now: UnixTime,
}

impl Around<'_> {
    fn contacts(&self, post: u32) -> Vec<Contact> {
        self.gateway
            .contacts
            .present(self.now)
            .filter_map(|known| {
                let address = self.world.address(known.gateway)?.clone();
                let may = self.may_send(&address);
                Some(Contact {
                    address,
                    pinned: known.pinned,
                    may_send: may.is_ok(),
                    reason: may.err(),
                    has: self.holds(known.gateway, post),
                })
            })
            .collect()
    }

    fn holds(&self, other: u32, post: u32) -> bool {
        self.gateway.holders.get(&post).is_some_and(|all| all.contains(&other))
    }

    fn may_send_number(&self, to: u32) -> bool {
        self.world.address(to).is_some_and(|address| self.may_send(address).is_ok())
    }
}

impl Texts for Around<'_> {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        Some(self.world.post(u32::try_from(seq).ok()?)?.text.to_vec())
    }
}

impl Surroundings for Around<'_> {
    fn is_own(&self, address: &Address) -> bool {
        // Its aliases stand under the same host.
        let own = self.gateway.address().as_bytes();
        address.as_bytes().starts_with(own.strip_suffix(b"cmr").unwrap_or(own))
    }

    fn has(&self, address: &Address, id: MessageId) -> bool {
        // Ids of other messages than the subject: matches, which are looked up by number.
        let Some(other) = self.world.gateway_of(address) else { return false };
        let Some(post) = self.world.number_of(id) else { return false };
        self.holds(other, post)
    }

    fn is_acquainted(&self, address: &Address) -> bool {
        self.world.gateway_of(address).is_some_and(|other| self.gateway.contacts.standing(other).pinned)
    }

    fn may_send(&self, address: &Address) -> Result<(), String> {
        let Some(other) = self.world.gateway_of(address) else {
            return Err("it is no gateway".to_owned());
        };
        may_send_to(address, self.gateway.contacts.standing(other), &[]).map_err(|no| no.to_string())
    }
}
