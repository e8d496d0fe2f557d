//! One account: its thread, which connects, looks, waits for news, and comes back after failures.
//!
//! It carries out the steps of a [`Look`] with a [`Session`], and hands mails over while it fetches
//! the next ones. It knows clocks. It must never decide what a step is.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::task::JoinError;
use tracing::{debug, info, warn};

use super::after::carry_out;
use super::folder::{BATCH, Counts, Facts, Fate, Look, Step, is_news, went_back};
use super::schedule::{Rest, Schedule};
use super::session::Session;
use super::trouble::Trouble;
use super::wake::{self, GRACE, Sleeper, Waker};
use super::{Health, Office, Place, Polled, names};
use crate::config::{After, Imap, Security};
use crate::mail;

/// Mails that are handed over and whose fate is not known yet, at most.
const IN_FLIGHT: usize = 64;

/// And their bytes; a mail that is larger goes alone.
const BYTES_IN_FLIGHT: usize = 8 << 20;

/// What is said of a mail that was under way at the end.
const STOPPED: &str = "told to stop";

/// How often a long look says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Where it stands which look was wanted and what came of it.
#[derive(Debug, Default)]
pub(super) struct Board {
    answered: Mutex<(u64, Option<Result<Counts, String>>)>,
    changed: Condvar,
}

impl Board {
    /// What came of the look that was asked for as number `asked`; none if it takes too long.
    pub(super) fn answer(&self, asked: u64, until: Instant) -> Option<Result<Counts, String>> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        while answered.0 < asked {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(answered, left);
            answered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        answered.1.clone()
    }

    /// Nobody will look any more.
    pub(super) fn close(&self) {
        self.tell(u64::MAX, Err("it is not read any more: the daemon stops".to_owned()));
    }

    fn tell(&self, asked: u64, result: Result<Counts, String>) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.0 != u64::MAX {
            *answered = (asked, Some(result));
        }
        drop(answered);
        self.changed.notify_all();
    }
}

/// The thread's work.
pub(super) struct Worker<O> {
    account: Imap,
    place: Place,
    office: Arc<O>,
    largest: usize,
    runtime: Handle,
    waker: Waker,
    sleeper: Arc<Sleeper>,
    board: Arc<Board>,
    schedule: Schedule,
    /// What went wrong in the last look without ending it.
    complaint: Option<String>,
    lag: Option<Duration>,
}

impl<O: Office> Worker<O> {
    pub(super) fn new(
        account: Imap,
        office: Arc<O>,
        largest: usize,
        runtime: Handle,
    ) -> io::Result<(Waker, Worker<O>)> {
        let (waker, sleeper) = wake::pair()?;
        let place = Place {
            account: account.name.clone(),
            server: format!("{}@{}:{}", account.user, account.host, account.port),
            folder: account.folder.clone(),
        };
        let worker = Worker {
            schedule: Schedule::new(account.poll, account.idle, account.sent.is_some()),
            account,
            place,
            office,
            largest,
            runtime,
            waker: waker.clone(),
            sleeper: Arc::new(sleeper),
            board: Arc::default(),
            complaint: None,
            lag: None,
        };
        Ok((waker, worker))
    }

    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Looks once.
    pub(super) fn once(mut self) -> Result<Counts, String> {
        let looked = Session::open(&self.account, &self.sleeper).and_then(|mut session| {
            let (counts, _) = self.look(&mut session)?;
            session.close();
            Ok(counts)
        });
        match looked {
            Ok(counts) => {
                self.report(None, Some(counts), false, Duration::ZERO);
                self.complaint.take().map_or(Ok(counts), Err)
            }
            Err(trouble) => {
                let error = trouble.to_string();
                self.report(Some(error.clone()), None, false, Duration::ZERO);
                Err(error)
            }
        }
    }

    /// Until told to stop.
    pub(super) fn run(mut self) {
        while !self.waker.is_stopped() {
            let asked = self.waker.asked();
            let opened = Session::open(&self.account, &self.sleeper);
            let since = Instant::now();
            let logged_in = opened.is_ok();
            let ended = opened.and_then(|session| self.stay(session, since));
            let wait = match ended {
                Ok(wait) => wait,
                // Whatever it was, it is no trouble of the mailbox.
                Err(_) if self.waker.is_stopped() => break,
                Err(trouble) => {
                    let lasted = logged_in.then(|| since.elapsed());
                    let wait = self.schedule.failed(trouble.kind(), lasted, random());
                    let (account, seconds) = (&self.account.name, wait.as_secs());
                    warn!(account, %trouble, seconds, failures = self.schedule.failures(), "the mailbox is tried again");
                    self.report(Some(trouble.to_string()), None, false, wait);
                    self.board.tell(asked, Err(trouble.to_string()));
                    wait
                }
            };
            if self.sleeper.wait(None, wait).is_err() {
                break;
            }
        }
        debug!(account = self.account.name, "the account is closed");
    }

    /// Looks and waits for news, again and again, until the session ends: how long to stay away.
    fn stay(&mut self, mut session: Session, since: Instant) -> Result<Duration, Trouble> {
        loop {
            let asked = self.waker.asked();
            let (counts, seen) = self.look(&mut session)?;
            self.schedule.succeeded(since.elapsed());
            let rest = self.schedule.rest(session.skills().idle, random());
            let (Rest::Idle(time) | Rest::Sleep(time) | Rest::Leave(time)) = rest;
            self.report(None, Some(counts), matches!(rest, Rest::Idle(_)), time);
            self.board.tell(asked, self.complaint.clone().map_or(Ok(counts), Err));
            match rest {
                Rest::Idle(time) => {
                    // What came during the look was told in answer to one of its commands, if at all,
                    // and IDLE does not tell it again: so no command stands between this and IDLE.
                    let now = session.select(&self.account.folder)?;
                    if !is_news(&seen, &now) {
                        session.idle(time)?;
                    }
                }
                Rest::Sleep(time) => {
                    self.sleeper.wait(None, time).map_err(Trouble::Io)?;
                }
                Rest::Leave(time) => {
                    session.close();
                    return Ok(time);
                }
            }
            self.schedule.succeeded(since.elapsed());
            if self.waker.is_stopped() {
                session.close();
                return Err(Trouble::Stopped);
            }
        }
    }

    /// Looks through the folder. Returns what was found, and what the folder was when the look began.
    fn look(&mut self, session: &mut Session) -> Result<(Counts, Facts), Trouble> {
        self.complaint = None;
        self.copy_what_was_sent(session)?;
        let facts = session.select(&self.account.folder)?;
        let mut known = self.office.open(&self.place, facts.validity).map_err(Trouble::Here)?;
        if went_back(&known, &facts) {
            let (account, was, is) = (&self.account.name, known.next, facts.next);
            warn!(account, was, is, "UIDNEXT went back: the folder is read from its beginning");
            self.office.forget(&self.place).map_err(Trouble::Here)?;
            known = self.office.open(&self.place, facts.validity).map_err(Trouble::Here)?;
        }
        let changes = self.account.after != After::Keep;
        if changes && facts.read_only {
            self.complain(Trouble::ReadOnly(self.account.folder.clone()).to_string());
        }
        let mut look = Look::new(&known, &facts, changes, self.largest);
        let mut flight = Flight::new();
        let mut told = Instant::now();
        if look.counts.behind > BATCH as u64 {
            info!(account = self.account.name, mails = look.counts.behind, "reading the folder");
            self.office.settle(known.folder, known.next, look.counts.behind).map_err(Trouble::Here)?;
        }
        loop {
            if self.waker.is_stopped() {
                return Err(Trouble::Stopped);
            }
            match look.step() {
                Step::Highest => {
                    let highest = session.search("UID *")?.last().copied();
                    look.highest(highest);
                }
                Step::Search(from, to) => {
                    let mut query = format!("UID {from}:{to}");
                    if let Some(day) = self.account.since {
                        query.push_str(&format!(" SINCE {}", names::day(day)));
                    }
                    look.found(session.search(&query)?, to);
                }
                Step::Sizes(uids) => {
                    let sizes = session.sizes(&uids)?;
                    let is_there = |uid: &u32| sizes.iter().any(|(found, _)| found == uid);
                    // What was put off and is gone would be asked for again and again.
                    let gone: Vec<u32> =
                        uids.into_iter().filter(|uid| known.again.contains(uid) && !is_there(uid)).collect();
                    if !gone.is_empty() {
                        self.office.done(known.folder, &gone).map_err(Trouble::Here)?;
                    }
                    look.sized(sizes);
                }
                Step::Take(uid, size) => {
                    if let Some(raw) = session.mail(uid, self.largest, size)? {
                        let stays = matches!(self.account.after, After::Seen | After::Keep).then(|| {
                            let (account, folder) = (&self.account.name, &self.account.folder);
                            format!("mailbox {account}, {folder}, UID {uid}")
                        });
                        let mail = Polled {
                            stays,
                            account: self.account.name.clone(),
                            folder: known.folder,
                            uid,
                            raw,
                            changes,
                            tls: self.account.security != Security::None,
                        };
                        self.hand_over(mail, &mut flight, &mut look);
                    }
                }
                Step::Settle(next) => {
                    self.wait_for(&mut flight, &mut look, 0, 0);
                    if let Some(why) = flight.unknown.take() {
                        return Err(Trouble::Here(why));
                    }
                    self.office.settle(known.folder, next, look.counts.behind).map_err(Trouble::Here)?;
                    look.settled(next);
                    if told.elapsed() > PROGRESS {
                        told = Instant::now();
                        let (account, counts) = (&self.account.name, look.counts);
                        info!(
                            account,
                            taken = counts.taken,
                            left = counts.left,
                            behind = counts.behind,
                            "reading the folder"
                        );
                    }
                }
                Step::After { uids, interrupted } => {
                    match carry_out(session, &self.account, facts.validity, &uids, interrupted) {
                        Ok(()) => self.office.done(known.folder, &uids).map_err(Trouble::Here)?,
                        Err(trouble @ (Trouble::Refused { .. } | Trouble::Folder { .. })) => {
                            // What was taken is stored; only the folder does not show it yet.
                            self.complain(trouble.to_string());
                            look.gave_up_after();
                            session.select_again(&self.account.folder, facts.validity)?;
                        }
                        Err(trouble) => return Err(trouble),
                    }
                }
                Step::Rest => break,
            }
        }
        if look.counts.taken > 0 {
            let (account, counts) = (&self.account.name, look.counts);
            info!(
                account,
                taken = counts.taken,
                left = counts.left,
                again = counts.again,
                "the folder was read"
            );
        }
        Ok((look.counts, facts))
    }

    /// Hands a mail over, after waiting for room.
    fn hand_over(&mut self, mail: Polled, flight: &mut Flight, look: &mut Look) {
        let bytes = mail.raw.len();
        self.wait_for(flight, look, IN_FLIGHT - 1, BYTES_IN_FLIGHT.saturating_sub(bytes));
        flight.mails += 1;
        flight.bytes += bytes;
        let arrived = mail::received_at(&mail.raw);
        let (folder, uid) = (mail.folder, mail.uid);
        let (office, tell) = (Arc::clone(&self.office), flight.tell.clone());
        let admitted = {
            let office = Arc::clone(&office);
            self.runtime.spawn(async move { office.admit(mail).await })
        };
        self.runtime.spawn(async move {
            let fate = fate_of(admitted.await, move || office.skip(folder, uid)).await;
            // Nobody listens: the session is over.
            let _ = tell.send(Landed { uid, bytes, fate, arrived });
        });
    }

    /// Waits until at most so many mails and bytes are under way.
    fn wait_for(&mut self, flight: &mut Flight, look: &mut Look, mails: usize, bytes: usize) {
        while flight.mails > 0 && (flight.mails > mails || flight.bytes > bytes) {
            let landed = match flight.landed.recv_timeout(GRACE) {
                Ok(landed) => landed,
                // Nobody may be left who would tell.
                Err(_) if self.waker.is_stopped() => {
                    flight.unknown = Some(STOPPED.to_owned());
                    return;
                }
                Err(_) => continue,
            };
            flight.mails = flight.mails.saturating_sub(1);
            flight.bytes = flight.bytes.saturating_sub(landed.bytes);
            if let Fate::Unknown(why) = &landed.fate {
                flight.unknown = Some(why.clone());
            }
            if landed.fate == Fate::Taken {
                self.lag = landed.arrived.map(|arrived| {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    now.saturating_sub(Duration::from_secs(u64::try_from(arrived.as_secs()).unwrap_or(0)))
                });
            }
            look.fate(landed.uid, &landed.fate);
        }
    }

    /// Adds copies of what was sent to people to the folder for that.
    fn copy_what_was_sent(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let Some(folder) = self.account.sent.clone() else { return Ok(()) };
        for copy in self.office.copies(&self.account.name).map_err(Trouble::Here)? {
            let id = format!("<{}>", copy.message_id);
            let made = session.which_are_in(&folder, &[id]).and_then(|there| {
                if there.is_empty() { session.append(&folder, &copy.mail) } else { Ok(()) }
            });
            match made {
                Ok(()) => self.office.copied(&self.account.name, copy.number).map_err(Trouble::Here)?,
                Err(trouble @ (Trouble::Refused { .. } | Trouble::Folder { .. })) => {
                    self.complain(format!("no copy of an answer could be kept: {trouble}"));
                    break;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    fn complain(&mut self, complaint: String) {
        warn!(account = self.account.name, complaint, "something is left to be done in the mailbox");
        self.complaint = Some(complaint);
    }

    fn report(&self, error: Option<String>, counts: Option<Counts>, idle: bool, next: Duration) {
        let health = Health {
            error: error.or_else(|| self.complaint.clone()),
            looked: counts.is_some(),
            counts: counts.unwrap_or_default(),
            lag: self.lag,
            idle,
            next,
        };
        self.office.report(&self.place, &health);
    }
}

/// What became of a mail that was handed over. `skip` remembers that it is left.
async fn fate_of(
    admitted: Result<Fate, JoinError>,
    skip: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Fate {
    match admitted {
        Ok(fate) => fate,
        // A mail that breaks something here must not be met again and again.
        Err(failed) if failed.is_panic() => match tokio::task::spawn_blocking(skip).await {
            Ok(Ok(())) => Fate::Left,
            _ => Fate::Unknown("a mail could not be read here".to_owned()),
        },
        Err(_) => Fate::Unknown(STOPPED.to_owned()),
    }
}

/// Mails that were handed over.
struct Flight {
    mails: usize,
    bytes: usize,
    tell: Sender<Landed>,
    landed: Receiver<Landed>,
    unknown: Option<String>,
}

/// A mail whose fate is known.
struct Landed {
    uid: u32,
    bytes: usize,
    fate: Fate,
    /// When it came into the mailbox.
    arrived: Option<crate::message::UnixTime>,
}

impl Flight {
    fn new() -> Flight {
        let (tell, landed) = channel();
        Flight { mails: 0, bytes: 0, tell, landed, unknown: None }
    }
}

/// Not to be guessed by nobody, only different in every process: the hasher's keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mail_that_breaks_something_is_left_and_one_that_was_cut_short_is_not() {
        let cut_short = tokio::spawn(std::future::pending::<Fate>());
        cut_short.abort();
        let fate = fate_of(cut_short.await, || panic!("it was not read")).await;
        assert_eq!(fate, Fate::Unknown("told to stop".to_owned()));
        let broke = || tokio::spawn(async { panic!("a mail that breaks something") });
        assert_eq!(fate_of(broke().await, || Ok(())).await, Fate::Left);
        let unknown = fate_of(broke().await, || Err("the database is full".to_owned())).await;
        assert!(matches!(unknown, Fate::Unknown(_)), "{unknown:?}");
        assert_eq!(fate_of(Ok(Fate::Again), || panic!("it was read")).await, Fate::Again);
    }
}
