//! Every metric, described once: its name, what it measures in which unit, its labels.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at each start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// What is known about a metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// As it is asked for: of a counter with `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The unit that its name ends in, or nothing.
    pub unit: &'static str,
    /// Its labels, each with what stands there.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it says, without the full stop.
    pub help: &'static str,
}

impl Described {
    /// The name of the family: without a counter's `_total`.
    #[must_use]
    pub fn base(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }

    /// The name without its unit.
    pub(super) fn stem(&self) -> &'static str {
        let base = self.base();
        base.strip_suffix(self.unit).and_then(|stem| stem.strip_suffix('_')).unwrap_or(base)
    }
}

macro_rules! metrics {
    ($( $id:ident: $name:literal $kind:ident $unit:literal [$( $label:literal: $says:literal ),*] $help:literal; )*) => {
        $(
            #[doc = $help]
            pub static $id: Described = Described {
                name: $name, kind: Kind::$kind, unit: $unit, labels: &[$(($label, $says)),*], help: $help,
            };
        )*
        /// All of them, in the order of the documentation.
        pub static ALL: &[&Described] = &[$(&$id),*];
    };
}

metrics! {
    MAILS: "cmr_mail_arrivals_total" Counter "" ["via": "`smtp`, `lmtp`, `filter`, `imap`, `pipe` or `bare`", "reply": "`2xx` taken, `4xx` put off, `5xx` refused"]
        "Mails and messages that were brought whole, by their way and the reply that they got";
    MESSAGES: "cmr_mail_messages_total" Counter "" ["via": "as above", "fate": "`new`, `known` for a duplicate, or `not_sent` for what is here already and of which only the ids came"]
        "Messages in what was brought";
    REFUSED: "cmr_mail_refusals_total" Counter "" ["reason": "`format`, `unreadable`, `signature`, `no-key`, `author`, `blocked`, `too-fast`, `policy`, `nothing`, `key-exchange`, `conflict`, `token`, `command`, `removed` or `room`"]
        "Parts of mails that were not taken, by reason";
    ROUTED: "cmr_mail_routed_total" Counter "" []
        "Decisions that are durable";
    ROUTING_FAILED: "cmr_mail_routing_failures_total" Counter "" []
        "Decisions that failed; a message is given up after three";
    DECISION: "cmr_mail_decision_seconds" Histogram "seconds" []
        "How long a decision took, without writing it down";
    GAIN: "cmr_mail_best_gain_bits" Histogram "bits" []
        "What the best match of a message saves of it, 0 where there is none";
    ATTEMPTS: "cmr_mail_delivery_attempts_total" Counter "" ["transport": "`mailto`, ...", "kind": "`forward`, `answer`, `later_match`, `notice` or `key_exchange`", "ended": "`sent`, `again`, `failed`, `elsewhere`: it was busy, and another peer is asked, or `unrelated`: it was asked first, and has nothing that this goes with"]
        "Attempts at a delivery, by how they ended";
    REQUESTS: "cmr_mail_web_requests_total" Counter "" ["code": "the status code"]
        "Requests for pages and JSON";
    QUEUE: "cmr_mail_queue_deliveries" Gauge "" ["transport": "as above", "state": "`ready`, `leased` or `held`"]
        "Deliveries that have not left";
    QUEUE_AGE: "cmr_mail_queue_age_seconds" Gauge "seconds" ["transport": "as above", "state": "as above"]
        "How long the oldest of them has waited";
    MAILBOX_FAILING: "cmr_mail_mailbox_failing" Gauge "" ["account": "`name` in `[[imap]]`"]
        "1 if the mailbox could not be read when it was last looked at";
    MAILBOX_BEHIND: "cmr_mail_mailbox_behind" Gauge "" ["account": "as above"]
        "Mails in the mailbox that have not been looked at";
    MAILBOX_LAG: "cmr_mail_mailbox_lag_seconds" Gauge "seconds" ["account": "as above"]
        "How long the last mail that was taken had been in the mailbox";
    POOL_MESSAGES: "cmr_mail_pool_messages" Gauge "" []
        "Messages in the pool";
    POOL_BYTES: "cmr_mail_pool_text_bytes" Gauge "bytes" []
        "Their headers and bodies, on disk";
    POOL_MEMORY: "cmr_mail_pool_memory_bytes" Gauge "bytes" []
        "What the pool's index takes in memory";
    RESIDENT: "cmr_mail_resident_memory_bytes" Gauge "bytes" []
        "What the daemon takes in memory";
    UNROUTED: "cmr_mail_unrouted_messages" Gauge "" []
        "Messages that wait for a decision";
    FAILED: "cmr_mail_failed_messages" Gauge "" []
        "Messages whose decision failed three times";
    ASIDES: "cmr_mail_asides" Gauge "" []
        "Things kept aside for the operator";
    PEERS: "cmr_mail_peers" Gauge "" []
        "Peers that are known";
    DATABASE: "cmr_mail_database_bytes" Gauge "bytes" []
        "Size of the database and of its log";
    FREE: "cmr_mail_disk_free_bytes" Gauge "bytes" []
        "Room left on the disk of data_dir";
    TROUBLE: "cmr_mail_database_trouble" Gauge "" []
        "1 if the last attempt to write to the database failed";
    STARTED: "cmr_mail_uptime_seconds" Gauge "seconds" []
        "Time since the start";
}

/// Those without labels that are read off when the page is asked for.
pub(crate) static NUMBERS: &[&Described] = &[
    &POOL_MESSAGES,
    &POOL_BYTES,
    &POOL_MEMORY,
    &RESIDENT,
    &UNROUTED,
    &FAILED,
    &ASIDES,
    &PEERS,
    &DATABASE,
    &FREE,
    &TROUBLE,
    &STARTED,
];

/// `docs/metrics.md`.
#[must_use]
pub fn page() -> String {
    let mut text = "# Metrics\n\n`[web] listen` gives them at `/metrics`, in the OpenMetrics format, for Prometheus and \
                    what speaks its language.\n`deploy/prometheus` has rules for alerts, `deploy/grafana` a dashboard. Counters \
                    begin at 0 with each start.\n\nThis page is made from the program's own table of metrics.\n\n| metric | \
                    kind | says | labels |\n|---|---|---|---|\n"
        .to_owned();
    for what in ALL {
        let kind = match what.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = if what.unit.is_empty() { String::new() } else { format!(", in {}", what.unit) };
        let labels: Vec<String> =
            what.labels.iter().map(|(name, says)| format!("`{name}`: {says}")).collect();
        text.push_str(&format!(
            "| `{}` | {kind}{unit} | {}. | {} |\n",
            what.name,
            what.help,
            labels.join("; ")
        ));
    }
    text
}
