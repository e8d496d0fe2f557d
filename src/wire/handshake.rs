//! The HTTP handshake (A4.5): a receiver fetches the message from the very address that it is said to
//! come from, and so knows that this is true.
//!
//! Alice asks `GET bob?request=ALICE&key=KEY`; Bob says 200 with nothing, then asks
//! `GET alice?reply=KEY` and gets the message. A key is for one message and one read.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::message::{Address, UnixTime};

/// How long a message waits to be fetched.
pub const WAITS: Duration = Duration::from_secs(300);

/// Messages that wait, at most, and their bytes.
const MOST: (usize, usize) = (1024, 64 << 20);

/// The longest key.
const KEY_MOST: usize = 128;

/// What a GET request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Somebody wants us to fetch a message from `sender`.
    Fetch {
        /// The address that the message is to be fetched from.
        sender: Address,
        /// What to ask for there.
        key: String,
    },
    /// Somebody fetches a message of ours.
    Take {
        /// Which one.
        key: String,
    },
}

/// Why a GET request is no question of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Neither of the two.
    #[error("a CMR message is sent here by POST, or by a GET with request and key, or reply (A4.5)")]
    Nothing,
    /// A key that is none.
    #[error("a key has 1 to 128 letters, digits, - or _")]
    Key,
    /// A sender that is no address.
    #[error("request has to be the http or https address to fetch the message from")]
    Sender,
}

/// Reads the query of a request line.
///
/// # Errors
/// Why it is no question.
pub fn question(query: Option<&str>) -> Result<Question, QuestionError> {
    let find = |name: &str| {
        query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|it| it.1)
    };
    let key = |text: &str| if is_key(text) { Ok(text.to_owned()) } else { Err(QuestionError::Key) };
    match (find("request"), find("key"), find("reply")) {
        (Some(sender), Some(secret), _) => {
            let bytes = decode(sender).ok_or(QuestionError::Sender)?;
            let sender = Address::new(bytes).map_err(|_| QuestionError::Sender)?;
            Ok(Question::Fetch { sender, key: key(secret)? })
        }
        (_, _, Some(secret)) => Ok(Question::Take { key: key(secret)? }),
        _ => Err(QuestionError::Nothing),
    }
}

/// The parameters with which `ours` asks a receiver to fetch a message.
#[must_use]
pub fn ask_to_fetch(ours: &Address, key: &str) -> String {
    format!("request={}&key={key}", encode(ours.as_bytes()))
}

/// The parameters with which a message is fetched.
#[must_use]
pub fn ask_for(key: &str) -> String {
    format!("reply={key}")
}

fn is_key(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=KEY_MOST).contains(&text.len()) && text.bytes().all(good)
}

/// RFC 3986, section 2.1: everything but unreserved characters.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Undoes percent-encoding. A "+" stays one: no address has a blank.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// The messages of ours that wait to be fetched: 1,024 and 64 MiB at most, beyond that the oldest go.
#[derive(Debug)]
pub struct Waiting<T> {
    by_key: HashMap<String, (UnixTime, Vec<u8>, T)>,
    order: VecDeque<String>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { by_key: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Waiting<T> {
    /// A message waits under this key, until [`WAITS`] after `now`. `note` comes back with it.
    pub fn put(&mut self, key: String, message: Vec<u8>, note: T, now: UnixTime) {
        self.forget(now);
        self.bytes = self.bytes.saturating_add(message.len());
        self.order.push_back(key.clone());
        if let Some((_, old, _)) = self.by_key.insert(key, (now, message, note)) {
            self.bytes = self.bytes.saturating_sub(old.len());
        }
        while self.by_key.len() > MOST.0 || self.bytes > MOST.1 {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(&oldest);
        }
    }

    /// The message under this key, once.
    pub fn take(&mut self, key: &str, now: UnixTime) -> Option<(Vec<u8>, T)> {
        self.forget(now);
        self.remove(key)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn remove(&mut self, key: &str) -> Option<(Vec<u8>, T)> {
        let (_, message, note) = self.by_key.remove(key)?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some((message, note))
    }

    fn forget(&mut self, now: UnixTime) {
        while let Some(oldest) = self.order.front() {
            let stays = self.by_key.get(oldest).is_some_and(|(since, ..)| now.since(*since) < WAITS);
            if stays {
                return;
            }
            let oldest = self.order.pop_front().unwrap_or_default();
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime(1_800_000_000_000_000);

    fn address(text: &str) -> Address {
        Address::try_from(text).unwrap()
    }

    #[test]
    fn questions() {
        let fetch =
            |sender: &str, key: &str| Ok(Question::Fetch { sender: address(sender), key: key.to_owned() });
        let long = format!("reply={}", "k".repeat(129));
        let table = [
            // As the specification writes it.
            (Some("request=http://alice.com/&key=foo"), fetch("http://alice.com/", "foo")),
            (Some("reply=foo"), Ok(Question::Take { key: "foo".to_owned() })),
            (
                Some("request=http%3A%2F%2Falice.com%2Fa%2Bb%3Fx%3D1%26y&key=f-_9"),
                fetch("http://alice.com/a+b?x=1&y", "f-_9"),
            ),
            (Some("x=1&key=foo&request=https://a.example/a+b"), fetch("https://a.example/a+b", "foo")),
            (None, Err(QuestionError::Nothing)),
            (Some(""), Err(QuestionError::Nothing)),
            (Some("request=http://alice.com/"), Err(QuestionError::Nothing)),
            (Some("key=foo"), Err(QuestionError::Nothing)),
            (Some("reply="), Err(QuestionError::Key)),
            (Some("reply=a/b"), Err(QuestionError::Key)),
            (Some("reply=a%41"), Err(QuestionError::Key)),
            (Some(&long), Err(QuestionError::Key)),
            (Some("request=http://a.example/&key=a%0d%0a"), Err(QuestionError::Key)),
            (Some("request=http://a.example/%0d%0aX:&key=a"), Err(QuestionError::Sender)),
            (Some("request=%zz&key=a"), Err(QuestionError::Sender)),
            (Some("request=%4&key=a"), Err(QuestionError::Sender)),
            (Some("request=&key=a"), Err(QuestionError::Sender)),
        ];
        for (query, expected) in table {
            assert_eq!(question(query), expected, "{query:?}");
        }
    }

    #[test]
    fn what_is_asked_is_understood() {
        for text in ["http://127.0.0.1:80/cmr", "https://a.example/x?y=1&z=%41", "http://a.example/~a+b"] {
            let asked = question(Some(&ask_to_fetch(&address(text), "k1"))).unwrap();
            assert_eq!(asked, Question::Fetch { sender: address(text), key: "k1".to_owned() });
        }
        assert_eq!(question(Some(&ask_for("k1"))), Ok(Question::Take { key: "k1".to_owned() }));
    }

    #[test]
    fn a_message_is_taken_once_and_in_time() {
        let mut waiting = Waiting::default();
        waiting.put("a".to_owned(), b"one".to_vec(), 1, START);
        assert_eq!(waiting.take("b", START), None);
        assert_eq!(waiting.take("a", START), Some((b"one".to_vec(), 1)));
        assert_eq!(waiting.take("a", START), None);
        waiting.put("a".to_owned(), b"two".to_vec(), 2, START);
        let late = START.saturating_add(WAITS);
        assert_eq!(waiting.take("a", late), None);
        assert!(waiting.is_empty() && waiting.bytes == 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        for number in 0..MOST.0 + 10 {
            waiting.put(format!("k{number}"), vec![0], number, START);
        }
        assert_eq!(waiting.len(), MOST.0);
        assert_eq!(waiting.take("k9", START), None, "the oldest went");
        assert!(waiting.take("k10", START).is_some());
        waiting.put("big".to_owned(), vec![0; MOST.1], 0, START);
        assert_eq!((waiting.len(), waiting.bytes), (1, MOST.1));
        waiting.put("bigger".to_owned(), vec![0; MOST.1 + 1], 0, START);
        assert_eq!((waiting.len(), waiting.bytes), (0, 0));
        // The same key again takes the place of what was there.
        waiting.put("a".to_owned(), vec![0; 5], 0, START);
        waiting.put("a".to_owned(), vec![0; 3], 1, START);
        assert_eq!((waiting.len(), waiting.bytes), (1, 3));
        assert_eq!(waiting.take("a", START), Some((vec![0; 3], 1)));
    }
}
