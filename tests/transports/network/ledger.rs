//! What the gateways' own databases say about a run: who sent what to whom, what reached which author, and
//! what must never have happened.

use std::collections::{BTreeMap, HashMap, HashSet};

use cmr_mail::simulate::trace::{Cause, Ended, Posted, Reached, Seat, Sent};

use super::gates::{Gateway, Network};

/// A post of the run: who wrote it where, and the id of its message.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) author: u32,
    pub(super) home: usize,
    pub(super) thread: Option<u32>,
    pub(super) id: String,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) seats: Vec<Seat>,
    pub(super) posts: Vec<Posted>,
    pub(super) transfers: Vec<Sent>,
    pub(super) reached: Vec<Reached>,
    /// What was acknowledged and is nowhere.
    pub(super) lost: Vec<String>,
    /// Messages that came to a gateway again, or by way of it.
    pub(super) twice: Vec<String>,
}

/// A message at a gateway.
struct Here {
    post: u32,
    ours: bool,
    /// The gateway that brought it.
    from: Option<usize>,
}

fn rows<T>(
    gateway: &Gateway,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut select = gateway.database().prepare(sql).unwrap();
    select.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

impl Ledger {
    pub(super) fn of(network: &Network, written: &[Written]) -> Ledger {
        let mut ledger = Ledger::default();
        let numbers: HashMap<&str, u32> =
            written.iter().enumerate().map(|(at, it)| (it.id.as_str(), u32::try_from(at).unwrap())).collect();
        let whole = |n: usize| u32::try_from(n).unwrap();
        for (number, gateway) in network.gateways.iter().enumerate() {
            ledger.seats.push(Seat {
                transport: gateway.transport.to_owned(),
                asked: gateway.transport == "http",
                knows: (0..network.gateways.len()).filter(|it| *it != number).map(whole).collect(),
            });
        }
        let here: Vec<HashMap<i64, Here>> =
            network.gateways.iter().map(|gateway| ledger.messages(network, gateway, &numbers)).collect();
        for (at, post) in written.iter().enumerate() {
            let gateway = &network.gateways[post.home];
            let sql = format!(
                "SELECT m.received, t.body FROM message m JOIN text t ON t.seq = m.seq
                  WHERE m.kind = 'post' AND lower(hex(m.public_id)) = '{}'",
                post.id
            );
            let found = rows(gateway, &sql, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
            let Some((received, body)) = found.into_iter().next() else {
                ledger.lost.push(format!("post {at}, {}, at gateway {}", post.id, post.home));
                continue;
            };
            ledger.posts.push(Posted {
                at: received,
                author: post.author,
                home: whole(post.home),
                thread: post.thread,
                text: text(body),
            });
        }
        ledger.transfers(network, &here);
        for (gateway, messages) in network.gateways.iter().zip(&here) {
            ledger.reached(gateway, messages, written);
        }
        ledger
    }

    /// What is at a gateway, by its number there; and whether anything came twice.
    fn messages(
        &mut self,
        network: &Network,
        gateway: &Gateway,
        numbers: &HashMap<&str, u32>,
    ) -> HashMap<i64, Here> {
        let sql = "SELECT seq, lower(hex(public_id)), kind = 'post', neighbour, state FROM message";
        let found = rows(gateway, sql, |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get(2)?,
                text(row.get(3)?),
                row.get::<_, String>(4)?,
            ))
        });
        let (mut all, mut seen) = (HashMap::new(), HashSet::new());
        for (seq, id, ours, neighbour, state) in found {
            let name = &gateway.addresses[0];
            if !seen.insert(id.clone()) {
                self.twice.push(format!("{id} is twice at {name}"));
            }
            assert_eq!(state, "routed", "{id} at {name}");
            let Some(post) = numbers.get(id.as_str()) else { continue };
            all.insert(seq, Here { post: *post, ours, from: network.by_address.get(&neighbour).copied() });
        }
        // The oldest line is the author's alias at the gateway of the next one.
        let sql = "SELECT seq, address FROM hop h
                    WHERE position < (SELECT max(position) FROM hop o WHERE o.seq = h.seq) ORDER BY seq";
        let mut ways: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (seq, address) in rows(gateway, sql, |row| Ok((row.get::<_, i64>(0)?, text(row.get(1)?)))) {
            ways.entry(seq).or_default().push(network.by_address[&address]);
        }
        let own = network.by_address[&gateway.addresses[0]];
        for (seq, way) in ways {
            let passed: HashSet<usize> = way.iter().copied().chain([own]).collect();
            if passed.len() != way.len() + 1 {
                self.twice.push(format!("message {seq} of {} came by {way:?}", gateway.addresses[0]));
            }
        }
        all
    }

    /// What was sent to other gateways, in the order in which it was over.
    fn transfers(&mut self, network: &Network, here: &[HashMap<i64, Here>]) {
        let sql = "SELECT seq, to_address, transport, why, state, attempts, ifnull(finished, created),
                (SELECT said FROM attempt WHERE delivery = d.id ORDER BY id DESC LIMIT 1)
            FROM delivery d WHERE kind = 'forward' AND seq IS NOT NULL";
        // Who brought a gateway a post, until that transfer is found.
        let mut brought: HashSet<(usize, usize, u32)> = HashSet::new();
        let mut has: HashSet<(usize, u32)> = HashSet::new();
        for (to, messages) in here.iter().enumerate() {
            for message in messages.values() {
                has.insert((to, message.post));
                brought.extend(message.from.map(|from| (from, to, message.post)));
            }
        }
        for (from, gateway) in network.gateways.iter().enumerate() {
            let mut found = rows(gateway, sql, |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    text(row.get(1)?),
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, String>(4)?,
                    row.get::<_, u32>(5)?,
                    row.get::<_, i64>(6)?,
                    row.get::<_, Option<String>>(7)?.unwrap_or_default(),
                ))
            });
            found.sort_by_key(|row| row.6);
            for (seq, to, transport, why, state, attempts, at, said) in found {
                let (Some(message), Some(to)) = (here[from].get(&seq), network.by_address.get(&to).copied())
                else {
                    continue;
                };
                let post = message.post;
                let ended = if said.contains("only its ids were sent") {
                    Ended::Asked
                } else if brought.remove(&(from, to, post)) {
                    Ended::Taken
                } else if state == "sent" && has.contains(&(to, post)) {
                    Ended::Known
                } else {
                    Ended::Lost
                };
                if ended == Ended::Lost && state == "sent" && transport != "udp" {
                    self.lost.push(format!("post {post} from {from} to {to} by {transport}: {said}"));
                }
                let cause = if why.contains("it matches ") {
                    Cause::Matched
                } else if why.contains(" saves ") && why.contains(" bits of ") {
                    Cause::Match
                } else {
                    Cause::Walk
                };
                let whole = |n: usize| u32::try_from(n).unwrap();
                let (from, to) = (whole(from), whole(to));
                self.transfers.push(Sent { at, from, to, post, cause, ended, attempts });
            }
        }
        self.transfers.sort_by_key(|sent| sent.at);
    }

    /// What people get: the matches of what they post, and what comes later and matches that.
    fn reached(&mut self, gateway: &Gateway, messages: &HashMap<i64, Here>, written: &[Written]) {
        let found = rows(gateway, "SELECT seq, other FROM match", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        for (seq, other) in found {
            let (Some(new), Some(old)) = (messages.get(&seq), messages.get(&other)) else { continue };
            for (reader, post) in [(new, old), (old, new)] {
                let author = written[reader.post as usize].author;
                if reader.ours && written[post.post as usize].author != author {
                    self.reached.push(Reached { author, post: post.post });
                }
            }
        }
        self.reached.sort_by_key(|it| (it.author, it.post));
        self.reached.dedup();
    }
}
