//! What peers have sent us: the Yi of specification section 3.2.

use crate::distance::{Coder, WINDOW, newest, oldest, words};
use crate::message::Address;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::OnceLock;

/// How much of one message goes into a profile, its beginning: one long message must not push out
/// everything else that a peer is known for.
const PER_MESSAGE: usize = 8 * 1024;

/// How many messages of a profile count when it is asked which one to give up.
const ESTABLISHED: u64 = 16;

#[derive(Debug)]
struct Piece {
    seq: i64,
    author: Address,
    text: Box<[u8]>,
}

/// The newest text of one peer, at most the 32 KiB that deflate can see.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// How many messages it has been credited for.
    pub(super) messages: u64,
    /// When, in the order of credits.
    last: u64,
    seen: OnceLock<Seen>,
}

/// What is computed once for the present text.
#[derive(Debug)]
pub(super) struct Seen {
    /// Yi
    pub(super) text: Vec<u8>,
    /// C(Yi)
    pub(super) bits: f64,
    pub(super) words: HashSet<u64>,
}

impl Profile {
    fn push(&mut self, piece: Piece) {
        self.bytes += piece.text.len();
        self.pieces.push_back(piece);
        while let Some(first) = self.pieces.front() {
            // As long as the rest alone fills the window, the first is out of sight.
            if self.bytes - first.text.len() < WINDOW {
                break;
            }
            self.bytes -= first.text.len();
            self.pieces.pop_front();
        }
        self.seen = OnceLock::new();
    }

    fn erase(&mut self, gone: impl Fn(&Piece) -> bool) {
        let before = self.pieces.len();
        self.pieces.retain(|piece| !gone(piece));
        if self.pieces.len() != before {
            self.bytes = self.pieces.iter().map(|p| p.text.len()).sum();
            self.seen = OnceLock::new();
        }
    }

    pub(super) fn seen(&self, coder: &dyn Coder) -> &Seen {
        self.seen.get_or_init(|| {
            let mut text = Vec::with_capacity(self.bytes);
            for piece in &self.pieces {
                text.extend_from_slice(&piece.text);
            }
            let text = newest(&text, WINDOW.min(coder.window())).to_vec();
            let bits = coder.bits(&text);
            let words = words(&text).into_iter().map(|w| w.hash).collect();
            Seen { text, bits, words }
        })
    }
}

/// The profiles, at most so many.
#[derive(Debug)]
pub(super) struct Profiles {
    by_address: HashMap<Address, Profile>,
    pinned: HashSet<Address>,
    most: usize,
    credits: u64,
}

impl Profiles {
    pub(super) fn new(most: usize) -> Self {
        Profiles { by_address: HashMap::new(), pinned: HashSet::new(), most, credits: 0 }
    }

    pub(super) fn get(&self, address: &Address) -> Option<&Profile> {
        self.by_address.get(address)
    }

    /// When an address was credited last, in the order of credits; 0 for never.
    pub(super) fn last_credit(&self, address: &Address) -> u64 {
        self.by_address.get(address).map_or(0, |p| p.last)
    }

    pub(super) fn pin(&mut self, pinned: HashSet<Address>) {
        self.pinned = pinned;
    }

    /// Credits a peer with a message, once: a message that is inserted again earns nothing new.
    pub(super) fn credit(&mut self, peer: &Address, seq: i64, author: &Address, body: &[u8]) {
        if self.by_address.get(peer).is_some_and(|p| p.pieces.iter().any(|piece| piece.seq == seq)) {
            return;
        }
        self.credits += 1;
        if !self.by_address.contains_key(peer) && !self.make_room() {
            return;
        }
        let profile = self.by_address.entry(peer.clone()).or_default();
        profile.messages += 1;
        profile.last = self.credits;
        let text = oldest(body, PER_MESSAGE).into();
        profile.push(Piece { seq, author: author.clone(), text });
    }

    /// Gives up the profile that is worth least: of those with the fewest messages (up to 16,
    /// beyond which a peer counts as established) the one that was credited longest ago. A flood
    /// of new senders so pushes out one another, not the known peers.
    fn make_room(&mut self) -> bool {
        while self.by_address.len() >= self.most {
            let least = self
                .by_address
                .iter()
                .filter(|(address, _)| !self.pinned.contains(*address))
                .min_by_key(|(_, p)| (p.messages.min(ESTABLISHED), p.last))
                .map(|(address, _)| address.clone());
            match least {
                Some(address) => self.by_address.remove(&address),
                None => return false,
            };
        }
        true
    }

    pub(super) fn erase_message(&mut self, seq: i64) {
        self.erase(|piece| piece.seq == seq);
    }

    pub(super) fn erase_author(&mut self, author: &Address) {
        self.by_address.remove(author);
        self.erase(|piece| piece.author == *author);
    }

    fn erase(&mut self, gone: impl Fn(&Piece) -> bool) {
        for profile in self.by_address.values_mut() {
            profile.erase(&gone);
        }
        self.by_address.retain(|_, profile| !profile.pieces.is_empty());
    }
}
