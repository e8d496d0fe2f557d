//! What peers have sent us: the Yi of specification section 3.2.
//!
//! A peer is the messages that it has sent and that are still here, in two generations: when the
//! younger one has [`GENERATION`] messages it becomes the older one, and what was older counts no
//! more. There is no text: the postings say which messages have a word, and each message which
//! generation it belongs to; only of frequent words and of pairs are there sums ([`super::sums`]). A message counts with the square root of its
//! length, so that one long mail does not outweigh everything else.

use super::Pool;
use super::codec::{Damaged, Reader, Writer};
use super::sums::{Amount, Sums};
use crate::distance::WordCounts;
use crate::message::Address;
use std::collections::{HashMap, HashSet};
use std::io;

/// Messages of one generation.
const GENERATION: u32 = 1000;

/// How many messages of a profile count when it is asked which one to give up.
const ESTABLISHED: u64 = 16;

/// When so many generations count no more, what is left of them is removed. Until then they take room in rows: with
/// two generations of each of 83 peers and these, there is room in a row for all.
const CLOSED: usize = 24;

/// What a section of so many words weighs: √words, in parts of 1024, so that sums are exact.
pub(super) fn weight(words: u64) -> u32 {
    u32::try_from(words.min(1 << 40).saturating_mul(1 << 20).isqrt()).unwrap_or(u32::MAX)
}

/// A part of a peer's messages.
#[derive(Clone, Copy, Debug, Default)]
struct Generation {
    /// Messages here that belong to it.
    messages: u32,
    /// The sum of their weights.
    weight: u64,
    /// The number under which it has sums, 0 if it has none any more. Messages name a generation for as long as they are
    /// here, so there are as many numbers of generations as thousands of messages; those of sums are given out again
    /// soon and stay low, as [`super::row`] wants them.
    column: u16,
}

#[derive(Debug)]
struct Profile {
    /// Its place among those that are scored.
    place: u32,
    /// How many messages it has been credited for.
    messages: u64,
    /// When, in the order of credits.
    last: u64,
    /// Its generations by number, 0 for none.
    young: u32,
    old: u32,
    /// How many messages the younger one was credited for.
    in_young: u32,
}

/// The profiles, at most so many.
#[derive(Debug)]
pub(super) struct Profiles {
    by_address: HashMap<Address, Profile>,
    /// By number; the first one is nobody's.
    generations: Vec<Generation>,
    /// By number: the place of the peer plus 1, 0 if it counts no more.
    owners: Vec<u32>,
    free_generations: Vec<u32>,
    /// Generations that count no more, and that messages may name yet.
    closed: Vec<u32>,
    /// By the number of sums: the place of the peer plus 1, 0 if it counts no more. The first one is nobody's.
    columns: Vec<u32>,
    free_columns: Vec<u16>,
    /// Columns that count no more, and have sums yet.
    closed_columns: Vec<u16>,
    pub(super) sums: Sums,
    /// The weight and the words of all messages that were ever counted.
    counted: (u64, u64),
    /// By place: the sum of the weights of the peer's messages.
    weights: Vec<u64>,
    /// By place: the peer, if there is one.
    peers: Vec<Option<Address>>,
    free_places: Vec<u32>,
    pinned: HashSet<Address>,
    most: usize,
    credits: u64,
}

impl Default for Profiles {
    fn default() -> Self {
        Profiles::new(0)
    }
}

impl Profiles {
    pub(super) fn new(most: usize) -> Self {
        Profiles {
            by_address: HashMap::new(),
            generations: vec![Generation::default()],
            owners: vec![0],
            free_generations: Vec::new(),
            closed: Vec::new(),
            columns: vec![0],
            free_columns: Vec::new(),
            closed_columns: Vec::new(),
            sums: Sums::default(),
            counted: (0, 0),
            weights: Vec::new(),
            peers: Vec::new(),
            free_places: Vec::new(),
            pinned: HashSet::new(),
            most,
            credits: 0,
        }
    }

    pub(super) fn credited(&self, peer: &Address) -> (u64, u64) {
        self.by_address.get(peer).map_or((0, 0), |p| (p.messages, p.last))
    }

    pub(super) fn pin(&mut self, pinned: HashSet<Address>) {
        self.pinned = pinned;
    }

    /// A message of this weight: credits its sender, and the router that took it if that is
    /// known already; one that takes the place of itself earns nothing new. The generations that
    /// the message belongs to.
    pub(super) fn credit(&mut self, sender: &Address, home: &Address, weight: u32, again: bool) -> [u32; 2] {
        let first = self.add(sender, weight, again);
        let second = home != sender && self.by_address.contains_key(home);
        [first, if second { self.add(home, weight, again) } else { 0 }]
    }

    fn add(&mut self, peer: &Address, weight: u32, again: bool) -> u32 {
        let again = again && self.by_address.contains_key(peer);
        self.credits += u64::from(!again);
        if !self.by_address.contains_key(peer) && !self.make_room() {
            return 0;
        }
        let Profiles { by_address, weights, peers, free_places, credits, .. } = self;
        let profile = by_address.entry(peer.clone()).or_insert_with(|| {
            let place = free_places.pop().unwrap_or_else(|| {
                weights.push(0);
                peers.push(None);
                u32::try_from(weights.len() - 1).unwrap_or(u32::MAX)
            });
            if let Some(at) = peers.get_mut(place as usize) {
                *at = Some(peer.clone());
            }
            Profile { place, messages: 0, last: 0, young: 0, old: 0, in_young: 0 }
        });
        if !again {
            profile.messages += 1;
            profile.last = *credits;
        }
        if profile.young == 0 || profile.in_young >= GENERATION {
            profile.in_young = 0;
            let gone = std::mem::replace(&mut profile.old, profile.young);
            profile.young = match self.free_generations.pop() {
                Some(number) => number,
                None => {
                    self.generations.push(Generation::default());
                    self.owners.push(0);
                    u32::try_from(self.generations.len() - 1).unwrap_or(0)
                }
            };
            // 0, which has no sums, where all numbers are given out.
            let new = || u16::try_from(self.columns.len()).ok();
            let column = self.free_columns.pop().or_else(new).unwrap_or(0);
            if usize::from(column) == self.columns.len() {
                self.columns.push(0);
            }
            if let Some(owner) = self.columns.get_mut(usize::from(column)).filter(|_| column > 0) {
                *owner = profile.place + 1;
            }
            if let Some(generation) = self.generations.get_mut(profile.young as usize) {
                *generation = Generation { column, ..Generation::default() };
            }
            if let Some(owner) = self.owners.get_mut(profile.young as usize) {
                *owner = profile.place + 1;
            }
            let (young, place) = (profile.young, profile.place);
            profile.in_young = 1;
            self.close(gone);
            self.count(young, place, weight);
            return young;
        }
        profile.in_young += 1;
        let (young, place) = (profile.young, profile.place);
        self.count(young, place, weight);
        young
    }

    fn count(&mut self, number: u32, place: u32, weight: u32) {
        let weight = u64::from(weight);
        self.counted.0 += weight;
        self.counted.1 += (weight * weight) >> 20;
        if let Some(generation) = self.generations.get_mut(number as usize) {
            generation.messages += 1;
            generation.weight += weight;
        }
        if let Some(sum) = self.weights.get_mut(place as usize) {
            *sum += weight;
        }
    }

    /// This generation counts no more. Its number is given out again when no message names it.
    fn close(&mut self, number: u32) {
        let Some(place) = self.owner(number) else { return };
        let (Some(generation), Some(owner)) =
            (self.generations.get(number as usize), self.owners.get_mut(number as usize))
        else {
            return;
        };
        *owner = 0;
        let column = generation.column;
        if let Some(sum) = self.weights.get_mut(place as usize) {
            *sum = sum.saturating_sub(generation.weight);
        }
        self.closed.push(number);
        if let Some(owner) = self.columns.get_mut(usize::from(column)).filter(|_| column > 0) {
            *owner = 0;
            self.closed_columns.push(column);
        }
        if self.closed_columns.len() >= CLOSED {
            self.sums.retain(self.columns.iter().map(|owner| *owner > 0));
            self.free_columns.append(&mut self.closed_columns);
            for number in &self.closed {
                if let Some(generation) = self.generations.get_mut(*number as usize) {
                    generation.column = 0;
                }
            }
            let generations = &self.generations;
            let is_unnamed =
                |number: &u32| generations.get(*number as usize).is_some_and(|g| g.messages == 0);
            let (free, closed): (Vec<u32>, Vec<u32>) = self.closed.drain(..).partition(is_unnamed);
            self.free_generations.extend(free);
            self.closed = closed;
        }
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        for number in [self.counted.0, self.counted.1, self.credits] {
            out.u64(number);
        }
        out.end()?;
        let mut profiles: Vec<(&Address, &Profile)> = self.by_address.iter().collect();
        profiles.sort_unstable_by_key(|(_, profile)| profile.place);
        out.all(profiles.into_iter(), 1024, |out, (address, profile)| {
            out.bytes(address.as_bytes());
            for number in [profile.place, profile.young, profile.old, profile.in_young] {
                out.u32(number);
            }
            out.u64(profile.messages);
            out.u64(profile.last);
        })?;
        out.all(self.generations.iter().zip(&self.owners), 4096, |out, (generation, owner)| {
            out.u32(generation.messages);
            out.u64(generation.weight);
            out.u16(generation.column);
            out.u32(*owner);
        })?;
        out.all(self.weights.iter().zip(&self.peers), 1024, |out, (weight, peer)| {
            out.u64(*weight);
            out.bytes(peer.as_ref().map_or(&[], |peer| peer.as_bytes()));
        })?;
        for list in [&self.free_generations, &self.closed, &self.free_places] {
            out.all(list.iter(), 4096, |out, number| out.u32(*number))?;
        }
        out.all(self.columns.iter(), 4096, |out, owner| out.u32(*owner))?;
        for list in [&self.free_columns, &self.closed_columns] {
            out.all(list.iter(), 4096, |out, column| out.u16(*column))?;
        }
        self.sums.save(out)
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>, most: usize) -> Result<Self, Damaged> {
        let address = |input: &mut Reader<'_>| Address::new(input.bytes()?).map_err(|_| Damaged::Format);
        let mut all = Profiles::new(most);
        input.next()?;
        all.counted = (input.u64()?, input.u64()?);
        all.credits = input.u64()?;
        let profiles = input.all(1024, |input| {
            let address = address(input)?;
            let (place, young, old, in_young) = (input.u32()?, input.u32()?, input.u32()?, input.u32()?);
            Ok((address, Profile { place, young, old, in_young, messages: input.u64()?, last: input.u64()? }))
        })?;
        all.by_address = profiles.into_iter().collect();
        let generations = input.all(4096, |input| {
            let generation =
                Generation { messages: input.u32()?, weight: input.u64()?, column: input.u16()? };
            Ok((generation, input.u32()?))
        })?;
        (all.generations, all.owners) = generations.into_iter().unzip();
        let places = input.all(1024, |input| Ok((input.u64()?, Address::new(input.bytes()?).ok())))?;
        (all.weights, all.peers) = places.into_iter().unzip();
        for list in [&mut all.free_generations, &mut all.closed, &mut all.free_places] {
            *list = input.all(4096, Reader::u32)?;
        }
        all.columns = input.all(4096, Reader::u32)?;
        for list in [&mut all.free_columns, &mut all.closed_columns] {
            *list = input.all(4096, Reader::u16)?;
        }
        all.sums = Sums::load(input)?;
        Ok(all)
    }

    /// Takes back what a section of a message of these generations has added to the sums.
    pub(super) fn unlearn_words(&mut self, numbers: [u32; 2], section: &WordCounts) {
        let length = (section.total.max(1) as f32).sqrt();
        for (word, count) in &section.words {
            for column in numbers.map(|number| self.column(number)) {
                self.sums.subtract(*word, column, Amount::new(*count as f32 / length));
            }
        }
    }

    /// The same of its pairs.
    pub(super) fn unlearn_pairs(&mut self, numbers: [u32; 2], pairs: &[u64]) {
        let amount = of_pairs(pairs);
        for pair in pairs {
            for column in numbers.map(|number| self.column(number)) {
                self.sums.subtract(*pair, column, amount);
            }
        }
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sums.memory_bytes()
            + self.generations.capacity() * size_of::<Generation>()
            + (self.owners.capacity() + self.columns.capacity()) * 4
            + self.weights.capacity() * 8
            + self
                .peers
                .iter()
                .flatten()
                .map(|peer| size_of::<Address>() + peer.as_bytes().len() + 16)
                .sum::<usize>()
            + self.by_address.capacity() * 8 / 7 * (size_of::<(Address, Profile)>() + 1)
    }

    /// The place of the peer of a generation plus 1, 0 if it counts no more.
    pub(super) fn holder(&self, generation: u32) -> usize {
        self.owners.get(generation as usize).map_or(0, |owner| *owner as usize)
    }

    /// The number under which a generation has sums, 0 if it has none any more.
    fn column(&self, generation: u32) -> u32 {
        self.generations.get(generation as usize).map_or(0, |generation| generation.column.into())
    }

    /// The place of the peer of a column of sums plus 1, 0 if it counts no more.
    pub(super) fn holder_of_sums(&self, column: u32) -> usize {
        self.columns.get(column as usize).map_or(0, |owner| *owner as usize)
    }

    /// The place of the peer of a generation.
    pub(super) fn owner(&self, generation: u32) -> Option<u32> {
        self.owners.get(generation as usize)?.checked_sub(1)
    }

    /// The place of a peer, and how many messages it has been credited for.
    pub(super) fn place_of(&self, peer: &Address) -> (Option<usize>, u64) {
        let profile = self.by_address.get(peer);
        (profile.map(|p| p.place as usize), profile.map_or(0, |p| p.messages))
    }

    /// The peer of a place, and how many messages it has been credited for.
    pub(super) fn peer_at(&self, place: usize) -> Option<(&Address, u64)> {
        let address = self.peers.get(place)?.as_ref()?;
        Some((address, self.by_address.get(address)?.messages))
    }

    /// By place: the sum of the weights of the peer's messages.
    pub(super) fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// The weight of all peers' messages, and that of one occurrence of a word.
    pub(super) fn weight(&self) -> (f32, f32) {
        let all = self.weights.iter().sum::<u64>() as f32 / 1024.0;
        (all, self.counted.0 as f32 / 1024.0 / self.counted.1.max(1) as f32)
    }

    /// A message of these generations is gone.
    pub(super) fn forget(&mut self, generations: [u32; 2], weight: u32) {
        for number in generations.into_iter().filter(|number| *number > 0) {
            let place = self.owner(number);
            let Some(generation) = self.generations.get_mut(number as usize) else { continue };
            generation.messages = generation.messages.saturating_sub(1);
            generation.weight = generation.weight.saturating_sub(u64::from(weight));
            if let Some(sum) = place.and_then(|place| self.weights.get_mut(place as usize)) {
                *sum = sum.saturating_sub(u64::from(weight));
            }
        }
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
                Some(address) => self.remove(&address),
                None => return false,
            };
        }
        true
    }

    pub(super) fn remove(&mut self, peer: &Address) {
        let Some(profile) = self.by_address.remove(peer) else { return };
        self.close(profile.young);
        self.close(profile.old);
        self.free_places.push(profile.place);
        if let Some(at) = self.peers.get_mut(profile.place as usize) {
            *at = None;
        }
    }
}

/// What each of these pairs of a message counts.
fn of_pairs(pairs: &[u64]) -> Amount {
    Amount::new(1.0 / (pairs.len().max(1) as f32).sqrt())
}

impl Pool {
    /// Counts what is not read from postings when peers are scored: words that many messages have,
    /// and pairs of words.
    pub(super) fn sum_up(&mut self, profiles: [u32; 2], many: &[(u64, f32, bool)], pairs: &[u64]) {
        let Pool { slots, public, profiles: all, .. } = self;
        let lot = u32::try_from(all.credits & 0xffff_ffff).unwrap_or(0);
        // Looking up first lets the memory answer for many at once.
        let columns = profiles.map(|number| all.column(number));
        let [first, _] = columns;
        let features = many.iter().map(|(word, _, _)| word).chain(pairs).copied();
        let _ready = std::hint::black_box(all.sums.touch_all(features, first));
        let columns = columns.into_iter().filter(|column| *column > 0);
        for (word, amount, since_now) in many {
            if !since_now {
                columns.clone().for_each(|column| all.sums.add(*word, column, Amount::new(*amount), lot));
                continue;
            }
            all.sums.clear(*word);
            let Some(term) = public.term(*word) else { continue };
            let mut nth = lot;
            public.newest(term, usize::MAX, |at, count| {
                nth = nth.wrapping_add(1);
                let (words, numbers) = slots.profiles(at);
                let amount = Amount::new(f32::from(count) / f32::from(words.max(1)).sqrt());
                for column in numbers.map(|number| all.column(number)) {
                    all.sums.add(*word, column, amount, nth);
                }
            });
        }
        let amount = of_pairs(pairs);
        for column in columns {
            pairs.iter().for_each(|pair| all.sums.add(*pair, column, amount, lot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sums::{Found, few};
    use super::*;

    /// Messages of a hundred generations are here: rows have room for all peers as long as few of them count.
    #[test]
    fn numbers_of_sums_stay_low_while_messages_of_old_generations_are_here() {
        let peers = ["mailto:a@b.example", "mailto:c@d.example"].map(|it| Address::try_from(it).unwrap());
        let mut profiles = Profiles::new(10);
        let mut named = Vec::new();
        for _ in 0..50 * GENERATION {
            for peer in &peers {
                named.push(profiles.credit(peer, peer, 1024, false)[0]);
            }
        }
        named.dedup();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named.len(), 100);
        let columns: Vec<u32> = named.iter().map(|number| profiles.column(*number)).collect();
        assert!(columns.iter().all(|column| *column < 32), "{columns:?}");
        let counting = named.iter().filter(|number| profiles.holder(**number) > 0);
        let of_sums = counting.clone().map(|number| profiles.holder_of_sums(profiles.column(*number)));
        assert!(of_sums.eq(counting.clone().map(|number| profiles.holder(*number))));
        assert_eq!(counting.count(), 4, "two of each");
    }

    #[test]
    fn who_gets_a_number_again_gets_nothing_of_who_had_it() {
        let peers = ["mailto:a@b.example", "mailto:c@d.example"].map(|it| Address::try_from(it).unwrap());
        let mut profiles = Profiles::new(10);
        let mut had: HashMap<u32, u32> = HashMap::new();
        let mut again = 0;
        for nth in 0..60 {
            for peer in &peers {
                let number = profiles.credit(peer, peer, 1024, false)[0];
                (1..GENERATION).for_each(|_| _ = profiles.credit(peer, peer, 1024, false));
                let column = profiles.column(number);
                assert!(column > 0);
                again += usize::from(had.insert(column, number).is_some());
                for feature in 0..20 {
                    let mut sum = 0.0;
                    match profiles.sums.of(feature) {
                        Found::Row(row) => row.each(|number, parts| {
                            sum += if u32::from(number) == column { f32::from(parts) } else { 0.0 };
                        }),
                        Found::Few(line, here) => {
                            sum = few(line, here).filter(|it| it.0 == column).map(|it| it.1).sum();
                        }
                        Found::None => {}
                    }
                    assert_eq!(sum, 0.0, "in round {nth}");
                    profiles.sums.add(feature, column, Amount::new(1.0), 0);
                }
            }
        }
        assert!(again > 80, "{again}");
    }
}
