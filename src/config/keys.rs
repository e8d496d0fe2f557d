//! Every configuration key, described once.
//!
//! The reader takes defaults, ranges and choices from here, `init` writes its commented file
//! from here, `docs/configuration.md` is made from here, and an unknown key is compared with
//! these names. A key that is not in this table does not exist.

/// A section of the file, in the order in which people should read them.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The name between the brackets.
    pub name: &'static str,
    /// What it is about, for the comment above it.
    pub help: &'static str,
}

/// The sections that this version reads.
pub static SECTIONS: &[Section] = &[
    Section { name: "gateway", help: "Who this gateway is." },
    Section { name: "smtp", help: "The SMTP receiver: how mail comes in." },
    Section {
        name: "filter",
        help: "The content filter for a mail server such as Postfix: a listener of its own, only for that server.",
    },
    Section { name: "authentication", help: "How it is found out who wrote a mail." },
    Section { name: "imap", help: "A mailbox that is read by IMAP; any number of these sections." },
    Section { name: "send", help: "How mail goes out." },
    Section {
        name: "http",
        help: "CMR over HTTP and HTTPS: a listener, and what goes out. Messages go to http peers without any key here, too.",
    },
    Section { name: "udp", help: "CMR over UDP: a listener. What goes out needs no key here." },
    Section { name: "ssh", help: "CMR over SSH, by the system's ssh." },
    Section {
        name: "ssh_peer",
        help: "A gateway that is reached by SSH; any number of these sections. Where it is and what runs there is never taken from a message.",
    },
    Section { name: "policy", help: "Who may post, and how much anybody gets." },
    Section { name: "people", help: "What people who write by ordinary mail can expect." },
    Section { name: "routing", help: "Where messages go." },
    Section { name: "pool", help: "The messages kept here." },
    Section { name: "web", help: "Pages, JSON and metrics for the operator." },
    Section { name: "log", help: "What the daemon writes to standard error." },
];

/// Sections that stand in double brackets, each as often as is wanted.
pub static REPEATED: &[&str] = &["imap", "ssh_peer"];

/// A section in its brackets.
pub fn brackets(section: &str) -> String {
    if REPEATED.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A text in quotes; the word says which.
    Text(&'static str),
    /// A list of texts.
    List(&'static str),
    /// One of these words, or a list of texts; the word says of which.
    WordOrList(&'static [(&'static str, &'static str)], &'static str),
    /// One of these words, each with its meaning.
    Choice(&'static [(&'static str, &'static str)]),
    /// A whole number within this range.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A number with decimals within this range.
    Number {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// A length of time within this range, in milliseconds.
    Duration {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// An amount of bytes within this range.
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// So many per length of time.
    Rate,
    /// true or false.
    Truth,
    /// `{ certificate = "…", key = "…" }`.
    Tls,
}

/// What happens when the file does not have the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The file is refused.
    Required,
    /// This TOML text is taken as the value.
    Default(&'static str),
    /// The value follows from another one: these words say how.
    Derived(&'static str),
    /// Nothing: the feature is off.
    Off,
}

/// One key of one section.
#[derive(Debug, PartialEq)]
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// What holds without it.
    pub absent: Absent,
    /// A value as TOML text, for keys that have no default.
    pub example: &'static str,
    /// Whether `init` writes it as a setting (else as a comment): what an operator must decide.
    pub decide: bool,
    /// What it does, in whole sentences for a postmaster.
    pub help: &'static str,
}

macro_rules! keys {
    ($( $id:ident: $section:literal $name:literal $kind:expr, $absent:expr, $example:literal, $decide:literal, $help:literal; )*) => {
        $(
            #[doc = concat!("`[", $section, "] ", $name, "`: ", $help)]
            pub static $id: Key = Key {
                section: $section, name: $name, kind: $kind, absent: $absent,
                example: $example, decide: $decide, help: $help,
            };
        )*
        /// All keys, in the order of the file.
        pub static ALL: &[&Key] = &[$(&$id),*];
    };
}

use Absent::{Default, Derived, Off, Required};
use Kind::{Choice, Duration, Integer, List, Number, Rate, Size, Text, Tls, Truth, WordOrList};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

keys! {
    GATEWAY_ADDRESS: "gateway" "address" Text("CMR address"), Required, r#""mailto:cmr@example.org""#, true,
        "The CMR address of this gateway: mailto: and the mail address that it receives at. Other gateways write to it and find it in the headers of what passes here.";
    GATEWAY_HOSTNAME: "gateway" "hostname" Text("host name"), Required, r#""mx.example.org""#, true,
        "The full name of this host: it greets with it, and its Message-IDs end in it. Behind Postfix it must differ from Postfix's myhostname, or Postfix takes our mail for a loop.";
    GATEWAY_OPERATOR: "gateway" "operator" Text("name and mail address"), Required, r#""The Operator <operator@example.org>""#, true,
        "The human behind the gateway. Every automatic mail names them, and trouble that a person must see is mailed to them. Not one of the posting addresses.";
    GATEWAY_DATA_DIR: "gateway" "data_dir" Text("directory"), Default(r#""data""#), r#""/var/lib/cmr-mail""#, true,
        "Where the database and the mails that were set aside live. Only the user of the daemon may read it.";
    GATEWAY_INTAKE: "gateway" "intake_socket" Text("file"), Off, r#""/run/cmr-mail/intake.sock""#, false,
        "A Unix socket by which other users of this machine may hand mail in with `deliver`, `filter` and `receive`, and do nothing else. It must lie outside of data_dir, in a directory that they may enter.";
    GATEWAY_WRITABLE: "gateway" "writable" List("directory"), Default("[]"), r#"["/var/cache/tokens"]"#, false,
        "Directories that the daemon, and the programs that it runs for passwords, tokens and SSH, may write to beside data_dir, the directory of intake_socket and those for temporary files. Linux (Landlock) refuses all others; [\"/\"] allows everything.";

    SMTP_LISTEN: "smtp" "listen" List("IP:PORT or lmtp://IP:PORT"), Default(r#"["127.0.0.1:2525"]"#), "", true,
        "Where the receiver listens: by SMTP, or by LMTP with lmtp:// in front (for the transports of Postfix and Dovecot). Port 0 takes a free one and `serve` prints it; an empty list means no receiver.";
    SMTP_RECIPIENTS: "smtp" "recipients" List("mail address"), Derived("the mail address in [gateway] address"), r#"["cmr@example.org"]"#, true,
        "The posting addresses: mail to them becomes messages. NAME+anything@ belongs to each of them. Every other recipient is refused; this is no relay.";
    SMTP_TRUSTED: "smtp" "trusted_networks" List("network"), Default("[]"), r#"["192.0.2.0/24"]"#, true,
        "Networks whose clients are believed about who wrote a mail. What counts is the original client: of a direct connection the peer, of a mail from a relay the address in its XFORWARD, never the relay itself.";
    SMTP_RELAYS: "smtp" "relays" List("network"), Default("[]"), r#"["127.0.0.1"]"#, true,
        "Mail servers in front of this one, Postfix for example. They are believed about XFORWARD, but never about the author. A mail of theirs whose content is at fault is accepted and set aside, because a refusal would become a bounce to somebody innocent.";
    SMTP_AUTHSERV_ID: "smtp" "authserv_id" Text("host name"), Derived("[gateway] hostname"), r#""mx.example.org""#, false,
        "The name that the relay writes at the start of Authentication-Results. The topmost such field of a mail from a relay is believed, once `check --probe-relay` has shown that the relay removes forged ones.";
    SMTP_MAX_MESSAGE: "smtp" "max_message" Size { min: 512, max: GIB }, Default(r#""10 MiB""#), "", false,
        "The largest mail that is accepted, announced as SIZE.";
    SMTP_MAX_CONNECTIONS: "smtp" "max_connections" Integer { min: 1, max: 100_000 }, Default("1000"), "", false,
        "Sessions at the same time. For one more the client that has been idle for longest gives way, else it gets 421.";
    SMTP_MAX_PER_IP: "smtp" "max_connections_per_ip" Integer { min: 1, max: 100_000 }, Default("50"), "", false,
        "Sessions at the same time from one address. Relays are exempt.";
    SMTP_TLS: "smtp" "tls" Tls, Off, r#"{ certificate = "cert.pem", key = "key.pem" }"#, false,
        "Offers STARTTLS with this certificate (the whole chain, PEM) and key (PEM, PKCS #8, without a passphrase).";

    FILTER_LISTEN: "filter" "listen" Text("IP:PORT"), Off, r#""127.0.0.1:10025""#, false,
        "Where the content filter listens. Without it there is none.";
    FILTER_NEXT_HOP: "filter" "next_hop" Text("IP:PORT"), Default(r#""127.0.0.1:10026""#), "", false,
        "The mail server that gets every mail next: Postfix's second listener, which has no filter.";
    FILTER_CLIENTS: "filter" "clients" List("network"), Default(r#"["127.0.0.0/8"]"#), "", false,
        "Who may hand mail in at the filter. It passes everything that they send: never anybody but mail servers of the house.";
    FILTER_MODE: "filter" "mode" Choice(&[
            ("shadow", "only say in the log what would be done; change, store and stamp nothing"),
            ("copy", "process them, and pass them on as well, with one header line X-CMR on top"),
            ("take", "process them; the copies for posting addresses end here, all others are passed on"),
        ]), Default(r#""shadow""#), "", true,
        "What is done with mails to a posting address and mails that hold CMR messages. All other mail is passed on as it is, whatever stands here.";
    FILTER_ON_ERROR: "filter" "on_error" Choice(&[
            ("defer", "the mail server keeps it and tries again (4xx)"),
            ("pass", "it is passed on without being processed"),
        ]), Default(r#""defer""#), "", false,
        "What happens to a mail that can't be processed because of trouble here, such as a full disk.";
    FILTER_REFUSALS: "filter" "refusals" Choice(&[
            ("defer", "the mail server keeps the mail and tries again: a next hop that is set up wrongly costs no mail"),
            ("pass", "it is passed on as it is, and the mail server returns the mail to its sender"),
        ]), Default(r#""defer""#), "", false,
        "What becomes of a refusal for good (5xx) by the next hop. It has hardly ever a reason to refuse: the mail server in front has accepted the mail.";
    FILTER_LEARN: "filter" "learn" WordOrList(&[("none", "nothing"), ("all", "all that passes")], "List-Id"), Default(r#""none""#), r#"["users.lists.example.org"]"#, false,
        "Which other mail goes into the pool as well, for the operator alone: it is never shown, sent or matched for anybody else. With a list: mail of the mailing lists with these List-Ids. Needs mode copy or take.";

    AUTH_VERIFY: "authentication" "verify" Truth, Default("true"), "", false,
        "Whether SPF, DKIM, DMARC and ARC are looked up for mail that is not from a trusted network. Without it only trusted networks and keys show who wrote a mail.";
    AUTH_DNS: "authentication" "dns" List("IP or IP:PORT"), Default("[]"), r#"["127.0.0.1"]"#, false,
        "The name servers to ask; an empty list means those of the system. A resolver on this machine or in this network: their answers decide who is believed.";
    AUTH_DEADLINE: "authentication" "deadline" Duration { min: 100, max: MINUTE }, Default(r#""5s""#), "", false,
        "How long the DNS may take for one mail, all in all. What is not answered by then leaves the mail's author unproven, and a mail that needs the proof gets 451.";
    AUTH_SEALERS: "authentication" "arc_sealers" List("domain"), Default("[]"), r#"["lists.example.org"]"#, false,
        "Domains of forwarders and lists whose ARC seals are believed about what they saw when the mail passed them.";

    IMAP_NAME: "imap" "name" Text("name"), Required, r#""inbox""#, true,
        "What this account is called here: in `status`, in the log, and in the database, which remembers under it how far the folder was read.";
    IMAP_HOST: "imap" "host" Text("host name or IP address"), Required, r#""imap.example.org""#, true,
        "The mail server.";
    IMAP_PORT: "imap" "port" Integer { min: 1, max: 65_535 }, Derived("993 with security = \"tls\", else 143"), "993", false,
        "Its port.";
    IMAP_SECURITY: "imap" "security" Choice(&[
            ("tls", "encrypted from the first byte"),
            ("starttls", "encrypted by STARTTLS, or not spoken to"),
            ("none", "not encrypted; with a password to this machine only"),
        ]), Default(r#""tls""#), "", false,
        "How the connection is encrypted.";
    IMAP_CA_FILE: "imap" "ca_file" Text("file"), Off, r#""ca.pem""#, false,
        "Certificates (PEM) of authorities to trust about this server, beside those of the system.";
    IMAP_USER: "imap" "user" Text("name"), Required, r#""cmr@example.org""#, true,
        "The name to log in with.";
    IMAP_PASSWORD_COMMAND: "imap" "password_command" Text("shell command"), Off, r#""pass show mailbox""#, true,
        "A command whose first line of output is the password. It runs in the directory of this file and has 30 seconds. One of password_command, password_file and oauth2_command has to be there.";
    IMAP_PASSWORD_FILE: "imap" "password_file" Text("file"), Off, r#""password""#, false,
        "A file whose first line is the password, instead of password_command.";
    IMAP_OAUTH2_COMMAND: "imap" "oauth2_command" Text("shell command"), Off, r#""get-token cmr@example.org""#, false,
        "A command whose first line of output is an OAuth 2 access token, instead of a password. It runs before each login, which is by OAUTHBEARER or XOAUTH2, whichever the server offers.";
    IMAP_FOLDER: "imap" "folder" Text("folder"), Default(r#""INBOX""#), "", false,
        "The folder to read. For another folder of the same mailbox write another section.";
    IMAP_AFTER: "imap" "after" Text("what"), Default(r#""seen""#), r#""move:Processed""#, false,
        "What happens to a mail that was taken, once it is stored here: \"seen\" marks it as read, \"move:FOLDER\" moves it, \"delete\" deletes it, \"keep\" leaves it. Mail that is not for this gateway is never touched.";
    IMAP_POLL: "imap" "poll" Duration { min: SECOND, max: DAY }, Default(r#""5m""#), "", false,
        "How often the folder is looked at where the server does not say when mail comes.";
    IMAP_IDLE: "imap" "idle" Truth, Default("true"), "", false,
        "Whether the server is asked to say at once when mail comes (IDLE), if it can.";
    IMAP_TIMEOUT: "imap" "timeout" Duration { min: SECOND, max: 10 * MINUTE }, Default(r#""1m""#), "", false,
        "How long the server may take for an answer; for a mail it gets a second more for every 4 KiB, for changing many mails five times as long.";
    IMAP_SINCE: "imap" "since" Text("date"), Off, r#""2026-11-01""#, false,
        "Mails that came before this day are left alone.";
    IMAP_AUTHSERV_ID: "imap" "authserv_id" Text("host name"), Off, r#""mx.example.org""#, false,
        "The name that the mail server of this account writes at the start of Authentication-Results. The topmost such field is believed about who wrote a mail, once `check --probe-relay` has shown that the server removes forged ones.";
    IMAP_SENT: "imap" "sent" Text("folder"), Off, r#""Sent""#, false,
        "A folder of this account to which a copy of each answer that was sent to a person is added. Servers that keep a copy of what is submitted to them do that anyway.";

    SEND_SMARTHOST: "send" "smarthost" Text("URL"), Default(r#""smtp://127.0.0.1:25""#), "", true,
        "The mail server that takes all outgoing mail: smtp://HOST:PORT (not encrypted), smtp+starttls://HOST:PORT or smtps://HOST:PORT. Without a port: 25, 587 and 465.";
    SEND_DIRECT: "send" "direct" Truth, Default("false"), "", false,
        "true: mail goes to the mail hosts of each recipient's domain (its MX records), and smarthost is not used. It needs an address that other mail servers accept mail from: a static one, with a PTR record, in the domain's SPF record, and with port 25 open outwards. The name servers are those of `[authentication] dns`.";
    SEND_DIRECT_PORT: "send" "direct_port" Integer { min: 1, max: 65_535 }, Default("25"), "", false,
        "The port of the mail hosts that direct = true sends to.";
    SEND_DIRECT_NETWORKS: "send" "direct_networks" List("network"), Default("[]"), r#"["10.0.0.0/8"]"#, false,
        "Networks that are not reachable from everywhere in which mail hosts may be all the same. Without it a domain whose MX leads to a private address, to loopback or the like gets nothing, unless its address is pinned.";
    SEND_FROM: "send" "from" Text("mail address"), Derived("the mail address in [gateway] address"), r#""cmr@example.org""#, false,
        "The From of our mail. It should be in the domain of the gateway's address, or the receivers' DMARC checks fail.";
    SEND_CA_FILE: "send" "ca_file" Text("file"), Off, r#""ca.pem""#, false,
        "Certificates (PEM) of authorities to trust about the smarthost, beside those of the system.";
    SEND_USER: "send" "user" Text("name"), Off, r#""cmr""#, false,
        "The name to log in with at the smarthost. Needs password_command, password_file or oauth2_command.";
    SEND_PASSWORD_COMMAND: "send" "password_command" Text("shell command"), Off, r#""pass show smarthost""#, false,
        "A command whose first line of output is the password. It runs in the directory of this file and has 30 seconds.";
    SEND_PASSWORD_FILE: "send" "password_file" Text("file"), Off, r#""password""#, false,
        "A file whose first line is the password, instead of password_command.";
    SEND_OAUTH2_COMMAND: "send" "oauth2_command" Text("shell command"), Off, r#""get-token cmr@example.org""#, false,
        "A command whose first line of output is an OAuth 2 access token, instead of a password. It runs before each login, which is by XOAUTH2 or OAUTHBEARER, whichever the smarthost offers, and only over smtp+starttls:// or smtps://.";
    SEND_RETRY_FIRST: "send" "retry_first" Duration { min: 10, max: 7 * DAY }, Default(r#""5m""#), "", false,
        "How long to wait after the first failure; the wait doubles from try to try.";
    SEND_RETRY_MAX: "send" "retry_max" Duration { min: 10, max: 7 * DAY }, Default(r#""4h""#), "", false,
        "The longest wait between two tries.";
    SEND_GIVE_UP: "send" "give_up" Duration { min: 10, max: 30 * DAY }, Default(r#""5d""#), "", false,
        "When to give a mail up; the operator then gets one notice.";

    HTTP_LISTEN: "http" "listen" Text("IP:PORT"), Off, r#""127.0.0.1:8025""#, false,
        "Where CMR messages are received by HTTP: uploads (multipart/form-data), bare messages by POST, and the handshake. Port 0 takes a free one and `serve` prints it. Without it there is no listener.";
    HTTP_PATH: "http" "path" Text("path"), Default(r#""/cmr""#), "", false,
        "The path that messages are sent to; all others are 404.";
    HTTP_ADDRESS: "http" "address" Text("CMR address"), Off, r#""https://cmr.example.org/cmr""#, false,
        "Our public address on this transport: it stands in the header lines of what goes to http and https peers, and they answer to it. Without it our mail address stands there.";
    HTTP_TLS: "http" "tls" Tls, Off, r#"{ certificate = "cert.pem", key = "key.pem" }"#, false,
        "The listener speaks HTTPS with this certificate (the whole chain, PEM) and key (PEM, PKCS #8, without a passphrase).";
    HTTP_PROXIES: "http" "proxies" List("network"), Default("[]"), r#"["127.0.0.1"]"#, false,
        "Web servers in front of the listener. What they add to X-Forwarded-For (the last address) and X-Forwarded-Proto is believed about the client; of others it is not read.";
    HTTP_CA_FILE: "http" "ca_file" Text("file"), Off, r#""ca.pem""#, false,
        "Certificates (PEM) of authorities to trust about https peers, beside those of the system.";
    HTTP_PROXY: "http" "proxy" Choice(&[
            ("none", "connections are made from here"),
            ("environment", "by http_proxy, https_proxy, all_proxy and no_proxy of the environment"),
        ]), Default(r#""none""#), "", false,
        "Whether what goes out goes through a proxy.";
    HTTP_HANDSHAKE: "http" "handshake" Truth, Default("false"), "", false,
        "Whether unsigned messages are offered to http peers, who then fetch them from our address (A4.5) and so know that they are ours. Needs listen and address.";
    HTTP_TIMEOUT: "http" "timeout" Duration { min: SECOND, max: HOUR }, Default(r#""60s""#), "", false,
        "How long a peer may take for its answer: some forward a message before they answer. For large messages it gets a second more for each 16 KiB.";

    UDP_LISTEN: "udp" "listen" Text("IP:PORT"), Off, r#""127.0.0.1:8026""#, false,
        "Where CMR messages are received as datagrams. Nothing is ever answered to a datagram. Without it there is no listener.";
    UDP_SERVICE: "udp" "service" Text("name"), Default(r#""cmr""#), "", false,
        "The tag in front of datagrams that are for us: what stands behind the port in our address. Others are dropped.";
    UDP_ADDRESS: "udp" "address" Text("CMR address"), Off, r#""udp://cmr.example.org:8026/cmr""#, false,
        "Our public address on this transport, for the header lines of what goes to udp peers. Without it our mail address stands there.";

    SSH_ADDRESS: "ssh" "address" Text("CMR address"), Off, r#""ssh://cmr@cmr.example.org/""#, false,
        "Our address on this transport, for the header lines of what goes to ssh peers. Without it our mail address stands there.";
    SSH_PROGRAM: "ssh" "program" Text("program"), Default(r#""ssh""#), "", false,
        "The ssh that is run, in BatchMode, with hosts whose keys are known.";
    SSH_IDENTITY_FILE: "ssh" "identity_file" Text("file"), Off, r#""id_ed25519""#, false,
        "The private key to log in with, without a passphrase. Without it ssh looks for one as usual.";
    SSH_KNOWN_HOSTS: "ssh" "known_hosts" Text("file"), Off, r#""known_hosts""#, false,
        "The host keys that are believed. Without it those of the user and of the system.";
    SSH_TIMEOUT: "ssh" "timeout" Duration { min: SECOND, max: HOUR }, Default(r#""60s""#), "", false,
        "How long one message may take in all.";

    SSH_PEER_ADDRESS: "ssh_peer" "address" Text("CMR address"), Required, r#""ssh://cmr@peer.example/""#, true,
        "The address of the other gateway, exactly as it stands in the header lines of its messages.";
    SSH_PEER_DESTINATION: "ssh_peer" "destination" Text("[USER@]HOST"), Required, r#""cmr@peer.example""#, true,
        "Where ssh connects to; names of ssh's own configuration may stand here.";
    SSH_PEER_PORT: "ssh_peer" "port" Integer { min: 1, max: 65_535 }, Derived("ssh's own"), "22", false,
        "The port.";
    SSH_PEER_COMMAND: "ssh_peer" "command" Text("command"), Default(r#""cmr-mail receive --transport ssh""#), "", false,
        "What runs at the far end, with the message on its standard input. Exit code 0 means taken, 65 refused for good, all others later.";

    POLICY_WHO_MAY_POST: "policy" "who_may_post" Choice(&[
            ("anyone", "every From is taken, forged or not"),
            ("authenticated", "only authors whose mail proves who wrote it: by SPF, DKIM, DMARC or ARC, by a relay that is believed, or by coming from trusted_networks"),
            ("listed", "only the addresses in `listed`, and they too have to prove it"),
        ]), Default(r#""authenticated""#), "", true,
        "Who may post. Automatic answers go to authenticated authors only, whatever stands here.";
    POLICY_LISTED: "policy" "listed" List("mail address or @domain"), Default("[]"), r#"["anna@example.org", "@example.org"]"#, false,
        "The authors that who_may_post = \"listed\" admits: addresses, or @DOMAIN for all of a domain.";
    POLICY_ANSWER_AT_MOST: "policy" "answer_at_most" Rate, Default(r#""20/h""#), "", false,
        "Automatic mails to one person at most; then silence.";
    POLICY_POST_AT_MOST: "policy" "post_at_most" Rate, Default(r#""60/h""#), "", false,
        "Posts of one author at most; more get 450.";
    POLICY_UNPROVEN_AT_MOST: "policy" "unproven_at_most" Rate, Default(r#""600/h""#), "", false,
        "Messages that nothing proves (no key, no proof of the mail's author), of one network of clients (/24 or /48) at most; more get 450. Where the original client is unknown nothing is counted.";
    POLICY_PEER_AT_MOST: "policy" "peer_at_most" Rate, Default(r#""3600/h""#), "", false,
        "Messages of one peer that shows who it is (by a key, a handshake, its account or its mail), over all its addresses and transports together at most; more get 450 or 429. A peer of bad reputation has a tenth of it. No more is forwarded to one peer, either.";
    POLICY_FORWARDED: "policy" "forwarded" Choice(&[
            ("read", "CMR messages are taken out of it as out of any attachment; its text is never posted"),
            ("ignore", "it is named as ignored"),
        ]), Default(r#""read""#), "", false,
        "What happens to a mail inside a mail, as clients forward it as an attachment.";
    POLICY_CLOCK_SKEW: "policy" "clock_skew" Duration { min: 0, max: DAY }, Default(r#""60s""#), "", false,
        "How far ahead of our clock a message may be dated. It is held until our clock passes it.";

    PEOPLE_FIRST_POST: "people" "first_post" Choice(&[
            ("ask", "answered from the pool at once, but public only after the author confirmed"),
            ("publish", "public at once: for closed houses"),
        ]), Default(r#""ask""#), "", true,
        "What happens to an author's first post. Public means that other gateways keep copies.";
    PEOPLE_ORIGIN: "people" "origin" Choice(&[
            ("alias", "an address of this gateway that stands for the author"),
            ("address", "the author's own mail address: for closed houses"),
        ]), Default(r#""alias""#), "", false,
        "What the world sees as the sender of a post. With `address`, gateways to which this one is a stranger do not believe that it took a post from an author of another domain, and answer less.";
    PEOPLE_LATER_MATCHES: "people" "later_matches" Duration { min: 0, max: YEAR }, Default(r#""30d""#), "", false,
        "How long after a post its author is still sent closely related messages.";
    PEOPLE_DIGEST: "people" "digest" Duration { min: 0, max: YEAR }, Default(r#""10m""#), "", false,
        "The time between two mails with closely related messages in one thread at least: what arrives meanwhile is gathered into one mail.";

    ROUTING_PINNED: "routing" "pinned" List("CMR address"), Default("[]"), r#"["mailto:cmr@peer.example"]"#, true,
        "The gateways that the operator has chosen as contacts: mailto:, http://, https:// or udp:// addresses. They may be sent to before they have written, and are never replaced by learned ones.";
    ROUTING_METRIC: "routing" "metric" Choice(&[
            ("gain", "bits saved when one text is coded knowing the other"),
            ("one-sided", "bits that one text costs knowing the other"),
            ("normalised", "the compression distance divided by what the texts cost alone"),
            ("raw", "the compression distance of the specification: it measures length most of all"),
        ]), Default(r#""gain""#), "", false,
        "How closeness is measured.";
    ROUTING_MATCHES: "routing" "matches" Integer { min: 0, max: 100 }, Default("5"), "", false,
        "Matches of a message at most: those in an answer to a person, and those whose authors get to know of it.";
    ROUTING_ANSWERS: "routing" "answers" Integer { min: 0, max: 100 }, Default("2"), "", false,
        "How many of its matches a gateway on the way of a message sends to the gateway that it comes from; others on the way have good ones too.";
    ROUTING_AGE: "routing" "age" Number { min: 0.0, max: 100.0 }, Default("3.0"), "", false,
        "What it costs to point back at an older message: bits for each doubling of the mails in between.";
    ROUTING_FIRST_WALKS: "routing" "first_walks" Integer { min: 1, max: 100 }, Default("2"), "", false,
        "Peers that a new message is sent to by the first gateway; each later one sends it to 1.";
    ROUTING_MAX_HOPS: "routing" "max_hops" Integer { min: 1, max: 32 }, Default("3"), "", false,
        "Header lines after which a message is not sent onward. In small nets of about 30 gateways: 2.";
    ROUTING_WALK_AGE: "routing" "walk_age" Duration { min: 0, max: YEAR }, Default(r#""1d""#), "", false,
        "A message whose origin is older is kept, matched and delivered, but not sent onward.";
    ROUTING_NO_SIGNAL: "routing" "no_signal" Choice(&[
            ("random", "a random peer"),
            ("discard", "nobody, as the specification has it"),
        ]), Default(r#""random""#), "", false,
        "Who gets a message that resembles nothing of any peer.";
    ROUTING_ALTERNATIVES: "routing" "alternatives" Integer { min: 0, max: 100 }, Default("2"), "", false,
        "How many other peers are asked, one after the other and the best first, when one that a message walks on to is busy (HTTP 429 and 503; by mail to its own hosts, send.direct, that it comes too fast or finds no room; from a smarthost only that its mailbox takes nothing now). The last of them is tried again as long as any delivery.";
    ROUTING_STRONG_MATCH: "routing" "strong_match" Number { min: 0.0, max: 1.0 }, Default("0.12"), "", false,
        "A match that saves this share of a message's bits ends its walk here.";
    ROUTING_CONTACTS: "routing" "contacts" Integer { min: 1, max: 10_000 }, Default("48"), "", false,
        "Gateways that are considered for a message, the pinned ones first.";
    ROUTING_POLICY: "routing" "policy" Choice(&[
            ("walk", "the competitive walk: to a few peers first, and from each to one more"),
            ("literal", "section 3.2 of the specification as written: the best peer, and those fairly close to it"),
        ]), Default(r#""walk""#), "", false,
        "How peers are chosen.";
    ROUTING_MAX_FORWARDS: "routing" "max_forwards" Integer { min: 1, max: 1000 }, Default("16"), "", false,
        "Mails that one message may cause here, answers included: the hard cap over everything above.";

    ROUTING_COMPENSATION: "routing" "compensation" Truth, Derived("true with policy = \"literal\", else false"), "false", false,
        "Whether a best peer that has sent the message itself gets another one back.";
    ROUTING_CLOSE_MARGIN: "routing" "close_margin" Number { min: 0.0, max: 1.0 }, Default("0.05"), "", false,
        "With policy = \"literal\": peers within this share of a message's bits of the best one get it too.";
    ROUTING_CLOSE_PEERS: "routing" "close_peers" Integer { min: 1, max: 1000 }, Default("3"), "", false,
        "With policy = \"literal\": how many peers that are at most.";

    POOL_MAX_MESSAGES: "pool" "max_messages" Integer { min: 1, max: 1_000_000_000 }, Default("1_000_000"), "", false,
        "Messages to keep; then the largest holder's oldest go first.";
    POOL_MAX_BYTES: "pool" "max_bytes" Size { min: KIB, max: 1024 * GIB }, Default(r#""8 GiB""#), "", false,
        "Bytes of messages to keep.";
    POOL_REMEMBER_IDS: "pool" "remember_ids" Duration { min: SECOND, max: 10 * YEAR }, Default(r#""90d""#), "", false,
        "How long the ids of messages that were dropped are remembered, so that an old duplicate stays a duplicate.";
    POOL_KEEP_RAW: "pool" "keep_raw" Duration { min: 0, max: YEAR }, Default(r#""7d""#), "", false,
        "How long mails as they came and what was set aside are kept.";

    WEB_LISTEN: "web" "listen" Text("IP:PORT"), Off, r#""127.0.0.1:8027""#, false,
        "Where the pages are. Without it there are none. On this machine's own address they can be read without a login, unless proxies are listed; changes need a login everywhere. Any other address needs tls, or proxies, and users.";
    WEB_HOSTS: "web" "hosts" List("host name"), Derived("[gateway] hostname"), r#"["mx.example.org"]"#, false,
        "The names under which the pages are asked for, beside localhost and the address itself. Requests for any other name are refused.";
    WEB_PROXIES: "web" "proxies" List("network"), Default("[]"), r#"["127.0.0.1"]"#, false,
        "Web servers in front that speak TLS. They are believed about X-Forwarded-For and X-Forwarded-Proto; nobody else may ask then.";
    WEB_USERS: "web" "users" Text("file"), Off, r#""web-users""#, false,
        "Who may log in: a file with a line NAME:HASH for each, which `cmr-mail web-user NAME` writes. Without it nobody can change anything.";
    WEB_TLS: "web" "tls" Tls, Off, r#"{ certificate = "cert.pem", key = "key.pem" }"#, false,
        "Speaks HTTPS with this certificate (the whole chain, PEM) and key (PEM, PKCS #8, without a passphrase).";

    LOG_FORMAT: "log" "format" Choice(&[("text", "for people"), ("json", "one object a line, for programs")]), Default(r#""text""#), "", false,
        "The form of the log.";
    LOG_LEVEL: "log" "level" Choice(&[
            ("error", "what went wrong"), ("warn", "that, and what looks wrong"), ("info", "that, and what happened"),
            ("debug", "that, and why"), ("trace", "everything"),
        ]), Default(r#""info""#), "", false,
        "How much is logged.";
}

impl Key {
    /// `[section] name`, as people are told.
    pub fn title(&self) -> String {
        format!("{} {}", brackets(self.section), self.name)
    }

    /// A value to show: the default, else the example.
    pub fn sample(&self) -> &'static str {
        match self.absent {
            Absent::Default(text) => text,
            _ => self.example,
        }
    }

    /// A value to show in an error: one that says how the value is written.
    pub fn model(&self) -> &'static str {
        if self.example.is_empty() { self.sample() } else { self.example }
    }
}
