//! Everything out again, and in again.

use super::{counts, import, mail, result, words, write};
use crate::cli_support::{House, ended};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Every message: id, scope, and exact bytes.
fn pool(house: &House) -> Vec<(String, String, Vec<u8>, String)> {
    let database = rusqlite::Connection::open(house.data().join("cmr-mail.db")).unwrap();
    let mut select = database
        .prepare(
            "SELECT hex(m.public_id), m.scope || ' ' || m.kind, CAST(t.header || t.body AS BLOB), hex(m.author)
               FROM message m JOIN text t ON t.seq = m.seq ORDER BY m.seq",
        )
        .unwrap();
    select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Files and folders that others could read or write.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode();
    let mut found: Vec<PathBuf> = Some(path.to_owned()).filter(|_| mode & 0o077 != 0).into_iter().collect();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            found.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn an_export_is_for_its_owner_and_begins_only_where_it_can_end() {
    let house = House::new();
    write(house.path(), "m/cur/1", mail(1, &words(1)));
    import(&house, &house.path().join("m"), "").code(0);
    let to = house.path().join("out");
    std::fs::create_dir(&to).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o700)).unwrap();
    for format in ["cmr", "maildir", "mbox"] {
        let mut command = house.command(&format!("export --format {format}"));
        command.arg(to.join(format));
        ended(&mut command, b"").code(0);
    }
    assert!(to.join("mbox").is_file() && to.join(".mbox.cmr-mail-export.jsonl").is_file());
    assert_eq!(open_to_others(&to), [""; 0].map(PathBuf::from));
    // The list of an export whose mbox was taken away.
    std::fs::remove_file(to.join("mbox")).unwrap();
    let mut command = house.command("export --format mbox");
    command.arg(to.join("mbox"));
    let refused = ended(&mut command, b"").code(73);
    assert!(refused.err.contains(".mbox.cmr-mail-export.jsonl exists"), "{refused:#?}");
    assert!(!to.join("mbox").exists(), "nothing was written");
}

#[test]
fn what_was_imported_plainly_is_restored_afterwards() {
    let house = House::new();
    house.run("post -", b"words that everybody may see").code(0);
    write(house.path(), "m/cur/1", mail(1, &words(1)));
    import(&house, &house.path().join("m"), "").code(0);
    let to = house.path().join("out");
    let mut command = house.command("export --format cmr");
    command.arg(&to);
    ended(&mut command, b"").code(0);
    let other = House::new();
    assert_eq!(result(&import(&other, &to, "").code(0)).0["messages"], 2);
    let scopes =
        || pool(&other).iter().map(|it| it.1.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(scopes(), ["local", "local"]);
    assert_eq!(counts(&import(&other, &to, "--restore").code(0)), [0, 2, 0, 0, 0]);
    assert_eq!(scopes(), ["public", "local"], "as it was there");
}

#[test]
fn an_export_makes_the_same_pool() {
    let house = House::new();
    let root = house.path().join("mail");
    for number in 0..20 {
        write(&root, &format!("cur/{number}:2,"), mail(number, &words(number)));
    }
    import(&house, &root, "").code(0);
    // What could be taken for something else: a text that begins like a mail of an mbox, one that
    // begins like a CMR message, one that is no text, one of our own.
    house.run("post -", b"From here\n>From there\nand more words than these").code(0);
    house.run("post -", b"0\r\n2026/01/01 00:00:00.5 mailto:x@y.example\r\n\r\n5\r\nhello").code(0);
    let mut command = house.command("receive");
    let odd = b"0\r\n2026/01/02 03:04:05.678 mailto:\xff\xfe@y.example\r\n\r\n6\r\n\x00\xff\r\n\x1b.";
    ended(&mut command, odd).code(0);
    let before = pool(&house);
    assert_eq!(before.len(), 23);
    for format in ["cmr", "maildir", "mbox"] {
        let to = house.path().join(format!("out-{format}"));
        let mut command = house.command(&format!("export --json --format {format}"));
        command.arg(&to);
        let said = ended(&mut command, b"").code(0).json();
        assert_eq!(said["messages"], 23, "{format}");
        let again = ended(&mut command, b"").code(73);
        assert!(again.err.contains("exists and is not empty"), "{again:#?}");
        let other = House::new();
        let (last, _) = result(&import(&other, &to, "--restore").code(0));
        assert_eq!(last["stored"], 23, "{format}: {last}");
        assert_eq!(pool(&other), before, "{format}");
        let question = format!("search --json {}", words(7));
        let matches =
            |house: &House| -> Value { house.run(&question, b"").code(0).json()["matches"].clone() };
        assert_eq!(matches(&other), matches(&house), "{format}: the same answers");
        // Without --restore everything is local.
        let plain = House::new();
        import(&plain, &to, "").code(0);
        assert!(pool(&plain).iter().all(|(_, what, ..)| what.starts_with("local")), "{format}");
        assert_eq!(counts(&import(&house, &to, "").code(0))[1], 23, "{format}: all known here");
    }
    let missing = import(&house, &root, "--restore").code(65);
    assert!(missing.err.contains("--restore needs what `cmr-mail export` wrote"), "{missing:#?}");
}
