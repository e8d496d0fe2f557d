//! Mail that came back: reports about delivery (RFC 3464 in RFC 6522), and what mail systems write
//! that know no such thing, as far as it is certain.
//!
//! Which mail of ours is meant says the address that a report comes to; here stands what happened
//! to it.

use mail_parser::MimeHeaders;

use super::structure;

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// 2 success, 4 for now, 5 for good.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// The condition.
    pub detail: u16,
}

impl Status {
    /// Reads `5.1.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut part = || {
            let part = parts.next()?;
            let good = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if good { part.parse::<u16>().ok() } else { None }
        };
        let (class, subject, detail) = (part()?, part()?, part()?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Status { class, subject, detail })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// What a report says about the one recipient of the mail that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// The mail was not delivered, and never will be. Otherwise it is late, or it was delivered.
    pub failed: bool,
    /// Why, if that is certain.
    pub status: Option<Status>,
}

/// Most bytes of a report's text that are looked through.
const TEXT_MAX: usize = 64 << 10;

/// Reads a report. `None`: the mail says nothing that is certain, so it changes nothing.
#[must_use]
pub fn read_bounce(raw: &[u8]) -> Option<Bounce> {
    let mail = structure::parse(raw).ok()?;
    let status = mail.parts.iter().find(|part| {
        part.content_type().is_some_and(|found| {
            let subtype = found.subtype().unwrap_or_default();
            found.ctype().eq_ignore_ascii_case("message")
                && (subtype.eq_ignore_ascii_case("delivery-status")
                    || subtype.eq_ignore_ascii_case("global-delivery-status"))
        })
    });
    match status {
        Some(part) => of_fields(&String::from_utf8_lossy(part.contents())),
        None => {
            let text = mail.body_text(0)?;
            of_text(text.get(..TEXT_MAX).unwrap_or(&text))
        }
    }
}

/// The groups of fields for each recipient (RFC 3464, section 2.3): one, since each mail of ours
/// has one recipient. Where there are several they must agree.
fn of_fields(text: &str) -> Option<Bounce> {
    let mut found: Option<Bounce> = None;
    let text = text.replace("\r\n", "\n");
    for group in text.split("\n\n") {
        let field = |name: &str| {
            let mut lines = group.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(field, _)| field.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let Some(action) = field("Action") else { continue };
        let status = field("Status").and_then(|value| Status::parse(value.split_whitespace().next()?));
        let failed = action.eq_ignore_ascii_case("failed");
        // A failure with a status that says something else is no certain one.
        let bounce = Bounce { failed, status: status.filter(|it| !failed || it.class != 2) };
        match &found {
            Some(other) if *other != bounce => return None,
            _ => found = Some(bounce),
        }
    }
    found
}

/// A text in which every reply of an SMTP server with an enhanced code (`550 5.1.1 …`) says the
/// same, and at least one is there.
fn of_text(text: &str) -> Option<Bounce> {
    let mut found: Option<Status> = None;
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || "<>()[]\":;,#".contains(c)).collect();
    for pair in words.windows(2) {
        let [first, second] = pair else { continue };
        let (code, status) = match first.split_once('-') {
            // The first line of a reply of several: `550-5.1.1`.
            Some((code, status)) => (code, status),
            None => (*first, *second),
        };
        let is_code = code.len() == 3 && matches!(code.as_bytes().first(), Some(b'4' | b'5'));
        if !is_code || code.parse::<u16>().is_err() {
            continue;
        }
        let Some(status) = Status::parse(status.trim_end_matches('.')) else { continue };
        if !code.starts_with(char::from(b'0'.saturating_add(status.class))) {
            continue;
        }
        if found.is_some_and(|other| other != status) {
            return None;
        }
        found = Some(status);
    }
    found.map(|status| Bounce { failed: status.class == 5, status: Some(status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fields: &str) -> Vec<u8> {
        format!(
            "From: MAILER-DAEMON@mx.test\r\nTo: cmr+bounce-1-x@home.test\r\nSubject: Undelivered\r\n\
             MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
             --b\r\n\r\nSorry, 550 5.9.9 nothing.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; mx.test\r\n\r\n{fields}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
             Subject: ours\r\n\r\ntext\r\n--b--\r\n"
        )
        .into_bytes()
    }

    fn plain(text: &str) -> Vec<u8> {
        format!("From: MAILER-DAEMON@mx.test\r\nSubject: failure notice\r\n\r\n{text}\r\n").into_bytes()
    }

    /// What is read: `failed 5.1.1`, `late 4.4.7`, `-`: nothing that is certain.
    #[test]
    fn reports_are_read() {
        #[rustfmt::skip]
        let table: Vec<(Vec<u8>, &str)> = vec![
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"), "failed 5.1.1"),
            (report("Final-Recipient: rfc822; a@b.test\r\naction: Failed\r\nstatus: 5.2.2 (mailbox full)\r\n"), "failed 5.2.2"),
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n"), "late 4.4.1"),
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 4.4.7\r\n"), "failed 4.4.7"),
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n"), "late 2.0.0"),
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.x.1\r\n"), "failed"),
            (report("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 2.0.0\r\n"), "failed"),
            (report("Action: failed\r\nStatus: 5.1.1\r\n\r\nAction: delivered\r\nStatus: 2.0.0\r\n"), "-"),
            (report("Final-Recipient: rfc822; a@b.test\r\n"), "-"),
            // qmail, Exim, a forwarder, and words that mean nothing.
            (plain("Hi. This is the qmail-send program.\r\n<a@b.test>:\r\n192.0.2.1 does not like recipient.\r\nRemote host said: 550 5.1.1 <a@b.test> User unknown"), "failed 5.1.1"),
            (plain("  a@b.test\r\n    host mx.b.test [192.0.2.1]\r\n    SMTP error from remote mail server after RCPT TO:<a@b.test>:\r\n    550-5.1.1 The email account\r\n    550 5.1.1 does not exist."), "failed 5.1.1"),
            (plain("451 4.3.0 try later"), "late 4.3.0"),
            (plain("550 5.1.1 no user; then 552 5.2.2 full"), "-"),
            (plain("550 No such user here"), "-"),
            (plain("The user 5.1.1 does not exist"), "-"),
            (plain("450 5.1.1 the classes disagree"), "-"),
            (plain("I am on holiday until 5.1.2027."), "-"),
            (b"no header at all".to_vec(), "-"),
        ];
        for (mail, wanted) in table {
            let said = read_bounce(&mail).map_or_else(
                || "-".to_owned(),
                |it| {
                    let status = it.status.map(|status| format!(" {status}")).unwrap_or_default();
                    format!("{}{status}", if it.failed { "failed" } else { "late" })
                },
            );
            assert_eq!(said, wanted, "{}", String::from_utf8_lossy(&mail));
        }
    }
}
