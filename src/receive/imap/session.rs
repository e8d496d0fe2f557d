//! One session with a server: what is asked of it, one answer at a time.
//!
//! The wrapper around the library that speaks IMAP: each answer has its bounds and its deadline, and
//! a panic in the library ends the session and nothing else. It knows commands and answers, and must
//! never know why something is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use imap::types::UnsolicitedResponse;

use super::folder::Facts;
use super::framing::Bounds;
use super::login::log_in;
use super::names;
use super::trouble::Trouble;
use super::wake::Sleeper;
use super::wire::{self, Reins, Wire};
use crate::config::Imap;
use crate::mail;

/// The slowest that a mail may come, in bytes a second; added to the time for an answer.
const SLOWEST: usize = 4096;

/// How much longer a server may take to change or copy many mails.
const CHANGE: u32 = 5;

/// Bytes of a Message-ID field that are asked for. A line may have 998 (RFC 5322, section 2.1.1).
const LONGEST_ID: usize = 1000;

/// What a server can do beyond the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skills {
    /// RFC 2177.
    pub(super) idle: bool,
    /// RFC 6851.
    pub(super) moves: bool,
    /// RFC 4315.
    pub(super) uidplus: bool,
}

/// A session that is logged in.
pub(super) struct Session {
    inner: imap::Session<Wire>,
    reins: Reins,
    skills: Skills,
    /// How long the server may take for a short answer, and for a search.
    answer: Duration,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Whatever is in the way.
    pub(super) fn open(account: &Imap, sleeper: &Arc<Sleeper>) -> Result<Session, Trouble> {
        let answer = account.timeout;
        let reins = Reins::new(Arc::clone(sleeper), answer);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let client = imap::Client::new(wire::connect(account, &reins)?);
            let mut inner = log_in(client, account, &reins)?;
            reins.expect(Bounds::SHORT, answer);
            let offered = inner.capabilities().map_err(|error| Trouble::of(error, "CAPABILITY"))?;
            let has = |name| offered.has_str(name);
            let skills = Skills { idle: has("IDLE"), moves: has("MOVE"), uidplus: has("UIDPLUS") };
            Ok(Session { inner, reins: reins.clone(), skills, answer })
        }));
        opened.unwrap_or(Err(Trouble::Nonsense("the login"))).map_err(|trouble| explained(trouble, &reins))
    }

    pub(super) fn skills(&self) -> Skills {
        self.skills
    }

    /// Asks one thing.
    fn ask<T>(
        &mut self,
        doing: &'static str,
        (bounds, within): (Bounds, Duration),
        what: impl FnOnce(&mut imap::Session<Wire>) -> imap::Result<T>,
    ) -> Result<T, Trouble> {
        self.reins.expect(bounds, within);
        let asked = catch_unwind(AssertUnwindSafe(|| what(&mut self.inner)));
        // What was said beside the answer is not needed, and must not be kept for ever.
        drop(self.inner.take_all_unsolicited());
        let answer = match asked {
            Ok(Ok(answer)) if self.reins.broken().is_none() => return Ok(answer),
            // The library hides some failures.
            Ok(Ok(_)) => Trouble::Lost,
            Ok(Err(error)) => Trouble::of(error, doing),
            Err(_) => Trouble::Nonsense(doing),
        };
        Err(explained(answer, &self.reins))
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// It is not there, or has no UIDVALIDITY.
    pub(super) fn select(&mut self, folder: &str) -> Result<Facts, Trouble> {
        self.opened(folder, |session, name| session.select(name))
    }

    /// Opens the folder again in the middle of a look.
    ///
    /// # Errors
    /// As [`Session::select`]; or it is another folder by now, whose UIDs are those of other mails.
    pub(super) fn select_again(&mut self, folder: &str, validity: u32) -> Result<(), Trouble> {
        let facts = self.select(folder)?;
        if facts.validity == validity { Ok(()) } else { Err(Trouble::Replaced(folder.to_owned())) }
    }

    /// Opens a folder only to read it.
    ///
    /// # Errors
    /// As [`Session::select`].
    pub(super) fn examine(&mut self, folder: &str) -> Result<Facts, Trouble> {
        self.opened(folder, |session, name| session.examine(name))
    }

    fn opened(
        &mut self,
        folder: &str,
        how: impl FnOnce(&mut imap::Session<Wire>, &str) -> imap::Result<imap::types::Mailbox>,
    ) -> Result<Facts, Trouble> {
        let name = names::encoded(folder);
        let found = self.ask("SELECT", (Bounds::SHORT, self.answer), |session| how(session, &name));
        let found = found.map_err(|trouble| match trouble {
            Trouble::Refused { said, .. } => Trouble::Folder { folder: folder.to_owned(), said },
            other => other,
        })?;
        Ok(Facts {
            validity: found.uid_validity.ok_or(Trouble::NoValidity)?,
            next: found.uid_next.filter(|next| *next > 0),
            exists: found.exists,
            read_only: found.is_read_only,
        })
    }

    /// The UIDs that a search finds, sorted.
    pub(super) fn search(&mut self, query: &str) -> Result<Vec<u32>, Trouble> {
        let found = self.ask("SEARCH", (Bounds::LIST, self.answer), |session| session.uid_search(query))?;
        let mut uids: Vec<u32> = found.into_iter().filter(|uid| *uid > 0).collect();
        uids.sort_unstable();
        Ok(uids)
    }

    /// The sizes of these mails; those that are gone are left out.
    pub(super) fn sizes(&mut self, uids: &[u32]) -> Result<Vec<(u32, u32)>, Trouble> {
        let set = names::set(uids);
        let asked = |session: &mut imap::Session<Wire>| {
            let fetched = session.uid_fetch(&set, "(UID RFC822.SIZE)")?;
            Ok(fetched.iter().filter_map(|one| Some((one.uid?, one.size?))).collect::<Vec<_>>())
        };
        let mut sizes = self.ask("FETCH of sizes", (Bounds::SHORT, self.answer), asked)?;
        sizes.retain(|(uid, _)| uids.contains(uid));
        Ok(sizes)
    }

    /// A mail, of which it was said that it is so long; none if it is gone.
    pub(super) fn mail(&mut self, uid: u32, longest: usize, size: u32) -> Result<Option<Vec<u8>>, Trouble> {
        let seconds = usize::try_from(size).unwrap_or(usize::MAX) / SLOWEST;
        let within = self.answer + Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        self.ask("FETCH of a mail", (Bounds::mail(longest), within), |session| {
            let fetched = session.uid_fetch(uid.to_string(), "(UID BODY.PEEK[])")?;
            let found = fetched.iter().find(|one| one.uid == Some(uid) && one.body().is_some());
            Ok(found.and_then(|one| one.body()).map(<[u8]>::to_vec))
        })
    }

    /// The Message-IDs of these mails, where they have one by which they can be found again. Only the
    /// beginning of that field is asked for: whoever wrote the mail decided how long it is.
    pub(super) fn message_ids(&mut self, uids: &[u32]) -> Result<Vec<(u32, String)>, Trouble> {
        let set = names::set(uids);
        let query = format!("(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.{LONGEST_ID}>)");
        self.ask("FETCH of Message-IDs", (Bounds::SHORT, self.answer), |session| {
            let fetched = session.uid_fetch(&set, &query)?;
            let id = |one: &imap::types::Fetch<'_>| Some((one.uid?, message_id(one.header()?)?));
            Ok(fetched.iter().filter_map(id).collect())
        })
    }

    /// Adds a flag.
    pub(super) fn flag(&mut self, uids: &[u32], flag: &str) -> Result<(), Trouble> {
        let (set, query) = (names::set(uids), format!("+FLAGS.SILENT ({flag})"));
        self.ask("STORE", (Bounds::SHORT, self.answer * CHANGE), |session| {
            session.uid_store(&set, &query).map(|_| ())
        })
    }

    /// Moves mails (RFC 6851).
    pub(super) fn move_to(&mut self, uids: &[u32], folder: &str) -> Result<(), Trouble> {
        let (set, name) = (names::set(uids), names::encoded(folder));
        self.ask("MOVE", (Bounds::SHORT, self.answer * CHANGE), |session| session.uid_mv(&set, &name))
    }

    /// Copies mails.
    pub(super) fn copy_to(&mut self, uids: &[u32], folder: &str) -> Result<(), Trouble> {
        let (set, name) = (names::set(uids), names::quoted(folder));
        self.ask("COPY", (Bounds::SHORT, self.answer * CHANGE), |session| session.uid_copy(&set, &name))
    }

    /// Removes mails that were flagged as deleted. Without UIDPLUS (RFC 4315) all that are flagged go,
    /// so that is done only where nobody else has flagged one.
    pub(super) fn expunge(&mut self, uids: &[u32]) -> Result<(), Trouble> {
        let set = names::set(uids);
        if self.skills.uidplus {
            return self.ask("EXPUNGE", (Bounds::SHORT, self.answer * CHANGE), |session| {
                session.uid_expunge(&set).map(|_| ())
            });
        }
        if self.search("DELETED")?.iter().all(|uid| uids.contains(uid)) {
            self.ask("EXPUNGE", (Bounds::SHORT, self.answer * CHANGE), |session| {
                session.expunge().map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Those of these Message-IDs, as [`Session::message_ids`] returns them, that are in another folder.
    /// The folder that was open is closed by that.
    pub(super) fn which_are_in(&mut self, folder: &str, ids: &[String]) -> Result<Vec<String>, Trouble> {
        self.examine(folder)?;
        let mut there = Vec::new();
        for id in ids {
            if !self.search(&format!("HEADER Message-ID \"{id}\""))?.is_empty() {
                there.push(id.clone());
            }
        }
        Ok(there)
    }

    /// Adds a mail to a folder, marked as read.
    pub(super) fn append(&mut self, folder: &str, mail: &[u8]) -> Result<(), Trouble> {
        let name = names::encoded(folder).replace('\\', "\\\\").replace('"', "\\\"");
        self.ask("APPEND", (Bounds::SHORT, self.answer * CHANGE), |session| {
            session.append(&name, mail).flag(imap::types::Flag::Seen).finish().map(|_| ())
        })
    }

    /// Waits for the server to say that there is something new, for this time at most, or until it
    /// is called.
    pub(super) fn idle(&mut self, time: Duration) -> Result<(), Trouble> {
        self.ask("IDLE", (Bounds::SHORT, self.answer), |session| {
            let mut idle = session.idle();
            idle.timeout(time).keepalive(false);
            // The end of the wait, by whatever reason, sends DONE when `idle` is dropped.
            idle.wait_while(|said| {
                !matches!(said, UnsolicitedResponse::Exists(_) | UnsolicitedResponse::Bye { .. })
            })
            .map(|_| ())
        })
    }

    /// Says goodbye; a server that does not hear it loses nothing.
    pub(super) fn close(mut self) {
        let _ = self.ask("LOGOUT", (Bounds::SHORT, Duration::from_secs(5)), imap::Session::logout);
    }
}

/// Why a connection broke says more than what the library makes of it.
fn explained(trouble: Trouble, reins: &Reins) -> Trouble {
    match (reins.broken(), reins.goodbye(), trouble) {
        (Some(broken), ..) => Trouble::Broken(broken),
        (None, Some(goodbye), Trouble::Lost | Trouble::Io(_) | Trouble::Nonsense(_)) => Trouble::Bye(goodbye),
        (None, _, trouble) => trouble,
    }
}

/// The only Message-ID in this header, if it is one, and can be written as a string of SEARCH as it
/// is. A part of one would be found in others, and an empty one in all (RFC 9051, section 6.4.4).
fn message_id(header: &[u8]) -> Option<String> {
    let whole = header.len() < LONGEST_ID;
    let mut ids = mail::header_fields(header, "message-id").into_iter().filter(|_| whole);
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let id = id.trim();
    let plain = |c: char| c.is_ascii_graphic() && !"\"\\".contains(c);
    let good = id.starts_with('<') && id.ends_with('>') && id.contains('@') && id.chars().all(plain);
    good.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_by_which_a_mail_can_be_found_again() {
        // As much as is asked for, so that more may have been cut off.
        let cut = format!("Message-ID: <{}@x>", "a".repeat(LONGEST_ID - 16));
        for (header, id) in [
            ("Message-ID: <1@b.c>\r\n\r\n", Some("<1@b.c>")),
            ("message-id:<1@b.c>", Some("<1@b.c>")),
            ("Message-ID:\r\n <1@b.c> \r\n\r\n", Some("<1@b.c>")),
            ("Message-ID:\r\n\r\n", None),
            ("Message-ID: <>\r\n\r\n", None),
            ("Message-ID: <@\r\n\r\n", None),
            ("Message-ID: 1@b.c\r\n\r\n", None),
            ("Message-ID: <1@b.c> <2@b.c>\r\n\r\n", None),
            ("Message-ID: <\"1\"@b.c>\r\n\r\n", None),
            ("Message-ID: <1@b\\c>\r\n\r\n", None),
            ("Message-ID: <1@b.c>\r\nMessage-ID: <2@b.c>\r\n\r\n", None),
            ("\r\n", None),
            ("", None),
            (&cut, None),
        ] {
            assert_eq!(message_id(header.as_bytes()).as_deref(), id, "{header}");
        }
    }
}
