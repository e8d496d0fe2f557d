//! What a server is asked for in situations that a real one can't be brought to at will.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cmr_mail::config::After;
use cmr_mail::receive::imap::{self, Known, Looked, Poller};

use super::dialogue::{Notes, Server, Steps, account, login, select, steps};

/// Looks once into the folder of such a server, of which this is known.
fn look(dialogue: Steps, known: Known, after: After) -> (Looked, Arc<Notes>) {
    let server = Server::start(dialogue);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let office = Arc::new(Notes { known, ..Notes::default() });
    let mut account = account(server.port);
    account.after = after;
    let looked = imap::once(&[account], &office, 1 << 20, runtime.handle()).unwrap().remove(0);
    let _ = server.first();
    (looked, office)
}

/// An honest login to a server without MOVE.
fn old_login() -> Steps {
    steps(
        "S * OK hello\nC CAPABILITY\nS * CAPABILITY IMAP4rev1\nOK\nC LOGIN\nOK\nC CAPABILITY\n\
         S * CAPABILITY IMAP4rev1\nOK",
    )
}

const REPLACED: &str = "C SELECT\nS * 1 EXISTS\nS * OK [UIDVALIDITY 8] x\nS * OK [UIDNEXT 2] x\nOK\nsilence";

#[test]
fn a_folder_that_is_another_one_in_the_middle_of_a_look_is_left_alone() {
    let known = || Known { next: 2, after: vec![1], ..Known::default() };
    // The folder is opened again after what is configured was refused, and before a copy is repeated.
    let refused = [login(), select("1"), steps("C UID STORE\nraw {tag} NO no\\r\\n"), steps(REPLACED)];
    let (looked, office) = look(refused.concat(), known(), After::Seen);
    let said = looked.result.unwrap_err();
    assert!(said.contains("UIDVALIDITY changed"), "{said}");
    assert!(office.done.lock().unwrap().is_empty());
    let asked = "C UID FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.1000>)\n\
                 S * 1 FETCH (UID 1 BODY[HEADER.FIELDS (MESSAGE-ID)]<0> {21}\n\
                 raw Message-ID: <1@b.c>\\r\\n\nS )\nOK\nC EXAMINE\nS * OK [UIDVALIDITY 3] x\nOK\nC UID SEARCH\nS * SEARCH\nOK";
    let repeated = [old_login(), select("1"), steps(asked), steps(REPLACED)];
    let (looked, office) = look(repeated.concat(), known(), After::Move("Done".to_owned()));
    let said = looked.result.unwrap_err();
    assert!(said.contains("UIDVALIDITY changed"), "{said}");
    assert!(office.done.lock().unwrap().is_empty(), "nothing is flagged or expunged");
}

#[test]
fn mails_that_were_put_off_and_are_gone_are_forgotten() {
    let known = Known { next: 9, again: vec![3, 5, 7], ..Known::default() };
    let sizes = "C UID FETCH 3,5,7 (UID RFC822.SIZE)\nS * 1 FETCH (UID 5 RFC822.SIZE 29)\nOK\nC UID FETCH 5\n\
                 S * 1 FETCH (UID 5 BODY[] {29}\nraw From: a@b.c\\r\\nTo: d@e.f\\r\\n\\r\\nx\\r\\n)\\r\\n\nOK\nC LOGOUT";
    let opened = "C SELECT\nS * 1 EXISTS\nS * OK [UIDVALIDITY 7] x\nS * OK [UIDNEXT 9] x\nOK";
    let dialogue = [login(), steps(opened), steps(sizes)].concat();
    let (looked, office) = look(dialogue, known, After::Keep);
    assert_eq!(looked.result.unwrap().taken, 1);
    assert_eq!(*office.done.lock().unwrap(), [3, 7]);
}

#[test]
fn a_stop_waits_for_no_server_that_takes_its_time() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fetch = "C UID SEARCH\nS * SEARCH 1\nOK\nC UID FETCH\nS * 1 FETCH (UID 1 RFC822.SIZE 29)\nOK\n\
                 C UID FETCH\nS * 1 FETCH (UID 1 BODY[] {29}";
    let idle = "C UID SEARCH\nS * SEARCH\nOK";
    for (what, before) in [
        ("before the greeting", Steps::new()),
        ("at the login", login()[..6].to_vec()),
        ("in the middle of a mail", [login(), select("1"), steps(fetch)].concat()),
        ("after DONE", [login(), select("1"), steps(idle), select("1"), steps("C IDLE\nS + go on")].concat()),
    ] {
        // The step before the silence tells that it was reached.
        let server = Server::start([before, steps("reached\nsilence")].concat());
        let mut account = account(server.port);
        account.timeout = Duration::from_secs(600);
        let office = Arc::new(Notes::default());
        let poller = Poller::start(&[account], &office, 1 << 20, runtime.handle()).unwrap();
        server.reached();
        let begun = Instant::now();
        poller.begin_to_stop();
        poller.join();
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
        assert_eq!(*office.reported.lock().unwrap(), None, "{what}: a stop is no trouble of the mailbox");
    }
}
