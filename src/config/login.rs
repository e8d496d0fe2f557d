//! What shows a server who we are: a password, or an access token.

use super::build::warn_if_readable;
use super::fault::Fault;
use super::keys::{self, Key};
use super::reader::{Found, Reader};
use super::secret::Password;
use super::sections::{Login, Security, Smarthost};
use super::{files, names};

/// What shows that an account is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A password.
    Password(Password),
    /// An OAuth 2 access token.
    Token(Password),
}

/// The secret of a section, and the key that it stands under, out of its three keys: a password's
/// command, its file, a token's command. The inner none: nothing stands there; the outer one: too much
/// does, and that is said.
pub(super) fn secret(
    r: &mut Reader<'_>,
    [command, file, token]: [&'static Key; 3],
) -> Option<Option<(&'static Key, Found<Secret>)>> {
    let mut there: Vec<_> =
        [command, file, token].into_iter().filter_map(|key| r.text(key).map(|found| (key, found))).collect();
    let Some((key, text)) = there.pop() else { return Some(None) };
    if !there.is_empty() {
        let fault =
            Fault::Login("one of password_command, password_file and oauth2_command is enough; keep one");
        r.error(key, text.line, fault);
        return None;
    }
    let run = || Password::Command { command: text.value.clone(), directory: r.beside("") };
    let secret = if key == token {
        Secret::Token(run())
    } else if key == command {
        Secret::Password(run())
    } else {
        let path = r.beside(&text.value);
        match files::read(&path) {
            Ok(_) => warn_if_readable(r, file, text.line, &path),
            Err(error) => r.error(file, text.line, error.into()),
        }
        Secret::Password(Password::File(path))
    };
    Some(Some((key, text.with(secret))))
}

/// The login at the smarthost.
pub(super) fn login(r: &mut Reader<'_>, smarthost: Option<&Smarthost>) -> Option<Login> {
    let user = r.text(&keys::SEND_USER);
    let secret =
        secret(r, [&keys::SEND_PASSWORD_COMMAND, &keys::SEND_PASSWORD_FILE, &keys::SEND_OAUTH2_COMMAND])?;
    let (user, (key, secret)) = match (user, secret) {
        (Some(user), Some(secret)) => (user, secret),
        (Some(user), None) => {
            let fault = Fault::Login(
                "no password goes with it: write password_command, password_file or oauth2_command beside it",
            );
            r.error(&keys::SEND_USER, user.line, fault);
            return None;
        }
        (None, Some((key, secret))) => {
            r.error(key, secret.line, Fault::Login("of no use without user"));
            return None;
        }
        (None, None) => return None,
    };
    if let Some(to) = smarthost
        && to.security == Security::None
    {
        let at = format!("{}:{}", to.host, to.port);
        match &secret.value {
            // No server that takes tokens does so without TLS (RFC 6750, section 5.3).
            Secret::Token(_) => r.error(key, secret.line, Fault::TokenInClear(at)),
            Secret::Password(_) if !names::is_loopback(&to.host) => {
                r.error(&keys::SEND_USER, user.line, Fault::PasswordInClear(at));
            }
            Secret::Password(_) => {}
        }
    }
    Some(Login { user: user.value, secret: secret.value })
}
