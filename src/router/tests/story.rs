//! The conversation of specification section 3.1, played by four peers without any I/O.

use super::*;
use crate::pool::Texts;
use std::collections::VecDeque;

struct Node {
    own: Address,
    aliases: BTreeSet<Address>,
    pool: Pool,
    contacts: Vec<Contact>,
    has: BTreeSet<(Address, MessageId)>,
    /// Clients only collect.
    is_router: bool,
    got: Vec<Message>,
    cached: BTreeMap<i64, Message>,
}

impl Texts for Node {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        self.cached.get(&seq).map(|message| message.body.clone())
    }
}

impl Node {
    fn insert(&mut self, seq: i64, message: Message) {
        self.pool.insert(&entry(seq, &message, Scope::Public), &message.body);
        self.cached.insert(seq, message);
    }
}

impl Surroundings for Node {
    fn is_own(&self, address: &Address) -> bool {
        *address == self.own || self.aliases.contains(address)
    }

    fn has(&self, address: &Address, id: MessageId) -> bool {
        self.has.contains(&(address.clone(), id))
    }

    fn is_acquainted(&self, address: &Address) -> bool {
        self.may_send(address).is_ok()
    }

    fn may_send(&self, address: &Address) -> Result<(), String> {
        let known = self.contacts.iter().any(|c| c.address == *address);
        if known { Ok(()) } else { Err("not listed".into()) }
    }
}

#[derive(Default)]
struct World {
    nodes: BTreeMap<Address, Node>,
    /// The clock; every event takes a second.
    now: i64,
    seq: i64,
    /// from, to, body
    sent: Vec<(String, String, String)>,
    decisions: Vec<(String, Decision)>,
}

impl World {
    fn node(&mut self, own: &str, is_router: bool, knows: &[&str]) {
        let contacts = knows.iter().map(|a| contact(a)).collect();
        let node = Node {
            own: address(own),
            aliases: BTreeSet::new(),
            pool: Pool::new(Limits::default()),
            contacts,
            has: BTreeSet::new(),
            is_router,
            got: Vec::new(),
            cached: BTreeMap::new(),
        };
        self.nodes.insert(address(own), node);
    }

    fn tick(&mut self) -> UnixTime {
        self.now += SECOND;
        UnixTime(NOW.0 + self.now)
    }

    /// What was sent long before the story begins: only cached.
    fn earlier(&mut self, at: &str, from: &str, body: &str) {
        self.seq += 1;
        let message = message(&[from], (1000 - self.seq) * SECOND, body);
        let node = self.nodes.get_mut(&address(at)).unwrap();
        node.insert(self.seq, message);
    }

    fn post(&mut self, at: &str, alias: &str, body: &str) {
        let time = Timestamp::from_unix(self.tick(), "");
        let node = self.nodes.get_mut(&address(at)).unwrap();
        node.aliases.insert(address(alias));
        let message = Message::new(Hop::new(time, address(alias)), body.as_bytes().to_vec());
        self.route(address(at), &message, true);
    }

    fn route(&mut self, at: Address, first: &Message, is_post: bool) {
        let mut events = VecDeque::from([(at, first.clone(), is_post)]);
        while let Some((at, message, is_post)) = events.pop_front() {
            let now = self.tick();
            self.seq += 1;
            let seq = self.seq;
            let node = self.nodes.get_mut(&at).unwrap();
            node.got.push(message.clone());
            if !node.is_router || node.pool.iter().any(|e| e.id == message.id()) {
                continue;
            }
            let subject = Subject { message: &message, id: message.id(), scope: Scope::Public, is_post };
            let contacts = node.contacts.clone();
            let policy = RoutingPolicy::default();
            let decision = decide(&subject, &node.pool, &contacts, node, &policy, now, 1);
            node.insert(seq, message.clone());
            for forward in &decision.forwards {
                let what = match forward.what {
                    What::This => message.clone(),
                    What::Match(seq) => node.cached[&seq].clone(),
                };
                node.has.insert((forward.to.clone(), what.id()));
                let out = what.stamped(Hop::new(Timestamp::from_unix(now, ""), at.clone()));
                let body = String::from_utf8_lossy(&out.body).trim().to_owned();
                self.sent.push((at.to_string(), forward.to.to_string(), body));
                events.push_back((forward.to.clone(), out, false));
            }
            self.decisions.push((at.to_string(), decision));
        }
    }
}

const ALICE: &str = "mailto:cmr@alice.example";
const ANN: &str = "mailto:cmr+ann.k7@alice.example";
const BOB: &str = "http://bob.example/cmr";
const CHARLIE: &str = "http://charlie.example/cmr";
const DAVE: &str = "http://dave.example/cmr";

#[test]
fn what_is_the_largest_planet() {
    let mut world = World::default();
    world.node(ALICE, true, &[BOB]);
    world.node(BOB, true, &[ALICE, CHARLIE]);
    world.node(CHARLIE, true, &[BOB, DAVE, ALICE]);
    world.node(DAVE, false, &[]);
    // Alice knows Bob from a hello; Bob knows Charlie from the innermost planet.
    world.earlier(ALICE, BOB, "Hello\n");
    world.earlier(BOB, CHARLIE, "Mercury is the innermost planet\n");
    world.earlier(CHARLIE, DAVE, "Jupiter is the largest planet.\n");

    world.post(ALICE, ANN, "What is the largest planet?\n");

    let x = "What is the largest planet?".to_owned();
    let m3 = "Jupiter is the largest planet.".to_owned();
    let line = |from: &str, to: &str, what: &String| (from.to_owned(), to.to_owned(), what.clone());
    assert_eq!(world.sent.first(), Some(&line(ALICE, BOB, &x)), "Alice asks whom she knows");
    assert_eq!(world.sent.get(1), Some(&line(BOB, CHARLIE, &x)), "Bob guesses who knows");
    assert!(world.sent.contains(&line(CHARLIE, ALICE, &m3)), "{:#?}", world.sent);
    assert!(world.sent.contains(&line(CHARLIE, DAVE, &x)), "who wrote the answer hears the question");

    // Alice now knows about Jupiter, and that it answers what was posted at her.
    let alice = &world.nodes[&address(ALICE)];
    assert!(alice.cached.values().any(|m| m.body.starts_with(b"Jupiter")));
    let (_, got) =
        world.decisions.iter().filter(|(at, _)| at == ALICE).nth(1).expect("Alice decided about the answer");
    assert!(got.matches.iter().any(|m| m.ours), "{got:#?}");
    assert!(world.nodes[&address(DAVE)].got.iter().any(|m| m.body == b"What is the largest planet?\n"));

    // It ends, and with little said.
    assert!(world.sent.len() <= 8, "{:#?}", world.sent);

    // The next question about it goes straight to who knew.
    let before = world.sent.len();
    let alice = world.nodes.get_mut(&address(ALICE)).unwrap();
    alice.contacts.push(contact(CHARLIE));
    world.post(ALICE, ANN, "How heavy is Jupiter, the largest planet?\n");
    let next = &world.sent[before];
    assert_eq!((next.0.as_str(), next.1.as_str()), (ALICE, CHARLIE), "{next:?}");
}
