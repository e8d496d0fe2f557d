//! Who may see and change what.
//!
//! The configuration decides, and never the address that somebody comes from: on an address of this
//! machine alone, without a proxy, reading is open; everything else needs a login, and every change
//! does. It must never know what is behind a path.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answer::{Ask, Reply};
use crate::message::UnixTime;

/// The cookie's name.
const COOKIE: &str = "cmr_mail_session";
/// A session ends after so long without a request.
const IDLE: Duration = Duration::from_secs(8 * 3600);
/// Sessions at the same time; the oldest one ends for another.
const SESSIONS: usize = 100;
/// Logins that fail in a minute, of one client; more are put off.
const FAILURES: usize = 10;
/// The same of all clients: each takes time and memory.
const FAILURES_OF_ALL: usize = 100;
const A_MINUTE: Duration = Duration::from_secs(60);
/// How long a name and password that came with a request for JSON or metrics are remembered (as a
/// hash) to be right: looking at them costs a tenth of a second.
const REMEMBERED: Duration = Duration::from_secs(300);
/// The shortest password that is made here.
const SHORTEST: usize = 10;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where the site listens.
    pub listen: SocketAddr,
    /// Names that it is asked for by.
    pub hosts: Vec<String>,
    /// Servers in front.
    pub proxies: Vec<IpNet>,
    /// Reading needs no login.
    pub reads_openly: bool,
}

impl Rules {
    /// Whether this is the address of a server in front.
    fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&ip.to_canonical()))
    }

    /// Whether a Host field means this site (RFC 9110, section 7.2: uri-host [":" port], and an IPv6
    /// address stands in brackets).
    fn is_for(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, port)) if name.parse::<Ipv6Addr>().is_ok() => (name, port),
                _ => return false,
            },
            None => host.split_at_checked(host.find(':').unwrap_or(host.len())).unwrap_or_default(),
        };
        let number = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(number) {
            return false;
        }
        let ip = name.parse::<IpAddr>().ok();
        let local = self.listen.ip().is_loopback();
        ip.is_some_and(|ip| ip == self.listen.ip() || (local && ip.is_loopback()))
            || (local && name == "localhost")
            || self.hosts.iter().any(|ours| ours == name)
    }
}

/// The file of users can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A line is not `NAME:HASH`.
    #[error("line {0} is not NAME:HASH; `cmr-mail web-user NAME` writes such a line")]
    Line(usize),
    /// The password is too short.
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    /// The name can't stand in the file.
    #[error("a name has letters, digits, dots and dashes only")]
    Name,
    /// The hash can't be made.
    #[error("the password can't be hashed: {0}")]
    Hash(String),
}

/// Who may log in, with the argon2 hashes of their passwords.
#[derive(Clone, Debug, Default)]
pub struct Users(HashMap<String, String>);

impl Users {
    /// Reads a file of lines `NAME:HASH`; empty ones and those with `#` in front are nothing.
    ///
    /// # Errors
    /// [`UsersError::Line`].
    pub fn parse(text: &str) -> Result<Users, UsersError> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || UsersError::Line(number.saturating_add(1));
            let (name, hash) = line.split_once(':').ok_or_else(wrong)?;
            if !is_name(name) || PasswordHash::new(hash).is_err() {
                return Err(wrong());
            }
            users.insert(name.to_owned(), hash.to_owned());
        }
        Ok(Users(users))
    }

    /// Whether nobody may log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is that user's password. Takes as long for a name that there is not.
    fn verify(&self, name: &str, password: &str) -> bool {
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                              AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let known = self.0.get(name);
        let Ok(hash) = PasswordHash::new(known.map_or(NOBODY, String::as_str)) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && known.is_some()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_@".contains(c))
}

/// The line of a user, with a hash of the password (argon2id).
///
/// # Errors
/// The name or the password can't be used.
pub fn hash_line(name: &str, password: &str) -> Result<String, UsersError> {
    if !is_name(name) {
        return Err(UsersError::Name);
    }
    if password.chars().count() < SHORTEST {
        return Err(UsersError::Short);
    }
    let hash: argon2::password_hash::phc::PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| UsersError::Hash(error.to_string()))?;
    Ok(format!("{name}:{hash}\n"))
}

#[derive(Debug)]
struct Session {
    user: String,
    csrf: String,
    seen: UnixTime,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    /// The name that is logged in.
    pub(super) user: Option<String>,
    /// What a form has to hold to be from one of our pages.
    pub(super) csrf: String,
    /// Whether the password came with the request: no browser does that by itself here.
    pub(super) by_password: bool,
    /// The way to us is encrypted.
    pub(super) encrypted: bool,
}

/// What the configuration says, as it is at present.
#[derive(Debug)]
struct Settings {
    rules: Rules,
    users: Users,
}

/// Sessions and logins.
#[derive(Debug)]
pub(super) struct Access {
    settings: RwLock<Arc<Settings>>,
    sessions: Mutex<HashMap<String, Session>>,
    /// When logins failed.
    failures: Mutex<Vec<(String, UnixTime)>>,
    right: Mutex<HashMap<[u8; 32], UnixTime>>,
    /// One password is looked at at a time: each takes 19 MiB.
    turn: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn secret() -> Option<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

impl Access {
    pub(super) fn new(rules: Rules, users: Users) -> Access {
        Access {
            settings: RwLock::new(Arc::new(Settings { rules, users })),
            sessions: Mutex::default(),
            failures: Mutex::default(),
            right: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on by these rules and users. Who is logged in stays so, unless the name is gone or has
    /// another password.
    pub(super) fn change(&self, rules: Rules, users: Users) {
        let old = self.settings();
        lock(&self.sessions).retain(|_, session| {
            let now = users.0.get(&session.user);
            now.is_some() && now == old.users.0.get(&session.user)
        });
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Settings { rules, users });
        // After the users: what was right by the old ones is not put back by a request under way.
        lock(&self.right).clear();
    }

    /// Whether somebody could log in at all.
    pub(super) fn has_users(&self) -> bool {
        !self.settings().users.is_empty()
    }

    /// Whether reading needs no login.
    pub(super) fn reads_openly(&self) -> bool {
        self.settings().rules.reads_openly
    }

    /// Lets a request in, or says why not: its host and the way it came.
    pub(super) fn admit(&self, ask: &Ask) -> Result<bool, Reply> {
        let host = ask.host.as_deref().map(str::to_ascii_lowercase).unwrap_or_default();
        let rules = &self.settings().rules;
        if !rules.is_for(&host) {
            return Err(Reply::text(421, "this site is not asked for by that name: see [web] hosts"));
        }
        let by_proxy = rules.is_proxy(ask.peer);
        if !rules.proxies.is_empty() && !by_proxy {
            return Err(Reply::text(403, "only the proxies of [web] proxies may ask here"));
        }
        let encrypted = ask.tls || (by_proxy && ask.forwarded_proto.as_deref() == Some("https"));
        if !encrypted && !rules.reads_openly {
            return Err(Reply::text(403, "these pages are given over an encrypted connection only"));
        }
        Ok(encrypted)
    }

    /// Who asks, for the log: what the last proxy says, if there is one.
    fn client(&self, ask: &Ask) -> String {
        let proxies = !self.settings().rules.proxies.is_empty();
        let told = ask.forwarded_for.as_deref().filter(|_| proxies);
        let last = told.and_then(|told| told.rsplit(',').next()).and_then(|last| last.trim().parse().ok());
        last.unwrap_or(ask.peer).to_string()
    }

    /// Whether requests of many come from this address.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        self.settings().rules.is_proxy(ip)
    }

    /// Who asks, by the session or by a password that came along.
    pub(super) fn visitor(&self, ask: &Ask, encrypted: bool, now: UnixTime) -> Result<Visitor, Reply> {
        let nobody = Visitor { user: None, csrf: String::new(), by_password: false, encrypted };
        if let Some(basic) = ask.authorization.as_deref().and_then(|value| value.strip_prefix("Basic ")) {
            let user = self.basic(basic, &self.client(ask), now)?;
            return Ok(Visitor { user: Some(user), by_password: true, ..nobody });
        }
        let Some(token) = session_of(ask) else { return Ok(nobody) };
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| now.since(session.seen) < IDLE);
        let Some(session) = sessions.get_mut(&token) else { return Ok(nobody) };
        session.seen = now;
        Ok(Visitor { user: Some(session.user.clone()), csrf: session.csrf.clone(), ..nobody })
    }

    fn basic(&self, encoded: &str, client: &str, now: UnixTime) -> Result<String, Reply> {
        let no = || Reply::text(401, "the name or the password is wrong");
        let bytes = STANDARD.decode(encoded.trim()).map_err(|_| no())?;
        let text = String::from_utf8(bytes).map_err(|_| no())?;
        let (name, password) = text.split_once(':').ok_or_else(no)?;
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        {
            let mut right = lock(&self.right);
            right.retain(|_, since| now.since(*since) < REMEMBERED);
            if right.contains_key(&hash) {
                return Ok(name.to_owned());
            }
        }
        self.verify(name, password, client, now)?;
        lock(&self.right).insert(hash, now);
        Ok(name.to_owned())
    }

    fn verify(&self, name: &str, password: &str, client: &str, now: UnixTime) -> Result<(), Reply> {
        let _turn = lock(&self.turn);
        {
            let mut failures = lock(&self.failures);
            failures.retain(|(_, at)| now.since(*at) < A_MINUTE);
            let own = failures.iter().filter(|(from, _)| from == client).count();
            if own >= FAILURES || failures.len() >= FAILURES_OF_ALL {
                return Err(Reply::text(429, "too many logins failed; try again in a minute")
                    .with("retry-after", "60"));
            }
        }
        if self.settings().users.verify(name, password) {
            return Ok(());
        }
        lock(&self.failures).push((client.to_owned(), now));
        tracing::warn!(client, "a login to the pages failed");
        Err(Reply::text(401, "the name or the password is wrong"))
    }

    /// Logs somebody in: the cookie of the session.
    pub(super) fn log_in(
        &self,
        ask: &Ask,
        (name, password): (&str, &str),
        encrypted: bool,
        now: UnixTime,
    ) -> Result<String, Reply> {
        self.verify(name, password, &self.client(ask), now)?;
        let no_luck = || Reply::text(503, "no random numbers");
        let (token, csrf) = (secret().ok_or_else(no_luck)?, secret().ok_or_else(no_luck)?);
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= SESSIONS
            && let Some(oldest) =
                sessions.iter().min_by_key(|(_, session)| session.seen).map(|(token, _)| token.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(token.clone(), Session { user: name.to_owned(), csrf, seen: now });
        let secure = if encrypted { "; Secure" } else { "" };
        Ok(format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}"))
    }

    /// Ends a session: the cookie that ends it in the browser.
    pub(super) fn log_out(&self, ask: &Ask) -> String {
        if let Some(token) = session_of(ask) {
            lock(&self.sessions).remove(&token);
        }
        format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// Whether a POST is from one of our own pages, as far as the browser says.
    pub(super) fn same_site(&self, ask: &Ask) -> Result<(), Reply> {
        let foreign = || Reply::text(403, "this came from another site's page");
        if ask.fetch_site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(foreign());
        }
        if let Some(origin) = &ask.origin {
            let host = origin.split_once("://").map(|(_, host)| host.to_ascii_lowercase());
            if host != ask.host.as_deref().map(str::to_ascii_lowercase) {
                return Err(foreign());
            }
        }
        Ok(())
    }

    /// Whether this visitor may change something by this request.
    pub(super) fn may_change(&self, ask: &Ask, visitor: &Visitor) -> Result<(), Reply> {
        if visitor.user.is_none() {
            return Err(Reply::text(401, "changes need a login"));
        }
        self.same_site(ask)?;
        if visitor.by_password {
            return Ok(());
        }
        let shown = ask.field("csrf").unwrap_or_default();
        if visitor.csrf.is_empty() || !bool::from(shown.as_bytes().ct_eq(visitor.csrf.as_bytes())) {
            return Err(Reply::text(
                403,
                "the form is not from a page of this session; go back and load it again",
            ));
        }
        Ok(())
    }
}

/// The session that the cookie names.
fn session_of(ask: &Ask) -> Option<String> {
    let cookies = ask.cookie.as_deref()?.split(';').map(str::trim);
    cookies
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}
