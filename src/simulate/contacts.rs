//! Whom a gateway knows.

use crate::message::{Address, UnixTime};
use crate::policy::{Standing, may_learn};

/// A gateway that another one knows.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) gateway: u32,
    /// One of the first ones: never replaced.
    pub(super) pinned: bool,
    /// It has sent us something itself.
    heard: bool,
    /// When it last brought something that was useful.
    credited: Option<UnixTime>,
    /// It did not answer: left out until then.
    away: Option<UnixTime>,
}

/// The table, at most so many.
#[derive(Clone, Debug, Default)]
pub(super) struct Contacts {
    rows: Vec<Known>,
    most: usize,
}

/// For how long one that did not answer is left out, in microseconds: an hour, as long as it takes
/// the queue to give up on it for the time being.
const AWAY: i64 = 3_600_000_000;

impl Contacts {
    pub(super) fn new(pinned: impl IntoIterator<Item = u32>, most: usize) -> Self {
        let known = |gateway| Known { gateway, pinned: true, heard: false, credited: None, away: None };
        Contacts { rows: pinned.into_iter().map(known).collect(), most }
    }

    /// Those that can be asked now.
    pub(super) fn present(&self, now: UnixTime) -> impl Iterator<Item = &Known> {
        self.rows.iter().filter(move |row| row.away.is_none_or(|until| until <= now))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.gateway)
    }

    /// How it stands with us.
    pub(super) fn standing(&self, gateway: u32) -> Standing {
        let row = self.rows.iter().find(|row| row.gateway == gateway);
        Standing {
            pinned: row.is_some_and(|row| row.pinned),
            authenticated: row.is_some_and(|row| row.heard),
            ..Standing::default()
        }
    }

    /// It stands in a header, or sent something itself (`heard`). If the table is full, it takes the
    /// place of the least recently credited one, and only for a message that was `useful`.
    pub(super) fn learn(
        &mut self,
        gateway: u32,
        heard: bool,
        useful: bool,
        address: &impl Fn(u32) -> Option<Address>,
    ) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.gateway == gateway) {
            row.heard |= heard;
            return;
        }
        let Some(own) = address(gateway) else { return };
        let learned: Vec<Address> =
            self.rows.iter().filter(|row| !row.pinned).filter_map(|row| address(row.gateway)).collect();
        if may_learn(&own, &learned).is_err() {
            return;
        }
        let new = Known { gateway, pinned: false, heard, credited: None, away: None };
        if self.rows.len() < self.most {
            self.rows.push(new);
        } else if useful
            && let Some(least) =
                self.rows.iter_mut().filter(|row| !row.pinned).min_by_key(|row| (row.credited, row.gateway))
        {
            *least = new;
        }
    }

    /// It brought something useful. Who is only named in headers earns nothing: lines below the
    /// first are not signed.
    pub(super) fn credit(&mut self, gateway: u32, now: UnixTime) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.gateway == gateway && row.heard) {
            row.credited = Some(now);
        }
    }

    /// It does not answer.
    pub(super) fn gone(&mut self, gateway: u32, now: UnixTime) {
        self.rows.retain(|row| row.gateway != gateway || row.pinned);
        if let Some(row) = self.rows.iter_mut().find(|row| row.gateway == gateway) {
            row.away = Some(UnixTime(now.0.saturating_add(AWAY)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(gateway: u32) -> Option<Address> {
        Address::new(format!("http://g{gateway}.example/")).ok()
    }

    fn learn(table: &mut Contacts, gateway: u32, heard: bool, useful: bool) {
        table.learn(gateway, heard, useful, &address);
    }

    #[test]
    fn the_least_useful_one_makes_room_and_only_for_something_useful() {
        let mut table = Contacts::new([1, 2], 4);
        learn(&mut table, 3, true, false);
        learn(&mut table, 4, true, false);
        table.credit(3, UnixTime(5));
        learn(&mut table, 5, true, false);
        assert_eq!(table.all().collect::<Vec<_>>(), [1, 2, 3, 4]);
        learn(&mut table, 5, true, true);
        assert_eq!(table.all().collect::<Vec<_>>(), [1, 2, 3, 5]);
    }

    #[test]
    fn a_mention_earns_no_credit() {
        let mut table = Contacts::new([], 2);
        learn(&mut table, 3, false, false);
        learn(&mut table, 4, true, false);
        table.credit(3, UnixTime(9));
        table.credit(4, UnixTime(8));
        learn(&mut table, 5, false, true);
        assert_eq!(table.all().collect::<Vec<_>>(), [5, 4]);
        assert!(!table.standing(5).authenticated);
        assert!(table.standing(4).authenticated);
    }

    #[test]
    fn the_dead_are_dropped_and_pinned_ones_rest() {
        let mut table = Contacts::new([1], 4);
        learn(&mut table, 2, true, true);
        table.gone(1, UnixTime(0));
        table.gone(2, UnixTime(0));
        assert_eq!(table.all().collect::<Vec<_>>(), [1]);
        assert_eq!(table.present(UnixTime(1)).count(), 0);
        assert_eq!(table.present(UnixTime(AWAY)).count(), 1);
    }
}
