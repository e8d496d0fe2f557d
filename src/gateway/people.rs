//! The names under which people appear in messages: aliases of ours, never their own addresses.
//!
//! It knows how an alias is written and read. It must never know who stands behind one: that is
//! in the store.

use crate::message::{Address, AddressError};

/// Letters of a token: lower case, without `i`, `l`, `o` and `u`, which are misread.
const ALPHABET: [u8; 32] = *b"0123456789bcdfghjkmnpqrstvwxyzae";

/// What begins the tag of an address that confirms publishing: `cmr+yes-TOKEN@host`.
pub(crate) const CONFIRM_TAG: &str = "yes-";

/// The tag of the address that ends all mail to a person; followed by `-TOKEN` it works for mail
/// that nobody can authenticate, too.
pub(crate) const STOP_TAG: &str = "stop";

/// What begins the tag of the envelope sender of our mails: nothing that comes to such an
/// address is ever answered (RFC 3834, section 3.3).
pub(crate) const BOUNCE_TAG: &str = "bounce-";

/// Longest name part in an alias, in bytes.
const NAME_MAX: usize = 20;

/// The readable part of an alias: the first word of a display name as lower-case ASCII letters
/// and digits, or `someone`. Never the mail address: an alias must not help to guess it.
pub fn alias_name(display_name: Option<&str>) -> String {
    let first = display_name.unwrap_or_default().split_whitespace().next().unwrap_or_default();
    if first.contains('@') {
        return "someone".to_owned();
    }
    let name: String = first
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(NAME_MAX)
        .collect();
    if name.is_empty() { "someone".to_owned() } else { name }
}

/// A token out of random bytes, five bits of each.
pub fn token(random: &[u8]) -> String {
    random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
        .map(|&letter| char::from(letter))
        .collect()
}

/// `mailto:LOCAL+NAME.TOKEN@HOST` for a gateway whose posting address is `LOCAL@HOST`.
///
/// # Errors
/// If `posting` holds a line end.
pub fn alias(posting: &str, name: &str, token: &str) -> Result<Address, AddressError> {
    Address::new(format!("mailto:{}", tagged(posting, &format!("{name}.{token}"))))
}

/// What ends all mail to the person `number`, as [`STOP_TAG`]`-NUMBER.CHECK`. It is made from the
/// token that confirms, and does not lead back to it: a stop address stands under mails that
/// people pass on, and who reads it must not be able to publish what they wrote.
pub(crate) fn stop_token(number: i64, confirm_token: &str) -> String {
    format!("{number}.{}", token(&super::clock::digest(Some(confirm_token), b"stop")))
}

/// `LOCAL+TAG@HOST` for the posting address `LOCAL@HOST`.
pub fn tagged(posting: &str, tag: &str) -> String {
    let (local, host) = posting.rsplit_once('@').unwrap_or((posting, "localhost"));
    format!("{local}+{tag}@{host}")
}
