//! One command line, without its CRLF, into a command or the reply that refuses it.
//!
//! smtp-proto knows the verbs and the parameters. What it is lax about is settled before it
//! sees the line: control characters, characters beyond ASCII, paths, SIZE, arguments where
//! there are none.

use smtp_proto::{
    Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL, MAIL_RET_HDRS, MAIL_SMTPUTF8, MailFrom,
    RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE, RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS, Request,
};

use super::Reply;
use super::path::{self, Path, PathError};

/// How the client said hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    Helo,
    Ehlo,
    Lhlo,
}

/// A command that is well formed; whether it may come now is for the session to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Hello {
        kind: Hello,
        name: String,
    },
    Mail {
        from: Path,
        size: u64,
        utf8: bool,
    },
    Rcpt {
        to: Path,
    },
    Data,
    StartTls,
    Xforward {
        attributes: String,
    },
    Rset,
    Noop,
    Help,
    Vrfy,
    Quit,
    /// A verb of SMTP that is not offered here.
    NotOffered,
    /// BDAT: not offered, and what follows it is no command.
    Bdat,
    /// The first word of an HTTP request: a browser was led here.
    Http,
}

/// Parses one line; `Err` is the reply that refuses it.
pub(super) fn parse(line: &[u8]) -> Result<Command, Reply> {
    let line = std::str::from_utf8(line)
        .map_err(|_| Reply::new(500, 5, 2, "A command is ASCII, or UTF-8 in an address"))?
        .trim_end_matches([' ', '\t']);
    if line.chars().any(char::is_control) {
        return Err(Reply::new(500, 5, 2, "A command has no control characters"));
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb.to_ascii_uppercase().as_str() {
        "MAIL" => return mail(rest),
        "RCPT" => return rcpt(rest),
        "XFORWARD" => {
            return Ok(Command::Xforward { attributes: rest.to_owned() });
        }
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => return Ok(Command::Http),
        // What follows BDAT is no command, even when the number behind it is wrong.
        "BDAT" => return Ok(Command::Bdat),
        _ => {}
    }
    if !line.is_ascii() {
        return Err(Reply::new(500, 5, 2, "This command takes ASCII only"));
    }
    let wire = format!("{line}\r\n");
    let bare = |command| match rest {
        "" => Ok(command),
        _ => Err(Reply::new(501, 5, 4, "This command takes no argument")),
    };
    match Request::parse(&mut wire.as_bytes().iter()) {
        Ok(Request::Ehlo { host }) => hello(Hello::Ehlo, &host),
        Ok(Request::Helo { host }) => hello(Hello::Helo, &host),
        Ok(Request::Lhlo { host }) => hello(Hello::Lhlo, &host),
        Ok(Request::Data) => bare(Command::Data),
        Ok(Request::StartTls) => bare(Command::StartTls),
        Ok(Request::Rset) => bare(Command::Rset),
        Ok(Request::Quit) => bare(Command::Quit),
        Ok(Request::Noop { .. }) => Ok(Command::Noop),
        Ok(Request::Help { .. }) => Ok(Command::Help),
        Ok(Request::Vrfy { .. }) => Ok(Command::Vrfy),
        Ok(
            Request::Auth { .. }
            | Request::Expn { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. },
        ) => Ok(Command::NotOffered),
        Ok(Request::Bdat { .. }) => Ok(Command::Bdat),
        // Both were read above.
        Ok(Request::Mail { .. } | Request::Rcpt { .. }) => Err(unknown()),
        Err(error) => Err(refusal(&error)),
    }
}

fn hello(kind: Hello, name: &str) -> Result<Command, Reply> {
    if name.is_empty() {
        return Err(Reply::new(501, 5, 4, "Your name is missing behind the command"));
    }
    Ok(Command::Hello { kind, name: name.to_owned() })
}

fn mail(rest: &str) -> Result<Command, Reply> {
    let usage = || Reply::new(501, 5, 4, "Syntax: MAIL FROM:<address> [parameters]");
    let text = after_keyword(rest, "FROM").ok_or_else(usage)?;
    let (from, parameters) = read_path(text).map_err(|error| bad_sender(error, text))?;
    let (size, parameters) = take_size(parameters)?;
    let wire = format!("MAIL FROM:<>{parameters}\r\n");
    match Request::parse(&mut wire.as_bytes().iter()) {
        Ok(Request::Mail { from: parsed }) => {
            if has_foreign_mail_parameter(&parsed) {
                return Err(Reply::new(555, 5, 4, "A parameter of MAIL is not offered here"));
            }
            let utf8 = parsed.flags & MAIL_SMTPUTF8 != 0;
            if let Path::Mailbox(mailbox) = &from
                && mailbox.needs_utf8()
                && !utf8
            {
                return Err(Reply::new(553, 6, 7, "This sender needs SMTPUTF8 behind MAIL"));
            }
            Ok(Command::Mail { from, size, utf8 })
        }
        Ok(_) => Err(usage()),
        Err(error) => Err(refusal(&error)),
    }
}

fn rcpt(rest: &str) -> Result<Command, Reply> {
    let usage = || Reply::new(501, 5, 4, "Syntax: RCPT TO:<address> [parameters]");
    let text = after_keyword(rest, "TO").ok_or_else(usage)?;
    let (to, parameters) = read_path(text).map_err(bad_recipient)?;
    let wire = format!("RCPT TO:<>{parameters}\r\n");
    match Request::parse(&mut wire.as_bytes().iter()) {
        Ok(Request::Rcpt { to: parsed }) => {
            let notify = RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY | RCPT_NOTIFY_NEVER;
            if parsed.flags & !notify != 0 || parsed.rrvs != 0 {
                return Err(Reply::new(555, 5, 4, "A parameter of RCPT is not offered here"));
            }
            Ok(Command::Rcpt { to })
        }
        Ok(_) => Err(usage()),
        Err(error) => Err(refusal(&error)),
    }
}

/// `FROM : <x>` with any spaces about the colon.
fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (word, rest) = text.trim_start_matches(' ').split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    Some(rest.trim_start_matches(' ').strip_prefix(':')?.trim_start_matches(' '))
}

/// The path and what stands behind it: nothing, or a space and parameters.
fn read_path(text: &str) -> Result<(Path, &str), PathError> {
    let (inner, rest) = path::split(text)?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(PathError::Brackets);
    }
    Ok((path::parse(inner)?, rest))
}

fn bad_sender(error: PathError, text: &str) -> Reply {
    let hint = if text.starts_with('<') { "" } else { "; the empty sender is <>" };
    Reply::new(501, 1, 7, &format!("Bad sender address: {error}{hint}"))
}

fn bad_recipient(error: PathError) -> Reply {
    Reply::new(501, 1, 3, &format!("Bad recipient address: {error}"))
}

/// Takes SIZE out of MAIL's parameters (RFC 1870: 1 to 20 digits): the parser below wraps
/// around on numbers over 2^64. 0 stands for none.
fn take_size(parameters: &str) -> Result<(u64, String), Reply> {
    let mut size = 0;
    let mut others = String::new();
    for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
        match parameter.split_at_checked(5) {
            Some((name, digits)) if name.eq_ignore_ascii_case("SIZE=") => {
                let sound =
                    (1..=20).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
                if !sound {
                    return Err(Reply::new(501, 5, 4, "SIZE is a number of 1 to 20 digits"));
                }
                size = digits.parse().unwrap_or(u64::MAX);
            }
            _ => {
                others.push(' ');
                others.push_str(parameter);
            }
        }
    }
    Ok((size, others))
}

/// Parameters of extensions that EHLO does not offer and that may not be passed over in
/// silence. Those of delivery notices (RET, ENVID, and RCPT's NOTIFY and ORCPT) may: this
/// host sends no notices.
fn has_foreign_mail_parameter<T>(mail: &MailFrom<T>) -> bool {
    let known = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8 | MAIL_RET_FULL | MAIL_RET_HDRS;
    mail.flags & !known != 0
        || mail.trans_id.is_some()
        || mail.by != 0
        || mail.solicit.is_some()
        || mail.mtrk.is_some()
        || mail.auth.is_some()
        || mail.hold_for != 0
        || mail.hold_until != 0
        || mail.mt_priority != 0
}

fn unknown() -> Reply {
    Reply::new(500, 5, 1, "Command not recognised")
}

fn refusal(error: &Error) -> Reply {
    match error {
        Error::UnknownCommand => unknown(),
        Error::InvalidParameter { param } => {
            Reply::new(501, 5, 4, &format!("The value of {param} is not well formed"))
        }
        Error::UnsupportedParameter { param } => {
            Reply::new(555, 5, 4, &format!("Parameter not recognised: {param}"))
        }
        Error::SyntaxError { syntax } => Reply::new(501, 5, 4, &format!("Syntax: {syntax}")),
        Error::NeedsMoreData { .. }
        | Error::InvalidSenderAddress
        | Error::InvalidRecipientAddress
        | Error::ResponseTooLong
        | Error::InvalidResponse { .. } => Reply::new(501, 5, 2, "Syntax error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(reply) => format!("{} {}", reply.code(), reply.enhanced().unwrap()),
        }
    }

    #[test]
    fn lines_are_commands_or_refusals() {
        let rows = [
            ("noop", "Noop"),
            ("NOOP x y", "Noop"),
            ("QUIT  ", "Quit"),
            ("QUIT x", "501 5.5.4"),
            ("DATA x", "501 5.5.4"),
            ("RSET x", "501 5.5.4"),
            ("STARTTLS x", "501 5.5.4"),
            ("HELP", "Help"),
            ("HELP MAIL", "Help"),
            ("VRFY x", "Vrfy"),
            ("VRFY", "501 5.5.4"),
            ("EXPN x", "NotOffered"),
            ("AUTH PLAIN AAAA", "NotOffered"),
            ("ETRN x", "NotOffered"),
            ("BDAT 12 LAST", "Bdat"),
            ("BDAT x", "Bdat"),
            ("GET / HTTP/1.1", "Http"),
            ("", "500 5.5.1"),
            ("FROB", "500 5.5.1"),
            ("EHLOX a", "500 5.5.1"),
            ("STARTTLSX", "500 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("EHLO \u{e9}", "500 5.5.2"),
            ("NOOP \u{0}", "500 5.5.2"),
            ("EHLO a\tb", "500 5.5.2"),
            ("RS\rET", "500 5.5.2"),
            ("MAIL FROM:<> RET=HDRS ENVID=QQ314159", "Mail { from: Null, size: 0, utf8: false }"),
            ("mail from: <> size=12", "Mail { from: Null, size: 12, utf8: false }"),
            (
                "MAIL FROM:<> SIZE=18446744073709551616",
                "Mail { from: Null, size: 18446744073709551615, utf8: false }",
            ),
            ("MAIL FROM:<> SIZE=123456789012345678901", "501 5.5.4"),
            ("MAIL FROM:<> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<> SIZE=1x", "501 5.5.4"),
            ("MAIL FROM:<> SMTPUTF8 BODY=8BITMIME", "Mail { from: Null, size: 0, utf8: true }"),
            ("MAIL FROM:<> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<> BODY=x", "501 5.5.4"),
            ("MAIL FROM:<> AUTH=<>", "555 5.5.4"),
            ("MAIL FROM:<> FOO", "555 5.5.4"),
            ("MAIL FROM:<> FOO=BAR BODY=7BIT", "555 5.5.4"),
            ("MAIL FROM:<> HOLDFOR=5", "555 5.5.4"),
            ("MAIL FROM:<>SIZE=1", "501 5.1.7"),
            ("MAIL FROM:a@b.c", "501 5.1.7"),
            ("MAIL FROM:<root>", "501 5.1.7"),
            ("MAIL FROM:<\u{e9}@b.c>", "553 5.6.7"),
            ("MAIL <a@b.c>", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("RCPT TO:<Postmaster>", "Rcpt { to: Postmaster }"),
            ("RCPT TO : <> NOTIFY=NEVER ORCPT=rfc822;a@b.c", "Rcpt { to: Null }"),
            ("RCPT TO:<> NOTIFY=x", "501 5.5.4"),
            ("RCPT TO:<> CONNEG", "555 5.5.4"),
            ("RCPT TO:<a@b.c", "501 5.1.3"),
            ("RCPT FROM:<a@b.c>", "501 5.5.4"),
        ];
        for (line, want) in rows {
            assert_eq!(code(line), want, "{line:?}");
        }
        let quoted = parse(b"MAIL FROM:<\"a b\"@c.d> SIZE=3").unwrap();
        let Command::Mail { from: Path::Mailbox(mailbox), .. } = quoted else { panic!() };
        assert_eq!(mailbox.to_string(), "\"a b\"@c.d");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_command_like_line_panics(
            line in "(MAIL FROM:|RCPT TO:|EHLO |VRFY |XFORWARD |NOOP |AUTH |BDAT |ETRN )(<|>|\"|\\\\|@|a|:|,|=|;| |SIZE=|RET=|HOLDUNTIL=|RRVS=|BY=|MTRK=|9999999999|-|T|Z){0,24}"
        ) {
            let _ = parse(line.as_bytes());
        }
    }
}
