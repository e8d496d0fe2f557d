//! The whole pool as bytes, so that a start need not read every message again.
//!
//! It knows the parts. It must never know a file. What is read must have been compared with a
//! checksum: damaged bytes make a damaged pool.

use super::codec::{Damaged, Reader, Writer};
use super::holders::{Holders, Part};
use super::index::Index;
use super::names::{Name, Names};
use super::profiles::Profiles;
use super::slots::Slots;
use super::{Limits, Pool};
use crate::message::Address;
use crate::policy::Scope;
use std::io::{self, Read, Write};

/// Raised whenever a word is cut, weighed or written down differently: what another version has
/// written is not read. A test holds the two together.
pub(super) const FORMAT: u64 = 0x636d_7270_6f6f_0004;

impl Pool {
    /// Writes down everything but the limits and the pinned peers.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn save(&self, to: &mut dyn Write) -> io::Result<()> {
        let out = &mut Writer::new(to);
        out.u64(FORMAT);
        out.u64(self.bytes);
        out.end()?;
        self.addresses.save(out, |out, address| out.bytes(address.as_bytes()))?;
        self.headers.save(out, |out, header| {
            out.size(header.len());
            header.iter().for_each(|name| out.u32(*name));
        })?;
        self.slots.save(out)?;
        self.public.save(out)?;
        self.local.save(out)?;
        self.profiles.save(out)
    }

    /// The pool that was written down, as if it had been here all the time. Under limits that are
    /// narrower now it is over them until the next message comes.
    ///
    /// # Errors
    /// [`Damaged`]
    pub fn load(from: &mut dyn Read, limits: Limits) -> Result<Self, Damaged> {
        let input = &mut Reader::new(from);
        input.next()?;
        if input.u64()? != FORMAT {
            return Err(Damaged::Format);
        }
        let bytes = input.u64()?;
        let addresses =
            Names::load(input, |input| Address::new(input.bytes()?).map_err(|_| Damaged::Format))?;
        let headers: Names<Box<[Name]>> = Names::load(input, |input| {
            let hops = 0..input.size()?;
            hops.map(|_| input.u32()).collect()
        })?;
        let slots = Slots::load(input)?;
        let mut public = Index::load(input, limits.max_dictionary)?;
        let mut local = Index::load(input, limits.max_dictionary)?;
        let profiles = Profiles::load(input, limits.max_profiles)?;
        let mut holders = Holders::default();
        for (ordinal, slot) in slots.with_ordinals() {
            let size = u64::from(slot.bytes);
            holders.add(Part::Author, slot.author, ordinal, size);
            holders.add(Part::Neighbour, slot.sender, ordinal, size);
            match slot.scope {
                Scope::Public => public.known(slot.author),
                Scope::Local => local.known(slot.author),
            }
        }
        Ok(Pool { limits, slots, addresses, headers, public, local, holders, profiles, bytes, changes: 0 })
    }
}
