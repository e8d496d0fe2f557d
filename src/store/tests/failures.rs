use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::store::{FILE_NAME, verify};

fn sound(store: &Store) {
    assert_eq!(store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
}

fn big(n: usize, bytes: usize) -> NewMessage {
    let time = format!("13:00:00.{n:06}");
    new(&[(&time, "mailto:big@example.org")], &format!("{n} {}", "b".repeat(bytes)))
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let temp = temp();
    let kept = put(&temp.store, nth(1));
    let pages: i64 = number(&temp.store, "PRAGMA page_count");
    temp.store
        .write(move |tx| Ok(tx.query_row(&format!("PRAGMA max_page_count = {}", pages + 5), [], |_| Ok(()))?))
        .unwrap();
    // Several at once: the one that is too big fails, and whoever shares its transaction hears
    // the truth about his own job.
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let store = temp.store.clone();
            thread::spawn(move || {
                let new = if n % 2 == 0 { big(n, 1 << 20) } else { nth(100 + n) };
                if n < 4 {
                    return (n, store.write(move |tx| admit(tx, &new)));
                }
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                (n, runtime.block_on(store.write_repeatable_async(move |tx| admit(tx, &new))))
            })
        })
        .collect();
    let mut stored = 0;
    for t in threads {
        match t.join().unwrap() {
            (_, Err(StoreError::Full(text))) => assert!(text.contains("full"), "{text}"),
            (n, Ok(Admitted::New(_))) if n % 2 == 1 => stored += 1,
            (n, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 1 + stored);
    let error = temp.store.write(|tx| admit(tx, &big(50, 1 << 20))).unwrap_err();
    assert!(error.is_transient());
    // Reading goes on, and with room everything works again, without a restart.
    assert!(temp.store.read(|conn| crate::store::messages::get(conn, kept)).unwrap().is_some());
    temp.store.write(|tx| Ok(tx.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))?)).unwrap();
    put(&temp.store, big(51, 1 << 20));
    sound(&temp.store);
    sound(&temp.reopen().store);
}

#[test]
fn a_lock_held_by_another_process_is_told_and_passes() {
    let busy_timeout = Duration::from_millis(100);
    let temp = temp_with(Options { busy_timeout, ..Options::default() });
    put(&temp.store, nth(0));
    let other = rusqlite::Connection::open(temp.data().join(FILE_NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let threads: Vec<_> = (1..9)
        .map(|n| {
            let store = temp.store.clone();
            thread::spawn(move || store.write(move |tx| admit(tx, &nth(n))))
        })
        .collect();
    for t in threads {
        let error = t.join().unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
        assert!(error.is_transient());
    }
    // They waited together, not one after the other.
    assert!(started.elapsed() < 8 * busy_timeout, "{:?}", started.elapsed());
    // Reading does not need the lock.
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 1);
    other.execute_batch("ROLLBACK").unwrap();
    for n in 1..9 {
        put(&temp.store, nth(n));
    }
    sound(&temp.store);
}

/// The name under which the test below runs itself again.
const CHILD: &str = "store::tests::failures::child_whose_disk_refuses_writes";

#[test]
fn a_disk_that_refuses_writes_is_told_and_passes() {
    // A limit on the size of files makes write(2) fail for real, in the middle of a COMMIT. It
    // holds for a whole process, and its signal has to be ignored, which a shell can arrange
    // without unsafe code.
    let status = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" --exact "$1" --ignored --test-threads=1"#])
        .arg(std::env::current_exe().unwrap())
        .arg(CHILD)
        .env("CMR_MAIL_LIMITED", "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn child_whose_disk_refuses_writes() {
    // Without that shell the signal would end the whole run.
    if std::env::var_os("CMR_MAIL_LIMITED").is_none() {
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Fsize).maximum;
    let limit = |bytes| setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: hard }).unwrap();
    let temp = temp();
    for n in 0..5 {
        put(&temp.store, nth(n));
    }
    let mut lost = 0;
    for round in 0..10u64 {
        let length = temp.store.stats().unwrap().log_bytes;
        // Room for some pages of the log and not for all, at another place each time.
        limit(Some(length + round * 5_000));
        let n = 100 + usize::try_from(round).unwrap();
        let result = temp.store.write(move |tx| admit(tx, &big(n, 100_000)));
        limit(None);
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Io(_)), "{error:?}");
        assert!(error.is_transient());
        lost += 1;
        // The very next one works, and nothing of the lost one is there.
        put(&temp.store, nth(1000 + n));
        assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), 5 + lost);
        sound(&temp.store);
    }
    assert_eq!(temp.store.stats().unwrap().lost, 10);
    sound(&temp.reopen().store);
}

/// The name under which the test below runs itself again.
const SMALL: &str = "store::tests::failures::child_on_a_small_disk";

#[test]
fn a_disk_that_is_really_full_is_told_and_passes() {
    // A file system of 4 MiB, in a namespace of its own; where the system does not allow that,
    // the two tests beside this one have to do.
    let dir = tempfile::tempdir().unwrap();
    let script =
        r#"mount -t tmpfs -o size=4m none "$2" && exec "$0" --exact "$1" --ignored --test-threads=1"#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(SMALL)
        .arg(dir.path())
        .env("TMPDIR", dir.path())
        .env("CMR_MAIL_SMALL_DISK", dir.path())
        .output();
    let text = output.as_ref().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    if !text.contains("running 1 test") {
        println!("not run, no namespaces here: {output:?}");
        return;
    }
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by the test above on a file system of its own"]
fn child_on_a_small_disk() {
    let Some(place) = std::env::var_os("CMR_MAIL_SMALL_DISK") else { return };
    let filler = Path::new(&place).join("filler");
    // What goes at the end is room for sure, whatever the pages of the database come to.
    let other = Path::new(&place).join("other");
    std::fs::write(&other, vec![b'o'; 1 << 20]).unwrap();
    let temp = temp();
    let mut stored = 0;
    let full = (0..1000).find_map(|n| match temp.store.write(move |tx| admit(tx, &big(n, 50_000))) {
        Ok(Admitted::New(_)) => {
            stored += 1;
            None
        }
        Err(error) => Some(error),
        other => panic!("{other:?}"),
    });
    let full = full.unwrap();
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert!(stored > 5, "{stored}");
    assert_eq!(number(&temp.store, "SELECT count(*) FROM message"), stored);
    sound(&temp.store);
    // What was stored can be evicted, and then there is room again.
    for seq in 1..=stored {
        let evicted = temp.store.write(move |tx| crate::store::messages::evict(tx, seq, NOON, at(9)));
        if let Err(error) = evicted {
            assert!(error.is_transient(), "{error:?}");
        }
    }
    // Somebody else fills the disk to the last byte, and goes away again.
    let mut bytes = vec![b'f'; 4 << 20];
    while std::fs::write(&filler, &bytes).is_err() && bytes.len() > 4096 {
        bytes.truncate(bytes.len() - 4096);
    }
    let refused = (2000..2400).find_map(|n| temp.store.write(move |tx| admit(tx, &big(n, 50_000))).err());
    assert!(refused.is_some_and(|error| error.is_transient()));
    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(&other).unwrap();
    put(&temp.store, nth(1));
    sound(&temp.store);
    sound(&temp.reopen().store);
}

#[test]
fn a_damaged_file_is_told() {
    let temp = temp();
    for n in 0..200 {
        put(&temp.store, nth(n));
    }
    temp.store.close();
    let file = temp.data().join(FILE_NAME);
    let mut bytes = std::fs::read(&file).unwrap();
    // Everything behind the schema's pages.
    let from = bytes.len() / 2;
    bytes[from..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let outcome = Store::open(&temp.data()).and_then(|store| {
        let wrong = store.read(|conn| verify(conn, true))?;
        assert!(!wrong.is_empty());
        store.write(|tx| Ok(tx.execute("UPDATE message SET last_error = 'x'", [])?)).map(|_| ())
    });
    assert!(matches!(outcome, Err(StoreError::Corrupt(_) | StoreError::Row(_))), "{outcome:?}");
}

#[test]
fn what_the_schema_forbids_is_a_constraint() {
    let temp = temp();
    let seq = put(&temp.store, nth(1));
    let wrong = [
        "UPDATE message SET state = 'lost'",
        "UPDATE message SET scope = 'secret'",
        "UPDATE message SET state = 'held'",
        "UPDATE message SET public_id = x'00'",
        "UPDATE message SET received = 'yesterday'",
        "UPDATE message SET authenticity = '{'",
        "INSERT INTO hop (seq, position, hop_key, tail, time, address)
            SELECT seq, 9, hop_key, tail, time, address FROM hop",
        "INSERT INTO text (seq, header, body) VALUES (77, x'', x'')",
    ];
    for sql in wrong {
        let result = temp.store.write(move |tx| Ok(tx.execute(sql, [])?));
        assert!(matches!(result, Err(StoreError::Constraint(_))), "{sql}: {result:?}");
        assert!(!result.unwrap_err().is_transient());
    }
    assert!(seq > 0);
    sound(&temp.store);
}
