//! Logging in: by a password (PLAIN, or the LOGIN command), or by an OAuth 2 access token
//! (OAUTHBEARER, RFC 7628; or XOAUTH2).
//!
//! It knows the mechanisms. It must never log what it is given.

use imap::types::Capabilities;
use imap::{Authenticator, Client, Session};

use super::framing::Bounds;
use super::trouble::Trouble;
use super::wire::{Reins, Wire, shown};
use crate::config::{Imap, Secret};
use crate::smtp::Bearer;

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Command,
    Token(Bearer),
}

/// Answers the server's challenges: with what was prepared, once. What follows says that it was not
/// good enough, and wants an empty answer (RFC 7628, section 3.2.3 wants a single ^A).
struct Answer {
    first: Vec<u8>,
    then: &'static str,
    asked: std::cell::Cell<u32>,
}

impl Authenticator for Answer {
    type Response = Vec<u8>;

    fn process(&self, _challenge: &[u8]) -> Vec<u8> {
        let asked = self.asked.replace(self.asked.get().saturating_add(1));
        if asked == 0 { self.first.clone() } else { self.then.as_bytes().to_vec() }
    }
}

/// Logs in.
///
/// # Errors
/// The server refuses, offers no way, or there is no secret.
pub(super) fn log_in(
    mut client: Client<Wire>,
    account: &Imap,
    reins: &Reins,
) -> Result<Session<Wire>, Trouble> {
    reins.expect(Bounds::SHORT, account.timeout);
    let offered = client.capabilities().map_err(|error| Trouble::of(error, "CAPABILITY"))?;
    let way = choose(&account.secret, &|name| has(&offered, name)).map_err(Trouble::NoWayToLogIn)?;
    let (Secret::Password(command) | Secret::Token(command)) = &account.secret;
    let mut secret = command.read()?;
    let mut once_more = matches!(way, Way::Token(_));
    loop {
        reins.expect(Bounds::SHORT, account.timeout);
        let (refusal, back) = match show(client, way, account, &secret)? {
            Ok(session) => return Ok(session),
            Err(refused) => refused,
        };
        if std::mem::take(&mut once_more) && matches!(refusal, imap::Error::No(_)) {
            // A token may have run out on the way, and the next one be good.
            let other = command.read()?;
            if other != secret {
                (client, secret) = (back, other);
                continue;
            }
        }
        return Err(match refusal {
            imap::Error::No(no) => Trouble::Login(shown(&no.information)),
            imap::Error::Bad(bad) => Trouble::Login(shown(&bad.information)),
            // Some servers say goodbye to a wrong password; that is no trouble of the network.
            imap::Error::Bye(bye) if bye.information != "no explanation given" => {
                Trouble::Login(shown(&bye.information))
            }
            other => Trouble::of(other, "the login"),
        });
    }
}

/// What the library makes of a login: a session, or what was said and the connection.
type Done = Result<Session<Wire>, (imap::Error, Client<Wire>)>;

/// Shows the server a secret.
fn show(client: Client<Wire>, way: Way, account: &Imap, secret: &str) -> Result<Done, Trouble> {
    let user = &account.user;
    let unspeakable = || Trouble::Login("a character in the name or the secret can't be sent".to_owned());
    if user.contains('\0') || secret.contains('\0') {
        return Err(unspeakable());
    }
    let answer = |first: &str, then| Answer { first: first.as_bytes().to_vec(), then, asked: 0.into() };
    Ok(match way {
        Way::Command => client.login(user, secret),
        Way::Plain => client.authenticate("PLAIN", &answer(&format!("\0{user}\0{secret}"), "")),
        Way::Token(bearer) => {
            let first = bearer.first(user, (&account.host, account.port), secret).ok_or_else(unspeakable)?;
            client.authenticate(bearer.name(), &answer(&first, bearer.resigned()))
        }
    })
}

fn has(offered: &Capabilities, name: &str) -> bool {
    offered.has_str(name)
}

fn choose(secret: &Secret, has: &dyn Fn(&str) -> bool) -> Result<Way, &'static str> {
    match secret {
        Secret::Password(_) if has("AUTH=PLAIN") => Ok(Way::Plain),
        Secret::Password(_) if !has("LOGINDISABLED") => Ok(Way::Command),
        Secret::Password(_) => {
            Err("it takes no password on this connection; is security = \"none\" the reason?")
        }
        Secret::Token(_) if has("AUTH=OAUTHBEARER") => Ok(Way::Token(Bearer::OauthBearer)),
        Secret::Token(_) if has("AUTH=XOAUTH2") => Ok(Way::Token(Bearer::Xoauth2)),
        Secret::Token(_) => Err("neither OAUTHBEARER nor XOAUTH2 is offered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Password;

    #[test]
    fn the_way_is_what_the_server_offers() {
        let file = || Password::File("/nowhere".into());
        let (password, token) = (Secret::Password(file()), Secret::Token(file()));
        for (secret, offered, way) in [
            (&password, "AUTH=PLAIN AUTH=LOGIN", Ok(Way::Plain)),
            (&password, "AUTH=PLAIN LOGINDISABLED", Ok(Way::Plain)),
            (&password, "IDLE", Ok(Way::Command)),
            (&password, "LOGINDISABLED", Err(())),
            (&token, "AUTH=XOAUTH2 AUTH=OAUTHBEARER", Ok(Way::Token(Bearer::OauthBearer))),
            (&token, "AUTH=XOAUTH2 AUTH=PLAIN", Ok(Way::Token(Bearer::Xoauth2))),
            (&token, "AUTH=PLAIN", Err(())),
        ] {
            let has = |name: &str| offered.split(' ').any(|word| word == name);
            assert_eq!(choose(secret, &has).map_err(|_| ()), way, "{offered}");
        }
    }

    #[test]
    fn a_server_that_asks_again_gets_nothing_more() {
        let answer = Answer { first: b"secret".to_vec(), then: "\u{1}", asked: 0.into() };
        assert_eq!(answer.process(b""), b"secret");
        assert_eq!(answer.process(b"{\"status\":\"401\"}"), b"\x01");
        assert_eq!(answer.process(b""), b"\x01");
    }
}
