//! What an attempt's end means for the delivery: done, again later, or never.
//!
//! Pure: a stage and a reply in, a verdict out. It knows RFC 5321's reply classes and
//! RFC 3463's status codes, no sockets and no queue.

use std::fmt;

/// Where in the dialogue an attempt was when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Looking up the host or connecting to it.
    Connect,
    /// The TLS handshake, or STARTTLS before it.
    Tls,
    /// The greeting and EHLO.
    Hello,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// The mail itself and the final dot.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connecting",
            Stage::Tls => "TLS",
            Stage::Hello => "EHLO",
            Stage::Auth => "AUTH",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Data => "DATA",
            Stage::Body => "the end of the mail",
        })
    }
}

/// An enhanced status code, RFC 3463: class.subject.detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enhanced {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about, 0 to 999.
    pub subject: u16,
    /// The condition, 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// Reads the code that a reply text starts with, if it agrees with the reply's class
    /// (RFC 2034 section 4).
    #[must_use]
    pub fn of(code: u16, text: &str) -> Option<Self> {
        let mut parts = text.split_ascii_whitespace().next()?.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let well_formed = parts.next().is_none()
            && class.len() == 1
            && [class, subject, detail]
                .iter()
                .all(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
        let class: u8 = class.parse().ok()?;
        (well_formed && u16::from(class) == code / 100).then_some(Self {
            class,
            subject: subject.parse().ok()?,
            detail: detail.parse().ok()?,
        })
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply of the server: its code and its text, all lines joined by a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits, 200 to 599.
    pub code: u16,
    /// The text after them, the enhanced code included.
    pub text: String,
}

impl Reply {
    /// The enhanced status code that the text starts with.
    #[must_use]
    pub fn enhanced(&self) -> Option<Enhanced> {
        Enhanced::of(self.code, &self.text)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text.trim_end())
    }
}

/// Whose trouble made an attempt fail; it decides whom to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The network or the server was not there, or not in order.
    Network,
    /// The server asked us to come back later (4xx).
    Later,
    /// The peer itself says that it has no time or room now, so that somebody else may be asked.
    Busy,
    /// The smarthost does not want us: the operator has to mend the configuration. Nothing is
    /// lost by it, whatever class the reply had.
    Configuration,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Network => "network",
            Trouble::Later => "later",
            Trouble::Busy => "busy",
            Trouble::Configuration => "configuration",
        })
    }
}

/// What becomes of the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took responsibility for the mail (RFC 5321 section 6.1).
    Done(Reply),
    /// Nobody took it; it is tried again.
    Retry {
        /// Whose trouble it is.
        trouble: Trouble,
        /// A sentence for the operator: stage, code and text.
        reason: String,
    },
    /// It was refused for good: this recipient, or this mail.
    Fail {
        /// A sentence for the operator: stage, code and text.
        reason: String,
        /// The server's reply, or what one would be about a domain that takes no mail; none when the
        /// mail could not even be offered.
        reply: Option<Reply>,
    },
    /// The peer was asked, and has none of the messages because of which it was to get this one: nothing was sent.
    Unrelated {
        /// A sentence for the operator.
        reason: String,
    },
}

/// What a reply that was not the wanted one means at this stage.
///
/// 4xx is always tried again. 5xx is final where it speaks about the recipient or the mail; it
/// is trouble of the configuration where it speaks about us: before MAIL, wherever
/// authentication is asked for, and where our own sender address is refused.
#[must_use]
pub fn judge(stage: Stage, reply: &Reply) -> Outcome {
    let reason = format!("{stage}: {reply}");
    match reply.code {
        400..=499 => Outcome::Retry { trouble: Trouble::Later, reason },
        500..=599 if speaks_about_us(stage, reply) => {
            Outcome::Retry { trouble: Trouble::Configuration, reason }
        }
        500..=599 => Outcome::Fail { reason, reply: Some(reply.clone()) },
        _ => {
            Outcome::Retry { trouble: Trouble::Network, reason: format!("{stage}: unexpected reply {reply}") }
        }
    }
}

/// Whether a 4xx reply is about the limits of who gave it: it comes too fast, or there is no room (421, 452;
/// RFC 3463: system full, system not accepting, congestion, and what is not allowed now), or the mailbox is
/// what takes nothing.
#[must_use]
pub fn is_busy(reply: &Reply) -> bool {
    // Whatever the number: 422 is what some say of a full mailbox.
    if (400..500).contains(&reply.code) && is_about_a_mailbox(reply) {
        return true;
    }
    match reply.code {
        421 | 452 => true,
        450 | 451 => {
            reply.enhanced().is_some_and(|it| matches!((it.subject, it.detail), (3, 1 | 2) | (4, 5) | (7, _)))
        }
        _ => false,
    }
}

/// Whether a reply of a smarthost says that this recipient takes nothing now, and nothing of anybody else.
///
/// Where in the dialogue it comes is not enough: many servers keep what they hold against the client, or against the
/// sender, until RCPT, and trouble with their own queue until the end of the mail. So the status has to name
/// the mailbox, and before RCPT nobody can speak of it.
#[must_use]
pub fn is_mailbox_busy(stage: Stage, reply: &Reply) -> bool {
    stage >= Stage::Rcpt && (400..500).contains(&reply.code) && is_about_a_mailbox(reply)
}

/// RFC 3463: the mailbox is not accepting messages, or it is full. x.2.0 is what greylisting says, which wants to be tried again.
fn is_about_a_mailbox(reply: &Reply) -> bool {
    reply.enhanced().is_some_and(|it| matches!((it.subject, it.detail), (2, 1 | 2)))
}

fn speaks_about_us(stage: Stage, reply: &Reply) -> bool {
    if stage < Stage::Mail {
        return true;
    }
    // RFC 4954 section 6: authentication required, mechanism too weak, credentials invalid,
    // encryption required.
    if matches!(reply.code, 530 | 534 | 535 | 538) {
        return true;
    }
    // RFC 3463 section 3.2 and 3.8: bad sender's mailbox or system address; security or policy.
    stage == Stage::Mail
        && reply.enhanced().is_some_and(|e| matches!((e.subject, e.detail), (1, 7 | 8)) || e.subject == 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        let (code, text) = line.split_once(' ').expect("code and text");
        Reply { code: code.parse().expect("code"), text: text.to_owned() }
    }

    #[test]
    fn every_class_at_every_stage() {
        const LATER: &str = "later";
        const CONFIGURATION: &str = "configuration";
        const FAIL: &str = "fail";
        let table = [
            (Stage::Connect, "554 5.3.2 no service", CONFIGURATION),
            (Stage::Hello, "421 4.7.0 too many connections", LATER),
            (Stage::Hello, "554 5.7.1 you are blocked", CONFIGURATION),
            (Stage::Tls, "454 4.7.0 TLS not available", LATER),
            (Stage::Tls, "502 5.5.1 what?", CONFIGURATION),
            (Stage::Auth, "535 5.7.8 wrong password", CONFIGURATION),
            (Stage::Auth, "454 4.7.0 try again", LATER),
            (Stage::Mail, "530 5.7.0 authentication required", CONFIGURATION),
            (Stage::Mail, "553 5.1.8 sender's domain unknown", CONFIGURATION),
            (Stage::Mail, "550 5.1.7 bad sender", CONFIGURATION),
            (Stage::Mail, "550 5.7.1 sender not owned by user", CONFIGURATION),
            (Stage::Mail, "552 5.3.4 too big", FAIL),
            (Stage::Mail, "550 no", FAIL),
            (Stage::Mail, "451 4.3.0 trouble", LATER),
            (Stage::Rcpt, "550 5.1.1 no such user", FAIL),
            (Stage::Rcpt, "550 5.7.1 not wanted", FAIL),
            (Stage::Rcpt, "551 5.1.6 moved", FAIL),
            (Stage::Rcpt, "552 5.2.2 mailbox full", FAIL),
            (Stage::Rcpt, "450 4.2.1 greylisted", LATER),
            (Stage::Rcpt, "530 5.7.0 STARTTLS first", CONFIGURATION),
            (Stage::Data, "554 5.5.1 no valid recipients", FAIL),
            (Stage::Body, "554 5.6.0 content refused", FAIL),
            (Stage::Body, "550 5.7.1 spam", FAIL),
            (Stage::Body, "452 4.3.1 no room", LATER),
            (Stage::Body, "421 4.3.2 shutting down", LATER),
            (Stage::Data, "250 ok", "network"),
            (Stage::Mail, "354 go ahead", "network"),
        ];
        for (stage, line, expected) in table {
            let got = match judge(stage, &reply(line)) {
                Outcome::Retry { trouble, reason } => {
                    assert!(reason.contains(line), "{reason}");
                    trouble.to_string()
                }
                Outcome::Fail { reply: r, reason } => {
                    assert!(reason.contains(line), "{reason}");
                    assert_eq!(r, Some(reply(line)));
                    FAIL.to_owned()
                }
                Outcome::Done(_) => "done".to_owned(),
                Outcome::Unrelated { reason } => reason,
            };
            assert_eq!(got, expected, "{stage}: {line}");
        }
    }

    #[test]
    fn limits_of_others() {
        let table = [
            ("450 4.7.1 more than 20/h is too fast", true),
            ("451 4.7.1 greylisted", true),
            ("452 4.3.1 no room", true),
            ("452 too many recipients", true),
            ("421 4.7.0 too many connections", true),
            ("421 shutting down", true),
            ("451 4.3.2 not accepting now", true),
            ("451 4.4.5 congestion", true),
            ("451 4.3.0 trouble here", false),
            ("450 4.2.1 mailbox busy", true),
            ("451 4.2.2 mailbox full", true),
            ("422 4.2.2 mailbox full", true),
            ("422 no room", false),
            ("552 5.2.2 mailbox full for good", false),
            ("450 4.2.0 greylisted", false),
            ("450 4.1.1 not verified yet", false),
            ("454 4.7.0 TLS not available", false),
            ("450 try again", false),
            ("550 5.7.1 not wanted", false),
            ("552 5.3.1 full for good", false),
        ];
        for (line, expected) in table {
            assert_eq!(is_busy(&reply(line)), expected, "{line}");
        }
    }

    #[test]
    fn mailboxes_behind_a_smarthost() {
        let table = [
            (Stage::Rcpt, "450 4.2.1 it gets mail too fast", true),
            (Stage::Rcpt, "452 4.2.2 full", true),
            (Stage::Data, "451 4.2.1 not now", true),
            (Stage::Body, "452 4.2.2 full", true),
            // About the smarthost, or about us, whenever it is said.
            (Stage::Mail, "450 4.2.1 whose?", false),
            (Stage::Rcpt, "450 4.7.1 you send too fast", false),
            (Stage::Rcpt, "451 4.3.0 lookup failure", false),
            (Stage::Rcpt, "452 4.3.1 no room", false),
            (Stage::Rcpt, "452 4.5.3 too many recipients", false),
            (Stage::Rcpt, "421 4.3.2 shutting down", false),
            (Stage::Body, "451 4.7.1 not now", false),
            // The recipient's, but nothing that it lacks time or room for.
            (Stage::Rcpt, "450 4.1.1 not verified yet", false),
            (Stage::Rcpt, "450 4.1.2 no such domain at present", false),
            (Stage::Rcpt, "450 4.2.0 greylisted", false),
            (Stage::Rcpt, "450 busy", false),
            (Stage::Rcpt, "552 5.2.2 full for good", false),
        ];
        for (stage, line, expected) in table {
            assert_eq!(is_mailbox_busy(stage, &reply(line)), expected, "{stage}: {line}");
        }
    }

    #[test]
    fn enhanced_codes() {
        let ok = |code, text| Enhanced::of(code, text).map(|e| e.to_string());
        assert_eq!(ok(550, "5.1.1 no such user"), Some("5.1.1".to_owned()));
        assert_eq!(ok(250, "2.0.0"), Some("2.0.0".to_owned()));
        assert_eq!(ok(550, "5.7.509 DMARC"), Some("5.7.509".to_owned()));
        for (code, text) in [
            (550, "4.1.1 the classes disagree"),
            (550, "5.1 short"),
            (550, "5.1.1.1 long"),
            (550, "5.1.1000 too big"),
            (550, "5.x.1 no digit"),
            (550, "5..1 empty"),
            (550, "no such user"),
            (550, ""),
        ] {
            assert_eq!(ok(code, text), None, "{text}");
        }
    }
}
