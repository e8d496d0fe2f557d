//! What holds for any bytes whatever; checked by the property tests and by the fuzz target with
//! the same code.

use super::{Limits, Recipient, UnixTime, declared_end, looks_like, parse};

/// Reads `bytes` as a message and checks that reading and writing agree: what parses writes back
/// exactly the same bytes, what does not says where, within the bytes, and in printable words.
///
/// Returns whether they parsed.
///
/// # Errors
/// What did not hold, if something did not.
pub fn parse_and_write_agree(bytes: &[u8]) -> Result<bool, String> {
    let end = declared_end(bytes);
    let looks = looks_like(bytes);
    let message = match parse(bytes, &Limits::default()) {
        Ok(message) => message,
        Err(error) => {
            let text = error.to_string();
            if error.at > bytes.len() {
                return Err(format!("the offset is past the {} bytes: {text}", bytes.len()));
            }
            if text.len() > 400 || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err(format!("not one short printable line: {text:?}"));
            }
            return Ok(false);
        }
    };
    if message.write() != bytes {
        return Err("the message does not write back the bytes it was read from".to_owned());
    }
    if message.wire_len() != bytes.len() {
        return Err(format!("wire_len is {} for {} bytes", message.wire_len(), bytes.len()));
    }
    if end != Some(bytes.len()) {
        return Err(format!("declared_end is {end:?} for {} bytes", bytes.len()));
    }
    if !looks {
        return Err("it parses, but does not look like a message".to_owned());
    }
    let ids = message.hop_ids();
    if ids.len() != message.hops.len() {
        return Err(format!("{} ids for {} header lines", ids.len(), message.hops.len()));
    }
    // A recipient that owns nothing refuses for one reason only.
    let late = Recipient::new(UnixTime(i64::MAX), &[]);
    message.accept(&late).map_err(|error| format!("refused at the end of time: {error}"))?;
    Ok(true)
}
