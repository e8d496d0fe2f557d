//! What the gateway counts and measures of itself, in the OpenMetrics format.
//!
//! It knows names, units and numbers. It must never know where a number comes from, nor who asks
//! for the page; labels are words of this program or of its configuration, never a text from outside,
//! so that no stranger can make it grow.
//!
//! Each metric is described once, in [`ALL`]; `docs/metrics.md` is made from that.

mod describe;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use describe::*;

/// The media type of the page.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Number = Gauge<f64, AtomicU64>;
type Gauges = Family<Labels, Number>;

/// The gateway's counters. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    mails: Counters,
    messages: Counters,
    refused: Counters,
    routed: Counter,
    routing_failed: Counter,
    decision: Histogram,
    gain: Histogram,
    attempts: Counters,
    requests: Counters,
    queue: Gauges,
    queue_age: Gauges,
    numbers: Vec<(&'static Described, Number)>,
    mailbox_failing: Gauges,
    mailbox_behind: Gauges,
    mailbox_lag: Gauges,
}

/// How things stand when the page is asked for.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Single numbers, each with its description.
    pub numbers: Vec<(&'static Described, f64)>,
    /// Deliveries by transport and state, and how long the oldest of them has waited.
    pub queue: Vec<Depth>,
    /// Mailboxes that are read.
    pub mailboxes: Vec<Mailbox>,
}

/// One kind of delivery in the queue.
#[derive(Clone, Debug)]
pub struct Depth {
    /// Name of the transport.
    pub transport: String,
    /// How far they are.
    pub state: String,
    /// How many.
    pub number: u64,
    /// How long the oldest one has been here.
    pub oldest: Duration,
}

/// One mailbox.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Its name in the configuration.
    pub account: String,
    /// Whether the last look at it failed.
    pub failing: bool,
    /// Mails that have not been looked at.
    pub behind: u64,
    /// How long the last mail that was taken had been there.
    pub lag: Option<Duration>,
}

fn register(registry: &mut Registry, what: &Described, metric: impl Metric) {
    match what.unit {
        "" => registry.register(what.base(), what.help, metric),
        unit => {
            // The registry appends the unit, and the counter's suffix, to the name by itself.
            registry.register_with_unit(what.stem(), what.help, Unit::Other(unit.to_owned()), metric);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let counters = |registry: &mut Registry, what| {
            let family = Counters::default();
            register(registry, what, family.clone());
            family
        };
        let mails = counters(&mut registry, &describe::MAILS);
        let messages = counters(&mut registry, &describe::MESSAGES);
        let refused = counters(&mut registry, &describe::REFUSED);
        let attempts = counters(&mut registry, &describe::ATTEMPTS);
        let requests = counters(&mut registry, &describe::REQUESTS);
        let (routed, routing_failed) = (Counter::default(), Counter::default());
        register(&mut registry, &describe::ROUTED, routed.clone());
        register(&mut registry, &describe::ROUTING_FAILED, routing_failed.clone());
        let decision = Histogram::new([0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]);
        register(&mut registry, &describe::DECISION, decision.clone());
        let gain = Histogram::new([0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0]);
        register(&mut registry, &describe::GAIN, gain.clone());
        let gauges = |registry: &mut Registry, what| {
            let family = Gauges::default();
            register(registry, what, family.clone());
            family
        };
        let queue = gauges(&mut registry, &describe::QUEUE);
        let queue_age = gauges(&mut registry, &describe::QUEUE_AGE);
        let mailbox_failing = gauges(&mut registry, &describe::MAILBOX_FAILING);
        let mailbox_behind = gauges(&mut registry, &describe::MAILBOX_BEHIND);
        let mailbox_lag = gauges(&mut registry, &describe::MAILBOX_LAG);
        let mut numbers = Vec::new();
        for what in describe::NUMBERS {
            let number = Number::default();
            register(&mut registry, what, number.clone());
            numbers.push((*what, number));
        }
        Metrics(Arc::new(Inner {
            registry,
            mails,
            messages,
            refused,
            routed,
            routing_failed,
            decision,
            gain,
            attempts,
            requests,
            queue,
            queue_age,
            numbers,
            mailbox_failing,
            mailbox_behind,
            mailbox_lag,
        }))
    }
}

impl Metrics {
    /// A mail, or a message by itself, came this way and got a reply of this code.
    pub fn arrived(&self, via: &str, code: u16) {
        let class = format!("{}xx", code / 100);
        self.0.mails.get_or_create_owned(&vec![("via", via.to_owned()), ("reply", class)]).inc();
    }

    /// So many messages came this way; `fate` is `new`, `known` or `not_sent`.
    pub fn messages(&self, via: &str, fate: &'static str, number: usize) {
        let labels = vec![("via", via.to_owned()), ("fate", fate.to_owned())];
        self.0.messages.get_or_create_owned(&labels).inc_by(u64::try_from(number).unwrap_or(u64::MAX));
    }

    /// Something was not taken, for this reason in a word.
    pub fn refused(&self, reason: &'static str) {
        self.0.refused.get_or_create_owned(&vec![("reason", reason.to_owned())]).inc();
    }

    /// A decision was made, with the gain of its best match.
    pub fn decided(&self, took: Duration, gain_bits: f64) {
        self.0.decision.observe(took.as_secs_f64());
        self.0.gain.observe(gain_bits.max(0.0));
    }

    /// So many decisions are durable.
    pub fn routed(&self, number: usize) {
        self.0.routed.inc_by(u64::try_from(number).unwrap_or(u64::MAX));
    }

    /// A decision failed.
    pub fn routing_failed(&self) {
        self.0.routing_failed.inc();
    }

    /// An attempt at a delivery ended; `ended` is `sent`, `again`, `failed`, `elsewhere` or
    /// `unrelated`.
    pub fn attempt(&self, transport: &str, kind: &str, ended: &str) {
        let labels =
            vec![("transport", transport.to_owned()), ("kind", kind.to_owned()), ("ended", ended.to_owned())];
        self.0.attempts.get_or_create_owned(&labels).inc();
    }

    /// A page was asked for and answered so.
    pub fn requested(&self, code: u16) {
        self.0.requests.get_or_create_owned(&vec![("code", code.to_string())]).inc();
    }

    /// The page, with how things stand now.
    ///
    /// # Errors
    /// Never, as far as is known: it is written into memory.
    pub fn text(&self, state: &State) -> Result<String, std::fmt::Error> {
        let inner = &self.0;
        for (what, number) in &inner.numbers {
            if let Some((_, value)) = state.numbers.iter().find(|(which, _)| which == what) {
                number.set(*value);
            }
        }
        inner.queue.clear();
        inner.queue_age.clear();
        for depth in &state.queue {
            let labels = vec![("transport", depth.transport.clone()), ("state", depth.state.clone())];
            inner.queue.get_or_create_owned(&labels).set(float(depth.number));
            inner.queue_age.get_or_create_owned(&labels).set(depth.oldest.as_secs_f64());
        }
        for family in [&inner.mailbox_failing, &inner.mailbox_behind, &inner.mailbox_lag] {
            family.clear();
        }
        for mailbox in &state.mailboxes {
            let labels = vec![("account", mailbox.account.clone())];
            inner.mailbox_failing.get_or_create_owned(&labels).set(f64::from(u8::from(mailbox.failing)));
            inner.mailbox_behind.get_or_create_owned(&labels).set(float(mailbox.behind));
            if let Some(lag) = mailbox.lag {
                inner.mailbox_lag.get_or_create_owned(&labels).set(lag.as_secs_f64());
            }
        }
        let mut text = String::new();
        encode(&mut text, &inner.registry)?;
        Ok(text)
    }
}

/// A count as a gauge has it: above 2^53 the last digits go.
#[allow(clippy::cast_precision_loss, reason = "nobody reads a gauge to sixteen digits")]
#[must_use]
pub fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_what_is_shown() {
        let metrics = Metrics::default();
        metrics.arrived("smtp", 250);
        metrics.messages("smtp", "new", 2);
        metrics.refused("format");
        metrics.decided(Duration::from_millis(2), 23.4);
        metrics.attempt("mailto", "forward", "sent");
        metrics.requested(200);
        let state = State {
            numbers: describe::NUMBERS.iter().map(|what| (*what, 1.0)).collect(),
            queue: vec![Depth {
                transport: "mailto".into(),
                state: "ready".into(),
                number: 3,
                oldest: Duration::from_secs(4),
            }],
            mailboxes: vec![Mailbox {
                account: "inbox".into(),
                failing: true,
                behind: 7,
                lag: Some(Duration::from_millis(2500)),
            }],
        };
        let text = metrics.text(&state).unwrap();
        let shown: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let described: Vec<&str> = ALL.iter().map(|what| what.base()).collect();
        for name in &shown {
            assert!(described.contains(name), "{name} is not described");
        }
        for what in ALL {
            assert!(shown.contains(&what.base()), "{} is not shown in\n{text}", what.name);
            assert!(text.contains(&format!("# HELP {} {}", what.base(), what.help)), "{}", what.name);
            for label in what.labels {
                assert!(text.contains(&format!("{}=\"", label.0)), "{}: {}", what.name, label.0);
            }
        }
        for line in [
            "cmr_mail_arrivals_total{via=\"smtp\",reply=\"2xx\"} 1",
            "cmr_mail_messages_total{via=\"smtp\",fate=\"new\"} 2",
            "cmr_mail_queue_deliveries{transport=\"mailto\",state=\"ready\"} 3.0",
            "cmr_mail_queue_age_seconds{transport=\"mailto\",state=\"ready\"} 4.0",
            "cmr_mail_mailbox_lag_seconds{account=\"inbox\"} 2.5",
            "cmr_mail_decision_seconds_count 1",
            "# UNIT cmr_mail_decision_seconds seconds",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        // What is gone from the queue is gone from the page.
        assert!(!metrics.text(&State::default()).unwrap().contains("cmr_mail_queue_deliveries{"));
    }
}
