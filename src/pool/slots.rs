//! Where the cached messages are: numbered in the order in which they came. A long message has
//! several numbers, one for each of its sections; it is known by the first of them.

use super::codec::{Damaged, Reader, Writer};
use super::names::Name;
use crate::message::MessageId;
use crate::policy::Scope;
use std::collections::{HashMap, VecDeque};
use std::io;

/// What is kept of a message, its words aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) seq: i64,
    pub(super) id: MessageId,
    pub(super) author: Name,
    pub(super) sender: Name,
    /// The addresses of its header, by number.
    pub(super) header: Name,
    /// What it counts for the limits.
    pub(super) bytes: u32,
    /// How many words it has.
    pub(super) words: u32,
    /// What it weighs in profiles.
    pub(super) profile_weight: u32,
    /// The profiles that it counts in: its sender's, and that of the router that took it.
    pub(super) profiles: [u32; 2],
    /// C(Y), by what was known when it came.
    pub(super) bits: f32,
    /// Its weight in the word model.
    pub(super) weight: u8,
    pub(super) scope: Scope,
}

impl Slot {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.seq.cast_unsigned());
        out.u64(u64::from_be_bytes(*self.id.as_bytes()));
        let [first, second] = self.profiles;
        for number in [
            self.author,
            self.sender,
            self.header,
            self.bytes,
            self.words,
            self.profile_weight,
            first,
            second,
            self.bits.to_bits(),
        ] {
            out.u32(number);
        }
        out.u8(self.weight);
        out.u8(u8::from(self.scope == Scope::Local));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Slot {
            seq: input.u64()?.cast_signed(),
            id: MessageId::from(input.u64()?.to_be_bytes()),
            author: input.u32()?,
            sender: input.u32()?,
            header: input.u32()?,
            bytes: input.u32()?,
            words: input.u32()?,
            profile_weight: input.u32()?,
            profiles: [input.u32()?, input.u32()?],
            bits: f32::from_bits(input.u32()?),
            weight: input.u8()?,
            scope: if input.u8()? == 0 { Scope::Public } else { Scope::Local },
        })
    }
}

/// Bit of a brief profile: there is a second one.
const TWO: u32 = 1 << 31;

/// What scoring looks at of a section: its words, 0 if it is gone, which one it is of its message,
/// and the profile of its sender.
#[derive(Clone, Copy, Debug, Default)]
struct Brief {
    words: u16,
    section: u16,
    profile: u32,
}

/// The messages by ordinal and by sequence number. An ordinal is given once, ascending.
#[derive(Debug, Default)]
pub(super) struct Slots {
    base: u32,
    slots: VecDeque<Option<Slot>>,
    /// What scoring looks at, side by side.
    brief: VecDeque<Brief>,
    by_seq: HashMap<i64, u32>,
    live: usize,
    /// Sections in the middle whose messages are gone.
    gone: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The ordinal that the next message will get.
    pub(super) fn next(&self) -> u32 {
        self.base.saturating_add(u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    /// Whether so many numbers are taken by messages that are gone that [`Slots::renumber`] pays. Numbers
    /// are of sections and not of messages: when long messages were counted as one each, an index of
    /// nothing but long ones was walked again for each that came.
    pub(super) fn is_sparse(&self) -> bool {
        let here = self.slots.len().saturating_sub(self.gone);
        self.gone > here.saturating_mul(3).saturating_add(4096) || self.next() >= u32::MAX - 1
    }

    /// A message, with the number of words of its sections.
    pub(super) fn push(&mut self, slot: Slot, sections: &[u64]) {
        self.by_seq.insert(slot.seq, self.next());
        let [profile, other] = slot.profiles;
        let two = if other > 0 { TWO } else { 0 };
        for (section, words) in (0..).zip(sections) {
            let words = u16::try_from(*words).unwrap_or(u16::MAX).max(1);
            self.brief.push_back(Brief { words, section, profile: profile | two });
            self.slots.push_back((section == 0).then_some(slot));
        }
        self.live += 1;
    }

    fn at(&self, ordinal: u32) -> Option<usize> {
        usize::try_from(ordinal.checked_sub(self.base)?).ok()
    }

    pub(super) fn get(&self, ordinal: u32) -> Option<&Slot> {
        self.slots.get(self.at(ordinal)?)?.as_ref()
    }

    fn brief(&self, ordinal: u32) -> Brief {
        self.at(ordinal).and_then(|at| self.brief.get(at)).copied().unwrap_or_default()
    }

    /// How many words a section has, at least 1; 0 if it is gone.
    pub(super) fn words(&self, ordinal: u32) -> u16 {
        self.brief(ordinal).words
    }

    /// How many ordinals there are from the oldest one on.
    pub(super) fn span(&self) -> usize {
        self.brief.len()
    }

    /// The oldest ordinal.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Which one a section is from the oldest one on, and how many words it has; 0 if it is gone.
    pub(super) fn at_and_words(&self, ordinal: u32) -> (u32, u16) {
        let at = ordinal.wrapping_sub(self.base);
        (at, self.brief.get(at as usize).map_or(0, |brief| brief.words))
    }

    /// The first section of the message of a section.
    pub(super) fn first(&self, ordinal: u32) -> u32 {
        ordinal.saturating_sub(u32::from(self.brief(ordinal).section))
    }

    /// The sections of a message.
    pub(super) fn sections(&self, first: u32) -> impl Iterator<Item = u32> {
        let next = |ordinal: &u32| Some(ordinal.saturating_add(1));
        let mut sections = std::iter::successors(Some(first), next);
        let mut at = 0;
        std::iter::from_fn(move || {
            let ordinal = sections.next()?;
            let brief = self.brief(ordinal);
            let same = brief.words > 0 && brief.section == at;
            at += 1;
            same.then_some(ordinal)
        })
    }

    /// The words of a section, and the profiles that it counts in.
    pub(super) fn profiles(&self, ordinal: u32) -> (u16, [u32; 2]) {
        let brief = self.brief(ordinal);
        if brief.profile & TWO == 0 {
            return (brief.words, [brief.profile, 0]);
        }
        (brief.words, self.get(self.first(ordinal)).map_or([0; 2], |slot| slot.profiles))
    }

    /// The weight of the message of a section in the word model, `None` if it is gone.
    pub(super) fn weight(&self, ordinal: u32) -> Option<u8> {
        let brief = self.brief(ordinal);
        (brief.words > 0).then(|| self.get(self.first(ordinal)).map(|slot| slot.weight)).flatten()
    }

    /// Weighs the messages of a scope as if those that are gone had never been: an author's n-th one
    /// weighs `nth(n)`. The answer is the sum.
    pub(super) fn reweigh(&mut self, scope: Scope, nth: impl Fn(u32) -> u8) -> u64 {
        let mut held: HashMap<Name, u32> = HashMap::new();
        let mut sum = 0;
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.scope == scope) {
            let n = held.entry(slot.author).or_default();
            *n += 1;
            slot.weight = nth(*n);
            sum += u64::from(slot.weight);
        }
        sum
    }

    pub(super) fn ordinal(&self, seq: i64) -> Option<u32> {
        self.by_seq.get(&seq).copied()
    }

    pub(super) fn take(&mut self, ordinal: u32) -> Option<Slot> {
        let at = self.at(ordinal)?;
        let sections = self.sections(ordinal).count();
        let slot = self.slots.get_mut(at)?.take()?;
        for brief in self.brief.iter_mut().skip(at).take(sections) {
            *brief = Brief::default();
        }
        self.by_seq.remove(&slot.seq);
        self.live -= 1;
        self.gone += sections;
        while self.brief.front().is_some_and(|brief| brief.words == 0) {
            self.slots.pop_front();
            self.brief.pop_front();
            self.gone = self.gone.saturating_sub(1);
            self.base = self.base.saturating_add(1);
        }
        Some(slot)
    }

    /// The oldest message.
    pub(super) fn oldest(&self) -> Option<u32> {
        // `take` leaves no empty slot in front.
        (self.live > 0).then_some(self.base)
    }

    /// All messages, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.iter().filter_map(Option::as_ref)
    }

    /// Writes all of it down.
    pub(super) fn save(&self, out: &mut Writer<'_>) -> io::Result<()> {
        out.u32(self.base);
        out.end()?;
        out.all(self.slots.iter().zip(&self.brief), 4096, |out, (slot, brief)| {
            out.u16(brief.words);
            out.u16(brief.section);
            out.u32(brief.profile);
            out.u8(u8::from(slot.is_some()));
            if let Some(slot) = slot {
                slot.write(out);
            }
        })
    }

    /// What was written down.
    pub(super) fn load(input: &mut Reader<'_>) -> Result<Self, Damaged> {
        input.next()?;
        let base = input.u32()?;
        let all = input.all(4096, |input| {
            let brief = Brief { words: input.u16()?, section: input.u16()?, profile: input.u32()? };
            let slot = if input.u8()? == 0 { None } else { Some(Slot::read(input)?) };
            Ok((slot, brief))
        })?;
        let (slots, brief): (VecDeque<_>, VecDeque<_>) = all.into_iter().unzip();
        let by_seq: HashMap<i64, u32> = (base..)
            .zip(&slots)
            .filter_map(|(at, slot): (u32, &Option<Slot>)| Some((slot.as_ref()?.seq, at)))
            .collect();
        let live = by_seq.len();
        let gone = brief.iter().filter(|brief: &&Brief| brief.words == 0).count();
        Ok(Slots { base, slots, brief, by_seq, live, gone })
    }

    /// All messages with their ordinals, oldest first.
    pub(super) fn with_ordinals(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (self.base..).zip(&self.slots).filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }

    /// Closes the gaps. The answer tells the new ordinal of an old one, and its weight.
    pub(super) fn renumber(&mut self) -> impl Fn(u32) -> Option<(u32, u8)> + use<> {
        let old_base = self.base;
        let mut next = 0_u32;
        let mut weight = 0;
        let map: Vec<Option<(u32, u8)>> = self
            .brief
            .iter()
            .zip(&self.slots)
            .map(|(brief, slot)| {
                weight = slot.as_ref().map_or(weight, |slot| slot.weight);
                next += u32::from(brief.words > 0);
                (brief.words > 0).then(|| (next - 1, weight))
            })
            .collect();
        let mut live = self.brief.iter().map(|brief| brief.words > 0);
        self.slots.retain(|_| live.next().unwrap_or(false));
        drop(live);
        self.brief.retain(|brief| brief.words > 0);
        self.base = 0;
        self.gone = 0;
        let to = move |ordinal: u32| {
            let at = usize::try_from(ordinal.checked_sub(old_base)?).ok()?;
            map.get(at).copied().flatten()
        };
        for ordinal in self.by_seq.values_mut() {
            *ordinal = to(*ordinal).map_or(0, |(ordinal, _)| ordinal);
        }
        to
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Slot>>()
            + self.brief.capacity() * size_of::<Brief>()
            + self.by_seq.capacity() * 8 / 7 * (size_of::<(i64, u32)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(seq: i64) -> Slot {
        Slot {
            seq,
            id: MessageId::from([0; 8]),
            author: 0,
            sender: 0,
            header: 0,
            bytes: 0,
            words: 0,
            profile_weight: 0,
            profiles: [0; 2],
            bits: 0.0,
            weight: 0,
            scope: Scope::Public,
        }
    }

    #[test]
    fn long_messages_alone_leave_no_gaps() {
        let mut slots = Slots::default();
        for seq in 0..1_000 {
            slots.push(slot(seq), &[512; 31]);
            assert!(!slots.is_sparse(), "after {seq} messages with nothing gone");
        }
        // All but every tenth go: then, and not before three quarters are gone, closing the gaps pays.
        let mut first_sparse = None;
        for seq in (0..1_000).filter(|seq| seq % 10 != 0) {
            let ordinal = slots.ordinal(seq).unwrap();
            slots.take(ordinal).unwrap();
            if slots.is_sparse() && first_sparse.is_none() {
                first_sparse = Some(slots.len());
            }
        }
        let left = first_sparse.expect("gaps are closed at last");
        assert!((150..250).contains(&left), "{left}");
        let to = slots.renumber();
        assert!(!slots.is_sparse());
        assert_eq!(to(0), Some((0, 0)));
        assert_eq!(slots.next(), 100 * 31);
        assert_eq!(slots.ordinal(10), Some(31));
    }
}
