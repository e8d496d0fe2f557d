//! The gateway as the office of the IMAP poller: takes what was found in a folder, and remembers
//! what was read.
//!
//! It knows the store and the door in. It must never know how a folder is read.

use std::time::Duration;

use rusqlite::Connection;
use tokio::task::JoinError;
use tracing::warn;

use super::commit::Outcome;
use super::{Gateway, api, clock};
use crate::mail;
use crate::message::UnixTime;
use crate::policy::Provenance;
use crate::receive::imap::{Fate, Health, Known, Office, Place, Polled, SentCopy};
use crate::receive::{Arrival, Via};
use crate::store::mailboxes::{self, FolderName, MailState};
use crate::store::{StoreError, queue};

use super::outgoing::Composed;

/// How long a mail that can't be taken at present is put off.
const PUT_OFF: Duration = Duration::from_secs(600);

/// Copies that are made at once.
const COPIES: u32 = 50;

/// Where a mail was found, for the transaction that takes it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    folder: i64,
    uid: u32,
    changes: bool,
    /// What the account is called.
    pub(super) account: String,
}

impl Found {
    /// Whether the mail was settled before: two copies of this job may be under way, when a session
    /// broke and another one began.
    pub(super) fn is_settled(&self, tx: &Connection) -> Result<bool, StoreError> {
        mailboxes::is_settled(tx, self.folder, self.uid)
    }

    /// Writes down what became of the mail.
    ///
    /// Crash argument: this is the transaction that stores what was in it. Before its commit neither
    /// happened, and the mail is fetched again; after it both did, and what is configured happens
    /// to it in the folder however often that is interrupted.
    pub(super) fn note(&self, tx: &Connection, outcome: &Outcome, now: UnixTime) -> Result<Fate, StoreError> {
        let (fate, state, due) = if outcome.left {
            (Fate::Left, MailState::Left, now)
        } else if outcome.is_put_off() {
            (Fate::Again, MailState::Again, now.saturating_add(PUT_OFF))
        } else if self.changes {
            (Fate::Taken, MailState::After, now)
        } else {
            (Fate::Taken, MailState::Left, now)
        };
        mailboxes::note(tx, self.folder, self.uid, state, due)?;
        Ok(fate)
    }
}

impl Outcome {
    /// Whether nothing of a mail to somebody else was of use: then it is none of ours.
    pub(super) fn is_not_ours(&self, provenance: Provenance) -> bool {
        let to_others = matches!(provenance, Provenance::Polled { addressed: false, .. });
        to_others && self.taken.is_empty() && self.known.is_empty() && self.note.is_none()
    }

    /// Whether something was not taken because of what passes. The mail comes again, and what was
    /// taken of it is known then.
    pub(super) fn is_put_off(&self) -> bool {
        self.refused.iter().any(|part| part.why.is_temporary())
    }
}

/// Does long work on a thread for that. Where the mail was `found` in a folder its panic goes on
/// here, as if the work were short: the poller has to see that the mail would be met again.
pub(super) async fn at_length<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    found: bool,
) -> Result<T, JoinError> {
    match tokio::task::spawn_blocking(work).await {
        Err(failed) if found && failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        other => other,
    }
}

fn name(place: &Place) -> FolderName<'_> {
    FolderName { account: &place.account, server: &place.server, folder: &place.folder }
}

impl Office for Gateway {
    fn open(&self, place: &Place, validity: u32) -> Result<Known, String> {
        let (asked, now) = (place.clone(), clock::now());
        let opened = self.store().write(move |tx| mailboxes::open(tx, &name(&asked), validity, now));
        let (found, was) = opened.map_err(|error| error.to_string())?;
        if let Some(was) = was {
            let account = &place.account;
            warn!(account, was, validity, "UIDVALIDITY changed: the folder is read from its beginning");
        }
        let mailboxes::Folder { id, next, after, settled, again } = found;
        Ok(Known { folder: id, next, after, settled, again })
    }

    fn forget(&self, place: &Place) -> Result<(), String> {
        let place = place.clone();
        self.store().write(move |tx| mailboxes::forget(tx, &name(&place))).map_err(|error| error.to_string())
    }

    async fn admit(&self, mail: Polled) -> Fate {
        let now = clock::now();
        let Polled { account, folder, uid, raw, changes, stays, tls } = mail;
        // A post without a Date is dated by its receipt, which was when its mailbox got it.
        let received = mail::received_at(&raw).map_or(now, |received| received.min(now));
        let arrival = Arrival { kept: stays, tls, ..Arrival::new(Via::Imap, raw, received) };
        let found = Found { folder, uid, changes, account };
        let (verdict, _, fate) = self.admit_found(arrival, None, Some(found)).await;
        fate.unwrap_or_else(|| Fate::Unknown(verdict.reply.text()))
    }

    fn skip(&self, folder: i64, uid: u32) -> Result<(), String> {
        let now = clock::now();
        self.store()
            .write(move |tx| mailboxes::note(tx, folder, uid, MailState::Left, now))
            .map_err(|error| error.to_string())
    }

    fn settle(&self, folder: i64, next: u32, behind: u64) -> Result<(), String> {
        let now = clock::now();
        let job = move |tx: &Connection| {
            mailboxes::settle(tx, folder, next)?;
            mailboxes::behind(tx, folder, behind, now)
        };
        self.store().write(job).map_err(|error| error.to_string())
    }

    fn done(&self, folder: i64, uids: &[u32]) -> Result<(), String> {
        let uids = uids.to_vec();
        self.store().write(move |tx| mailboxes::done(tx, folder, &uids)).map_err(|error| error.to_string())
    }

    fn copies(&self, account: &str) -> Result<Vec<SentCopy>, String> {
        let numbers = self.store().read(|conn| mailboxes::uncopied(conn, account, COPIES));
        let mut copies = Vec::new();
        for number in numbers.map_err(|error| error.to_string())? {
            let delivery = self.store().read(|conn| queue::get(conn, number));
            let Some(delivery) = delivery.map_err(|error| error.to_string())? else { continue };
            match self.compose(&delivery).map_err(|error| error.to_string())? {
                Composed::Mail(outgoing) => {
                    let message_id = delivery.message_id.clone();
                    copies.push(SentCopy { number, message_id, mail: outgoing.mail });
                }
                // What it was about was removed since.
                Composed::Gone(_) | Composed::Parcel(_) => self.copied(account, number)?,
            }
        }
        Ok(copies)
    }

    fn copied(&self, account: &str, number: i64) -> Result<(), String> {
        let account = account.to_owned();
        self.store()
            .write(move |tx| mailboxes::copied(tx, &account, number))
            .map_err(|error| error.to_string())
    }

    fn report(&self, place: &Place, health: &Health) {
        let now = clock::now();
        let account = mailboxes::Account {
            name: place.account.clone(),
            folder: place.folder.clone(),
            looked: None,
            next_try: now.saturating_add(health.next),
            idle: health.idle,
            behind: health.counts.behind,
            too_large: health.counts.too_large,
            lag: health.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            error: health.error.clone(),
            error_since: None,
        };
        let looked = health.looked;
        let told = self.store().write(move |tx| mailboxes::report(tx, &account, looked, now));
        if let Err(error) = told {
            warn!(account = place.account, %error, "how the account is doing could not be written down");
        }
    }
}

impl Gateway {
    /// How the configured accounts are doing.
    ///
    /// # Errors
    /// Those of any read.
    pub(super) fn mailboxes(&self) -> Result<Vec<api::MailboxView>, StoreError> {
        let config = self.config();
        self.store().read(|conn| {
            let view = |account: &crate::config::Imap| {
                let found = mailboxes::account(conn, &account.name)?;
                Ok(api::MailboxView::of(&account.name, &account.folder, found.as_ref()))
            };
            config.imap.iter().map(view).collect()
        })
    }
}

impl api::MailboxView {
    fn of(name: &str, folder: &str, found: Option<&mailboxes::Account>) -> api::MailboxView {
        let time = |time: Option<UnixTime>| super::view::time(time);
        let Some(found) = found else {
            return api::MailboxView {
                account: name.to_owned(),
                folder: folder.to_owned(),
                state: "new".to_owned(),
                ..api::MailboxView::default()
            };
        };
        let state = match (&found.error, found.looked, found.idle) {
            (Some(_), ..) => "failing",
            (None, None, _) => "new",
            (None, Some(_), true) => "idle",
            (None, Some(_), false) => "polled",
        };
        api::MailboxView {
            account: name.to_owned(),
            folder: folder.to_owned(),
            state: state.to_owned(),
            last_success: time(found.looked),
            next_try: time(Some(found.next_try)),
            lag_milliseconds: found.lag,
            behind: found.behind,
            too_large: found.too_large,
            error: found.error.clone().unwrap_or_default(),
            error_since: time(found.error_since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_long_mail_breaks_is_told_where_it_was_found() {
        assert_eq!(at_length(|| 1, true).await.unwrap(), 1);
        let broke = |found| tokio::spawn(at_length(|| panic!("a mail that breaks something"), found));
        let by_smtp: Result<(), JoinError> = broke(false).await.unwrap();
        assert!(by_smtp.unwrap_err().is_panic());
        assert!(broke(true).await.unwrap_err().is_panic());
    }
}
