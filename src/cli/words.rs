//! What people type after a verb, made into what the gateway takes.

use super::exit::{BAD_DATA, Outcome, USAGE, fail};
use super::out;
use crate::message::MessageId;

/// The text of `post` and `search`: the words with a space between them, or standard input for a
/// single `-`.
///
/// # Errors
/// 65: not UTF-8, or longer than `at_most` bytes; 64: no words.
pub(super) fn text(words: Vec<String>, at_most: usize) -> Outcome<String> {
    let text = if matches!(words.as_slice(), [word] if word == "-") {
        match String::from_utf8(out::stdin(at_most)?) {
            Ok(text) => text,
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                return fail(BAD_DATA, format!("standard input is not UTF-8 text (byte {at})"));
            }
        }
    } else {
        words.join(" ")
    };
    if text.len() > at_most {
        return fail(BAD_DATA, format!("the text is longer than {at_most} bytes (smtp.max_message)"));
    }
    if text.trim().is_empty() {
        return fail(USAGE, "there is no text");
    }
    Ok(text)
}

/// People write `anna@example.org` where the protocol writes `mailto:anna@example.org`.
pub(super) fn address(typed: String) -> String {
    if typed.contains('@') && !typed.contains(':') { format!("mailto:{typed}") } else { typed }
}

/// The id of a message, for clap.
pub(super) fn id(typed: &str) -> Result<String, String> {
    typed
        .to_ascii_lowercase()
        .parse::<MessageId>()
        .map(|id| id.to_string())
        .map_err(|_| "an id is 16 hexadecimal digits, as post, search and show print it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_one_text() {
        assert_eq!(text(vec!["a".into(), "b".into()], 3).unwrap(), "a b");
        assert_eq!(text(vec!["a".into(), "bc".into()], 3).unwrap_err().exit, 65);
        assert_eq!(text(vec![" ".into()], 3).unwrap_err().exit, 64);
    }

    #[test]
    fn a_mail_address_is_a_mailto_address() {
        for (typed, meant) in [
            ("anna@example.org", "mailto:anna@example.org"),
            ("mailto:anna@example.org", "mailto:anna@example.org"),
            ("http://a@example.org/cmr", "http://a@example.org/cmr"),
            ("example.org", "example.org"),
        ] {
            assert_eq!(address(typed.into()), meant);
        }
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        assert_eq!(id("0123456789ABCDEF").unwrap(), "0123456789abcdef");
        for typed in ["", "0123456789abcde", "0123456789abcdefg", "../../etc/passwd0"] {
            assert!(id(typed).is_err(), "{typed}");
        }
    }
}
