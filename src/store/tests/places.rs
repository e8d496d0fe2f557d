use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::{FILE_NAME, meta, verify};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_directory_and_every_file_are_the_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/er/data");
    let store = Store::open(&data).unwrap();
    put(&store, nth(1));
    let _ = number(&store, "SELECT 1");
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // Somebody opened them up meanwhile.
    store.close();
    chmod(&data, 0o755);
    chmod(&data.join(FILE_NAME), 0o644);
    let store = Store::open(&data).unwrap();
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join(FILE_NAME)), 0o600);
    assert_eq!(store.path(), data.join(FILE_NAME));
}

#[test]
fn a_directory_that_others_use_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path(), 0o755);
    fs::write(dir.path().join("somebody-elses"), "x").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("mode 0755") && error.contains("chmod 700"), "{error}");
    assert_eq!(mode(dir.path()), 0o755, "it must stay as it was");
    // An empty one is taken.
    fs::remove_file(dir.path().join("somebody-elses")).unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    // A file is no directory.
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.contains("is not a directory"), "{error}");
}

#[test]
fn files_that_are_not_ours_stay_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = data.join(FILE_NAME);
    // Not a database at all.
    fs::write(&file, vec![b'x'; 5000]).unwrap();
    let error = Store::open(&data).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), vec![b'x'; 5000]);
    // Another program's database.
    fs::remove_file(&file).unwrap();
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&file).unwrap();
    let error = Store::open(&data).unwrap_err();
    assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_database_from_the_future_is_refused_and_stays_untouched() {
    let temp = temp();
    put(&temp.store, nth(1));
    temp.store.close();
    let file = temp.data().join(FILE_NAME);
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let before = fs::read(&file).unwrap();
    let error = Store::open(&temp.data()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(sentence.contains("version 999") && sentence.contains("use the newer cmr-mail"), "{sentence}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn the_settings_that_the_promises_rest_on_are_in_force() {
    let temp = temp();
    let pragmas = [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("secure_delete", "1"),
        ("trusted_schema", "0"),
    ];
    for (name, value) in pragmas {
        let found = temp
            .store
            .write(move |tx| {
                Ok(tx.query_row(&format!("PRAGMA {name}"), [], |row| {
                    row.get::<_, rusqlite::types::Value>(0)
                })?)
            })
            .unwrap();
        let found = match found {
            rusqlite::types::Value::Integer(i) => i.to_string(),
            rusqlite::types::Value::Text(t) => t,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, value, "{name}");
    }
    // Every table is STRICT.
    assert_eq!(
        number(
            &temp.store,
            "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0
                AND name NOT LIKE 'sqlite%'"
        ),
        0
    );
    // Every foreign key has an index on its child side: else a removal scans whole tables.
    let unindexed = temp
        .store
        .read(|conn| {
            let mut select = conn.prepare(
                "SELECT t.name || '.' || f.\"from\" FROM pragma_table_list t, pragma_foreign_key_list(t.name) f
                  WHERE t.schema = 'main' AND NOT EXISTS (
                        SELECT 1 FROM pragma_index_list(t.name) i, pragma_index_info(i.name) c
                         WHERE c.seqno = 0 AND c.name = f.\"from\")
                    AND NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) c WHERE c.name = f.\"from\" AND c.pk = 1)",
            )?;
            Ok(select.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?)
        })
        .unwrap();
    assert_eq!(unindexed, Vec::<String>::new());
}

#[test]
fn the_log_is_emptied_at_close_and_stays_bounded() {
    let options = Options { wal_pages: 50, wal_bytes: 512 << 10, ..Options::default() };
    let temp = temp_with(options);
    for n in 0..300 {
        let mut body = format!("{n} ");
        body.push_str(&"x".repeat(8000));
        let time = format!("12:{:02}:{:02}.{n}", n / 60, n % 60);
        put(&temp.store, new(&[(&time, "mailto:a@example.org")], &body));
    }
    let stats = temp.store.stats().unwrap();
    assert!(stats.log_bytes <= 2 * (512 << 10) + (64 << 10), "{stats:?}");
    assert!(stats.database_bytes > 2 << 20, "{stats:?}");
    assert_eq!((stats.messages, stats.hops), (300, 300));
    let file = temp.data().join(format!("{FILE_NAME}-wal"));
    temp.store.close();
    assert!(!file.exists() || fs::metadata(&file).unwrap().len() == 0);
}

#[test]
fn a_long_log_is_cut_when_its_reader_leaves() {
    let options = Options { wal_pages: 10, wal_bytes: 64 << 10, ..Options::default() };
    let temp = temp_with(options);
    put(&temp.store, nth(0));
    let length = || temp.store.stats().unwrap().log_bytes;
    temp.store
        .read(|conn| {
            // The snapshot begins with the first query.
            let _: i64 = conn.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?;
            for n in 1..60 {
                put(&temp.store, nth(n));
            }
            Ok(())
        })
        .unwrap();
    let long = length();
    assert!(long > 128 << 10, "{long}");
    // The next commits find no reader in the way. (At most one try a second.)
    let started = std::time::Instant::now();
    let mut n = 60;
    while length() >= long && started.elapsed().as_secs() < 20 {
        put(&temp.store, nth(n));
        n += 1;
    }
    assert!(length() < long);
}

#[test]
fn t_never_goes_back() {
    let temp = temp();
    let take = |store: &Store, now| store.write(move |tx| meta::take_time(tx, now)).unwrap();
    let first = take(&temp.store, at(10));
    assert_eq!(first, at(10));
    let second = take(&temp.store, at(10));
    let third = take(&temp.store, at(5));
    assert!(first < second && second < third);
    // A failed job takes nothing.
    let failed: Result<(), _> = temp.store.write(|tx| {
        meta::take_time(tx, at(1000))?;
        Err(own_error())
    });
    assert!(failed.is_err());
    let temp = temp.reopen();
    let fourth = take(&temp.store, at(-1000));
    assert!(third < fourth && fourth < at(11));
    temp.store.write(|tx| meta::set_last_time(tx, at(-5000))).unwrap();
    assert_eq!(temp.store.read(meta::last_time).unwrap(), Some(fourth));
}

#[test]
fn the_salt_is_made_once() {
    let temp = temp();
    let salt = |store: &Store| store.read(|conn| meta::get::<Vec<u8>>(conn, "salt")).unwrap().unwrap();
    let first = salt(&temp.store);
    assert_eq!(first.len(), 32);
    assert!(first.iter().any(|byte| *byte != 0));
    let temp = temp.reopen();
    assert_eq!(salt(&temp.store), first);
    let other = super::temp();
    assert_ne!(salt(&other.store), first);
}

#[test]
fn damage_is_found() {
    let damages = [
        ("DELETE FROM text WHERE seq = 2", "without their text"),
        ("UPDATE message SET origin_key = zeroblob(32) WHERE seq = 2", "oldest header line"),
        ("UPDATE text SET body = zeroblob(length(body)) WHERE seq = 2", "not the one"),
        ("DELETE FROM hop WHERE seq = 2", "without header lines"),
        ("UPDATE total SET items = 7 WHERE what = 'text'", "wrong counts of texts"),
        ("PRAGMA ignore_check_constraints = 1; UPDATE message SET bytes = 1 WHERE seq = 2", "bytes, not 1"),
    ];
    for (damage, sentence) in damages {
        let temp = temp();
        for n in 0..3 {
            put(&temp.store, nth(n));
        }
        assert_eq!(temp.store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
        temp.store.write(move |tx| Ok(tx.execute_batch(damage)?)).unwrap();
        let wrong = temp.store.read(|conn| verify(conn, true)).unwrap();
        assert!(wrong.iter().any(|line| line.contains(sentence)), "{damage}: {wrong:?}");
    }
}
