//! A Postfix of our own: an entrance with a filter, one without, a second one behind the filter,
//! and maildirs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::Random;
use crate::support::client::Client;
use crate::support::daemon::until;

/// What a test wants of its Postfix.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// `content_filter` of the entrance.
    pub(crate) filter: Option<String>,
    /// More lines for main.cf.
    pub(crate) main: Vec<(String, String)>,
    /// More lines for master.cf.
    pub(crate) master: String,
    /// Lines of master.cf in place of the transport `cmrfilter` and the way back.
    pub(crate) replaces_transport: Option<String>,
    /// Where mail for other domains goes.
    pub(crate) relayhost: Option<SocketAddr>,
    /// Who delivers mail for `cmr.test` instead of `virtual`.
    pub(crate) delivery: Option<String>,
}

impl Setup {
    pub(crate) fn filtered_by(filter: SocketAddr) -> Setup {
        Setup { filter: Some(format!("cmrfilter:[{}]:{}", filter.ip(), filter.port())), ..Setup::default() }
    }

    pub(crate) fn main(mut self, key: &str, value: &str) -> Setup {
        self.main.push((key.to_owned(), value.to_owned()));
        self
    }
}

pub(crate) struct Postfix {
    dir: tempfile::TempDir,
    /// Where mail comes in and goes through the filter.
    pub(crate) entrance: SocketAddr,
    /// Where mail comes in that no filter sees.
    pub(crate) plain: SocketAddr,
    /// Where the filter hands mail back.
    pub(crate) back: SocketAddr,
}

/// A port that nobody listens on, and that was not given out before in this process. The system gives
/// out none of these by itself, so nobody gets it while its owner is down.
pub(crate) fn free_port() -> SocketAddr {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    let mut random = Random(u64::from(std::process::id()) << 16 | given.len() as u64);
    loop {
        let port = 10_000 + u16::try_from(random.below(22_000)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if !given.contains(&port) && TcpListener::bind(address).is_ok() {
            given.push(port);
            return address;
        }
    }
}

/// Whether Postfix can be run; says so if not.
pub(crate) fn can_run() -> bool {
    if std::env::var_os("CMR_MAIL_WITHOUT_POSTFIX").is_some() {
        eprintln!("NOT TESTED: CMR_MAIL_WITHOUT_POSTFIX is set");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "Postfix starts as root only");
    true
}

impl Postfix {
    /// Starts one whose filter hands mail back at `back`, or at the port of its own choice.
    pub(crate) fn start(setup: &Setup, back: Option<SocketAddr>) -> Postfix {
        let dir = tempfile::Builder::new().prefix("cmr-postfix-").tempdir().unwrap();
        let postfix =
            Postfix { entrance: free_port(), plain: free_port(), back: back.unwrap_or_else(free_port), dir };
        fs::set_permissions(postfix.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        for sub in ["etc", "queue", "data", "mail"] {
            fs::create_dir_all(postfix.dir().join(sub)).unwrap();
            fs::set_permissions(postfix.dir().join(sub), fs::Permissions::from_mode(0o755)).unwrap();
        }
        postfix.owned_by("postfix", "data");
        postfix.owned_by("nobody", "mail");
        fs::write(postfix.dir().join("etc/vmailbox"), "@cmr.test catchall/\n").unwrap();
        fs::write(postfix.dir().join("etc/main.cf"), postfix.main_cf(setup)).unwrap();
        fs::write(postfix.dir().join("etc/master.cf"), postfix.master_cf(setup)).unwrap();
        let output = postfix.control("start");
        assert!(output.status.success(), "postfix start: {output:?}\n{}", postfix.log());
        for address in [postfix.entrance, postfix.plain, postfix.back] {
            until("Postfix answers", || Client::connect(address).ok());
        }
        postfix
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn etc(&self) -> PathBuf {
        self.dir().join("etc")
    }

    fn owned_by(&self, user: &str, sub: &str) {
        let status = Command::new("chown").arg(user).arg(self.dir().join(sub)).status().unwrap();
        assert!(status.success(), "there is no user {user}: apt-get install postfix");
    }

    pub(crate) fn control(&self, verb: &str) -> Output {
        Command::new("postfix")
            .arg("-c")
            .arg(self.etc())
            .arg(verb)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("postfix can't be run ({e}): apt-get install postfix"))
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir().join("log")).unwrap_or_default()).into_owned()
    }

    /// Mails in the queues.
    pub(crate) fn queued(&self) -> usize {
        let queue = self.dir().join("queue");
        ["maildrop", "incoming", "active", "deferred"].into_iter().map(|name| files(&queue.join(name))).sum()
    }

    /// Mails that were delivered into the maildir.
    pub(crate) fn delivered(&self) -> usize {
        files(&self.dir().join("mail/catchall/new"))
    }

    /// Tries everything that waits again, at once.
    pub(crate) fn flush(&self) {
        Command::new("postqueue").arg("-c").arg(self.etc()).arg("-f").status().unwrap();
    }

    /// Waits until the queue is empty, for as long as that makes progress.
    pub(crate) fn wait_until_empty(&self) {
        let (mut least, mut since, mut flushed) = (usize::MAX, Instant::now(), Instant::now());
        loop {
            // Twice: a filter that hands a mail to `sendmail` takes it from the last queue to the first.
            let left = self.queued().max(self.queued());
            if left == 0 {
                return;
            }
            if left < least {
                (least, since) = (left, Instant::now());
            }
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "{left} mails wait in vain:\n{}",
                self.tail()
            );
            if flushed.elapsed() > Duration::from_secs(2) {
                self.flush();
                flushed = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn tail(&self) -> String {
        let log = self.log();
        let words = ["status=bounced", "fatal:", "warning:", "panic:"];
        let bad: Vec<&str> =
            log.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("{}\n...\n{last}", bad[..bad.len().min(20)].join("\n"))
    }

    /// What was delivered, by recipient.
    pub(crate) fn maildir(&self) -> HashMap<String, Vec<Vec<u8>>> {
        let mut found: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        let Ok(entries) = fs::read_dir(self.dir().join("mail/catchall/new")) else { return found };
        for entry in entries {
            let mail = fs::read(entry.unwrap().path()).unwrap();
            let head = String::from_utf8_lossy(&mail[..mail.len().min(4_096)]).into_owned();
            let to = head.lines().find_map(|line| line.strip_prefix("Delivered-To: ")).unwrap().to_owned();
            found.entry(to).or_default().push(mail);
        }
        found
    }

    fn main_cf(&self, setup: &Setup) -> String {
        let dir = self.dir().display();
        let relayhost = setup
            .relayhost
            .map_or_else(|| "[127.0.0.1]:1".to_owned(), |to| format!("[{}]:{}", to.ip(), to.port()));
        let mut settings: BTreeMap<String, String> = [
            ("compatibility_level", "3.6"),
            ("queue_directory", &format!("{dir}/queue")),
            ("data_directory", &format!("{dir}/data")),
            ("maillog_file_prefixes", &format!("{dir}")),
            ("maillog_file", &format!("{dir}/log")),
            ("inet_interfaces", "127.0.0.1"),
            ("inet_protocols", "ipv4"),
            ("myhostname", "mx.cmr.test"),
            ("mydestination", ""),
            ("local_recipient_maps", ""),
            ("alias_maps", ""),
            ("alias_database", ""),
            ("mynetworks", "127.0.0.0/8"),
            ("smtpd_relay_restrictions", "permit_mynetworks, reject"),
            ("smtp_dns_support_level", "disabled"),
            ("smtp_host_lookup", "native"),
            ("smtpd_peername_lookup", "no"),
            ("relayhost", &relayhost),
            ("virtual_mailbox_domains", "cmr.test"),
            ("virtual_mailbox_base", &format!("{dir}/mail")),
            ("virtual_mailbox_maps", &format!("texthash:{dir}/etc/vmailbox")),
            ("virtual_transport", setup.delivery.as_deref().unwrap_or("virtual")),
            ("virtual_minimum_uid", "1"),
            ("virtual_uid_maps", "static:65534"),
            ("virtual_gid_maps", "static:65534"),
            ("virtual_mailbox_limit", "0"),
            ("mailbox_size_limit", "0"),
            ("message_size_limit", "100000000"),
            // Nothing of its own in other people's mail.
            ("local_header_rewrite_clients", ""),
            ("message_drop_headers", ""),
            ("always_add_missing_headers", "no"),
            ("header_size_limit", "1000000"),
            ("cleanup_replace_stray_cr_lf", "no"),
            // Nothing that would slow it down on purpose.
            ("default_process_limit", "100"),
            ("smtpd_client_connection_count_limit", "0"),
            ("smtpd_client_connection_rate_limit", "0"),
            ("smtpd_error_sleep_time", "0"),
            ("in_flow_delay", "0"),
            ("minimal_backoff_time", "1s"),
            ("maximal_backoff_time", "2s"),
            ("queue_run_delay", "1s"),
            ("transport_retry_time", "1s"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        settings.extend(setup.filter.clone().map(|filter| ("content_filter".to_owned(), filter)));
        settings.extend(setup.main.iter().cloned());
        settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    fn master_cf(&self, setup: &Setup) -> String {
        let mut out = format!(
            "{} inet n - n - 100 smtpd\n{} inet n - n - 100 smtpd\n  -o content_filter=\n",
            self.entrance, self.plain
        );
        let usual = format!(
            "{} inet n - n - 100 smtpd\n  -o content_filter=\n  \
             -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters\n  \
             -o local_header_rewrite_clients=\n  -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n\
             cmrfilter unix - - n - 20 smtp\n  -o smtp_send_xforward_command=yes\n  \
             -o disable_mime_output_conversion=yes\n  -o smtp_line_length_limit=0\n",
            self.back
        );
        out.push_str(setup.replaces_transport.as_ref().unwrap_or(&usual));
        let services = [
            ("pickup", "unix", "n", "60", "1", "pickup"),
            ("cleanup", "unix", "n", "-", "0", "cleanup"),
            ("qmgr", "unix", "n", "300", "1", "qmgr"),
            ("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr"),
            ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
            ("bounce", "unix", "-", "-", "0", "bounce"),
            ("defer", "unix", "-", "-", "0", "bounce"),
            ("trace", "unix", "-", "-", "0", "bounce"),
            ("verify", "unix", "-", "-", "1", "verify"),
            ("flush", "unix", "n", "1000?", "0", "flush"),
            ("proxymap", "unix", "-", "-", "-", "proxymap"),
            ("smtp", "unix", "-", "-", "-", "smtp"),
            ("relay", "unix", "-", "-", "-", "smtp"),
            ("lmtp", "unix", "-", "-", "-", "lmtp"),
            ("showq", "unix", "n", "-", "-", "showq"),
            ("error", "unix", "-", "-", "-", "error"),
            ("retry", "unix", "-", "-", "-", "error"),
            ("discard", "unix", "-", "-", "-", "discard"),
            ("anvil", "unix", "-", "-", "1", "anvil"),
            ("scache", "unix", "-", "-", "1", "scache"),
            ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
        ];
        for (name, kind, private, wake, limit, program) in services {
            let private = if name == "postlog" { "n" } else { private };
            out.push_str(&format!("{name} {kind} {private} - n {wake} {limit} {program}\n"));
        }
        // As root, to write as the owner of the maildir.
        out.push_str("virtual unix - n n - - virtual\n");
        out.push_str(&setup.master);
        out
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- Postfix's last words ---\n{}\n---", self.tail());
        }
        let _ = self.control("abort");
        let pid = self.dir().join("queue/pid/master.pid");
        let started = Instant::now();
        let alive = || {
            let pid = fs::read_to_string(&pid).ok()?.trim().parse::<u32>().ok()?;
            Path::new(&format!("/proc/{pid}")).exists().then_some(())
        };
        while alive().is_some() && started.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How many files there are under a directory; those that disappear meanwhile do not count.
fn files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}
