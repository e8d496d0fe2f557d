//! Who we are towards the smarthost, and what shows it: a password that was read at the start, or an
//! access token that is asked for before each login, because it is good for an hour or so.

use super::error::SendError;
use crate::config;
use crate::send::outcome::Reply;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Who we are towards the smarthost. What shows it is wiped when dropped and never printed.
#[derive(Clone)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// What shows that it is ours.
    pub secret: Secret,
}

/// What shows that a login is ours.
#[derive(Clone)]
pub enum Secret {
    /// A password.
    Password(Zeroizing<String>),
    /// OAuth 2 access tokens.
    Tokens(Tokens),
}

/// What a server is shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Password { user: String, password: Zeroizing<String> },
    Token { user: String, token: Zeroizing<String> },
}

impl Login {
    /// What the server is shown now.
    ///
    /// # Errors
    /// There is no token.
    pub(super) async fn shown(&self) -> Result<Shown, SendError> {
        let user = self.user.clone();
        Ok(match &self.secret {
            Secret::Password(password) => Shown::Password { user, password: password.clone() },
            Secret::Tokens(tokens) => Shown::Token { user, token: tokens.present().await? },
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, …)", self.user)
    }
}

/// A command that prints the present access token, and what it printed last.
#[derive(Clone)]
pub struct Tokens {
    command: config::Password,
    last: Arc<Mutex<Option<(Instant, Printed)>>>,
}

/// The token, or why there is none.
type Printed = Result<Zeroizing<String>, String>;

impl Tokens {
    /// Those that this command prints.
    #[must_use]
    pub fn of(command: config::Password) -> Self {
        Self { command, last: Arc::default() }
    }

    /// The token that the command prints now. Many that ask at the same time get the same one: only one
    /// run of the command is under way, and those that waited for their turn share the next.
    ///
    /// # Errors
    /// The command failed.
    async fn present(&self) -> Result<Zeroizing<String>, SendError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let printed = match last.as_ref() {
            Some((begun, printed)) if *begun >= asked => printed.clone(),
            _ => {
                let (begun, command) = (Instant::now(), self.command.clone());
                let run = tokio::task::spawn_blocking(move || command.read()).await;
                let printed = match run {
                    Ok(read) => read.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                *last = Some((begun, printed.clone()));
                printed
            }
        };
        printed.map_err(|reason| SendError::NoToken { reason })
    }
}

/// Refused logins, and how long to wait after them: an account that is tried again and again is locked.
#[derive(Default)]
pub(super) struct Refusals {
    number: u32,
    /// Until when, and what the server said.
    last: Option<(Instant, Reply)>,
}

/// The wait after the first refused login; it doubles from one to the next.
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);

/// The longest one.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

impl Refusals {
    /// Whether a login may be tried now.
    ///
    /// # Errors
    /// It is too soon after a refusal.
    pub(super) fn allow(&self, now: Instant) -> Result<(), SendError> {
        match &self.last {
            Some((until, reply)) if *until > now => {
                Err(SendError::Refusing { wait: until.duration_since(now), reply: reply.clone() })
            }
            _ => Ok(()),
        }
    }

    /// A login was refused. Those that were under way at the same time count once.
    pub(super) fn refused(&mut self, reply: &Reply, now: Instant) {
        if self.allow(now).is_err() {
            return;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.number.min(8)).min(LONGEST_WAIT);
        self.number = self.number.saturating_add(1);
        self.last = Some((now + wait, reply.clone()));
    }

    /// A login succeeded.
    pub(super) fn welcomed(&mut self) {
        *self = Refusals::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_after_refused_logins_grow() {
        let mut refusals = Refusals::default();
        let reply = Reply { code: 535, text: "5.7.8 no".to_owned() };
        let mut now = Instant::now();
        for minutes in [5, 10, 20, 40, 60, 60] {
            assert!(refusals.allow(now).is_ok());
            refusals.refused(&reply, now);
            refusals.refused(&reply, now);
            let wait = Duration::from_secs(minutes * 60);
            let error = refusals.allow(now + wait - Duration::from_secs(1)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the login was refused, and is not tried again for 1 s: 535 5.7.8 no"
            );
            now += wait;
        }
        refusals.welcomed();
        refusals.refused(&reply, now);
        assert!(refusals.allow(now + FIRST_WAIT).is_ok(), "a success ends it");
    }

    #[tokio::test]
    async fn those_who_ask_together_share_a_run_and_who_asks_later_gets_a_new_one() {
        let place = tempfile::tempdir().unwrap();
        let command = "sleep 0.2; echo x >> runs; wc -l < runs".to_owned();
        let directory = place.path().to_owned();
        let tokens = Tokens::of(config::Password::Command { command, directory });
        let token = |tokens: Tokens| async move { tokens.present().await.unwrap().trim().to_owned() };
        let mut together = tokio::task::JoinSet::new();
        for _ in 0..8 {
            together.spawn(token(tokens.clone()));
        }
        let mut all: Vec<String> = together.join_all().await;
        all.sort();
        all.dedup();
        assert!(all.len() <= 2, "{all:?}");
        let last: usize = all.last().unwrap().parse().unwrap();
        assert_eq!(token(tokens).await, (last + 1).to_string());
    }
}
