//! What is not taken although it can be read, and what must not hurt.

use super::{counts, import, mail, result, words, write};
use crate::cli_support::House;
use std::path::{Path, PathBuf};

const HOP: &str = "2026/01/05 10:00:00.";

/// A bare CMR message.
fn cmr(decimals: &str, body: &str) -> String {
    format!("0\r\n{HOP}{decimals} mailto:peer@c.example\r\n\r\n{}\r\n{body}", body.len())
}

fn only_id(house: &House, words: &str) -> String {
    let found = house.run(&format!("search --json {words}"), b"").code(0).json();
    found["matches"][0]["id"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
}

#[test]
fn what_the_operator_refuses_is_passed_over_and_said_before() {
    let house = House::new();
    let root = house.path().join("mail");
    write(&root, "removed", mail(1, &words(1)));
    write(&root, "blocked", mail(2, &words(2)));
    write(&root, "blocked-peer", cmr("5", "a message of one who is blocked"));
    write(&root, "taken", mail(3, &words(3)));
    import(&house, &root.join("removed"), "").code(0);
    house.run(&format!("remove {}", only_id(&house, &words(1))), b"").code(0);
    for address in ["ann2@a.example", "peer@c.example"] {
        house.run(&format!("block {address}"), b"").code(0);
    }
    for body in
        ["RSA key exchange request=1,2.", "DH key exchange request=1,2,3.", "Clear key exchange=abcd."]
    {
        write(&root, &format!("keys-{}", body.len()), cmr(&body.len().to_string(), body));
    }
    // Once more, under a wish that looks at every file again.
    let said = counts(&import(&house, &root, "--dry-run --since 2000-01-01").code(0));
    assert_eq!(said, [1, 0, 6, 0, 0], "what would be done");
    assert_eq!(counts(&import(&house, &root, "--since 2000-01-01").code(0)), said, "what is done");
    let found = house.run("search --json thing1 thing2 thing3 peer blocked", b"").code(0).json();
    assert!(found["matches"].as_array().unwrap().iter().all(|it| {
        let text = it["excerpt"].as_str().unwrap();
        text.contains("thing3") && !text.contains("blocked")
    }));
}

/// What became of each mail, without the names of files.
fn noted(house: &House) -> Vec<String> {
    let database = rusqlite::Connection::open(house.data().join("cmr-mail.db")).unwrap();
    let mut select = database
        .prepare("SELECT fate || ' ' || coalesce(thread, 'none') || ' ' || bytes FROM import_mail ORDER BY 1")
        .unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn nothing_of_a_removed_mail_is_noted_any_more() {
    let house = House::new();
    let root = house.path().join("mail");
    write(&root, "cur/1", mail(1, &words(1)));
    import(&house, &root, "").code(0);
    assert!(noted(&house)[0].starts_with("post ") && !noted(&house)[0].contains("none"));
    house.run(&format!("remove {}", only_id(&house, &words(1))), b"").code(0);
    assert_eq!(noted(&house), [""; 0]);
    assert_eq!(counts(&import(&house, &root, "").code(0)), [0, 0, 0, 0, 1], "its file is known");
    assert_eq!(counts(&import(&house, &root, "--address @a.example").code(0)), [0, 0, 1, 0, 0]);
    assert_eq!(noted(&house), ["skipped none 0"]);
    let database = rusqlite::Connection::open(house.data().join("cmr-mail.db")).unwrap();
    let options: String =
        database.query_row("SELECT options FROM import_file", [], |row| row.get(0)).unwrap();
    assert!(!options.contains("a.example"), "{options}");
}

#[test]
fn another_message_under_the_same_id_is_referred() {
    let house = House::new();
    write(house.path(), "a/1", cmr("5", "the first one"));
    write(house.path(), "b/1", cmr("5", "another one"));
    import(&house, &house.path().join("a"), "").code(0);
    let (last, failures) = result(&import(&house, &house.path().join("b"), "").code(65));
    assert_eq!(last["failed"], 1);
    assert!(failures[0]["reason"].as_str().unwrap().contains("has the id"), "{failures:?}");
    let asides = house.run("show --aside --json", b"").code(0);
    assert!(asides.out.contains("b/1") && asides.out.contains("has the id"), "{asides:#?}");
}

#[test]
fn what_unpacks_to_more_than_a_mail_may_have_fails_alone() {
    let house = House::new();
    let root = house.path().join("mail");
    let packed = |bytes: usize| -> Vec<u8> {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), bytes as u64), &mut packed).unwrap();
        packed.finish().unwrap()
    };
    let bomb = packed((64 << 20) + 1);
    assert!(bomb.len() < 100_000);
    let places: [(&str, &Path); 2] = [("mail", Path::new("cur/bomb:2,")), ("folder", Path::new("bomb.zst"))];
    for (folder, name) in places {
        let to: PathBuf = root.join(folder);
        write(&to, name.to_str().unwrap(), &bomb);
        write(
            &to,
            if folder == "mail" { "cur/good" } else { "good" },
            mail(folder.len(), &words(folder.len())),
        );
    }
    let ended = import(&house, &root, "").code(65);
    assert_eq!(counts(&ended), [2, 0, 0, 2, 0]);
    let (_, failures) = result(&ended);
    for failure in failures {
        assert!(failure["reason"].as_str().unwrap().contains("more than 67108864 bytes"), "{failure}");
    }
}
