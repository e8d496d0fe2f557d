//! Servers that were never honest: scripted dialogues out of `dialogues/`, all at once against one
//! daemon that reads an honest mailbox beside them; and mutations of an honest dialogue.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cmr_mail::config::Imap;
use cmr_mail::receive::imap::{self, Fate, Health, Known, Office, Place, Polled, SentCopy};

use super::dovecot::Dovecot;
use super::is_full;
use super::reading::{house, post};
use super::support::Random;

/// A dialogue: what the trouble is called, and the steps.
struct Script {
    name: String,
    error: String,
    steps: Vec<(String, String)>,
}

fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imap/dialogues");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| script(path)).collect()
}

fn script(path: &Path) -> Script {
    let (mut error, mut steps) = (String::new(), Vec::new());
    for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "#" => {}
            "error" => error = rest.to_owned(),
            "login" => steps.extend(login()),
            "select" => steps.extend(select("1")),
            _ => steps.push((word.to_owned(), rest.to_owned())),
        }
    }
    assert!(!error.is_empty(), "{}: what error is expected?", path.display());
    Script { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), error, steps }
}

fn steps(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        (word.to_owned(), rest.to_owned())
    };
    text.lines().map(pair).collect()
}

/// An honest beginning.
fn login() -> Vec<(String, String)> {
    steps(
        "S * OK hello\nC CAPABILITY\nS * CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE\nOK\nC LOGIN\nOK\nC CAPABILITY\n\
         S * CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE\nOK",
    )
}

/// An honest folder with so many mails.
fn select(mails: &str) -> Vec<(String, String)> {
    steps(&format!(
        "C SELECT\nS * {mails} EXISTS\nS * 0 RECENT\nS * OK [UIDVALIDITY 7] x\nS * OK [UIDNEXT 2] x\nOK"
    ))
}

/// Plays the steps to one client.
fn play(steps: &[(String, String)], stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut tag = "a1".to_owned();
    for (word, rest) in steps {
        let unescaped =
            rest.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").replace("{tag}", &tag);
        match word.as_str() {
            "S" => write!(out, "{unescaped}\r\n")?,
            "raw" => out.write_all(unescaped.as_bytes())?,
            "OK" => write!(out, "{tag} OK done\r\n")?,
            "C" => {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let (found, command) = line.split_once(' ').unwrap_or((line.as_str(), ""));
                assert!(
                    command.contains(rest.as_str()) || line.contains(rest.as_str()),
                    "{rest:?} is expected, {line:?} came"
                );
                if !command.is_empty() {
                    tag = found.to_owned();
                }
            }
            // So often this line.
            "repeat" => {
                let (number, text) = unescaped.split_once(' ').unwrap();
                let many = format!("{text}\r\n").repeat(1000);
                for _ in 0..number.parse::<usize>().unwrap() / 1000 {
                    out.write_all(many.as_bytes())?;
                }
            }
            // So many bytes without a line end.
            "flood" => {
                let bytes = vec![b'x'; 64 << 10];
                for _ in 0..rest.parse::<usize>().unwrap() / bytes.len() {
                    out.write_all(&bytes)?;
                }
            }
            // One byte at a time, with a pause that is shorter than any deadline.
            "drip" => {
                for byte in format!("{unescaped}\r\n").bytes() {
                    out.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            "silence" => {
                let mut all = Vec::new();
                let _ = reader.read_to_end(&mut all);
            }
            "close" => return Ok(()),
            other => panic!("no such step: {other}"),
        }
        out.flush()?;
    }
    Ok(())
}

/// A server that plays this to whoever comes.
fn serve(steps: Vec<(String, String)>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let steps = steps.clone();
            std::thread::spawn(move || {
                // The client hangs up when it has had enough.
                let _ = play(&steps, stream);
            });
        }
    });
    port
}

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
    for script in &scripts {
        config = config.repeated(&section(&script.name, serve(script.steps.clone())));
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
    let mut ends = 0;
    for cut in 1..honest.len() {
        for end in
            ["S * BYE enough", "close", "S ((((", "S a999 OK done", "S * 1 FETCH (INTERNALDATE NIL UID 1)"]
        {
            let mut steps = honest[..cut].to_vec();
            let (word, rest) = end.split_once(' ').unwrap_or((end, ""));
            steps.push((word.to_owned(), rest.to_owned()));
            let account = account(serve(steps));
            let begun = Instant::now();
            let looked = imap::once(&[account], &office, 1 << 20, runtime.handle()).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20), "{cut}, {end}: {:?}", begun.elapsed());
            // After the last mail a goodbye does no harm any more.
            ends += usize::from(looked[0].result.is_err());
        }
    }
    assert!(ends > 90, "only {ends} ended in an error");
    assert!(office.taken.load(Ordering::SeqCst) > 10, "none came as far as a mail");
}

/// An office that takes everything and remembers nothing.
#[derive(Default)]
struct Notes {
    taken: AtomicU64,
    reported: Mutex<Option<String>>,
}

impl Office for Notes {
    fn open(&self, _: &Place, _: u32) -> Result<Known, String> {
        Ok(Known { folder: 1, next: 1, ..Known::default() })
    }
    fn forget(&self, _: &Place) -> Result<(), String> {
        Ok(())
    }
    async fn admit(&self, _: Polled) -> Fate {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Fate::Taken
    }
    fn skip(&self, _: i64, _: u32) -> Result<(), String> {
        Ok(())
    }
    fn settle(&self, _: i64, _: u32, _: u64) -> Result<(), String> {
        Ok(())
    }
    fn done(&self, _: i64, _: &[u32]) -> Result<(), String> {
        Ok(())
    }
    fn copies(&self, _: &str) -> Result<Vec<SentCopy>, String> {
        Ok(Vec::new())
    }
    fn copied(&self, _: &str, _: i64) -> Result<(), String> {
        Ok(())
    }
    fn report(&self, _: &Place, health: &Health) {
        *self.reported.lock().unwrap() = health.error.clone();
    }
}

fn account(port: u16) -> Imap {
    let text = format!(
        "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"mx.home.test\"\noperator = \"o@home.test\"\n\
         [[imap]]\nname = \"x\"\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nuser = \"u\"\n\
         password_command = \"echo secret\"\ntimeout = \"1s\"\n"
    );
    let file = std::env::temp_dir().join("cmr-mail.toml");
    cmr_mail::config::Config::parse(&text, file).unwrap().imap.remove(0)
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

const PIECES: [&str; 16] = [
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
