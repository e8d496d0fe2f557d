//! Words by hash, in many small tables: each grows, and is swept, on its own, so that nobody waits.
//!
//! It knows no messages. Open addressing with everything of a word side by side: a word that is
//! looked up costs one line of the processor's cache.

use super::codec::{Damaged, Reader, Writer};
use super::postings::List;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::sync::LazyLock;

/// Most tables; one is what is swept, or grows, at once.
const MOST_PARTS: usize = 4096;
/// Fewest.
const LEAST_PARTS: usize = 16;
/// There are as many that one has about so many bytes when the dictionary is full.
const BYTES_OF_PART: u64 = 256 << 10;

/// So many places are looked at for a word that may go.
const NEAR: usize = 16;

/// A word of the dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Its occurrences, each as heavy as its message.
    pub(super) mass: u32,
    /// The sections of messages that have it, those not swept yet included.
    pub(super) sections: u32,
    pub(super) list: List,
}

/// Where a word stands, and what was known when it was looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    part: usize,
    at: usize,
    pub(super) term: Term,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    term: Term,
}

const FREE: Place = Place { tag: 0, term: Term { mass: 0, sections: 0, list: List::NONE } };

impl Place {
    fn is_free(&self) -> bool {
        self.term.sections == 0
    }
}

#[derive(Clone, Debug, Default)]
struct Part {
    places: Vec<Place>,
    used: usize,
}

/// The words.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// As many as a power of two.
    parts: Vec<Part>,
    terms: usize,
}

/// What a place depends on is drawn when the program starts, so that nobody can write words that
/// all want the same one. What is found doesn't depend on it.
static MULTIPLIER: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8) | 1);

/// The name of a word within its part. Two words of one part with the same 32 bits are one.
fn tag(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

impl Part {
    /// Where the search for a name begins: any size of a table will do.
    fn start(&self, tag: u32) -> usize {
        let spread = u64::from(tag).wrapping_mul(*MULTIPLIER) >> 32;
        usize::try_from((spread * self.places.len() as u64) >> 32).unwrap_or(0)
    }

    /// The place of a name, or the free one that it would get; `None` in a table without places.
    fn find(&self, tag: u32) -> Option<usize> {
        let mut at = self.start(tag);
        loop {
            let place = self.places.get(at)?;
            if place.is_free() || place.tag == tag {
                return Some(at);
            }
            at += 1;
            if at == self.places.len() {
                at = 0;
            }
        }
    }

    fn insert(&mut self, tag: u32, term: Term) {
        // At most five sixths full.
        if (self.used + 1) * 6 > self.places.len() * 5 {
            self.resize(self.places.len() + self.places.len() / 4 + 4);
        }
        if let Some(place) = self.find(tag).and_then(|at| self.places.get_mut(at)) {
            *place = Place { tag, term };
            self.used += 1;
        }
    }

    /// Frees a place; what would not be found any more moves up.
    fn remove(&mut self, at: usize) {
        let size = self.places.len();
        let (mut hole, mut at) = (at, at);
        loop {
            at = if at + 1 == size { 0 } else { at + 1 };
            let Some(place) = self.places.get(at).copied().filter(|place| !place.is_free()) else { break };
            let home = self.start(place.tag);
            let from_home = |at: usize| (at + size - home) % size;
            if from_home(hole) <= from_home(at) {
                if let Some(to) = self.places.get_mut(hole) {
                    *to = place;
                }
                hole = at;
            }
        }
        if let Some(place) = self.places.get_mut(hole) {
            *place = FREE;
        }
        self.used -= 1;
    }

    fn resize(&mut self, size: usize) {
        let old = std::mem::take(&mut self.places);
        self.places.reserve_exact(size);
        self.places.resize(size, FREE);
        for place in old.into_iter().filter(|place| !place.is_free()) {
            if let Some(to) = self.find(place.tag).and_then(|at| self.places.get_mut(at)) {
                *to = place;
            }
        }
    }
}

impl Dictionary {
    /// An empty one that is expected to grow up to so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let wanted = usize::try_from(bytes / BYTES_OF_PART).unwrap_or(MOST_PARTS);
        Dictionary::of(wanted.clamp(LEAST_PARTS, MOST_PARTS).next_power_of_two())
    }

    fn of(parts: usize) -> Self {
        Dictionary { parts: vec![Part::default(); parts], terms: 0 }
    }

    /// How many parts it has.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The part of a word, by its uppermost bits, and its name within it.
    fn name(&self, word: u64) -> (usize, u32) {
        let spread = u128::from(word) * self.parts.len() as u128;
        (usize::try_from(spread >> 64).unwrap_or(0), tag(word))
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.terms
    }

    /// What is known about a word.
    pub(super) fn get(&self, word: u64) -> Option<&Term> {
        let (part, tag) = self.name(word);
        let part = self.parts.get(part)?;
        Some(&part.places.get(part.find(tag)?)?.term).filter(|term| term.sections > 0)
    }

    /// The same, to change it. Its sections must not become 0.
    pub(super) fn get_mut(&mut self, word: u64) -> Option<&mut Term> {
        let (part, tag) = self.name(word);
        let part = self.parts.get_mut(part)?;
        let at = part.find(tag)?;
        Some(&mut part.places.get_mut(at)?.term).filter(|term| term.sections > 0)
    }

    /// Where a word stands, until another one is added or goes.
    pub(super) fn find(&self, word: u64) -> Option<Found> {
        let (part, tag) = self.name(word);
        let places = self.parts.get(part)?;
        let at = places.find(tag)?;
        let term = places.places.get(at)?.term;
        (term.sections > 0).then_some(Found { part, at, term })
    }

    /// What is known about a word, to change it, by where it stood; the same as [`Dictionary::get_mut`] if it
    /// stands elsewhere by now.
    pub(super) fn get_found(&mut self, word: u64, found: Option<&Found>) -> Option<&mut Term> {
        let (_, tag) = self.name(word);
        let stands = |found: &&Found| {
            let place = self.parts.get(found.part).and_then(|part| part.places.get(found.at));
            place.is_some_and(|place| place.tag == tag && !place.is_free())
        };
        match found.filter(stands) {
            Some(found) => Some(&mut self.parts.get_mut(found.part)?.places.get_mut(found.at)?.term),
            None => self.get_mut(word),
        }
    }

    /// Reads where a word is looked for first, so that it is at hand.
    pub(super) fn touch(&self, word: u64) -> u32 {
        let (part, tag) = self.name(word);
        self.parts.get(part).and_then(|part| part.places.get(part.start(tag))).map_or(0, |place| place.tag)
    }

    /// Adds a word that is not there, with one section or more.
    pub(super) fn insert(&mut self, word: u64, term: Term) {
        let (part, tag) = self.name(word);
        if let Some(part) = self.parts.get_mut(part) {
            part.insert(tag, term);
            self.terms += 1;
        }
    }

    /// Adds a word that is not there in the place of the oldest one of a single section near it. The
    /// answer is that one, `None` if there is none.
    pub(super) fn displace(&mut self, word: u64, term: Term) -> Option<Term> {
        let (part, tag) = self.name(word);
        let part = self.parts.get_mut(part)?;
        let start = part.start(tag);
        let around = (start..part.places.len()).chain(0..start).take(NEAR);
        let single = around.filter_map(|at| {
            let term = part.places.get(at)?.term;
            (term.sections == 1).then_some((term.list.last(), at, term))
        });
        let (_, at, old) = single.min_by_key(|(last, at, _)| (*last, *at))?;
        part.remove(at);
        part.insert(tag, term);
        Some(old)
    }

    /// Changes the words of a part, or drops those for which `keep` is false.
    pub(super) fn retain(&mut self, part: usize, mut keep: impl FnMut(&mut Term) -> bool) {
        let Some(part) = self.parts.get_mut(part) else { return };
        let before = part.used;
        for place in part.places.iter_mut().filter(|place| !place.is_free()) {
            if !keep(&mut place.term) {
                *place = FREE;
                part.used -= 1;
            }
        }
        if part.used < before {
            self.terms -= before - part.used;
            // What stands behind a place that has become free moves up.
            part.resize((part.used + 1) * 5 / 4 + 3);
        }
    }

    /// The words of a part: name within it, and what is known, by name.
    fn part(&self, part: usize) -> Vec<(u32, Term)> {
        let places = self.parts.get(part).map(|part| part.places.as_slice()).unwrap_or_default();
        let mut all: Vec<(u32, Term)> =
            places.iter().filter(|place| !place.is_free()).map(|place| (place.tag, place.term)).collect();
        all.sort_unstable_by_key(|(tag, _)| *tag);
        all
    }

    /// Fills a part that is empty.
    fn fill(&mut self, part: usize, terms: &[(u32, Term)]) {
        let Some(part) = self.parts.get_mut(part) else { return };
        part.resize(terms.len() * 5 / 4 + 4);
        for (tag, term) in terms {
            part.insert(*tag, *term);
        }
        self.terms += terms.len();
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        out.size(self.parts.len());
        out.end()?;
        for part in 0..self.parts.len() {
            out.all(self.part(part).iter(), 1 << 16, |out, (tag, term)| {
                for number in [*tag, term.mass, term.sections] {
                    out.u32(number);
                }
                term.list.write(out);
            })?;
        }
        Ok(())
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        input.next()?;
        let parts = input.size()?;
        if !parts.is_power_of_two() || parts > MOST_PARTS {
            return Err(Damaged::Format);
        }
        let mut words = Dictionary::of(parts);
        for part in 0..parts {
            let terms = input.all(1 << 16, |input| {
                let (tag, mass, sections) = (input.u32()?, input.u32()?, input.u32()?);
                Ok((tag, Term { mass, sections, list: List::read(input)? }))
            })?;
            words.fill(part, &terms);
        }
        Ok(words)
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let places: usize = self.parts.iter().map(|part| part.places.capacity()).sum();
        places * size_of::<Place>() + self.parts.len() * size_of::<Part>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn term(mass: u32) -> Term {
        Term { mass, sections: 1, list: List::new(mass, 1) }
    }

    /// Words of few parts, so that the tables fill.
    fn word(n: u64) -> u64 {
        ((n % 3) << 52) | (n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff)
    }

    #[test]
    fn a_word_may_take_the_place_of_an_older_one_nearby() {
        let mut dictionary = Dictionary::new(1 << 30);
        (0..300).for_each(|n| {
            dictionary.insert(word(n * 3), Term { mass: 1, ..term(u32::try_from(n).unwrap()) })
        });
        let before = dictionary.len();
        let mut displaced = 0;
        for n in 1000..1100 {
            let gone = dictionary.displace(word(n * 3), term(9999));
            displaced += usize::from(gone.is_some_and(|gone| gone.list.last() < 300));
            assert_eq!(dictionary.get(word(n * 3)).is_some(), gone.is_some());
        }
        assert!(displaced > 80, "{displaced}");
        assert_eq!(dictionary.len(), before);
        let found = (0..1100).filter(|n| dictionary.get(word(n * 3)).is_some()).count();
        assert_eq!(found, before, "the others are found");
        let many = Term { sections: 2, ..term(1) };
        let mut dictionary = Dictionary::new(1 << 30);
        (0..300).for_each(|n| dictionary.insert(word(n * 3), many));
        assert_eq!(dictionary.displace(word(3000), term(1)), None, "what is seen again stays");
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0_u64..400, 0_u8..8), 0..1500)) {
            let (mut dictionary, mut map) = (Dictionary::new(1 << 30), BTreeMap::new());
            let mut early: BTreeMap<u64, Option<Found>> = BTreeMap::new();
            for (at, (n, step)) in (0..).zip(steps) {
                let word = word(n);
                match (step, map.contains_key(&word)) {
                    (0, _) => {
                        let gone = u32::try_from(n).unwrap();
                        let (part, _) = dictionary.name(word);
                        dictionary.retain(part, |term| term.mass % 5 != gone % 5);
                        map.retain(|w, mass| dictionary.name(*w).0 != part || *mass % 5 != gone % 5);
                    }
                    (_, false) => {
                        dictionary.insert(word, term(at));
                        map.insert(word, at);
                    }
                    (1, true) => {
                        dictionary.get_mut(word).unwrap().mass = at;
                        map.insert(word, at);
                    }
                    (_, true) => {
                        // Found early, whatever has changed since then.
                        let found = early.entry(word).or_insert_with(|| dictionary.find(word));
                        dictionary.get_found(word, found.as_ref()).unwrap().mass = at;
                        map.insert(word, at);
                    }
                }
                prop_assert_eq!(dictionary.len(), map.len());
            }
            for n in 0..400 {
                prop_assert_eq!(dictionary.get(word(n)).map(|t| t.mass), map.get(&word(n)).copied());
            }
            let mut copy = Dictionary::new(1 << 30);
            for part in 0..dictionary.parts() {
                copy.fill(part, &dictionary.part(part));
            }
            prop_assert!((0..400).all(|n| copy.get(word(n)) == dictionary.get(word(n))));
            prop_assert_eq!(copy.len(), map.len());
        }
    }

    #[test]
    fn a_word_takes_few_bytes() {
        let mut dictionary = Dictionary::new(1 << 30);
        let empty = dictionary.memory_bytes();
        for n in 0..200_000_u64 {
            dictionary.insert(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), term(1));
        }
        let each = (dictionary.memory_bytes() - empty) / dictionary.len();
        assert!((24..34).contains(&each), "{each}");
        assert!(Dictionary::new(1 << 20).memory_bytes() < 1000, "a small one takes next to nothing");
    }
}
