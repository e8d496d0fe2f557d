//! Servers that were never honest: scripted dialogues out of `dialogues/`, all at once against one
//! daemon that reads an honest mailbox beside them; and mutations of an honest dialogue.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cmr_mail::receive::imap;

use super::dialogue::{Notes, Server, account, login, scripts, select, steps};
use super::dovecot::Dovecot;
use super::is_full;
use super::reading::{house, post};
use super::support::Random;

fn section(name: &str, port: u16) -> String {
    format!(
        "[[imap]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nuser = \"u\"\n\
         password_command = \"cat password\"\ntimeout = \"3s\"\n"
    )
}

#[test]
fn dialogues_end_in_an_error_and_touch_nobody_else() {
    let scripts = scripts();
    assert!(scripts.len() >= 20, "only {} dialogues", scripts.len());
    let dovecot = Dovecot::start();
    dovecot.deliver("cmr", "INBOX", &post(1).write());
    let mut config = dovecot.config("cmr", "");
    let servers: Vec<Server> = scripts.iter().map(|script| Server::start(script.steps.clone())).collect();
    for (script, server) in scripts.iter().zip(&servers) {
        config = config.repeated(&section(&script.name, server.port));
    }
    let house = house(&config);
    let begun = Instant::now();
    let mut daemon = house.start();
    for (number, script) in scripts.iter().enumerate() {
        let found = house.until(&format!("an error of {}", script.name), |house| {
            let found = house.json(&["status"])["mailboxes"][number + 1].clone();
            (found["error"] != "").then_some(found)
        });
        let error = found["error"].as_str().unwrap();
        assert!(error.contains(&script.error), "{}: {error:?} instead of {:?}", script.name, script.error);
        // The daemon got as far as that by saying what an honest client says.
        let _ = servers[number].first();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "the deadline is 3 s: {took:?}");
    // The honest one goes on as if nothing were.
    dovecot.deliver("cmr", "INBOX", &post(2).write());
    dovecot.until_flagged("cmr", "INBOX", 'S', 2);
    assert_eq!(house.json(&["status"])["messages"], 2);
    let peak = daemon.memory_kib("VmHWM");
    println!("{} dialogues, {} MiB", scripts.len(), peak >> 10);
    assert!(peak < 150 << 10, "{peak} KiB");
    assert!(daemon.is_running());
    assert!(daemon.stop().success());
}

#[test]
fn a_goodbye_anywhere_is_a_goodbye() {
    // The honest dialogue, ended after each of its steps by BYE, by a cut, by rubbish.
    let mut honest = login();
    honest.extend(select("1"));
    honest.extend(steps(
        "C UID SEARCH\nS * SEARCH 1\nOK\nC UID FETCH\nS * 1 FETCH (UID 1 RFC822.SIZE 29)\nOK\nC UID FETCH\n\
         S * 1 FETCH (UID 1 BODY[] {29}\nraw From: a@b.c\\r\\nTo: d@e.f\\r\\n\\r\\nx\\r\\n)\\r\\n\nOK\nC UID STORE\nOK\nC LOGOUT\nS * BYE\nOK",
    ));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let office = Arc::new(Notes::default());
    // Without an end it is honest to the last word.
    let server = Server::start(honest.clone());
    let looked = imap::once(&[account(server.port)], &office, 1 << 20, runtime.handle()).unwrap();
    assert!(looked[0].result.is_ok() && server.first().is_ok(), "{looked:?}");
    let mut ends = 0;
    for cut in 1..honest.len() {
        for end in
            ["S * BYE enough", "close", "S ((((", "S a999 OK done", "S * 1 FETCH (INTERNALDATE NIL UID 1)"]
        {
            let mut steps = honest[..cut].to_vec();
            let (word, rest) = end.split_once(' ').unwrap_or((end, ""));
            steps.push((word.to_owned(), rest.to_owned()));
            let server = Server::start(steps);
            let begun = Instant::now();
            let looked = imap::once(&[account(server.port)], &office, 1 << 20, runtime.handle()).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20), "{cut}, {end}: {:?}", begun.elapsed());
            let _ = server.first();
            // After the last mail a goodbye does no harm any more.
            ends += usize::from(looked[0].result.is_err());
        }
    }
    assert!(ends > 90, "only {ends} ended in an error");
    assert!(office.taken.load(Ordering::SeqCst) > 10, "none came as far as a mail");
}

/// What an honest server answers to this command; mutated now and then.
fn answer(command: &str, tag: &str) -> String {
    let mail = "From: a@b.c\r\nTo: d@e.f\r\nMessage-ID: <1@b.c>\r\n\r\nSome text.\r\n";
    let body = match command {
        it if it.starts_with("CAPABILITY") => "* CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE AUTH=PLAIN\r\n".to_owned(),
        it if it.starts_with("AUTHENTICATE") => return "+ \r\n".to_owned(),
        it if it.starts_with("SELECT") => {
            "* FLAGS (\\Seen \\Deleted)\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] ok\r\n* 3 EXISTS\r\n* 1 RECENT\r\n\
             * OK [UIDVALIDITY 5] ok\r\n* OK [UIDNEXT 4] ok\r\n"
                .to_owned()
        }
        it if it.starts_with("UID SEARCH") => "* SEARCH 1 2 3\r\n".to_owned(),
        it if it.contains("RFC822.SIZE") => {
            (1..=3).map(|n| format!("* {n} FETCH (UID {n} RFC822.SIZE {})\r\n", mail.len())).collect()
        }
        it if it.contains("BODY.PEEK") => {
            let uid = it.split(' ').nth(2).unwrap_or("1");
            format!("* {uid} FETCH (UID {uid} FLAGS (\\Recent) BODY[] {{{}}}\r\n{mail})\r\n", mail.len())
        }
        it if it.starts_with("LOGOUT") => "* BYE\r\n".to_owned(),
        _ => String::new(),
    };
    format!("{body}{tag} OK done\r\n")
}

/// More than the parser's stack would hold.
const DEEP: &str = match std::str::from_utf8(&[b'('; 5000]) {
    Ok(open) => open,
    Err(_) => "",
};

const PIECES: [&str; 17] = [
    "INTERNALDATE NIL",
    "{4294967295}\r\n",
    "{99999999999999999999}",
    "\r\n",
    "(",
    ")",
    "\"",
    "* BYE\r\n",
    "NIL",
    "* 1000000 EXISTS\r\n",
    "ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)",
    "BODYSTRUCTURE (((",
    DEEP,
    "\\",
    "[",
    "+ \r\n",
    "* 1 FETCH (UID 0)\r\n",
];

fn mutated(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(3) {
        let at = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] = (random.next() & 0xff) as u8,
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 => bytes.truncate(at),
            3 => {
                let twice = bytes[at..].to_vec();
                bytes.extend_from_slice(&twice);
            }
            _ => {
                let piece = PIECES[usize::try_from(random.below(PIECES.len() as u64)).unwrap()];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

#[test]
fn mutations_of_an_honest_dialogue_crash_nothing() {
    let time = Duration::from_secs(if is_full() { 60 } else { 5 });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let account = account(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let mut seed = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            seed += 1;
            let mut random = Random(seed);
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut out = stream.try_clone()?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                out.write_all(b"* OK hello\r\n")?;
                let victim = random.below(12);
                let mut reader = BufReader::new(stream);
                let (mut tag, mut waits) = (String::new(), false);
                for number in 0.. {
                    let mut line = String::new();
                    if reader.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    let said = if waits {
                        format!("{tag} OK in\r\n")
                    } else {
                        let (found, command) = line.trim_end().split_once(' ').unwrap_or(("x", ""));
                        tag = found.to_owned();
                        answer(command, found)
                    };
                    waits = said == "+ \r\n";
                    if number == victim || random.below(10) == 0 {
                        out.write_all(&mutated(&said, &mut random))?;
                        // What was cut short would only be waited for.
                        if random.below(4) != 0 {
                            out.write_all(format!("{tag} OK\r\n").as_bytes())?;
                            if random.below(2) == 0 {
                                return Ok(());
                            }
                        }
                    } else {
                        out.write_all(said.as_bytes())?;
                    }
                }
                Ok(())
            });
        }
    });
    // What the library panics about is caught, and need not be shown.
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let office = Arc::new(Notes::default());
    let accounts = vec![account; 32];
    let begun = Instant::now();
    let (mut runs, mut failures) = (0, 0);
    while begun.elapsed() < time {
        let round = Instant::now();
        let looked = imap::once(&accounts, &office, 1 << 20, runtime.handle());
        let looked = looked.unwrap();
        runs += looked.len();
        failures += looked.iter().filter(|one| one.result.is_err()).count();
        for one in &looked {
            let words = one.result.as_ref().err().cloned().unwrap_or_default();
            assert!(!words.contains("reading the folder failed"), "a thread panicked");
        }
        assert!(round.elapsed() < Duration::from_secs(60), "{:?}", round.elapsed());
    }
    std::panic::set_hook(silent);
    println!("{runs} mutated dialogues, {failures} ended in an error");
    assert!(failures > runs / 10 && runs > 30, "{failures} of {runs}");
    assert!(office.taken.load(Ordering::SeqCst) > 0);
}
