//! For every version of the schema there is a dump of a filled database, made when that version
//! was the newest (`CMR_MAIL_WRITE_DUMP=1 cargo test writes_the_dump`). Each one is loaded,
//! opened and compared with a new database. A version without a dump fails.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::store::{FILE_NAME, Snapshot, messages, meta, queue, schema_version, verify};

fn dump_file(version: i64) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/migrations/dumps/{version:04}.sql"))
}

/// Everything in a database as SQL, the version included.
fn dump(conn: &Connection) -> String {
    let mut sql = String::from("BEGIN;\n");
    for pragma in ["application_id", "user_version"] {
        let value: i64 = conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap();
        sql.push_str(&format!("PRAGMA {pragma} = {value};\n"));
    }
    let schema = |kinds: &str| -> Vec<(String, String)> {
        let query = format!(
            "SELECT name, sql FROM sqlite_schema WHERE type IN ({kinds}) AND sql IS NOT NULL
                AND name NOT LIKE 'sqlite%' ORDER BY rowid"
        );
        let mut select = conn.prepare(&query).unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let tables = schema("'table'");
    for (_, create) in &tables {
        sql.push_str(&format!("{create};\n"));
    }
    for (name, _) in &tables {
        let mut select = conn.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..columns)
                .map(|i| match row.get_ref(i).unwrap() {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(i) => i.to_string(),
                    ValueRef::Real(r) => format!("{r:?}"),
                    ValueRef::Text(t) => format!("'{}'", std::str::from_utf8(t).unwrap().replace('\'', "''")),
                    ValueRef::Blob(b) => {
                        format!("x'{}'", b.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
                    }
                })
                .collect();
            sql.push_str(&format!("INSERT INTO \"{name}\" VALUES ({});\n", values.join(", ")));
        }
    }
    // Behind the rows: triggers must not fire while they are loaded.
    for (_, create) in schema("'index', 'trigger'") {
        sql.push_str(&format!("{create};\n"));
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// What the schema is, however it came about: tables with their columns, keys and indexes.
fn shape(conn: &Connection) -> BTreeSet<String> {
    let queries = [
        "SELECT t.name || ' strict ' || t.strict || ' rowid ' || NOT t.wr FROM pragma_table_list t
          WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite%'",
        "SELECT t.name || '.' || c.name || ' ' || c.type || ' notnull ' || c.\"notnull\" || ' default '
                || ifnull(c.dflt_value, '-') || ' pk ' || c.pk
           FROM pragma_table_list t, pragma_table_xinfo(t.name) c WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite%'",
        "SELECT t.name || '.' || f.\"from\" || ' -> ' || f.\"table\" || '.' || ifnull(f.\"to\", '-') || ' ' || f.on_delete
           FROM pragma_table_list t, pragma_foreign_key_list(t.name) f WHERE t.schema = 'main'",
        "SELECT t.name || ' index ' || i.name || ' unique ' || i.\"unique\" || ' partial ' || i.partial || ' on '
                || (SELECT group_concat(ifnull(c.name, '?'), ',') FROM pragma_index_info(i.name) c)
           FROM pragma_table_list t, pragma_index_list(t.name) i WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite%'",
        "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema WHERE type IN ('trigger', 'view')",
    ];
    let mut shape = BTreeSet::new();
    for query in queries {
        let mut select = conn.prepare(query).unwrap();
        let lines = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        shape.extend(lines.map(Result::unwrap));
    }
    shape
}

fn read_only(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// One row at least in every table.
fn fill(store: &Store) {
    let seq = put(store, nth(1));
    let other = put(store, nth(2));
    put(
        store,
        new(&[("12:00:09.5", "mailto:p@example.org"), ("12:00:08", "mailto:q@example.org")], "\0\r\n'ÿ"),
    );
    store
        .write(move |tx| {
            tx.execute_batch(&format!(
                "INSERT INTO person (id, address, name, token, confirm_token, created) VALUES (1, 'a@b', 'a', 't', 'c', 5);
                 INSERT INTO raw_mail (id, raw, received, via, forget_after) VALUES (1, x'00ff', 1, 'smtp', 9);
                 UPDATE total SET items = 1, bytes = 2 WHERE what = 'raw_mail';
                 UPDATE message SET raw = 1, person = 1, state = 'routed' WHERE seq = {seq};
                 INSERT INTO holder VALUES ({seq}, x'61', 3);
                 INSERT INTO removed VALUES (zeroblob(32), 1);
                 INSERT INTO peer (id, address, first_seen, reputation) VALUES (1, x'62', 1, -0.25);
                 INSERT INTO key (id, peer, ours, state, scheme, scheme_pinned, derivation, secret, origin, created)
                      VALUES (1, 1, x'67', 'current', 'hmac', 0, 'hkdf', x'6b', 'dh', 1);
                 INSERT INTO exchange (peer, ours, kind, role, state, derivation, key, created, expires)
                      VALUES (1, x'68', 'dh', 'asked', 'sent', 'hkdf', 1, 1, 2);
                 INSERT INTO thread (id, person, seq, subject, authenticated, opened, until) VALUES (1, 1, {seq}, 'Re: it''s', 1, 1, 2);
                 INSERT INTO delivery (kind, seq, thread, to_address, transport, destination, stamp, message_id, why, state, next_try, created)
                      VALUES ('answer', {seq}, 1, x'63', 'mailto', 'b', '2023/11/14 00:00:00.5', '<1@b>', 'why', 'ready', 1, 1);
                 INSERT INTO attempt (delivery, at, ended, said, transcript)
                      SELECT id, 1, 'again', '451 later', '> QUIT' FROM delivery;
                 INSERT INTO decision VALUES ({seq}, 1, 'routed', '{{}}');
                 INSERT INTO match VALUES ({seq}, {other}, 0, 1.5, 2.5, 3.0);
                 INSERT INTO aside (reason, place, raw, kept, length, received, via, forget_after, source)
                      VALUES ('r', 'p', x'64', '/c', 1, 1, 'smtp', 2, 'smtp');
                 INSERT INTO addressed VALUES ({seq}, 1, 1);
                 INSERT INTO vote VALUES ({seq}, zeroblob(32));
                 INSERT INTO block VALUES ('host', x'65', 'r', 1);
                 INSERT INTO bounce VALUES (x'66', 1, 2, '5.1.1', NULL);
                 INSERT INTO reputation (peer, at, cause, number, change, value) VALUES (1, 1, 'gain', 1, 0.5, 0.5);
                 INSERT INTO mail_seen VALUES (zeroblob(32), 1);
                 INSERT INTO import_file VALUES (1, x'2f6dff', 9, 1, 'new', 9, 1);
                 INSERT INTO import_mail VALUES (1, 0, 0, 'post', {seq}, -5, 9, NULL);
                 INSERT INTO tally (kind, who, at, number) VALUES ('post', zeroblob(32), 1, 1);
                 INSERT INTO imap_folder (id, account, server, folder, uidvalidity, next_uid) VALUES (1, 'a', 'u@h:993', 'INBOX', 7, 5);
                 INSERT INTO imap_mail VALUES (1, 4, 'after', 1);
                 INSERT INTO imap_account VALUES ('a', 'INBOX', 1, 1, 2, 1, 0, 0, 900, NULL, NULL, 1, 0);"
            ))?;
            meta::set_last_time(tx, at(5))
        })
        .unwrap();
    let empty = store
        .read(|conn| {
            let mut tables = conn.prepare(
                "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'",
            )?;
            let names = tables.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(names
                .into_iter()
                .filter(|name| !conn.prepare(&format!("SELECT 1 FROM \"{name}\"")).unwrap().exists([]).unwrap())
                .collect::<Vec<_>>())
        })
        .unwrap();
    assert_eq!(empty, Vec::<String>::new(), "the dump has to show a row of every table");
}

#[test]
fn writes_the_dump_of_the_newest_version_when_asked() {
    let temp = temp();
    fill(&temp.store);
    temp.store.close();
    let text = dump(&read_only(&temp.data().join(FILE_NAME)));
    if std::env::var_os("CMR_MAIL_WRITE_DUMP").is_some() {
        std::fs::write(dump_file(schema_version()), text).unwrap();
    }
}

#[test]
fn every_version_that_ever_was_becomes_the_newest_one() {
    let fresh = temp();
    fresh.store.close();
    let expected = shape(&read_only(&fresh.data().join(FILE_NAME)));
    assert!(expected.len() > 200, "the comparison has to see something: {}", expected.len());
    for version in 1..=schema_version() {
        let dump = std::fs::read_to_string(dump_file(version))
            .unwrap_or_else(|error| panic!("no dump of version {version}: {error}"));
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let file = data.join(FILE_NAME);
        Connection::open(&file).unwrap().execute_batch(&dump).unwrap();
        let before: i64 = read_only(&file).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(before, version);
        let store = Store::open(&data).unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert_eq!(number(&store, "PRAGMA user_version"), schema_version());
        let found = store.read(|conn| Ok(shape(conn))).unwrap();
        let differences: Vec<_> = expected.symmetric_difference(&found).collect();
        assert!(differences.is_empty(), "version {version}: {differences:#?}");
        assert_eq!(store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new(), "version {version}");
        // What was in it still works.
        let odd = store.read(|conn| messages::get(conn, 3)).unwrap().unwrap();
        assert_eq!(odd.text.unwrap().body, "\0\r\n'ÿ".as_bytes());
        assert_eq!(store.write(|tx| admit(tx, &nth(1))).unwrap(), Admitted::Duplicate { seq: Some(1) });
        assert_eq!(store.read(meta::last_time).unwrap(), Some(at(5)));
        assert_eq!(store.read(|conn| queue::list(conn, true, 10)).unwrap().len(), 1);
        put(&store, nth(50));
    }
}

/// Who is about to bring a database up to date wants a copy first.
#[test]
fn an_older_version_can_be_copied_and_is_named_to_who_only_reads() {
    for version in 1..schema_version() {
        let dir = tempfile::tempdir().unwrap();
        let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
        std::fs::create_dir(&data).unwrap();
        let file = data.join(FILE_NAME);
        let dump = std::fs::read_to_string(dump_file(version)).unwrap();
        Connection::open(&file).unwrap().execute_batch(&dump).unwrap();
        let error = Snapshot::open(&data).unwrap_err();
        assert!(matches!(error, StoreError::Older { found, .. } if found == version), "{error:?}");
        assert_eq!(crate::store::backup(&data, &copy, at(7)).unwrap().unwrap().messages, 3);
        for file in [&file, &copy] {
            let now: i64 = read_only(file).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(now, version, "nobody has written to it");
        }
        // It is good for going back, and for going on.
        crate::store::restore(&data, &copy).unwrap();
        let store = Store::open(&data).unwrap();
        assert_eq!(number(&store, "PRAGMA user_version"), schema_version());
        assert_eq!(store.read(|conn| verify(conn, true)).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_migration_that_a_crash_cut_short_is_done_again() {
    // The file exists and has its journal mode, the schema is not there yet.
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join(FILE_NAME), "").unwrap();
    Connection::open(data.join(FILE_NAME)).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let store = Store::open(&data).unwrap();
    put(&store, nth(1));
    // Two at the same time: one migrates, the other finds it done.
    let other = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let data = other.path().join("data");
            std::thread::spawn(move || Store::open(&data).map(|store| number(&store, "PRAGMA user_version")))
        })
        .collect();
    for t in threads {
        assert_eq!(t.join().unwrap().unwrap(), schema_version());
    }
}
