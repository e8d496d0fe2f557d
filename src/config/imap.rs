//! `[[imap]]`: the mailboxes that are read.

use super::fault::Fault;
use super::keys;
use super::login::{self, Secret};
use super::reader::{Found, Reader};
use super::sections::Security;
use super::{files, names};
use std::path::PathBuf;
use std::time::Duration;

/// One account and one folder of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imap {
    /// What it is called here.
    pub name: String,
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it is encrypted.
    pub security: Security,
    /// Certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name to log in with.
    pub user: String,
    /// What shows that we are it.
    pub secret: Secret,
    /// The folder.
    pub folder: String,
    /// What happens to a mail that was taken.
    pub after: After,
    /// How often the folder is looked at without IDLE.
    pub poll: Duration,
    /// Whether to use IDLE.
    pub idle: bool,
    /// How long the server may take for an answer.
    pub timeout: Duration,
    /// Mails that came before this day (year, month, day) are left alone.
    pub since: Option<(u16, u8, u8)>,
    /// Whose Authentication-Results are believed.
    pub authserv_id: Option<String>,
    /// Where copies of our answers go.
    pub sent: Option<String>,
}

/// What happens to a mail of the folder that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It is marked as read.
    Seen,
    /// It is moved to this folder.
    Move(String),
    /// It is deleted.
    Delete,
    /// Nothing.
    Keep,
}

pub(super) fn imap(r: &mut Reader<'_>) -> Option<Vec<Imap>> {
    let mut all: Vec<Imap> = Vec::new();
    let number = r.repeated("imap");
    for nth in 0..number {
        r.turn_to(nth);
        let Some(account) = account(r) else { continue };
        let line = r.line(&keys::IMAP_NAME);
        if all.iter().any(|other| other.name.eq_ignore_ascii_case(&account.name)) {
            r.error(&keys::IMAP_NAME, line, Fault::NameTaken(account.name.clone()));
        }
        // Two that read one folder would each take all of it, and then be in each other's way.
        if let Some(other) = all.iter().find(|other| is_one_folder(other, &account)) {
            r.error(&keys::IMAP_FOLDER, line, Fault::FolderTaken(other.name.clone()));
        }
        all.push(account);
    }
    (all.len() == number).then_some(all)
}

/// Whether two accounts read one folder. INBOX is the only name of a folder whose case does not count
/// (RFC 9051, section 5.1).
fn is_one_folder(one: &Imap, other: &Imap) -> bool {
    let inbox = |account: &Imap| account.folder.eq_ignore_ascii_case("INBOX");
    let folder = one.folder == other.folder || (inbox(one) && inbox(other));
    folder && one.user == other.user && one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}

fn account(r: &mut Reader<'_>) -> Option<Imap> {
    let name = r.text(&keys::IMAP_NAME);
    let host = r.text(&keys::IMAP_HOST);
    let host = r.check(&keys::IMAP_HOST, host, |text| host_of(text));
    let port = r.integer(&keys::IMAP_PORT);
    let security = r.choice(
        &keys::IMAP_SECURITY,
        &[("tls", Security::Tls), ("starttls", Security::StartTls), ("none", Security::None)],
    );
    let ca_file = r.text(&keys::IMAP_CA_FILE).map(|found| found.with(r.beside(&found.value)));
    if let Some(found) = &ca_file
        && let Err(error) = files::check_certificates(&found.value)
    {
        r.error(&keys::IMAP_CA_FILE, found.line, error.into());
    }
    let user = r.text(&keys::IMAP_USER);
    let secret = secret(r);
    if let (Some(host), Some(security), Some(user)) = (&host, &security, &user)
        && security.value == Security::None
        && !names::is_loopback(&host.value)
    {
        r.error(&keys::IMAP_SECURITY, security.line.or(user.line), Fault::MailboxInClear(host.value.clone()));
    }
    let folder = r.text(&keys::IMAP_FOLDER);
    let after = r.text(&keys::IMAP_AFTER);
    let after = r.check(&keys::IMAP_AFTER, after, |text| after_of(text));
    if let (Some(folder), Some(Found { value: After::Move(to), line })) = (&folder, &after)
        && to.eq_ignore_ascii_case(&folder.value)
    {
        r.error(&keys::IMAP_AFTER, *line, Fault::MovesNowhere(to.clone()));
    }
    let poll = r.duration(&keys::IMAP_POLL);
    let idle = r.truth(&keys::IMAP_IDLE);
    let timeout = r.duration(&keys::IMAP_TIMEOUT);
    let since = r.text(&keys::IMAP_SINCE);
    let since = r.check(&keys::IMAP_SINCE, since, |text| date(text));
    let authserv_id = r.text(&keys::IMAP_AUTHSERV_ID);
    let authserv_id = r.check(&keys::IMAP_AUTHSERV_ID, authserv_id, |text| names::host_name(text));
    let sent = r.text(&keys::IMAP_SENT);
    let security = security?.value;
    let usual = if security == Security::Tls { 993 } else { 143 };
    Some(Imap {
        name: name?.value,
        host: host?.value,
        port: port.map_or(usual, |found| u16::try_from(found.value).unwrap_or(usual)),
        security,
        ca_file: ca_file.map(|found| found.value),
        user: user?.value,
        secret: secret?,
        folder: folder?.value,
        after: after?.value,
        poll: poll?.value,
        idle: idle?.value,
        timeout: timeout?.value,
        since: since.map(|found| found.value),
        authserv_id: authserv_id.map(|found| found.value),
        sent: sent.map(|found| found.value),
    })
}

fn secret(r: &mut Reader<'_>) -> Option<Secret> {
    let secret = login::secret(
        r,
        [&keys::IMAP_PASSWORD_COMMAND, &keys::IMAP_PASSWORD_FILE, &keys::IMAP_OAUTH2_COMMAND],
    )?;
    if secret.is_none() {
        let line = r.line(&keys::IMAP_USER);
        let fault =
            Fault::Login("nothing to log in with: write password_command, password_file or oauth2_command");
        r.error(&keys::IMAP_PASSWORD_COMMAND, line, fault);
    }
    secret.map(|(_, secret)| secret.value)
}

fn host_of(text: &str) -> Result<String, Fault> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    names::host_name(text).map_err(|_| Fault::NotHost(text.to_owned()))
}

fn after_of(text: &str) -> Result<After, Fault> {
    match text {
        "seen" => Ok(After::Seen),
        "delete" => Ok(After::Delete),
        "keep" => Ok(After::Keep),
        _ => match text.strip_prefix("move:").map(str::trim) {
            Some(folder) if !folder.is_empty() => Ok(After::Move(folder.to_owned())),
            _ => Err(Fault::NotAfter(text.to_owned())),
        },
    }
}

/// A day that is in the calendar, from 1970 on.
fn date(text: &str) -> Result<(u16, u8, u8), Fault> {
    let wrong = || Fault::NotDate(text.to_owned());
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let number = |part: &str, digits: usize| {
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return Err(wrong());
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u16::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    match (u8::try_from(month), u8::try_from(day)) {
        (Ok(month), Ok(short)) if year >= 1970 && (1..=days).contains(&day) => Ok((year, month, short)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (text, day) in [
            ("2026-11-01", Some((2026, 11, 1))),
            ("2024-02-29", Some((2024, 2, 29))),
            ("2023-02-29", None),
            ("2100-02-29", None),
            ("2000-02-29", Some((2000, 2, 29))),
            ("2026-04-31", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-01-00", None),
            ("1969-12-31", None),
            ("2026-1-1", None),
            ("+026-01-01", None),
            ("yesterday", None),
        ] {
            assert_eq!(date(text).ok(), day, "{text}");
        }
    }

    #[test]
    fn what_happens_afterwards() {
        for (text, after) in [
            ("seen", Some(After::Seen)),
            ("keep", Some(After::Keep)),
            ("delete", Some(After::Delete)),
            ("move:Processed", Some(After::Move("Processed".into()))),
            ("move: A/B ", Some(After::Move("A/B".into()))),
            ("move:", None),
            ("Seen", None),
            ("archive", None),
        ] {
            assert_eq!(after_of(text).ok(), after, "{text}");
        }
    }
}
