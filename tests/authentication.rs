//! Who is believed about the author of a mail: SPF, DKIM, DMARC and ARC against a name server on
//! loopback, and the words of a relay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

mod support;

use std::time::{Duration, Instant, SystemTime};

use cmr_mail::authenticate::{Authenticator, Question};
use cmr_mail::message::UnixTime;
use cmr_mail::policy::{Authenticity, Evidence};
use support::dns::{NameServer, Signer};
use support::messages::Mail;

const POSTING: &str = "cmr@home.test";

struct World {
    dns: NameServer,
    authenticator: Authenticator,
    deadline: Duration,
}

/// What a test changes about a question.
#[derive(Clone, Default)]
struct Came {
    client: Option<&'static str>,
    sender: Option<&'static str>,
    recipients: Option<Vec<String>>,
    relay: Option<&'static str>,
    sealers: Vec<String>,
    /// The mail is examined so long after it was made.
    later: Duration,
}

impl World {
    fn new() -> World {
        let dns = NameServer::start();
        let deadline = Duration::from_secs(20);
        let authenticator = runtime().block_on(async { Authenticator::new(&[dns.address()], deadline) });
        World { authenticator: authenticator.unwrap(), dns, deadline }
    }

    fn examine(&self, mail: &[u8], came: &Came) -> (String, Evidence) {
        let posting = [POSTING.to_owned()];
        let recipients = came.recipients.clone().unwrap_or_else(|| vec![POSTING.to_owned()]);
        let question = Question {
            raw: mail,
            client: came.client.map(|ip| ip.parse().unwrap()),
            helo: Some("client.test"),
            sender: came.sender,
            recipients: &recipients,
            posting: &posting,
            hostname: "mx.home.test",
            relay: came.relay,
            sealers: &came.sealers,
            now: UnixTime::from(SystemTime::now()).saturating_add(came.later),
            deadline: self.deadline,
        };
        let found = RUNTIME.with(|runtime| runtime.block_on(self.authenticator.examine(&question)));
        (found.author, found.evidence)
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = runtime();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What most signers sign.
const USUAL: &[&str] = &["From", "To", "Cc", "Subject", "Date", "Message-ID"];

fn mail() -> Mail {
    Mail::from("Ann <ann@example.net>")
        .field("Subject", "whales")
        .field("Message-ID", "<one@example.net>")
        .text("Where do they live?")
}

#[test]
fn spf_shows_who_may_send_for_a_domain() {
    let world = World::new();
    world
        .dns
        .text("example.net", "v=spf1 ip4:192.0.2.7 -all")
        .text("bounces.example.net", "v=spf1 ip4:192.0.2.8 -all")
        .text("_dmarc.example.net", "v=DMARC1; p=reject")
        .text("strict.test", "v=spf1 ip4:192.0.2.7 -all")
        .text("b.strict.test", "v=spf1 ip4:192.0.2.7 -all")
        .text("_dmarc.strict.test", "v=DMARC1; p=reject; aspf=s")
        .text("other.test", "v=spf1 ip4:192.0.2.7 -all");
    #[rustfmt::skip]
    let table = [
        // From, client, envelope sender, whether it is believed, words of the evidence.
        ("ann@example.net", Some("192.0.2.7"), Some("ann@example.net"), true, "example.net lets that client"),
        ("ANN@Example.NET", Some("192.0.2.7"), Some("x@EXAMPLE.net"), true, "example.net lets that client"),
        // Another name of the same organisation, if its DMARC record allows that.
        ("ann@example.net", Some("192.0.2.8"), Some("b+1@bounces.example.net"), true, "bounces.example.net"),
        ("ann@strict.test", Some("192.0.2.7"), Some("b@b.strict.test"), false, "not the domain in From"),
        ("ann@example.net", Some("192.0.2.9"), Some("ann@example.net"), false, "does not allow 192.0.2.9"),
        // Somebody's own domain says nothing about another's.
        ("ann@example.net", Some("192.0.2.7"), Some("eve@other.test"), false, "not the domain in From"),
        ("ann@nothing.test", Some("192.0.2.7"), Some("ann@nothing.test"), false, "has no record"),
        // Neither the null sender nor an unknown client shows anything.
        ("ann@example.net", Some("192.0.2.7"), None, false, "nothing shows"),
        ("ann@example.net", None, Some("ann@example.net"), false, "nothing shows"),
        ("ann@example.net, eve@other.test", Some("192.0.2.7"), Some("ann@example.net"), false, "nothing shows"),
    ];
    for (from, client, sender, believed, words) in table {
        let came = Came { client, sender, ..Came::default() };
        let (_, found) = world.examine(&Mail::from(from).text("x").write(), &came);
        let said = found.authenticity.to_string();
        assert_eq!(found.authenticity.is_authenticated(), believed, "{from} {sender:?}: {said}");
        assert!(said.contains(words), "{from} {sender:?}: {said}");
        assert!(found.once.is_empty());
    }
    let asked = world.dns.asked("example.net");
    let came = Came { client: Some("192.0.2.7"), sender: Some("ann@example.net"), ..Came::default() };
    world.examine(&Mail::from("ann@example.net").text("x").write(), &came);
    assert_eq!(world.dns.asked("example.net"), asked, "an answer is remembered");
}

/// Rule 3: a copy of a signed mail is the mail. So a signature counts only for us, only for five
/// days, only for the whole mail, and only once.
#[test]
fn dkim_alone_counts_for_the_very_mail_to_the_very_address() {
    let world = World::new();
    let ann = Signer::new("example.net", &world.dns);
    let mailer = Signer::new("mail.example.net", &world.dns);
    let eve = Signer::new("other.test", &world.dns);
    world.dns.text("_dmarc.example.net", "v=DMARC1; p=none");
    let trial = Signer::on_trial("trial.test", &world.dns);
    let mail_of = |from: &str| replaced(&mail().write(), "ann@example.net", from);
    let plain = mail().write();
    let good = ann.sign(&plain, USUAL);
    let to = |recipients: &[&str]| Came {
        recipients: Some(recipients.iter().map(|to| (*to).to_owned()).collect()),
        ..Came::default()
    };
    let late = |days: u64| Came { later: Duration::from_secs(days * 86_400), ..Came::default() };
    let elsewhere = ann.sign(&replaced(&plain, "To: cmr@home.test", "To: bob@else.test"), USUAL);
    let tagged = ann.sign(&replaced(&plain, "To: cmr@home.test", "To: cmr+stop@home.test"), USUAL);
    let no_subject = ann.sign(&plain, &["From", "To", "Cc", "Date", "Message-ID"]);
    let no_to = ann.sign(&plain, &["From", "Subject", "Date", "Message-ID"]);
    let on_top = |field: &str, mail: &[u8]| [format!("{field}\r\n").as_bytes(), mail].concat();
    let here = Came::default();
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<u8>, Came, bool, &str)> = vec![
        ("as it is", good.clone(), here.clone(), true, "signed by example.net"),
        ("by another host of the house", mailer.sign(&plain, USUAL), here.clone(), true, "mail.example.net"),
        ("by the sender's own domain", eve.sign(&plain, USUAL), here.clone(), false, "not by the domain"),
        ("by that and the right one", eve.sign(&good, USUAL), here.clone(), true, "example.net"),
        ("an other body", replaced(&good, "Where", "There"), here.clone(), false, "body was changed"),
        ("an other subject", replaced(&good, "Subject: whales", "Subject: stop"), here.clone(), false, "does not fit"),
        ("a second subject", on_top("Subject: stop", &good), here.clone(), false, "every subject"),
        ("a subject in disguise", on_top("Subject : stop", &good), here.clone(), false, "every subject"),
        ("a second From", on_top("From: bob@else.test", &good), here.clone(), false, "nothing shows"),
        ("a second To", on_top("To: cmr@home.test", &elsewhere), here.clone(), false, "To or Cc"),
        ("a Cc that was added", on_top("Cc: cmr@home.test", &ann.sign(&replaced(&plain, "To: cmr@home.test", "To: bob@else.test"), &["From", "To", "Subject"])), here.clone(), false, "To or Cc"),
        ("to somebody else", elsewhere.clone(), here.clone(), false, "To or Cc"),
        ("to another tag", good.clone(), to(&["cmr+stop@home.test"]), false, "To or Cc"),
        ("to one of two", good.clone(), to(&[POSTING, "cmr+stop@home.test"]), false, "To or Cc"),
        ("to its tag", tagged.clone(), to(&["cmr+stop@home.test"]), true, "example.net"),
        ("the envelope unknown", good.clone(), to(&[]), true, "example.net"),
        ("To unsigned", no_to, here.clone(), false, "To or Cc"),
        ("Subject unsigned", no_subject, here.clone(), false, "every subject"),
        ("four days old", good.clone(), late(4), true, "example.net"),
        ("five days old", good.clone(), late(5), false, "5d old"),
        ("partly signed", ann.sign_with(&plain, USUAL, true), here.clone(), false, "first part"),
        ("unsigned", plain.clone(), here.clone(), false, "nothing shows"),
        ("a key on trial", trial.sign(&mail_of("ann@trial.test"), USUAL), here.clone(), false, "only tries the key out"),
        ("that, and the right one", trial.sign(&good, USUAL), here.clone(), true, "signed by example.net"),
        ("no key", replaced(&good, "s=s;", "s=x;"), here.clone(), false, "not in the DNS"),
    ];
    for (what, mail, came, believed, words) in table {
        let (author, found) = world.examine(&mail, &came);
        let said = found.authenticity.to_string();
        assert_eq!(found.authenticity.is_authenticated(), believed, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(found.once.contains(&"<one@example.net>".to_owned()), believed, "{what}");
        assert!(author == "ann@example.net" || !believed, "{what}: {author}");
    }
    // Where the Message-ID is not signed, anybody may write another one: the signature itself is
    // what has to be new.
    let unnamed = ann.sign(&plain, &["From", "To", "Cc", "Subject", "Date"]);
    let (_, found) = world.examine(&replaced(&unnamed, "<one@", "<two@"), &here);
    assert!(found.authenticity.is_authenticated());
    let (_, same) = world.examine(&unnamed, &here);
    assert!(!found.once.is_empty() && found.once == same.once, "{:?}", found.once);
}

/// What a relay names a signature by (RFC 6008).
fn beginning_of_signature(signed: &[u8]) -> String {
    let text = String::from_utf8(signed.to_vec()).unwrap();
    text.split(" b=").nth(1).unwrap().chars().filter(|c| !c.is_whitespace()).take(8).collect()
}

fn replaced(mail: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(mail.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn a_name_server_that_is_silent_costs_the_deadline_and_no_more() {
    let mut world = World::new();
    let signed = Signer::new("silent.test", &world.dns).sign(&mail().write(), USUAL);
    let signed = replaced(&signed, "ann@example.net", "ann@silent.test");
    world.deadline = Duration::from_millis(300);
    let came = Came { client: Some("192.0.2.7"), sender: Some("ann@silent.test"), ..Came::default() };
    let start = Instant::now();
    let (_, found) = world.examine(&signed, &came);
    // Far below what the servers would be given, far above what a loaded machine needs.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(matches!(found.authenticity, Authenticity::Unproven { temporary: true, .. }), "{found:?}");
    assert!(found.authenticity.to_string().contains("did not answer"), "{found:?}");
}

/// Rule 2: the topmost Authentication-Results of the relay that is believed, and nothing else.
#[test]
fn item_28_only_the_named_server_is_believed_about_what_it_saw() {
    let world = World::new();
    let ann = Signer::new("example.net", &world.dns);
    let plain = mail().write();
    let signed = ann.sign(&plain, USUAL);
    let changed = replaced(&signed, "live?", "live? -- footer of the relay");
    let b = beginning_of_signature(&signed);
    let with = |results: &str, mail: &[u8]| {
        [format!("Authentication-Results: {results}\r\n").as_bytes(), mail].concat()
    };
    let forged = with("mx.home.test; spf=pass smtp.mailfrom=example.net", &plain);
    let dkim = format!("mx.home.test; dkim=pass header.d=example.net header.s=s header.b={b}");
    let trial = Signer::on_trial("trial.test", &world.dns);
    let trial = trial.sign(&replaced(&plain, "ann@example.net", "ann@trial.test"), USUAL);
    let changed_trial = replaced(&trial, "live?", "live? -- footer of the relay");
    let dkim_trial = format!(
        "mx.home.test; dkim=pass header.d=trial.test header.s=s header.b={}",
        beginning_of_signature(&trial)
    );
    #[rustfmt::skip]
    let table = [
        ("spf", with("mx.home.test; spf=pass smtp.mailfrom=ann@example.net", &plain), true, "vouches for the author by spf"),
        ("spf of another", with("mx.home.test; spf=pass smtp.mailfrom=eve@other.test", &plain), false, "not the domain in From"),
        ("spf fails", with("mx.home.test; spf=fail smtp.mailfrom=ann@example.net", &plain), false, "says fail"),
        ("a login", with("mx.home.test; auth=pass smtp.auth=ann@example.net", &plain), true, "by auth"),
        ("another's login", with("mx.home.test; auth=pass smtp.auth=eve@example.net", &plain), false, "nothing shows"),
        ("a login without a domain", with("mx.home.test; auth=pass smtp.auth=ann", &plain), false, "nothing shows"),
        ("another server", with("mx.else.test; spf=pass smtp.mailfrom=ann@example.net", &plain), false, "nothing shows"),
        ("a forged one below the relay's", with("mx.home.test; spf=none", &forged), false, "nothing shows"),
        ("below one that can't be read", with("mx.home.test; spf=pass (", &forged), false, "nothing shows"),
        ("below another server's", with("mx.else.test; none", &forged), true, "by spf"),
        // DMARC alone may rest on a signature that anybody can copy.
        ("dmarc", with("mx.home.test; dmarc=pass header.from=example.net", &plain), false, "nothing shows"),
        ("dkim of a mail that was changed", with(&dkim, &changed), true, "by dkim"),
        ("dkim of an other signature", with(&dkim.replace(&b, "AAAAAAAA"), &changed), false, "body was changed"),
        ("dkim by a key on trial", with(&dkim_trial, &changed_trial), false, "body was changed"),
        ("dkim without a signature", with(&dkim, &plain), false, "nothing shows"),
    ];
    let believing = Came { relay: Some("mx.home.test"), ..Came::default() };
    for (what, mail, believed, words) in table {
        let (_, found) = world.examine(&mail, &believing);
        let said = found.authenticity.to_string();
        assert_eq!(found.authenticity.is_authenticated(), believed, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        let (_, found) = world.examine(&mail, &Came::default());
        assert!(!found.authenticity.is_authenticated(), "{what}: nobody is believed by default");
    }
    // What it saw of a signature is bound to the same conditions.
    let came = Came { later: Duration::from_secs(6 * 86_400), ..believing };
    let (_, found) = world.examine(&with(&dkim, &changed), &came);
    assert!(found.authenticity.to_string().contains("6d old"), "{found:?}");
}

#[test]
fn a_seal_counts_if_its_sealer_is_listed() {
    let world = World::new();
    let list = Signer::new("list.test", &world.dns);
    let seal = |mail: &[u8], from: &str| list.seal(mail, USUAL, from);
    let plain = mail().write();
    let trial = Signer::on_trial("trial.test", &world.dns);
    let listed = Came { sealers: vec!["list.test".to_owned(), "trial.test".to_owned()], ..Came::default() };
    let others = Came { sealers: vec!["else.test".to_owned()], ..Came::default() };
    let sealed = seal(&plain, "ann@example.net");
    let elsewhere = replaced(&plain, "To: cmr@home.test", "To: bob@else.test");
    #[rustfmt::skip]
    let table = [
        ("listed", sealed.clone(), &listed, true, "list.test saw it by dkim and sealed that"),
        ("not listed", sealed.clone(), &others, false, "nothing shows"),
        ("nobody listed", sealed.clone(), &Came::default(), false, "nothing shows"),
        ("by a key on trial", trial.seal(&plain, USUAL, "ann@example.net"), &listed, false, "tries the key out"),
        ("changed", replaced(&sealed, "Where", "There"), &listed, false, "list.test"),
        ("the sealer saw another", seal(&plain, "eve@other.test"), &listed, false, "not by the domain"),
        ("to somebody else", seal(&elsewhere, "ann@example.net"), &listed, false, "To or Cc"),
    ];
    for (what, mail, came, believed, words) in table {
        let (_, found) = world.examine(&mail, came);
        let said = found.authenticity.to_string();
        assert_eq!(found.authenticity.is_authenticated(), believed, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(!found.once.is_empty(), believed, "{what}: a sealed mail can be copied, too");
    }
}
