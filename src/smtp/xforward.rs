//! XFORWARD: a relay tells who its client was (the extension of Postfix, XFORWARD_README).

use std::net::IpAddr;

/// What EHLO announces to relays.
pub(super) const KEYWORD: &str = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE";

/// Bytes of one attribute's value. Postfix's own bound is 255.
const MAX_VALUE: usize = 255;

/// What a relay said about the client it has this mail from. What it does not know stays
/// empty, and empty never means the relay itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// ADDR: the original client.
    pub(super) client: Option<IpAddr>,
    /// HELO: the name that client gave.
    pub(super) helo: Option<String>,
}

impl Forwarded {
    /// Takes the attributes of one command over what earlier ones said. Returns what is wrong
    /// with them, and then has changed nothing.
    pub(super) fn take(&mut self, attributes: &str) -> Result<(), &'static str> {
        let mut next = self.clone();
        let mut any = false;
        for attribute in attributes.split(' ').filter(|text| !text.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or("an XFORWARD attribute is NAME=value")?;
            let value = decode_xtext(value).ok_or("an XFORWARD value is xtext of 1 to 255 octets")?;
            let known = !matches!(value.to_ascii_uppercase().as_str(), "[UNAVAILABLE]" | "[TEMPUNAVAIL]");
            match name.to_ascii_uppercase().as_str() {
                "ADDR" => next.client = if known { Some(address(&value)?) } else { None },
                "HELO" => next.helo = known.then_some(value),
                "NAME" | "PORT" | "PROTO" | "IDENT" | "SOURCE" => {}
                _ => return Err("an XFORWARD attribute that is not offered"),
            }
            any = true;
        }
        if !any {
            return Err("XFORWARD needs at least one attribute");
        }
        *self = next;
        Ok(())
    }
}

fn address(value: &str) -> Result<IpAddr, &'static str> {
    let plain = match value.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPV6:") => rest,
        _ => value,
    };
    plain
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| "XFORWARD ADDR is an IPv4 address, or IPV6: and an IPv6 address")
}

/// xtext of RFC 3461 section 4: `+XX` is the octet XX. Only printable ASCII may come out.
fn decode_xtext(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '+' => {
                let high = chars.next()?.to_digit(16)?;
                let low = chars.next()?.to_digit(16)?;
                char::from_u32(high * 16 + low)?
            }
            c => c,
        };
        if !(' '..='~').contains(&c) || out.len() == MAX_VALUE {
            return None;
        }
        out.push(c);
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(attributes: &str) -> Result<Forwarded, &'static str> {
        let mut forwarded = Forwarded::default();
        forwarded.take(attributes)?;
        Ok(forwarded)
    }

    #[test]
    fn the_original_client_is_read() {
        let rows = [
            ("NAME=x.example ADDR=192.0.2.7 PORT=4711", Some("192.0.2.7")),
            ("addr=192.0.2.7", Some("192.0.2.7")),
            ("ADDR=IPV6:2001:db8::7", Some("2001:db8::7")),
            ("ADDR=ipv6:::ffff:192.0.2.7", Some("192.0.2.7")),
            ("ADDR=2001:db8::7", Some("2001:db8::7")),
            ("ADDR=[UNAVAILABLE]", None),
            ("ADDR=[tempunavail] SOURCE=LOCAL", None),
            ("NAME=x.example", None),
        ];
        for (attributes, want) in rows {
            let want = want.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(said(attributes).unwrap().client, want, "{attributes}");
        }
        assert_eq!(said("HELO=a+20b").unwrap().helo.as_deref(), Some("a b"));
    }

    #[test]
    fn a_wrong_command_changes_nothing() {
        let long = format!("HELO={}", "a".repeat(256));
        let mut forwarded = said("ADDR=192.0.2.7").unwrap();
        let before = forwarded.clone();
        for attributes in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=x",
            "HELO=b ADDR=192.0.2.777",
            "HELO=b LOGIN=root",
            "HELO=+0d+0a",
            "HELO=+0",
            "HELO=+zz",
            "HELO=ä",
            "ADDR=192.0.2.8 PORT=",
            &long,
        ] {
            assert!(forwarded.take(attributes).is_err(), "{attributes}");
            assert_eq!(forwarded, before, "{attributes}");
        }
    }

    #[test]
    fn unknown_replaces_what_was_known() {
        let mut forwarded = said("ADDR=192.0.2.7 HELO=a").unwrap();
        forwarded.take("ADDR=[UNAVAILABLE]").unwrap();
        assert_eq!(forwarded, Forwarded { client: None, helo: Some("a".to_owned()) });
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = said(&text);
        }
    }
}
