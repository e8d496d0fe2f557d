//! The network: gateways, transfers between them, and the order in which things happen.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::gateway::{Gateway, Reception, Routed, Transfer};
use super::rule::{Part, Rule};
use super::scenario::{Named, Scenario};
use super::score::{Row, Score, Way, share};
use super::trace::Trace;
use super::traffic::{Post, Traffic};
use crate::evaluate::Chance;
use crate::message::{Address, Message, MessageId, UnixTime};
use crate::router::RoutingPolicy;

/// How long the queue waits before it tries a transfer again that failed on the way.
const AGAIN: Duration = Duration::from_secs(60);
/// How long it waits for a gateway that is down or busy.
const LATER: Duration = Duration::from_secs(3600);
/// How often a transfer is tried in all.
const TRIES: u32 = 6;
/// Of how many posts the ways are remembered, to show that of one.
const WAYS: usize = 200;

/// What all gateways share.
pub(super) struct World<'a> {
    posts: &'a [Post],
    addresses: Vec<Address>,
    ids: HashMap<MessageId, u32>,
    victim: Option<Address>,
    alternatives: usize,
}

impl World<'_> {
    pub(super) fn post(&self, number: u32) -> Option<&Post> {
        self.posts.get(number as usize)
    }

    pub(super) fn address(&self, gateway: u32) -> Option<&Address> {
        self.addresses.get(gateway as usize)
    }

    /// The gateway with this address; an alias of somebody who is at home there is none.
    pub(super) fn gateway_of(&self, address: &Address) -> Option<u32> {
        let digits = address.as_bytes().strip_prefix(b"http://g")?.split(|byte| *byte == b'.').next()?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (self.address(number)? == address).then_some(number)
    }

    pub(super) fn number_of(&self, id: MessageId) -> Option<u32> {
        self.ids.get(&id).copied()
    }

    /// How many others are asked when a peer does not want a step of a walk.
    pub(super) fn alternatives(&self) -> usize {
        self.alternatives
    }

    /// Whom poisoners name; none if they name themselves.
    pub(super) fn named(&self) -> Option<&Address> {
        self.victim.as_ref()
    }
}

/// What is going to happen; ordered by its time, then by when it was planned.
struct Event {
    at: UnixTime,
    serial: u64,
    from: u32,
    tries: u32,
    transfer: Transfer,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

struct Network<'a> {
    world: World<'a>,
    scenario: &'a Scenario,
    policy: RoutingPolicy,
    rule: Rule,
    gateways: Vec<Gateway>,
    /// By author.
    homes: Vec<u32>,
    /// Who can't be asked before a body is sent, by number; none stands for nobody.
    silent: Vec<bool>,
    events: BinaryHeap<Reverse<Event>>,
    serial: u64,
    chance: Chance,
    score: Score,
    /// From which post on ways are remembered.
    ways_from: u32,
    ways: HashMap<u32, Vec<Way>>,
    reached: HashMap<u32, usize>,
}

/// Replays the traffic under one rule; with a trace, in the network that it is of.
pub(super) fn run(
    (traffic, trace): (&Traffic, Option<&Trace>),
    scenario: &Scenario,
    configured: &RoutingPolicy,
    rule: Rule,
    progress: &mut dyn FnMut(usize),
) -> Row {
    let start = Instant::now();
    let mut network = Network::new((traffic, trace), scenario, configured, rule);
    let all = traffic.posts.len();
    let (dies, returns) = (at(scenario.deaths.at, all), at(scenario.deaths.until, all));
    let mut dead = Vec::new();
    for (number, post) in traffic.posts.iter().enumerate() {
        network.work(post.at);
        if number == dies && scenario.deaths.share > 0.0 && rule != Rule::Central {
            dead = network.kill();
        }
        if number == returns && returns > dies {
            for number in dead.drain(..) {
                if let Some(gateway) = network.gateways.get_mut(number as usize) {
                    gateway.alive = true;
                }
            }
        }
        network.post(u32::try_from(number).unwrap_or(u32::MAX), post);
        if number % 64 == 0 {
            progress(number);
        }
    }
    network.work(UnixTime(i64::MAX));
    progress(all);
    let mut row = network.row(traffic);
    row.seconds = start.elapsed().as_secs_f64();
    row
}

/// The number of the post before which something happens.
fn at(share: f64, posts: usize) -> usize {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of posts"
    )]
    let number = (share.clamp(0.0, 1.0) * posts as f64) as usize;
    number
}

impl<'a> Network<'a> {
    fn new(
        (traffic, trace): (&'a Traffic, Option<&Trace>),
        scenario: &'a Scenario,
        configured: &RoutingPolicy,
        rule: Rule,
    ) -> Self {
        let central = rule == Rule::Central;
        let number = if central { 1 } else { scenario.gateways };
        let mut chance = Chance::new(scenario.seed);
        let policy = rule.policy(&scenario.routing.over(configured));
        let name = |gateway: usize| Address::new(format!("http://g{gateway}.example/cmr"));
        let addresses: Vec<Address> = (0..number).filter_map(|gateway| name(gateway).ok()).collect();
        let trace = trace.filter(|_| !central);
        let graph = match trace {
            Some(trace) => trace.gateways.iter().map(|seat| seat.knows.clone()).collect(),
            None => graph(number, scenario.degree, &mut chance),
        };
        // Everybody has a home that is drawn by lot, the same under each rule.
        let mut lots = Chance::new(scenario.seed ^ 0xa076_1d64);
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut homes: Vec<u32> = (0..traffic.authors).map(|_| whole(lots.below(number))).collect();
        for post in trace.into_iter().flat_map(|trace| &trace.posts) {
            if let Some(home) = homes.get_mut(post.author as usize) {
                *home = post.home;
            }
        }
        let silent = trace.into_iter().flat_map(|trace| &trace.gateways).map(|seat| !seat.asked).collect();
        let cache = if central { traffic.posts.len().max(1) } else { scenario.cache };
        let skew = scenario.skew_s.min(86_400).saturating_mul(1_000_000);
        let mut gateways: Vec<Gateway> = addresses
            .iter()
            .zip(graph)
            .enumerate()
            .map(|(number, (address, neighbours))| {
                let skew = if central { 0 } else { between(&mut chance, skew) };
                let seed = chance.number();
                let contacts = policy.contacts;
                Gateway::new(whole(number), address.clone(), neighbours, cache, skew, contacts, seed)
            })
            .collect();
        let poisoners = if central { 0 } else { at(scenario.poison.share, number) };
        let mut order: Vec<u32> = (1..whole(number)).collect();
        chance.shuffle(&mut order);
        for poisoner in order.into_iter().take(poisoners) {
            if let Some(gateway) = gateways.get_mut(poisoner as usize) {
                gateway.poisons = true;
            }
        }
        let victim = (poisoners > 0 && scenario.poison.names == Named::Victim)
            .then(|| addresses.first().cloned())
            .flatten();
        Network {
            world: World {
                posts: &traffic.posts,
                addresses,
                ids: HashMap::new(),
                victim,
                alternatives: scenario.alternatives,
            },
            scenario,
            policy,
            rule,
            gateways,
            homes,
            silent,
            events: BinaryHeap::new(),
            serial: 0,
            chance: Chance::new(scenario.seed ^ 0x2545_f491),
            score: Score::default(),
            ways_from: whole(at(0.9, traffic.posts.len())),
            ways: HashMap::new(),
            reached: HashMap::new(),
        }
    }

    /// Works off what happens up to `until`.
    fn work(&mut self, until: UnixTime) {
        while self.events.peek().is_some_and(|Reverse(next)| next.at <= until) {
            if let Some(Reverse(event)) = self.events.pop() {
                self.arrive(event);
            }
        }
    }

    fn post(&mut self, number: u32, post: &Post) {
        let home = self.living_home(post.author);
        let Some(gateway) = self.gateways.get_mut(home as usize) else { return };
        let Some(message) = gateway.posted(&self.world, number, post.at) else { return };
        self.world.ids.insert(message.id(), number);
        let routed = gateway.route(&self.world, (number, &message, None), &self.policy, self.rule, post.at);
        for other in &routed.matches {
            self.deliver(post.author, *other);
        }
        self.settle(home, number, routed, post.at);
    }

    /// Whose gateway is dead moves to another one.
    fn living_home(&mut self, author: u32) -> u32 {
        let home = self.homes.get(author as usize).copied().unwrap_or(0);
        if self.gateways.get(home as usize).is_none_or(|gateway| gateway.alive) {
            return home;
        }
        let alive: Vec<u32> =
            self.gateways.iter().filter(|gateway| gateway.alive).map(|gateway| gateway.number).collect();
        let moved = self.chance.one(&alive).copied().unwrap_or(home);
        if let Some(home) = self.homes.get_mut(author as usize) {
            *home = moved;
        }
        moved
    }

    fn deliver(&mut self, author: u32, post: u32) {
        if self.world.post(post).is_some_and(|post| post.author != author) {
            self.score.deliver(author, post);
            if post >= self.ways_from {
                *self.reached.entry(post).or_default() += 1;
            }
        }
    }

    /// What follows from a routed message: authors whose posts it matches get it, and transfers
    /// leave.
    fn settle(&mut self, at: u32, post: u32, routed: Routed, now: UnixTime) {
        let later = i64::from(self.scenario.later_days).saturating_mul(86_400_000_000);
        for other in &routed.matches {
            let Some(matched) = self.world.post(*other) else { continue };
            let (author, since) = (matched.author, matched.at);
            let at_home = self.homes.get(author as usize) == Some(&at);
            if at_home && now.0.saturating_sub(since.0) <= later {
                self.deliver(author, post);
            }
        }
        for transfer in routed.transfers {
            self.send(at, transfer, now);
        }
    }

    fn send(&mut self, from: u32, transfer: Transfer, now: UnixTime) {
        let (least, most) = self.scenario.latency();
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        let extra = self.chance.number().checked_rem(span.saturating_add(1)).unwrap_or(0);
        let at = now.saturating_add(least).saturating_add(Duration::from_micros(extra));
        self.plan(at, from, 1, transfer);
    }

    fn plan(&mut self, at: UnixTime, from: u32, tries: u32, transfer: Transfer) {
        self.serial += 1;
        let serial = self.serial;
        self.events.push(Reverse(Event { at, serial, from, tries, transfer }));
    }

    fn arrive(&mut self, event: Event) {
        let Event { at: now, from, tries, transfer, .. } = event;
        // The luck of the way: as many numbers as it takes 1 of 2^53 for.
        let luck = (self.chance.number() >> 11) as f64 / (1_u64 << 53) as f64;
        if luck < self.scenario.loss {
            return self.again(now, AGAIN, from, tries, transfer);
        }
        let Transfer { to, post, .. } = transfer;
        let Some(gateway) = self.gateways.get_mut(to as usize) else { return };
        if !gateway.alive {
            return self.unanswered(now, from, tries, transfer);
        }
        let message = std::sync::Arc::clone(&transfer.message);
        let offers = self.scenario.offers && !self.rule.lacks(Part::Offers);
        let asked = offers && !self.silent.get(to as usize).is_some_and(|silent| *silent);
        // Who is named in a header, and has nothing that the post goes with, only answers a question.
        let related = transfer.because.is_empty() || transfer.because.iter().any(|of| gateway.knows(*of));
        if asked && !related && !gateway.knows(post) {
            self.score.offers += 1;
            self.score.misdirected += 1;
            if let Some(sender) = self.gateways.get_mut(from as usize) {
                sender.has_it_not(post, to);
            }
            return;
        }
        match gateway.receive(post, &message, from, self.scenario.cap_per_hour, now) {
            Reception::Known if asked => {
                self.score.offers += 1;
                self.elsewhere(now, from, transfer);
            }
            Reception::Known => {
                self.body(&message, from, &transfer);
            }
            Reception::Busy => {
                self.score.busy += 1;
                if transfer.walk.is_some() {
                    self.elsewhere(now, from, transfer);
                } else {
                    self.again(now, LATER, from, tries, transfer);
                }
            }
            Reception::Early(micros) => {
                let wait = Duration::from_micros(u64::try_from(micros).unwrap_or(1));
                self.plan(now.saturating_add(wait), from, tries, transfer);
            }
            Reception::Refused => {
                self.body(&message, from, &transfer);
                self.score.refused += 1;
            }
            Reception::Taken => {
                self.body(&message, from, &transfer);
                let Some(gateway) = self.gateways.get_mut(to as usize) else { return };
                let known = (post, &*message, Some(from));
                let routed = gateway.route(&self.world, known, &self.policy, self.rule, now);
                self.settle(to, post, routed, now);
            }
        }
    }

    /// A whole message was sent.
    fn body(&mut self, message: &Message, from: u32, transfer: &Transfer) {
        let hop = message.hops.len().saturating_sub(1);
        self.score.bodies += 1;
        self.score.steps += u64::from(transfer.walk.is_some());
        self.score.matches += u64::from(transfer.is_match);
        self.score.hops += hop as u64;
        let named = match self.scenario.poison.names {
            Named::Victim => transfer.to == 0,
            Named::Attacker => self.gateways.get(transfer.to as usize).is_some_and(|to| to.poisons),
        };
        self.score.named += u64::from(named && self.scenario.poison.share > 0.0);
        let remembered = transfer.post >= self.ways_from
            && (self.ways.len() < WAYS || self.ways.contains_key(&transfer.post));
        if remembered {
            let way = Way { from, to: transfer.to, hop, walk: transfer.walk.is_some() };
            self.ways.entry(transfer.post).or_default().push(way);
        }
    }

    fn again(&mut self, now: UnixTime, wait: Duration, from: u32, tries: u32, transfer: Transfer) {
        let alive = self.gateways.get(from as usize).is_some_and(|gateway| gateway.alive);
        if tries < TRIES && alive {
            self.plan(now.saturating_add(wait), from, tries + 1, transfer);
        }
    }

    /// The receiver is dead: it is dropped at once, and somebody else gets it.
    fn unanswered(&mut self, now: UnixTime, from: u32, tries: u32, transfer: Transfer) {
        if let Some(sender) = self.gateways.get_mut(from as usize) {
            sender.contacts.gone(transfer.to, now);
        }
        if transfer.walk.is_some() {
            self.elsewhere(now, from, transfer);
        } else {
            self.again(now, LATER, from, tries, transfer);
        }
    }

    /// A step of a walk that nobody took goes to the next best peer.
    fn elsewhere(&mut self, now: UnixTime, from: u32, mut transfer: Transfer) {
        let Some(next) = transfer.walk.as_mut().and_then(super::alternatives::Alternatives::next) else {
            return;
        };
        let Some(sender) = self.gateways.get_mut(from as usize).filter(|sender| sender.alive) else { return };
        sender.has_it(transfer.post, next);
        transfer.to = next;
        self.send(from, transfer, now);
    }

    /// Some gateways die.
    fn kill(&mut self) -> Vec<u32> {
        let number = at(self.scenario.deaths.share, self.gateways.len());
        let mut order: Vec<(usize, u32)> =
            self.gateways.iter().map(|gateway| (gateway.visited(), gateway.number)).collect();
        if self.scenario.deaths.busiest {
            order.sort_unstable_by(|a, b| b.cmp(a));
        } else {
            self.chance.shuffle(&mut order);
        }
        let dead: Vec<u32> = order.into_iter().take(number).map(|(_, gateway)| gateway).collect();
        for number in &dead {
            if let Some(gateway) = self.gateways.get_mut(*number as usize) {
                gateway.alive = false;
            }
        }
        dead
    }

    fn row(self, traffic: &Traffic) -> Row {
        let mut row = Row::of(self.rule);
        self.score.judge(traffic, &mut row);
        row.loads(self.gateways.iter().map(Gateway::visited).collect(), traffic.posts.len());
        let bytes: usize = self.gateways.iter().map(Gateway::memory_bytes).sum();
        row.pool_bytes_mean = bytes.checked_div(self.gateways.len()).unwrap_or(0);
        let named: BTreeSet<u32> = match self.scenario.poison.names {
            _ if self.scenario.poison.share <= 0.0 => BTreeSet::new(),
            Named::Victim => BTreeSet::from([0]),
            Named::Attacker => self.gateways.iter().filter(|it| it.poisons).map(|it| it.number).collect(),
        };
        let (mut entries, mut of_named) = (0_u64, 0_u64);
        for contact in self.gateways.iter().flat_map(|gateway| gateway.contacts.all()) {
            entries += 1;
            of_named += u64::from(named.contains(&contact));
        }
        row.named_contacts_share = share(of_named, entries);
        // The post that reached most people, of those whose way is known.
        let best = self.ways.keys().max_by_key(|post| (self.reached.get(*post), Reverse(**post)));
        row.way = best.and_then(|post| self.ways.get(post)).cloned().unwrap_or_default();
        row
    }
}

/// A number from -most to most.
fn between(chance: &mut Chance, most: u64) -> i64 {
    let span = most.saturating_mul(2).saturating_add(1);
    let drawn = chance.number().checked_rem(span).unwrap_or(0);
    i64::try_from(drawn).unwrap_or(0).saturating_sub(i64::try_from(most).unwrap_or(0))
}

/// A random graph: everybody has about `degree` neighbours, and knows those that know it. It holds
/// together, because each knows one of those before it.
fn graph(number: usize, degree: usize, chance: &mut Chance) -> Vec<Vec<u32>> {
    let mut neighbours: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); number];
    let mut join = |a: usize, b: usize| {
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if a != b {
            if let Some(of) = neighbours.get_mut(a) {
                of.insert(whole(b));
            }
            if let Some(of) = neighbours.get_mut(b) {
                of.insert(whole(a));
            }
        }
    };
    for gateway in 1..number {
        join(gateway, chance.below(gateway));
    }
    // Each edge counts at both its ends.
    for _ in 0..(number * degree / 2).saturating_sub(number) {
        let (a, b) = (chance.below(number), chance.below(number));
        join(a, b);
    }
    neighbours.into_iter().map(|of| of.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_graph_holds_together() {
        for (number, degree) in [(1, 6), (2, 6), (30, 6), (1000, 6), (30, 29)] {
            let graph = graph(number, degree, &mut Chance::new(3));
            let mut reached = BTreeSet::from([0_u32]);
            let mut open = vec![0_u32];
            while let Some(at) = open.pop() {
                for next in &graph[at as usize] {
                    assert!(graph[*next as usize].contains(&at), "who is known knows");
                    if reached.insert(*next) {
                        open.push(*next);
                    }
                }
            }
            assert_eq!(reached.len(), number);
            let edges: usize = graph.iter().map(Vec::len).sum();
            assert!(edges <= number * degree.max(2), "{number} {degree}: {edges}");
        }
    }
}
