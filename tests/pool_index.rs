//! The pool's index on disk: used when it is what the database says, never otherwise, and nothing
//! that was erased is in it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cmr_mail::config::Config;
use cmr_mail::distance::word_counts;
use cmr_mail::gateway::Gateway;
use cmr_mail::gateway::api::Request;
use cmr_mail::message::{Address, Hop, Message, MessageId, Timestamp, UnixTime};
use cmr_mail::policy::Scope;
use cmr_mail::pool::{Audience, Limits, Pool};
use cmr_mail::store::messages::{Admitted, NewMessage, admit, evict, mark_routed};
use cmr_mail::store::{FILE_NAME, Store, prepare_dir};

const NOW: UnixTime = UnixTime(1_767_225_600_000_000);
/// Above what a start reads in no time.
const MESSAGES: usize = 1100;

/// A data directory with messages that were routed.
struct House {
    _dir: tempfile::TempDir,
    data: PathBuf,
    config: Config,
}

fn message(nth: usize, body: &str) -> Message {
    // 0.40 and 0.400 are one time, and would be one message.
    let time = Timestamp::parse(format!("2026/01/01 00:00:00.{nth}1").as_bytes()).unwrap();
    let from = Address::new(format!("mailto:author{}@far.test", nth % 40)).unwrap();
    Message::new(Hop::new(time, from), body.as_bytes().to_vec())
}

fn body(nth: usize) -> String {
    format!("message {nth} speaks of subject{} and thing{} in its own words{nth}\n", nth % 90, nth % 17)
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        prepare_dir(&data).unwrap();
        let text = format!(
            "[gateway]\naddress = \"mailto:cmr@home.test\"\nhostname = \"mx.home.test\"\n\
             operator = \"Olga Operator <olga@home.test>\"\ndata_dir = {:?}\n\
             [smtp]\nlisten = [\"127.0.0.1:0\"]\n[send]\nsmarthost = \"smtp://127.0.0.1:1\"\n\
             [authentication]\nverify = false\n",
            data.to_str().unwrap()
        );
        let config = Config::parse(&text, dir.path().join("cmr-mail.toml")).unwrap();
        let house = House { _dir: dir, data, config };
        house.add(0..MESSAGES);
        house
    }

    fn file(&self) -> PathBuf {
        self.data.join("pool-index")
    }

    /// Stores messages as routed, behind the back of any gateway.
    fn add(&self, which: std::ops::Range<usize>) {
        let store = Store::open(&self.data).unwrap();
        let new: Vec<NewMessage> = which
            .map(|nth| {
                let mut new = NewMessage::new(message(nth, &body(nth)), NOW, "test");
                new.scope = Scope::Public;
                new
            })
            .collect();
        store
            .write(move |tx| {
                for new in &new {
                    let Admitted::New(seq) = admit(tx, new)? else { panic!("it was here") };
                    assert!(mark_routed(tx, seq)?);
                }
                Ok(())
            })
            .unwrap();
        store.close();
    }

    /// How many messages of the index on disk have a word.
    fn written(&self, word: &str) -> usize {
        let bytes = fs::read(self.file()).unwrap();
        let pool = Pool::load(&mut bytes.as_slice(), Limits::default()).unwrap();
        let counts = word_counts(word.as_bytes());
        pool.messages_with(counts.words[0].0, Audience::Operator)
    }

    /// A daemon's life.
    fn run(&self) {
        Gateway::start(&self.config).unwrap().close();
    }

    /// What a gateway that is started now finds, and whether it used the index: one that is worth
    /// nothing is deleted.
    fn found(&self, text: &str) -> (Vec<String>, bool) {
        let gateway = Gateway::open(&self.config).unwrap();
        let answer = search(&gateway, text);
        gateway.close();
        (answer, self.file().exists())
    }
}

fn search(gateway: &Gateway, text: &str) -> Vec<String> {
    let request = Request::Search { text: text.to_owned(), limit: 5, shared: false };
    let answer = gateway.handle(request).unwrap();
    let hits = answer["matches"].as_array().unwrap_or_else(|| panic!("{answer}"));
    hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

fn id(nth: usize) -> String {
    let id: MessageId = message(nth, &body(nth)).id();
    id.to_string()
}

fn holds(file: &Path, what: &str) -> bool {
    fs::read(file).unwrap().windows(what.len()).any(|bytes| bytes == what.as_bytes())
}

#[test]
fn a_start_reads_the_index_and_finds_what_the_texts_would_have_told() {
    let house = House::new();
    let question = body(77);
    let (from_texts, used) = house.found(&question);
    assert!(!used && from_texts[0] == id(77), "{from_texts:?}");
    house.run();
    let mode = fs::metadata(house.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(house.found(&question), (from_texts.clone(), true));

    // What came and went since is seen.
    house.add(2000..2003);
    let store = Store::open(&house.data).unwrap();
    let gone = id(77);
    store
        .write(move |tx| {
            let seq: i64 = tx.query_row(
                "SELECT seq FROM message WHERE public_id = ?1",
                [gone.parse::<MessageId>().unwrap()],
                |row| row.get(0),
            )?;
            evict(tx, seq, NOW, NOW)
        })
        .unwrap();
    store.close();
    let (now, used) = house.found(&question);
    assert!(used && !now.contains(&id(77)) && !now.is_empty(), "{now:?}");
    assert_eq!(house.found(&body(2001)).0[0], id(2001));
    // What a crash left behind while it was written is not.
    let begun = house.data.join("pool-index.new");
    fs::write(&begun, "half of it").unwrap();
    assert!(house.found(&question).1 && !begun.exists());
    // And written down at the end of the next daemon.
    let before = fs::read(house.file()).unwrap();
    house.run();
    assert_ne!(fs::read(house.file()).unwrap(), before);
    assert_eq!(house.found(&body(2001)).0[0], id(2001));
    // A daemon to which nothing happens writes nothing.
    let before = fs::metadata(house.file()).unwrap().modified().unwrap();
    house.run();
    assert_eq!(fs::metadata(house.file()).unwrap().modified().unwrap(), before);
}

#[test]
fn an_index_that_is_not_what_the_database_says_is_not_used() {
    let house = House::new();
    house.run();
    let (whole, question) = (fs::read(house.file()).unwrap(), body(300));
    let (expected, used) = house.found(&question);
    assert!(used);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let mut longer = whole.clone();
    longer.push(0);
    let other = House::new();
    other.add(5000..5001);
    other.run();
    let table = [
        ("a bit is wrong", flipped),
        ("it ends early", whole[..whole.len() - 7].to_vec()),
        ("it is longer", longer),
        ("it is empty", Vec::new()),
        ("it is another database's", fs::read(other.file()).unwrap()),
    ];
    for (what, bytes) in table {
        fs::write(house.file(), bytes).unwrap();
        assert_eq!(house.found(&question), (expected.clone(), false), "{what}");
        assert!(!house.file().exists(), "{what}: it would be tried again");
        // The whole one is as good as before: the database remembers it.
        fs::write(house.file(), &whole).unwrap();
        assert_eq!(house.found(&question), (expected.clone(), true), "{what}");
    }

    // A database that was restored from a backup knows nothing of a later index.
    let database = house.data.join(FILE_NAME);
    let backup = fs::read(&database).unwrap();
    house.add(3000..3010);
    house.run();
    for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal"), format!("{FILE_NAME}-shm")] {
        fs::remove_file(house.data.join(name)).ok();
    }
    fs::write(&database, backup).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(house.found(&question), (expected, false));
}

#[test]
fn nothing_that_was_erased_survives_in_it() {
    let house = House::new();
    house.run();
    let old = fs::read(house.file()).unwrap();
    assert!(holds(&house.file(), "author7@far.test"));
    assert_eq!((house.written("words500"), house.written("words7"), house.written("words8")), (1, 1, 1));
    let gateway = Gateway::start(&house.config).unwrap();
    assert!(house.file().exists());
    gateway.handle(Request::Remove { id: id(500) }).unwrap();
    assert!(!house.file().exists(), "it holds what was erased");
    gateway.handle(Request::RemoveAuthor { author: "mailto:author7@far.test".to_owned() }).unwrap();
    gateway.close();
    assert!(!holds(&house.file(), "author7@far.test"), "what is written afterwards holds nothing of it");
    assert_eq!((house.written("words500"), house.written("words7"), house.written("words8")), (0, 0, 1));
    assert!(!house.found(&body(500)).0.contains(&id(500)));
    assert!(!house.found(&body(7)).0.contains(&id(7)));
    // An old copy that somebody puts back is not used.
    fs::write(house.file(), &old).unwrap();
    let (found, used) = house.found(&body(500));
    assert!(!used && !found.contains(&id(500)));

    // The same while no daemon runs, and when the file could not be deleted.
    house.run();
    let old = fs::read(house.file()).unwrap();
    let verb = Gateway::open(&house.config).unwrap();
    verb.handle(Request::Remove { id: id(600) }).unwrap();
    verb.close();
    fs::write(house.file(), &old).unwrap();
    let (found, used) = house.found(&body(600));
    assert!(!used && !found.contains(&id(600)), "the database has forgotten it");
}
