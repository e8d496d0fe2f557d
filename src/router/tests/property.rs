//! What holds for every pool, every header and every set of peers.

use super::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

const WORDS: [&str; 24] = [
    "jupiter", "planet", "largest", "moon", "orbit", "bakery", "bread", "yeast", "flour", "oven", "kernel",
    "driver", "module", "patch", "compile", "river", "bridge", "ferry", "harbour", "the", "is", "what", "of",
    "and",
];

/// Few addresses, so that headers, peers and pool meet.
fn some_address() -> impl Strategy<Value = String> {
    (0..12_usize).prop_map(|i| format!("http://node{i}.example/"))
}

fn some_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(0..WORDS.len(), 0..30)
        .prop_map(|picks| picks.into_iter().map(|i| WORDS[i]).collect::<Vec<_>>().join(" "))
}

fn some_message() -> impl Strategy<Value = Message> {
    (proptest::collection::btree_set(some_address(), 1..6), 0..3 * DAY, some_text(), any::<u64>()).prop_map(
        |(addresses, age, body, order)| {
            let mut addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let n = addresses.len();
            addresses.rotate_left(usize::try_from(order % 7).unwrap() % n);
            message(&addresses, age, &body)
        },
    )
}

fn some_policy() -> impl Strategy<Value = RoutingPolicy> {
    (0..20_usize, 0..6_usize, any::<(bool, bool, bool)>(), 0..4_usize, 1..8_usize, 0..4_usize).prop_map(
        |(max_forwards, matches, (literal, discard, compensate), first_walks, max_hops, metric)| {
            RoutingPolicy {
                max_forwards,
                matches,
                first_walks,
                max_hops,
                policy: if literal {
                    crate::router::Strategy::Literal
                } else {
                    crate::router::Strategy::Walk
                },
                no_signal: if discard { NoSignal::Discard } else { NoSignal::Random },
                compensation: compensate.then_some(true),
                metric: crate::distance::Metric::ALL[metric],
                ..RoutingPolicy::default()
            }
        },
    )
}

prop_compose! {
    fn some_contact()(a in some_address(), flags in any::<(bool, bool, bool, bool)>()) -> Contact {
        let (pinned, may, send, has) = flags;
        let may_send = may || send;
        let reason = (!may_send).then(|| "blocked".to_owned());
        Contact { address: address(&a), pinned, may_send, reason, has: has && pinned }
    }
}

#[derive(Debug)]
struct Case {
    x: Message,
    cache: Vec<(Message, bool)>,
    peers: Vec<Contact>,
    own: BTreeSet<String>,
    has: BTreeSet<(String, usize)>,
    policy: RoutingPolicy,
    seed: u64,
    is_post: bool,
}

fn some_case() -> impl Strategy<Value = Case> {
    let cache = proptest::collection::vec((some_message(), proptest::bool::weighted(0.8)), 0..12);
    let peers = proptest::collection::vec(some_contact(), 0..10);
    let own = proptest::collection::btree_set(some_address(), 0..3);
    let has = proptest::collection::btree_set((some_address(), 0..12_usize), 0..6);
    (some_message(), cache, peers, own, has, some_policy(), any::<u64>(), any::<bool>()).prop_map(
        |(x, cache, peers, own, has, policy, seed, is_post)| Case {
            x,
            cache,
            peers,
            own,
            has,
            policy,
            seed,
            is_post,
        },
    )
}

impl Case {
    fn pool(&self) -> Pool {
        let mut pool = Pool::new(Limits::default());
        for (seq, (message, public)) in (1..).zip(&self.cache) {
            let scope = if *public { Scope::Public } else { Scope::Local };
            pool.insert(&entry(seq, message, scope), &message.body);
        }
        pool
    }

    fn around(&self) -> Around {
        let ids: Vec<MessageId> = self.cache.iter().map(|(m, _)| m.id()).collect();
        Around {
            same: Vec::new(),
            strangers: BTreeSet::from([address("http://node2.example/")]),
            bodies: (1..).zip(&self.cache).map(|(seq, (m, _))| (seq, m.body.clone())).collect(),
            own: self.own.iter().map(|a| address(a)).collect(),
            has: self
                .has
                .iter()
                .map(|(a, i)| (address(a), ids.get(*i).copied().unwrap_or(self.x.id())))
                .collect(),
            refused: BTreeMap::from([(address("http://node3.example/"), "not listed".into())]),
        }
    }

    fn decide(&self, pool: &Pool, peers: &[Contact], scope: Scope) -> Decision {
        let subject = Subject { message: &self.x, id: self.x.id(), scope, is_post: self.is_post };
        decide(&subject, pool, peers, &self.around(), &self.policy, NOW, self.seed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_forward_keeps_the_rules(case in some_case()) {
        let pool = case.pool();
        let around = case.around();
        let d = case.decide(&pool, &case.peers, Scope::Public);
        prop_assert!(d.forwards.len() <= case.policy.max_forwards);
        prop_assert!(d.matches.len() <= case.policy.matches);
        let back = d.forwards.iter().filter(|f| f.what != What::This).count();
        if case.policy.policy == crate::router::Strategy::Walk {
            let compensation = usize::from(case.policy.compensates());
            prop_assert!(back <= case.policy.answers + compensation);
        }
        let mut sent = BTreeSet::new();
        for f in &d.forwards {
            prop_assert!(sent.insert((f.to.clone(), f.what)), "twice: {:?}", f);
            prop_assert!(!around.is_own(&f.to), "to ourselves: {:?}", f);
            let contact = case.peers.iter().filter(|c| c.address == f.to);
            for c in contact {
                prop_assert!(c.may_send, "to {:?}", c);
                prop_assert!(f.what != What::This || !c.has, "to {:?}", c);
            }
            if !case.peers.iter().any(|c| c.address == f.to) {
                prop_assert!(around.may_send(&f.to).is_ok());
            }
            match f.what {
                What::This => {
                    prop_assert!(!case.x.hops.contains(&f.to), "in the header: {:?}", f);
                    prop_assert!(!around.has(&f.to, case.x.id()));
                }
                What::Match(seq) => {
                    let y = pool.get(seq).unwrap();
                    prop_assert_eq!(y.scope, Scope::Public);
                    prop_assert!(!y.hops.contains(&f.to), "in its header: {:?}", f);
                    prop_assert!(!around.has(&f.to, y.id));
                }
            }
        }
        for m in &d.matches {
            prop_assert_eq!(pool.get(m.seq).unwrap().scope, Scope::Public);
        }
        // Every peer is there once, ranked 1 to n, and chosen ones are those that get it.
        let ranks: Vec<usize> = d.peers.iter().map(|p| p.rank).collect();
        prop_assert_eq!(ranks, (1..=d.peers.len()).collect::<Vec<_>>());
        for p in &d.peers {
            prop_assert!(!p.why.is_empty());
            if p.chosen {
                prop_assert!(sent.contains(&(p.address.clone(), What::This)));
            }
        }
    }

    #[test]
    fn the_same_again_and_in_any_order(case in some_case(), rotate in 0..10_usize) {
        let pool = case.pool();
        let once = case.decide(&pool, &case.peers, Scope::Public);
        prop_assert_eq!(&once, &case.decide(&case.pool(), &case.peers, Scope::Public));
        let mut peers = case.peers.clone();
        peers.reverse();
        let n = peers.len().max(1);
        peers.rotate_left(rotate % n);
        prop_assert_eq!(&once, &case.decide(&pool, &peers, Scope::Public));
    }

    #[test]
    fn local_messages_stay(case in some_case()) {
        let pool = case.pool();
        let d = case.decide(&pool, &case.peers, Scope::Local);
        prop_assert_eq!(d.forwards, vec![]);
        // And those in the pool change nothing, not even a number.
        let mut without = Pool::new(Limits::default());
        for entry in pool.iter().filter(|e| e.scope == Scope::Public) {
            let (message, _) = &case.cache[usize::try_from(entry.seq).unwrap() - 1];
            without.insert(&entry, &message.body);
        }
        let policy = RoutingPolicy { age: 0.0, ..case.policy.clone() };
        let case = Case { policy, ..case };
        let strip = |mut d: Decision| {
            // How many messages there are is said in words.
            d.reasons.clear();
            d
        };
        let with = strip(case.decide(&pool, &case.peers, Scope::Public));
        prop_assert_eq!(with, strip(case.decide(&without, &case.peers, Scope::Public)));
    }
}
