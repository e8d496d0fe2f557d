//! Dialogues of a relay session, as what the client says and what comes out.

use super::*;

/// Plays the owner: takes every address, offers everything, and writes down what it is asked.
fn play(said: &str) -> (String, Vec<String>) {
    play_bytes(said.as_bytes(), usize::MAX, |_| Reply::new(250, 1, 5, "Ok"))
}

fn play_bytes(said: &[u8], cut: usize, judge: impl Fn(&str) -> Reply) -> (String, Vec<String>) {
    let mut session = RelaySession::new("mx.test");
    let (mut out, mut asked, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let hello = ["mx", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "STARTTLS", "VRFY"];
    let offered = Offered::of(&super::super::Heard { code: 250, lines: hello.map(str::to_owned).to_vec() });
    for piece in said.chunks(cut.min(said.len().max(1))) {
        session.receive(piece);
        while let Some(step) = session.poll() {
            match step {
                Step::Send(bytes) => out.extend(bytes),
                Step::Hello(_) => session.offer(&offered),
                Step::Mail(mail) => {
                    asked.push(format!("{} {:?}", String::from_utf8_lossy(&mail.line), mail.address));
                    session.answer(&judge(&mail.address.unwrap_or_default()));
                }
                Step::Rcpt(rcpt) => {
                    asked.push(format!("{} {}", String::from_utf8_lossy(&rcpt.line), rcpt.address));
                    session.answer(&judge(&rcpt.address));
                }
                Step::Abandon => asked.push("abandon".to_owned()),
                Step::Text(bytes) => text.extend(bytes),
                Step::Whole(doubtful) => {
                    let text = String::from_utf8_lossy(&std::mem::take(&mut text)).into_owned();
                    asked.push(format!("{text:?} {doubtful} {:?}", session.attributes()));
                    session.settle(&[Reply::stored("one"), Reply::trouble("two")]);
                }
                Step::Close => asked.push("close".to_owned()),
            }
        }
    }
    (String::from_utf8(out).unwrap(), asked)
}

/// The codes of the replies, those to a hello or greeting left out.
fn codes(said: &str) -> String {
    let (out, _) = play(&format!("EHLO a\r\n{said}"));
    let lines = out.lines().filter(|line| line.as_bytes()[3] == b' ').skip(2);
    lines.map(|line| line.get(..3).unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_hello_offers_what_the_next_hop_offers_and_can_be_passed_on() {
    let (out, _) = play("EHLO a\r\n");
    assert_eq!(
        out,
        "220 mx.test ESMTP cmr-mail filter\r\n250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n\
         250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"
    );
    assert!(play("HELO a\r\n").0.ends_with("filter\r\n250 mx.test\r\n"));
}

#[test]
fn commands_pass_as_they_are_written() {
    let long = "x".repeat(900);
    for (line, address) in [
        ("MAIL FROM:<> SIZE=12 RET=HDRS ENVID=a+3Db", "None"),
        ("MAIL FROM:<root>", "Some(\"root\")"),
        ("mail from: <a..b@x> BODY=8BITMIME", "Some(\"a..b@x\")"),
        ("MAIL FROM:<\"a b\"@c.d> SMTPUTF8", "Some(\"\\\"a b\\\"@c.d\")"),
        ("MAIL FROM:<\"a>b\"@c.d>", "Some(\"\\\"a>b\\\"@c.d\")"),
        ("MAIL FROM:<\"plain\"@c.d>", "Some(\"plain@c.d\")"),
        ("MAIL FROM:<j\u{fc}rgen@c.d> SMTPUTF8", "Some(\"j\u{fc}rgen@c.d\")"),
        ("MAIL FROM:<@r,@s:a@b.c> UNKNOWN=x", "Some(\"a@b.c\")"),
        (&format!("MAIL FROM:<{long}@c.d>"), &format!("Some(\"{long}@c.d\")")),
    ] {
        let (_, asked) = play(&format!("EHLO a\r\n{line}\r\n"));
        assert_eq!(asked, [format!("{line} {address}")]);
    }
    let (_, asked) = play(
        "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<root> NOTIFY=SUCCESS ORCPT=rfc822;root\r\nRCPT TO:<\"a\\\"b\"@c>\r\n",
    );
    assert_eq!(asked[1], "RCPT TO:<root> NOTIFY=SUCCESS ORCPT=rfc822;root root");
    assert_eq!(asked[2], "RCPT TO:<\"a\\\"b\"@c> \"a\\\"b\"@c");
}

#[test]
fn what_is_out_of_place_is_refused() {
    for (said, want) in [
        ("MAIL FROM:<a@b\r\n", "501"),
        ("MAIL FROM:<a@b>x\r\n", "501"),
        ("MAIL a@b\r\n", "501"),
        ("RCPT TO:<a@b>\r\n", "503"),
        ("DATA\r\n", "503"),
        ("MAIL FROM:<>\r\nMAIL FROM:<>\r\n", "250 503"),
        ("MAIL FROM:<>\r\nDATA\r\n", "250 554"),
        ("MAIL FROM:<>\r\nRSET\r\nRCPT TO:<a@b>\r\n", "250 250 503"),
        ("NOOP\r\nVRFY x\r\nAUTH PLAIN\r\nSTARTTLS\r\n", "250 252 502 502"),
        ("NOOP\0\r\nFROB\r\n", "500 502"),
        ("BDAT 3 LAST\r\nQUIT\r\n", "502"),
        ("QUIT\r\nNOOP\r\n", "221"),
        ("XCMRHOPS 3\r\n", "250"),
        ("XCMRHOPS 4\r\nNOOP\r\n", "421"),
        ("XCMRHOPS x\r\n", "501"),
    ] {
        assert_eq!(codes(said), want, "{said:?}");
    }
    assert!(play("MAIL FROM:<a@b>\r\n").0.contains("503 5.5.1 Say EHLO"));
    let (out, asked) = play(&format!("EHLO a\r\n{}", "FROB\r\n".repeat(30)));
    assert_eq!((out.matches("502").count(), asked.last().map(String::as_str)), (20, Some("close")));
    let (out, _) = play(&"x".repeat(MAX_LINE + 1));
    assert!(out.ends_with("421 4.7.0 A line without an end\r\n"), "{out}");
}

const MAIL: &str = "EHLO a\r\nXFORWARD NAME=x ADDR=192.0.2.1\r\nXFORWARD PROTO=ESMTP HELO=y\r\nMAIL FROM:<a@b>\r\n\
                    RCPT TO:<c@d>\r\nRCPT TO:<bad@d>\r\nRCPT TO:<e@d>\r\nDATA\r\n.\u{0}\n..\r\n.\rx\r\n.\r\n\
                    MAIL FROM:<>\r\nQUIT\r\n";

#[test]
fn a_mail_comes_out_as_it_went_in_however_it_is_cut() {
    let judge = |address: &str| {
        if address.starts_with("bad") { Reply::no_such_address("no") } else { Reply::new(250, 1, 5, "Ok") }
    };
    let (whole_out, whole) = play_bytes(MAIL.as_bytes(), usize::MAX, judge);
    assert_eq!(
        whole.join("\n"),
        "MAIL FROM:<a@b> Some(\"a@b\")\nRCPT TO:<c@d> c@d\nRCPT TO:<bad@d> bad@d\nRCPT TO:<e@d> e@d\n\
         \"\\0\\n..\\r\\n\\rx\\r\\n\" false [\"NAME=x\", \"ADDR=192.0.2.1\", \"PROTO=ESMTP\", \"HELO=y\"]\n\
         MAIL FROM:<> None\nabandon\nclose"
    );
    assert!(whole_out.contains("550 5.1.1 no\r\n"), "{whole_out}");
    for cut in 1..20 {
        let (out, asked) = play_bytes(MAIL.as_bytes(), cut, judge);
        assert_eq!((&out, &asked), (&whole_out, &whole), "{cut}");
    }
}

#[test]
fn a_farewell_behind_a_mail_is_seen() {
    for (behind, farewell) in [("QUIT\r\n", true), ("quit\r\n", true), ("", false), ("RSET\r\n", false)] {
        let mut session = RelaySession::new("mx.test");
        session.receive(
            format!("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\n{behind}").as_bytes(),
        );
        let mut seen = None;
        while let Some(step) = session.poll() {
            match step {
                Step::Hello(_) => session.offer(&Offered::default()),
                Step::Mail(_) | Step::Rcpt(_) => session.answer(&Reply::stored("ok")),
                Step::Whole(_) => seen = Some(session.says_farewell()),
                _ => {}
            }
        }
        assert_eq!(seen, Some(farewell), "{behind:?}");
    }
}

#[test]
fn lmtp_has_a_reply_for_each_recipient_that_was_accepted() {
    let said = MAIL.replacen("EHLO", "LHLO", 1);
    let judge = |address: &str| {
        if address.starts_with("bad") { Reply::no_such_address("no") } else { Reply::new(250, 1, 5, "Ok") }
    };
    let (out, _) = play_bytes(said.as_bytes(), usize::MAX, judge);
    assert!(
        out.contains(
            "354 Send the mail, end it with <CR><LF>.<CR><LF>\r\n250 2.0.0 one\r\n451 4.3.0 two\r\n"
        )
    );
    let (out, _) = play_bytes(MAIL.as_bytes(), usize::MAX, judge);
    assert!(!out.contains("two"));
}

#[test]
fn an_end_that_is_asked_for_waits_for_the_mail_under_way() {
    let mut session = RelaySession::new("mx.test");
    let drain = |session: &mut RelaySession| -> Vec<Step> { std::iter::from_fn(|| session.poll()).collect() };
    drain(&mut session);
    session.receive(b"EHLO a\r\n");
    drain(&mut session);
    session.offer(&Offered::default());
    session.receive(b"MAIL FROM:<>\r\n");
    drain(&mut session);
    session.answer(&Reply::stored("ok"));
    session.finish(Reply::unavailable("stopping"));
    assert_eq!(drain(&mut session).len(), 1, "only the reply to MAIL");
    session.receive(b"RSET\r\n");
    let steps = drain(&mut session);
    assert!(matches!(steps.last(), Some(Step::Close)), "{steps:?}");
}
