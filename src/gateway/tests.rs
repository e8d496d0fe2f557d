//! The transaction of an arrival, without anything around it.

use rusqlite::Connection;

use super::admit::{self, Plan};
use super::commit::Outcome;
use crate::authenticate::Finding;
use crate::config::Config;
use crate::message::UnixTime;
use crate::receive::{Arrival, Via};
use crate::store::{Store, StoreError, verify};

const NOW: UnixTime = UnixTime(1_700_000_000_000_000);

const CONFIG: &str = r#"
[gateway]
address = "mailto:cmr@home.test"
hostname = "home.test"
operator = "Olga <olga@home.test>"
data_dir = "data"

[smtp]
listen = ["127.0.0.1:0"]
trusted_networks = ["127.0.0.0/8"]

[send]
smarthost = "smtp://127.0.0.1:1"
"#;

fn config(dir: &tempfile::TempDir) -> Config {
    Config::parse(CONFIG, dir.path().join("cmr-mail.toml")).unwrap()
}

/// The plan for a mail of Ann to this address.
fn plan(config: &Config, to: &str, subject: &str, text: &str) -> Plan {
    let mail = format!(
        "From: Ann <ann@people.test>\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{to}-{subject}@people.test>\r\n\r\n{text}"
    );
    let arrival = Arrival {
        peer: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        sender: Some("ann@people.test".to_owned()),
        recipients: vec![to.to_owned()],
        ..Arrival::new(Via::Smtp, mail.into_bytes(), NOW)
    };
    admit::plan(config, &[], &[], arrival, Finding::none(), NOW)
}

/// The tables that an arrival can change, as text; what is drawn by lot is left out.
fn tables(conn: &Connection) -> String {
    let query = "SELECT group_concat(it, char(10)) FROM (
             SELECT 'message ' || hex(public_id) || kind || scope || state AS it FROM message
             UNION ALL SELECT 'text ' || length(header) || ' ' || hex(body) FROM text
             UNION ALL SELECT 'hop ' || hex(tail) FROM hop
             UNION ALL SELECT 'raw ' || hex(raw) FROM raw_mail
             UNION ALL SELECT 'person ' || address FROM person
             UNION ALL SELECT 'thread ' || subject || ifnull(seq, '-') FROM thread
             UNION ALL SELECT 'delivery ' || kind || state FROM delivery
             UNION ALL SELECT 'aside ' || reason || hex(raw) FROM aside
             UNION ALL SELECT 'tally ' || kind || at || ' ' || number FROM tally
             UNION ALL SELECT 'total ' || what || items || ' ' || bytes FROM total)";
    conn.query_row(query, [], |row| row.get(0)).unwrap()
}

/// What a failing neighbour does to a job: its first run is undone.
#[test]
fn an_arrival_whose_first_run_was_undone_is_taken_as_if_there_had_been_none() {
    let message = "0\r\n2023/11/14 22:00:00.5 mailto:peer@far.test\r\n\r\n5\r\nhello";
    let table = [
        ("a post", "cmr@home.test", "Planets", "Which is the largest of all?\r\n", 1),
        ("a message", "cmr@home.test", "CMR", message, 1),
        (
            "a damaged message",
            "cmr@home.test",
            "CMR",
            "0\r\n2023/11/14 22:00:00 mailto:p@far.test\r\n\r\n9\r\nhi",
            0,
        ),
        ("a command", "cmr@home.test", "help", "help\r\n", 0),
        ("to the postmaster", "postmaster@home.test", "Please", "Call me.\r\n", 0),
    ];
    for (name, to, subject, text, taken) in table {
        let run = |undone: bool| {
            let dir = tempfile::tempdir().unwrap();
            let config = config(&dir);
            let store = Store::open(&dir.path().join("data")).unwrap();
            let plan = plan(&config, to, subject, text);
            let outcome: Outcome = store
                .write(move |tx| {
                    if undone {
                        tx.execute_batch("SAVEPOINT first")?;
                        plan.commit(&config, None, tx)?;
                        tx.execute_batch("ROLLBACK TO first; RELEASE first")?;
                    }
                    plan.commit(&config, None, tx)
                })
                .unwrap();
            assert_eq!(outcome.taken.len(), taken, "{name}: {outcome:?}");
            assert_eq!(store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new(), "{name}");
            store.read(|conn| Ok::<_, StoreError>(tables(conn))).unwrap()
        };
        let once = run(false);
        // The totals are five lines; what is refused in the dialogue leaves no trace beside them.
        assert_eq!(once.lines().count() > 5, name != "a damaged message", "{name}: {once}");
        // Aliases are drawn by lot, so ids and headers of posts differ between two gateways.
        let comparable = |text: &str| {
            let kept =
                text.lines().filter(|line| !["message ", "hop "].iter().any(|it| line.starts_with(it)));
            kept.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(comparable(&once), comparable(&run(true)), "{name}");
    }
}

/// What others have sent fills the place: its sender keeps the mail, and nothing failed.
#[test]
fn a_mail_to_the_postmaster_that_finds_no_room_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = Store::open(&dir.path().join("data")).unwrap();
    let plan = plan(&config, "postmaster@home.test", "Please", "Call me.\r\n");
    let outcome = store
        .write(move |tx| {
            tx.execute("UPDATE total SET bytes = ?1 WHERE what = 'aside'", [256 << 20])?;
            plan.commit(&config, None, tx)
        })
        .unwrap();
    let [part] = outcome.refused.as_slice() else { panic!("{outcome:?}") };
    assert!(part.why.is_temporary() && !part.kept, "{part:?}");
    assert_eq!(part.why.reply("no room").to_string(), "452 4.3.1 no room");
    let kept: i64 =
        store.read(|conn| Ok(conn.query_row("SELECT count(*) FROM aside", [], |r| r.get(0))?)).unwrap();
    assert_eq!(kept, 0);
}
