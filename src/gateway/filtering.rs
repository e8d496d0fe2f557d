//! Mail that passes the content filter, at the one door: what concerns the gateway is admitted like
//! any arrival, other mail is learned if the operator wants that, and all else is only looked at.
//!
//! It knows the rules of `filter` and the door. It must never know how a mail is handed on.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::api::Filtered;
use super::ask::{Outcome, UNAVAILABLE, fail};
use super::learned::archive_address;
use super::{Gateway, LONG_MAIL, clock};
use crate::config::Config;
use crate::filter::{self, Intent, Judgement, Look, Mode};
use crate::mail::{self, Reading};
use crate::message::Limits;
use crate::receive::filter::{Judge, Passing};
use crate::receive::{Arrival, Via};
use crate::smtp::{Reply, Severity};
use crate::store::StoreError;
use crate::store::messages::{self, Admitted, NewMessage};

/// How long a mail that passes waits for being learned, at most.
const LEARN_WAIT: Duration = Duration::from_secs(1);

impl Judge for Gateway {
    fn takes(&self, recipient: &str, size: Option<u64>) -> bool {
        takes(&self.0.config(), recipient, size)
    }

    fn most(&self) -> usize {
        self.0.config().smtp.max_message
    }

    async fn judge(&self, passing: Passing) -> Judgement {
        let config = self.0.config();
        let ends_here = !passing.taken.is_empty();
        if !passing.whole {
            return match ends_here {
                // Also where its size was not told before: as if it had been, it goes to the next hop.
                true => Judgement::Unprocessed(Reply::no_room("The mail is too big for a posting address")),
                false => passed(),
            };
        }
        let (passing, look) = match looked_at(&config, passing).await {
            Ok(both) => both,
            Err(reply) => {
                return filter::settle(
                    config.filter.on_error,
                    ends_here,
                    &config.gateway.hostname,
                    reply,
                    &[],
                );
            }
        };
        let intent = filter::intend(config.filter.mode, &config.filter.learn, &look);
        if ends_here && !intent.admit {
            // The settings are not those of the moment when its copies were taken: what was to end
            // here is nobody's any more, unless it goes on.
            return Judgement::Unprocessed(Reply::trouble("The settings of the filter have changed"));
        }
        note(&config, &passing.arrival, &look, intent);
        if intent.learn {
            self.learn(&config, passing.arrival).await;
            return passed();
        }
        if !intent.admit {
            return passed();
        }
        let mut arrival = passing.arrival;
        // The door takes the posting addresses' copy: the others are nobody's it knows.
        let ours: Vec<String> = arrival
            .recipients
            .iter()
            .filter(|to| mail::is_ours(&config.smtp.recipients, to))
            .cloned()
            .collect();
        if !ours.is_empty() {
            arrival.recipients = ours;
        }
        let (verdict, ids) = self.admit_counted(arrival, None).await;
        filter::settle(config.filter.on_error, ends_here, &config.gateway.hostname, verdict.reply, &ids)
    }
}

/// Nothing was done about it.
fn passed() -> Judgement {
    Judgement::Go { stamp: None, taken: Reply::stored("nothing to store") }
}

fn takes(config: &Config, recipient: &str, size: Option<u64>) -> bool {
    let fits =
        size.is_none_or(|size| usize::try_from(size).is_ok_and(|size| size <= config.smtp.max_message));
    config.filter.mode == Mode::Take && fits && mail::is_ours(&config.smtp.recipients, recipient)
}

fn look(config: &Config, arrival: &Arrival) -> Look {
    filter::look(&arrival.raw, &reading(config, &arrival.recipients))
}

fn reading<'a>(config: &'a Config, recipients: &'a [String]) -> Reading<'a> {
    Reading {
        posting: &config.smtp.recipients,
        envelope_recipients: recipients,
        hostname: &config.gateway.hostname,
        loop_marker: &config.gateway.hostname,
        limits: Limits { max_body: config.smtp.max_message, ..Limits::default() },
        caps: mail::Caps::default(),
        forwarded: config.policy.read_forwarded,
    }
}

/// Reads a mail; a long one on a thread for long work.
async fn looked_at(config: &Arc<Config>, passing: Passing) -> Result<(Passing, Look), Reply> {
    if passing.arrival.raw.len() <= LONG_MAIL {
        let look = look(config, &passing.arrival);
        return Ok((passing, look));
    }
    let config = Arc::clone(config);
    let work = move || {
        let look = look(&config, &passing.arrival);
        (passing, look)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Reply::trouble("this mail can't be read here at present"))
}

/// For the postmaster who watches: what is done, or would be.
fn note(config: &Config, arrival: &Arrival, look: &Look, intent: Intent) {
    let mode = config.filter.mode.as_str();
    if !intent.concerns {
        tracing::debug!(mode, bytes = arrival.raw.len(), learned = intent.learn, "passed");
        return;
    }
    let what = match (config.filter.mode, look.addressed) {
        (Mode::Shadow, true) => "would be processed: it is for a posting address",
        (Mode::Shadow, false) => "would be processed: it holds CMR messages",
        (_, true) => "is processed: it is for a posting address",
        (_, false) => "is processed: it holds CMR messages",
    };
    info!(
        mode,
        bytes = arrival.raw.len(),
        recipients = arrival.recipients.len(),
        sender = arrival.sender.as_deref().unwrap_or("<>").escape_debug().to_string(),
        ids = look.ids.join(","),
        what,
        "passes the filter"
    );
}

impl Gateway {
    /// Puts ordinary mail into the pool, for the operator alone. Nobody waits for it, and when
    /// it fails nothing is lost but this. While too many are on their way, the next one waits for a
    /// short while: passing goes first.
    async fn learn(&self, config: &Config, arrival: Arrival) {
        let place = Arc::clone(&self.0.learning).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(LEARN_WAIT, place).await else {
            warn!("a mail that passed was not learned: the database does not keep up");
            return;
        };
        let Some(new) = learned(config, &arrival) else { return };
        let gateway = self.clone();
        tokio::spawn(async move {
            let stored: Result<Admitted, StoreError> =
                gateway.0.store.write_async(move |tx| messages::admit(tx, &new)).await;
            drop(place);
            match stored {
                Ok(Admitted::New(_)) => gateway.0.wake_router(),
                Ok(_) => {}
                Err(failure) => warn!(%failure, "a mail that passed was not learned"),
            }
        });
    }

    /// What becomes of a mail on standard input: decided here, handed on by who asks.
    pub(super) fn filtered(
        &self,
        sender: Option<String>,
        recipients: Vec<String>,
        raw: Option<Vec<u8>>,
    ) -> Outcome<Filtered> {
        let config = self.config();
        let size = raw.as_ref().map_or(Some(u64::MAX), |raw| u64::try_from(raw.len()).ok());
        let taken: Vec<String> = recipients.iter().filter(|to| takes(&config, to, size)).cloned().collect();
        let (whole, raw) = (raw.is_some(), raw.unwrap_or_default());
        let passing = Passing {
            arrival: Arrival {
                through_relay: true,
                sender,
                recipients: recipients.clone(),
                ..Arrival::new(Via::Filter, raw, clock::now())
            },
            taken: taken.clone(),
            whole,
        };
        let judgement = match tokio::runtime::Handle::try_current() {
            Ok(handle) => handle.block_on(self.judge(passing)),
            Err(_) => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| fail(UNAVAILABLE, format!("no runtime: {error}")))?
                .block_on(self.judge(passing)),
        };
        let others = || recipients.iter().filter(|to| !taken.contains(to)).cloned().collect();
        let (reply, stamp, pass) = match judgement {
            Judgement::Go { stamp, taken } => (taken, stamp, others()),
            Judgement::Hold(reply) => (reply, None, Vec::new()),
            Judgement::Unprocessed(why) => {
                (Reply::stored(&format!("passed without being processed: {why}")), None, recipients.clone())
            }
        };
        if self.0.started.is_none() && reply.severity() == Severity::Success {
            self.route_pending()?;
        }
        Ok(Filtered { code: reply.code(), text: reply.text(), stamp, pass })
    }
}

/// Ordinary mail as a message of our archive. `None`: there is no text in it.
fn learned(config: &Config, arrival: &Arrival) -> Option<NewMessage> {
    let submission = mail::extract(&arrival.raw, &reading(config, &arrival.recipients));
    let post = submission.post?;
    let archive = archive_address(config).ok()?;
    let (now, skew, via) = (arrival.received, config.policy.clock_skew, arrival.via.as_str());
    Some(super::learned::learned(&submission.header, &post.text, &archive, now, skew, via))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy was taken for us in mode `take`, and before the final dot the operator changed to
    /// `shadow`: 250 for it would be a mail that is nowhere.
    #[tokio::test]
    async fn a_copy_that_was_to_end_here_goes_on_when_the_settings_change() {
        let dir = tempfile::tempdir().unwrap();
        let text = |mode: &str| {
            format!(
                "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"cmr.home.test\"\n\
                 operator = \"Olga <olga@home.test>\"\ndata_dir = \"data\"\n\
                 [send]\nsmarthost = \"smtp://127.0.0.1:1\"\n\
                 [filter]\nlisten = \"127.0.0.1:10025\"\nnext_hop = \"127.0.0.1:10026\"\nmode = \"{mode}\"\n"
            )
        };
        let config = |mode| Config::parse(&text(mode), dir.path().join("cmr-mail.toml")).unwrap();
        let gateway = Gateway::open(&config("take")).unwrap();
        assert!(gateway.takes("cmr@home.test", None));
        let passing = || Passing {
            arrival: Arrival {
                through_relay: true,
                sender: Some("bob@people.test".to_owned()),
                recipients: vec!["cmr@home.test".to_owned()],
                ..Arrival::new(
                    crate::receive::Via::Filter,
                    b"From: bob@people.test\r\nTo: cmr@home.test\r\nSubject: x\r\n\r\nWhich planet?\r\n"
                        .to_vec(),
                    crate::message::UnixTime(1_700_000_000_000_000),
                )
            },
            taken: vec!["cmr@home.test".to_owned()],
            whole: true,
        };
        gateway.reload(&config("shadow")).unwrap();
        let judgement = gateway.judge(passing()).await;
        assert!(matches!(judgement, Judgement::Unprocessed(_)), "{judgement:?}");
        // Beyond what may be read it goes on as well: nobody else's copy suffers.
        gateway.reload(&config("take")).unwrap();
        let judgement = gateway.judge(Passing { whole: false, ..passing() }).await;
        assert!(matches!(judgement, Judgement::Unprocessed(_)), "{judgement:?}");
    }
}
