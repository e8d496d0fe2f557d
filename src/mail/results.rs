//! Authentication-Results (RFC 8601): what a mail server says that it found out about a mail.
//!
//! Only reading. Whether anybody is to be believed is not known here.

use super::structure::{header_end, lines};
use crate::message::UnixTime;

/// One field, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthResults {
    /// Who says so, in lower case.
    pub authserv_id: String,
    /// What was found, in order; empty for `none`.
    pub results: Vec<MethodResult>,
}

/// What one method found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResult {
    /// `spf`, `dkim`, `dmarc`, `auth` …, in lower case.
    pub method: String,
    /// `pass`, `fail` …, in lower case.
    pub result: String,
    /// Such as (`smtp.mailfrom`, `ann@example.net`); names in lower case.
    pub properties: Vec<(String, String)>,
}

impl MethodResult {
    /// Whether the method is this one and passed.
    #[must_use]
    pub fn passed(&self, method: &str) -> bool {
        self.method == method && self.result == "pass"
    }

    /// The value of a property, if it is there exactly once.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut values = self.properties.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// The values of all header fields of this name, topmost first, each unfolded into one line.
#[must_use]
pub fn header_fields(raw: &[u8], name: &str) -> Vec<String> {
    let end = header_end(raw, &(0..raw.len())).unwrap_or(raw.len());
    let mut found: Vec<String> = Vec::new();
    let mut within = false;
    for line in lines(raw.get(..end).unwrap_or_default()) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.starts_with([' ', '\t']) {
            if let Some(value) = found.last_mut().filter(|_| within) {
                value.push_str(text);
            }
            continue;
        }
        let field = text.split_once(':').filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        within = field.is_some();
        found.extend(field.map(|(_, value)| value.trim_start().to_owned()));
    }
    found
}

/// When the mail system that stored the mail got it: the time in the topmost Received field.
#[must_use]
pub fn received_at(raw: &[u8]) -> Option<UnixTime> {
    let topmost = header_fields(raw, "received").into_iter().next()?;
    let (_, date) = topmost.rsplit_once(';')?;
    let date = mail_parser::DateTime::parse_rfc822(date).filter(mail_parser::DateTime::is_valid)?;
    Some(UnixTime::from_secs(date.to_timestamp()))
}

/// A piece of the field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Semicolon,
    Equals,
}

/// Words, `;` and `=`; comments and white space are gone, quotes are undone. `None` if a quote
/// or a comment does not end.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => word.push(chars.next()?),
                        other => word.push(other),
                    }
                }
                continue;
            }
            '(' => {
                out.extend(word.take().map(Token::Word));
                let mut depth = 1_usize;
                while depth > 0 {
                    match chars.next()? {
                        '(' => depth = depth.saturating_add(1),
                        ')' => depth = depth.saturating_sub(1),
                        '\\' => {
                            chars.next()?;
                        }
                        _ => {}
                    }
                }
            }
            ';' | '=' => {
                // A value may hold `=` (base64 in header.b): only the first one separates.
                if c == '=' && matches!(out.last(), Some(Token::Equals)) {
                    word.get_or_insert_default().push(c);
                    continue;
                }
                out.extend(word.take().map(Token::Word));
                out.push(if c == ';' { Token::Semicolon } else { Token::Equals });
            }
            c if c.is_whitespace() => out.extend(word.take().map(Token::Word)),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word.take().map(Token::Word));
    Some(out)
}

impl AuthResults {
    /// Reads the value of the field. `None` if it breaks the grammar of RFC 8601, section 2.2: what
    /// can't be read for certain says nothing.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let tokens = tokens(value)?;
        let mut groups = tokens.split(|token| *token == Token::Semicolon);
        let authserv_id = match groups.next()? {
            [Token::Word(id)] => id,
            [Token::Word(id), Token::Word(version)] if version == "1" => id,
            _ => return None,
        };
        let mut results = Vec::new();
        for group in groups {
            match group {
                [] => {}
                [Token::Word(none)] if none.eq_ignore_ascii_case("none") => {}
                [Token::Word(method), Token::Equals, Token::Word(result), rest @ ..] => {
                    let method = method.split_once('/').map_or(method.as_str(), |(name, _)| name);
                    let mut properties = Vec::new();
                    let (pairs, odd) = rest.as_chunks::<3>();
                    if !odd.is_empty() {
                        return None;
                    }
                    for pair in pairs {
                        let [Token::Word(name), Token::Equals, Token::Word(value)] = pair else {
                            return None;
                        };
                        properties.push((name.to_ascii_lowercase(), value.clone()));
                    }
                    results.push(MethodResult {
                        method: method.to_ascii_lowercase(),
                        result: result.to_ascii_lowercase(),
                        properties,
                    });
                }
                _ => return None,
            }
        }
        Some(AuthResults { authserv_id: authserv_id.to_ascii_lowercase(), results })
    }

    /// Reads an ARC-Authentication-Results field (RFC 8617, section 4.1.1): the same behind `i=N;`.
    #[must_use]
    pub fn parse_sealed(value: &str) -> Option<Self> {
        let (instance, rest) = value.split_once(';')?;
        let (name, number) = instance.split_once('=')?;
        let good = name.trim().eq_ignore_ascii_case("i") && number.trim().parse::<u32>().is_ok();
        if good { AuthResults::parse(rest) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The value, and what is read: `id | method=result name=value … | …`; empty: not readable.
    #[test]
    fn fields_are_read() {
        #[rustfmt::skip]
        let table = [
            ("example.org 1; none", "example.org"),
            ("MX.Example.org; spf=pass smtp.mailfrom=example.net", "mx.example.org | spf=pass smtp.mailfrom=example.net"),
            ("mx (a (nested) comment);\r\n\tdkim=pass (good; really) reason=\"so; said\" header.d=example.net header.b=\"ab=c\" ;spf = fail smtp.mailfrom = a@b.example",
             "mx | dkim=pass reason=so; said header.d=example.net header.b=ab=c | spf=fail smtp.mailfrom=a@b.example"),
            ("mx; dkim/1=PASS header.b=aGVsbG8=", "mx | dkim=pass header.b=aGVsbG8="),
            // What stands in quotes or in a comment is no result.
            ("mx; spf=fail smtp.mailfrom=\"x; spf=pass\"@y.example", "mx | spf=fail smtp.mailfrom=x; spf=pass@y.example"),
            ("mx; spf=fail (; spf=pass smtp.mailfrom=y.example)", "mx | spf=fail"),
            ("mx; spf=fail smtp.mailfrom=\"\\\"; spf=pass\"", "mx | spf=fail smtp.mailfrom=\"; spf=pass"),
            ("mx;", "mx"),
            ("mx 2; spf=pass", ""),
            ("mx; spf=pass smtp.mailfrom", ""),
            ("mx; spf", ""),
            ("mx; spf=pass (open", ""),
            ("mx; spf=pass smtp.mailfrom=\"open", ""),
            ("spf=pass", ""),
            ("", ""),
        ];
        for (value, wanted) in table {
            let said = AuthResults::parse(value).map_or_else(String::new, |found| {
                let results = found.results.iter().map(|one| {
                    let properties = one.properties.iter().map(|(name, value)| format!(" {name}={value}"));
                    format!(" | {}={}{}", one.method, one.result, properties.collect::<String>())
                });
                format!("{}{}", found.authserv_id, results.collect::<String>())
            });
            assert_eq!(said, wanted, "{value}");
        }
        let sealed = AuthResults::parse_sealed(" i=2; mx; dkim=pass header.d=a.example").unwrap();
        assert!(sealed.results[0].passed("dkim"));
        assert_eq!(AuthResults::parse_sealed("mx; dkim=pass"), None);
    }

    #[test]
    fn the_receipt_is_what_the_last_server_wrote() {
        for (mail, seconds) in [
            (
                "Received: from a; x\r\n by b; Sat, 21 Nov 2026 19:49:29 +0100\r\nReceived: c; Fri, 20 Nov 2026 00:00:00 +0000\r\n\r\n",
                Some(1_795_286_969),
            ),
            ("Received: from a; yesterday\r\n\r\n", None),
            ("Received: from a\r\n\r\n", None),
            ("From: a@b.c\r\n\r\nReceived: a; Sat, 21 Nov 2026 19:49:29 +0100\r\n", None),
        ] {
            assert_eq!(received_at(mail.as_bytes()).map(UnixTime::as_secs), seconds, "{mail}");
        }
    }

    #[test]
    fn a_property_that_stands_there_twice_says_nothing() {
        let found = AuthResults::parse("mx; dkim=pass header.d=a.example header.d=b.example").unwrap();
        assert_eq!(found.results[0].property("header.d"), None);
    }

    #[test]
    fn fields_of_a_header_are_found_in_any_spelling() {
        let mail = b"A-B: one\r\n two\r\na-b : three\r\nOther: x\r\n y\r\n\r\nA-B: body\r\n";
        assert_eq!(header_fields(mail, "a-b"), ["one two", "three"]);
        assert!(header_fields(b"no header", "a-b").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z0-9;=()\"\\\\. \\t@]{0,80}") {
            let _ = AuthResults::parse(&text);
            let _ = AuthResults::parse_sealed(&text);
        }
    }
}
