//! Each mail in `tests/mails` against the account of it beside it (`NAME.txt`): the facts of its
//! header that are not as usual, what is taken, what is refused and why, what is ignored.
//!
//! After a change that is meant, `CMR_MAIL_ACCEPT=1` writes the accounts anew; read the diff.
// In tests a panic is the report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use cmr_mail::mail::{Caps, Reading, Submission, extract};
use cmr_mail::message::Limits;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[test]
fn each_mail_gives_what_its_account_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mails");
    let mut mails: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    mails.sort();
    assert!(mails.len() >= 30, "{} mails", mails.len());
    let mut differing = Vec::new();
    for path in &mails {
        let account = account(&extract(&fs::read(path).unwrap(), &reading()));
        let written = path.with_extension("txt");
        if std::env::var_os("CMR_MAIL_ACCEPT").is_some() {
            fs::write(&written, &account).unwrap();
        } else if fs::read_to_string(&written).unwrap_or_default() != account {
            differing.push(format!("--- {}\n{account}", path.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn reading() -> Reading<'static> {
    static POSTING: std::sync::OnceLock<[String; 1]> = std::sync::OnceLock::new();
    Reading {
        posting: POSTING.get_or_init(|| ["cmr@example.net".to_owned()]),
        envelope_recipients: &[],
        hostname: "mx.example.net",
        loop_marker: "mx.example.net",
        limits: Limits::default(),
        caps: Caps::default(),
        forwarded: true,
    }
}

fn account(found: &Submission) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").unwrap();
    let header = &found.header;
    let from = header.from.as_ref().map(|from| from.address.as_str());
    say(format!(
        "from {} subject {:?}",
        from.unwrap_or("nobody"),
        header.subject.as_deref().unwrap_or_default()
    ));
    if (header.from_count, header.to.as_slice()) != (1, reading().posting) {
        say(format!("authors {} to {:?} cc {:?}", header.from_count, header.to, header.cc));
    }
    if found.addressed != (header.to == reading().posting) || !found.tags.is_empty() {
        say(format!("addressed {} tags {:?}", found.addressed, found.tags));
    }
    for (name, value) in [
        ("sender", header.sender.as_ref().map(|sender| sender.address.clone())),
        ("return path", header.return_path.clone()),
        ("auto-submitted", header.auto_submitted.clone()),
        ("precedence", header.precedence.clone()),
        ("list", header.is_list.then(|| "yes".to_owned())),
        ("our loop", header.our_loop.then(|| "yes".to_owned())),
        ("bounce", header.is_dsn.then(|| "yes".to_owned())),
        ("receipt", header.is_mdn.then(|| "yes".to_owned())),
        ("received", (header.received > 0).then(|| header.received.to_string())),
        ("in reply to", header.in_reply_to.first().cloned()),
        ("references", (!header.references.is_empty()).then(|| header.references.join(" "))),
    ] {
        if let Some(value) = value {
            say(format!("{name} {value}"));
        }
    }
    for message in &found.messages {
        let (place, encoding, read_as) = (&message.place, &message.encoding, message.read_as);
        say(format!(
            "message in {place}: {encoding}, {read_as}; {} other readings",
            message.alternatives.len()
        ));
        say(format!("  \"{}\"", message.bytes.escape_ascii()));
    }
    for fault in &found.faults {
        say(format!("fault in {}: {}", fault.place, fault.reason));
    }
    for ignored in &found.ignored {
        say(format!("ignored {}: {}", ignored.what, ignored.why));
    }
    match (&found.post, found.no_post) {
        (Some(post), None) => {
            say(format!("post, language {}:", post.language.as_deref().unwrap_or("unknown")));
            for line in String::from_utf8(post.body()).unwrap().lines() {
                say(format!("  |{line}"));
            }
        }
        (None, Some(reason)) => say(format!("no post: {reason}")),
        other => panic!("neither or both: {other:?}"),
    }
    text
}
