//! What holds for every dialogue, whatever the client sends and however it is cut.

use std::sync::Arc;
use std::time::Duration;

use cmr_mail::smtp::{Action, Limits, Reply, Session, SessionConfig, Transaction};
use proptest::prelude::*;

use crate::script;

const NOW: Duration = Duration::from_secs(7);

fn config() -> Arc<SessionConfig> {
    let limits = Limits {
        max_message: 400,
        max_command: 200,
        max_endless_line: 600,
        max_recipients: 3,
        max_errors: 6,
        max_commands: 12,
        max_waiting: 256,
        ..Limits::default()
    };
    let relays = vec!["127.0.0.1/32".parse().unwrap()];
    Arc::new(SessionConfig { limits, relays, ..script::config() })
}

fn session() -> Session {
    Session::new(config(), Some("127.0.0.1".parse().unwrap()), NOW)
}

/// Everything that came of a dialogue.
#[derive(Debug, Default, PartialEq)]
struct Record {
    said: Vec<u8>,
    mails: Vec<Transaction>,
    closed: bool,
}

/// Lets the session act, answers each mail at once.
fn act(session: &mut Session, record: &mut Record) {
    while let Some(action) = session.poll(NOW) {
        assert!(!record.closed, "an action after Close");
        match action {
            Action::Send(bytes) => record.said.extend(bytes),
            Action::Close => record.closed = true,
            Action::StartTls => panic!("TLS is not offered"),
            Action::Deliver(mail) => {
                let reply = match mail.raw.len() % 3 {
                    0 => Reply::stored("Stored"),
                    1 => Reply::trouble("Trouble"),
                    _ => Reply::not_well_formed("Bad"),
                };
                record.mails.push(mail);
                session.answer(&[reply], NOW);
            }
        }
    }
}

/// What clients say: mostly sense, with every kind of nonsense between.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => Just(b"EHLO a\r\n".to_vec()),
        4 => Just(b"MAIL FROM:<x@a.example>\r\n".to_vec()),
        4 => Just(b"RCPT TO:<cmr@example.org>\r\n".to_vec()),
        4 => Just(b"DATA\r\n".to_vec()),
        4 => Just(b".\r\n".to_vec()),
        2 => Just(b"MAIL FROM:<> SIZE=99\r\n".to_vec()),
        1 => Just(b"RCPT TO:<Postmaster>\r\n".to_vec()),
        1 => Just(b"RCPT TO:<ann@elsewhere.example>\r\n".to_vec()),
        1 => Just(b"RSET\r\n".to_vec()),
        1 => Just(b"XFORWARD ADDR=192.0.2.7\r\n".to_vec()),
        1 => Just(b"NOOP\n".to_vec()),
        1 => Just(b"STARTTLS\r\n".to_vec()),
        1 => Just(b"QUIT\r\n".to_vec()),
        1 => Just(b"\r\n.\n".to_vec()),
        1 => Just(b"\n.\r\n".to_vec()),
        1 => Just(b"..\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => (190usize..210).prop_map(|length| [vec![b'y'; length], b"\r\n".to_vec()].concat()),
        1 => (380usize..700).prop_map(|length| vec![b'z'; length]),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

/// The bytes cut into pieces of the given lengths, again and again.
fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at((*lengths.next()?).min(rest.len()));
        rest = tail;
        Some(piece)
    })
}

/// Every reply is a whole, well-formed reply; returns how many there are.
fn replies(said: &[u8]) -> usize {
    let text = std::str::from_utf8(said).unwrap();
    assert!(text.ends_with("\r\n"));
    let mut count = 0;
    for line in text.split_terminator("\r\n") {
        let code: u16 = line[..3].parse().unwrap();
        assert!((200..600).contains(&code), "{line}");
        assert!(line.len() <= 510 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let rest = &line[3..];
        assert!(rest.starts_with(' ') || rest.starts_with('-'), "{line}");
        count += usize::from(rest.starts_with(' '));
        if code >= 400 {
            let class = code / 100;
            let status = rest[1..].split(' ').next().unwrap();
            let digits: Vec<&str> = status.split('.').collect();
            assert_eq!(digits.len(), 3, "a refusal without a status: {line}");
            assert_eq!(digits[0], class.to_string(), "{line}");
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_cut_gives_the_same_dialogue(
        bytes in pieces(),
        lengths in proptest::collection::vec(1usize..50, 1..8),
    ) {
        let (mut whole, mut all) = (session(), Record::default());
        act(&mut whole, &mut all);
        whole.receive(&bytes);
        act(&mut whole, &mut all);

        let (mut pieced, mut parts) = (session(), Record::default());
        act(&mut pieced, &mut parts);
        for piece in cut(&bytes, &lengths) {
            pieced.receive(piece);
            act(&mut pieced, &mut parts);
        }
        prop_assert_eq!(&all, &parts);
        replies(&all.said);
        for mail in &all.mails {
            prop_assert!(mail.raw.len() <= 400);
            prop_assert!((1..=3).contains(&mail.recipients.len()));
            let mut before = 0;
            for &byte in &mail.raw {
                prop_assert!(byte != b'\n' || before == b'\r', "a bare LF came through");
                before = byte;
            }
        }
    }

    #[test]
    fn memory_is_bounded_while_answers_wait(
        bytes in pieces(),
        chunk in 1usize..512,
        patience in 0usize..6,
    ) {
        // A message, the buffer's growth by doubling, what may wait, and one piece.
        let most = 2 * 400 + 2 * (256 + 512) + 1_024;
        let (mut session, mut waiting, mut closed) = (session(), None, false);
        let bytes = bytes.repeat(3);
        let mut rest = bytes.as_slice();
        let mut steps = 0;
        while !closed && (waiting.is_some() || !rest.is_empty()) {
            steps += 1;
            prop_assert!(steps < 100_000, "the session stands still");
            while let Some(action) = session.poll(NOW) {
                match action {
                    Action::Deliver(mail) => {
                        prop_assert!(waiting.is_none(), "two mails wait for an answer");
                        waiting = Some((mail, patience));
                    }
                    Action::Close => closed = true,
                    Action::Send(_) | Action::StartTls => {}
                }
            }
            prop_assert!(session.buffered() <= most, "{} bytes are held", session.buffered());
            if session.wants_read() && !rest.is_empty() {
                let (piece, tail) = rest.split_at(chunk.min(rest.len()));
                rest = tail;
                session.receive(piece);
            } else if waiting.is_none() && !closed && !rest.is_empty() {
                prop_assert!(false, "nothing is read and nothing is awaited");
            }
            waiting = match waiting {
                Some((_, 0)) => {
                    session.answer(&[Reply::stored("Stored")], NOW);
                    None
                }
                Some((mail, left)) => Some((mail, left - 1)),
                None => None,
            };
        }
    }

    #[test]
    fn no_order_of_calls_panics(
        calls in proptest::collection::vec((0u8..9, pieces(), 0u64..700), 0..30),
    ) {
        let mut now = Duration::ZERO;
        let mut session = Session::new(config(), None, now);
        for (call, bytes, seconds) in calls {
            match call {
                0..=2 => session.receive(&bytes),
                3 => now += Duration::from_secs(seconds),
                4 => session.expired(now),
                5 => session.answer(&[], now),
                6 => session.tls_started(now),
                7 => session.no_room(),
                _ => session.finish(Reply::unavailable("Stopping")),
            }
            while session.poll(now).is_some() {}
            let waits = session.deadline().is_some() || !session.wants_read() || session.buffered() > 0;
            prop_assert!(waits);
        }
    }
}

/// The pieces are not all refused at the door: among a thousand dialogues many carry mails.
#[test]
fn the_dialogues_of_these_tests_reach_mails() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut mails, mut closed) = (0, 0);
    for _ in 0..1_000 {
        let mut bytes = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<cmr@example.org>\r\n".to_vec();
        bytes.extend(pieces().new_tree(&mut runner).unwrap().current());
        let (mut session, mut record) = (session(), Record::default());
        session.receive(&bytes);
        act(&mut session, &mut record);
        mails += record.mails.len();
        closed += usize::from(record.closed);
        assert!(replies(&record.said) > 0);
    }
    assert!(mails > 100, "only {mails} mails");
    assert!(closed > 100, "only {closed} sessions were closed");
}
