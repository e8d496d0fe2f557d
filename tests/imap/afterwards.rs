//! What happens in the folder to what was taken.

use super::dovecot::Dovecot;
use super::news::OLD_SERVER;
use super::reading::{house, poll, post};

/// A private mail, which stays as it is whatever happens to others.
fn private(number: usize) -> Vec<u8> {
    let mut mail = post(number);
    mail.fields.retain(|(name, _)| name != "To");
    mail.field("To", "owner@else.test").write()
}

#[test]
fn marked_moved_deleted_or_kept_with_the_extensions_and_without() {
    for (server, extra) in [("a new server", ""), ("an old server", OLD_SERVER)] {
        // The letters of the flags that a taken mail has in INBOX, none if it is gone; how many are
        // in the other folder.
        for (after, flags, moved) in
            [("seen", Some("S"), 0), ("keep", Some(""), 0), ("delete", None, 0), ("move:Done", None, 3)]
        {
            let dovecot = Dovecot::with(extra);
            dovecot.make("cmr", "Done");
            for n in 1..=3 {
                dovecot.deliver("cmr", "INBOX", &post(n).write());
                dovecot.deliver("cmr", "INBOX", &private(10 + n));
            }
            let house = house(&dovecot.config("cmr", &format!("after = \"{after}\"")));
            let said = poll(&house);
            assert_eq!((said["taken"].as_u64(), said["left"].as_u64()), (Some(3), Some(3)), "{said}");
            let mails = dovecot.mails("cmr", "INBOX");
            let taken: Vec<_> =
                mails.iter().filter(|(_, mail)| !mail.windows(4).any(|w| w == b"else")).collect();
            assert_eq!(taken.len(), if flags.is_some() { 3 } else { 0 }, "{server}, {after}");
            for (found, _) in taken {
                assert_eq!(
                    Some(found.replace(|c: char| !c.is_ascii_uppercase(), "").as_str()),
                    flags,
                    "{server}, {after}"
                );
            }
            let untouched = mails
                .iter()
                .filter(|(flags, mail)| flags.is_empty() && mail.windows(4).any(|w| w == b"else"));
            assert_eq!(untouched.count(), 3, "{server}, {after}");
            assert_eq!(dovecot.mails("cmr", "Done").len(), moved, "{server}, {after}");
            let again = poll(&house);
            assert_eq!(again["taken"], 0, "{server}, {after}: {again}");
            assert_eq!(dovecot.mails("cmr", "Done").len(), moved, "{server}, {after}");
        }
    }
}

#[test]
fn a_copy_that_was_made_before_an_interruption_is_not_made_again() {
    let dovecot = Dovecot::with(OLD_SERVER);
    for n in 1..=4 {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    // The other folder is not there: the mails are stored and stay.
    let house = house(&dovecot.config("cmr", "after = \"move:Done\""));
    let failed = house.run(&["poll", "--once", "--json"], b"");
    assert_eq!(failed.status.code(), Some(69));
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(said.contains("COPY: the server refuses"), "{said}");
    assert_eq!(house.json(&["status"])["messages"], 4);
    assert_eq!(dovecot.mails("cmr", "INBOX").len(), 4);
    // As if the copies of two had been made when the power went.
    dovecot.make("cmr", "Done");
    for n in [2, 3] {
        dovecot.deliver("cmr", "Done", &post(n).write());
    }
    assert_eq!(poll(&house)["taken"], 0);
    assert_eq!(dovecot.mails("cmr", "INBOX").len(), 0);
    let mut there: Vec<Vec<u8>> = dovecot.mails("cmr", "Done").into_iter().map(|(_, mail)| mail).collect();
    there.sort();
    let mut all: Vec<Vec<u8>> = (1..=4).map(|n| post(n).write()).collect();
    all.sort();
    assert!(there == all, "each is there once: {}", there.len());
    assert_eq!(house.json(&["status"])["messages"], 4);
}

#[test]
fn mails_that_cannot_be_found_again_are_copied_again_and_never_lost() {
    let dovecot = Dovecot::with(OLD_SERVER);
    let with_id = |n: usize, id: &str| {
        let mut mail = post(n);
        mail.fields.retain(|(name, _)| name != "Message-ID");
        mail.field("Message-ID", id)
    };
    let crowd: Vec<String> = (0..900).map(|n| format!("{}{n}@people.test", "x".repeat(55))).collect();
    let mails = [
        with_id(1, "").write(),
        with_id(2, "<>").write(),
        // A part of the Message-ID of another mail.
        with_id(3, "@people.test").write(),
        with_id(4, &format!("<{}@people.test>", "x".repeat(3_000))).write(),
        // What a server says of a mail's header beside its Message-ID is longer than any line may be.
        post(5).field("Cc", &crowd.join(",\r\n ")).write(),
        post(6).write(),
    ];
    mails.iter().for_each(|mail| dovecot.deliver("cmr", "INBOX", mail));
    let house = house(&dovecot.config("cmr", "after = \"move:Done\""));
    // Interrupted before anything was copied: the other folder is not there.
    assert_eq!(house.run(&["poll", "--once"], b"").status.code(), Some(69));
    let stored = house.json(&["status"])["messages"].as_u64().unwrap();
    assert_eq!(stored, 6);
    dovecot.deliver("cmr", "Done", &post(7).write());
    assert_eq!(poll(&house)["taken"], 0);
    let mut there: Vec<Vec<u8>> = dovecot.mails("cmr", "Done").into_iter().map(|(_, mail)| mail).collect();
    for mail in &mails {
        let before = there.len();
        there.retain(|it| it != mail);
        assert_eq!(before - there.len(), 1, "{}", String::from_utf8_lossy(&mail[..200]));
    }
    assert_eq!((there.len(), dovecot.mails("cmr", "INBOX").len()), (1, 0));
}

#[test]
fn without_uidplus_what_others_have_flagged_as_deleted_stays() {
    let dovecot = Dovecot::with(OLD_SERVER);
    dovecot.deliver("cmr", "INBOX", &private(1));
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    dovecot.dialogue("cmr", &["SELECT INBOX", "STORE 1 +FLAGS (\\Deleted)", "LOGOUT"]);
    let house = house(&dovecot.config("cmr", "after = \"delete\""));
    assert_eq!(poll(&house)["taken"], 1);
    assert_eq!(dovecot.flagged("cmr", "INBOX", 'T'), (2, 2), "both are flagged, and nothing is gone");
}

/// A folder with a quota of its own: moving into it is copying.
fn quota(messages: usize) -> String {
    format!(
        "mail_plugins = quota\nprotocol imap {{\n  mail_plugins = quota imap_quota\n}}\n\
         namespace inbox {{\n  separator = /\n}}\n\
         namespace archive {{\n  prefix = Archive/\n  separator = /\n  list = yes\n  location = maildir:$DIR/mail/archive-%n\n}}\n\
         plugin {{\n  quota = maildir:Archive:ns=Archive/\n  quota_rule = *:messages={messages}\n}}\n"
    )
}

#[test]
fn a_full_folder_loses_nothing_and_is_told() {
    let mut dovecot = Dovecot::with(&quota(1));
    for n in 1..=3 {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    dovecot.dialogue("cmr", &["CREATE Archive/Done", "LOGOUT"]);
    let house = house(&dovecot.config("cmr", "after = \"move:Archive/Done\"\npoll = \"1s\"\nidle = false"));
    let daemon = house.start();
    let status = house.until("the trouble", |house| {
        let status = house.json(&["status"]);
        let failing = status["mailboxes"][0]["error"] != "" && status["messages"] == 3;
        failing.then_some(status)
    });
    let error = status["mailboxes"][0]["error"].as_str().unwrap().to_ascii_lowercase();
    assert!(error.contains("move") && error.contains("quota"), "{status}");
    // New mail is taken all the same.
    dovecot.deliver("cmr", "INBOX", &post(4).write());
    house.until("the fourth", |house| (house.json(&["status"])["messages"] == 4).then_some(()));
    dovecot.stop();
    dovecot.set_extra(&quota(100));
    dovecot.run();
    house.until("all are moved", |_| {
        let said = dovecot.dialogue("cmr", &["STATUS Archive/Done (MESSAGES)", "STATUS INBOX (MESSAGES)"]);
        (said.contains("(MESSAGES 4)") && said.contains("(MESSAGES 0)")).then_some(())
    });
    house.until("no trouble", |house| (house.json(&["status"])["mailboxes"][0]["error"] == "").then_some(()));
    assert_eq!(house.json(&["status"])["messages"], 4);
    assert!(daemon.stop().success());
}

#[test]
fn a_folder_that_can_only_be_read_is_read_and_told() {
    // A namespace whose mails may be read and nothing else.
    let acl = "mail_plugins = acl\nplugin {\n  acl = vfile:$DIR/acl\n}\n";
    let dovecot = Dovecot::with(acl);
    dovecot.write("acl", "INBOX owner lr\nINBOX anyone lr\n");
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    let house = house(&dovecot.config("cmr", "after = \"seen\""));
    let output = house.run(&["poll", "--once", "--json"], b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("can only be read"), "{said}\n{}", dovecot.log());
    assert_eq!(house.json(&["status"])["messages"], 1);
    let check = house.run(&["check", "--json"], b"");
    assert!(String::from_utf8_lossy(&check.stdout).contains("can only be read"));
    // The right comes back, and what is to be done is done.
    dovecot.write("acl", "INBOX owner lrws\nINBOX anyone lrws\n");
    assert_eq!(poll(&house)["taken"], 0);
    assert_eq!(dovecot.flagged("cmr", "INBOX", 'S'), (1, 1));
}

#[test]
fn a_folder_that_is_gone_is_told_and_comes_back() {
    let dovecot = Dovecot::start();
    dovecot.deliver("cmr", "Mail to us", &post(1).write());
    let house = house(&dovecot.config("cmr", "folder = \"Mail to us\""));
    assert_eq!(poll(&house)["taken"], 1);
    dovecot.dialogue("cmr", &["DELETE \"Mail to us\"", "LOGOUT"]);
    let output = house.run(&["poll", "--once"], b"");
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("cmr: the folder \"Mail to us\" can't be opened: "), "{said}");
    // Another folder of that name has another UIDVALIDITY.
    dovecot.dialogue("cmr", &["CREATE \"Mail to us\"", "LOGOUT"]);
    dovecot.deliver("cmr", "Mail to us", &post(2).write());
    assert_eq!(poll(&house)["taken"], 1);
    assert_eq!(house.json(&["status"])["messages"], 2);
}
