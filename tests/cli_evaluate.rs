//! `cmr-mail evaluate`: what it prints, and what it says about mail that can't be evaluated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod cli_support;

use cli_support::House;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The topics of `tests/evaluate`, each a list of subject and text.
fn topics() -> Vec<(String, Vec<(String, String)>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluate");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let mails = text.split("\n\n").map(|mail| {
                let (subject, text) = mail.split_once('\n').unwrap();
                (subject.to_owned(), text.to_owned())
            });
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), mails.collect())
        })
        .collect()
}

fn mail(subject: &str, text: &str, more: &str) -> String {
    format!("From: Ann <ann@example.org>\nSubject: {subject}\n{more}\n{text}\n")
}

/// A folder for each topic: its even mails to learn, its odd ones to ask about.
fn write_labelled(root: &Path) {
    for (label, mails) in topics() {
        for (n, (subject, text)) in mails.iter().enumerate() {
            let folder = root.join(if n % 2 == 0 { "train" } else { "test" }).join(&label);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(n.to_string()), mail(subject, text, "")).unwrap();
        }
    }
}

/// An mbox in which every mail of the topics is answered once, later.
fn write_threads(path: &Path) -> usize {
    let mut mbox = String::new();
    let mut day = 0;
    let mut add = |subject: &str, text: &str, id: &str, more: &str| {
        day += 1;
        let date = format!("Date: {day} Jan 2026 10:00:00 +0000\nMessage-ID: <{id}@example.org>\n{more}");
        let date = date.replacen(
            &format!("{day} Jan"),
            &format!("{} {}", day % 28 + 1, ["Jan", "Feb"][day / 28]),
            1,
        );
        write!(mbox, "From x Thu Jan  1 00:00:00 1970\n{}\n", mail(subject, text, &date)).unwrap();
    };
    let mut mails = 0;
    for round in ["question", "answer"] {
        for (label, texts) in topics() {
            for (n, (subject, text)) in texts.iter().enumerate() {
                let more = match round {
                    "answer" => format!("In-Reply-To: <question-{label}-{n}@example.org>\n"),
                    _ => String::new(),
                };
                let quoted: String = text.lines().map(|line| format!("> {line}\n")).collect();
                let text =
                    if round == "answer" { format!("{quoted}I have seen that too.") } else { text.clone() };
                add(subject, &text, &format!("{round}-{label}-{n}"), &more);
                mails += 1;
            }
        }
    }
    fs::write(path, mbox).unwrap();
    mails
}

fn report(house: &House, args: &str) -> Value {
    let ended = house.run(&format!("evaluate --json {args}"), b"").code(0);
    serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {}", ended.out))
}

#[test]
fn labels_by_every_method() {
    let house = House::new();
    write_labelled(house.path());
    let found = report(&house, "--train train --test test --method all --view mail");
    assert_eq!(
        (found["train"].as_u64(), found["test"].as_u64(), found["labels"].as_u64()),
        (Some(12), Some(12), Some(3))
    );
    assert_eq!((found["skipped"].as_u64(), found["as_they_lie"].as_u64()), (Some(0), Some(0)));
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows[0]["method"], "default");
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row["default"], n == 0, "{row}");
        for field in [
            "accuracy",
            "top10",
            "top32",
            "micros_mean",
            "micros_p50",
            "micros_p99",
            "ratio_to_deflate_scan",
            "insert_micros_per_kb",
            "questions",
        ] {
            assert!(row[field].is_number(), "{field}: {row}");
        }
        assert!(
            row.get("bytes_per_message").is_some() && row.get("metric").is_some() && row["sampled"] == false
        );
        assert!(
            row["micros_mean"].as_f64() > Some(0.0)
                && row["micros_p99"].as_f64() >= row["micros_p50"].as_f64()
        );
        // Chance is a third; what raw D does with peers is no better, which is the point of its row.
        if row["metric"] != "raw" {
            assert!(row["accuracy"].as_f64() >= Some(0.6), "{row}");
        }
    }
    let methods: Vec<&str> = rows.iter().filter_map(|row| row["method"].as_str()).collect();
    for method in ["deflate", "zstd", "bytes", "bm25", "bm25-squared", "knn", "bayes", "svm"] {
        assert!(methods.contains(&method), "{methods:?}");
    }
}

#[test]
fn threads_from_an_mbox_a_maildir_and_a_folder() {
    let house = House::new();
    let path = house.path().join("box");
    let mails = write_threads(&path);
    let asked = u64::try_from(mails / 2).unwrap();
    let first = report(&house, &format!("--threads box --pool {} --method all --newest", mails / 2));
    assert_eq!((first["train"].as_u64(), first["test"].as_u64()), (Some(asked), Some(asked)));
    let rows = first["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["method"] != "svm"), "it can't be trained for threads");
    assert!(rows[0]["accuracy"].as_f64() > Some(0.9) && rows[0]["top10"].as_f64() == Some(1.0), "{first}");
    // The same mails in a Maildir give the same answers.
    let text = fs::read_to_string(&path).unwrap();
    for (n, mail) in text.split("From x Thu Jan  1 00:00:00 1970\n").skip(1).enumerate() {
        let folder = house.path().join(if n % 2 == 0 { "Maildir/cur" } else { "Maildir/new" });
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(n.to_string()), mail).unwrap();
    }
    let second = report(&house, &format!("--threads Maildir --pool {} --newest --sample 10", mails / 2));
    assert_eq!(second["rows"][0]["questions"].as_u64(), Some(10));
    assert_eq!((second["test"].as_u64(), &second["rows"][0]["sampled"]), (Some(asked), &Value::Bool(true)));
    // Drawn threads, other settings, a plot, and messages made to attract.
    let third = report(
        &house,
        "--threads box --pool 20 --view noq --seed 3 --metric gain,raw --age 0 --attract 10 --plot growth.svg",
    );
    assert_eq!(third["train"].as_u64(), Some(22), "two of them made to attract");
    assert!(third["rows"].as_array().unwrap().iter().all(|row| row["attracted"].is_number()));
    assert_eq!(third["rows"].as_array().unwrap().len(), 2);
    assert!(fs::read_to_string(house.path().join("growth.svg")).unwrap().starts_with("<svg"));
    // From how many bits on an answer is a match.
    let found = report(&house, "--threads box --pool 12 --newest --thresholds --view strip");
    assert_eq!(found["thresholds"]["questions"].as_u64(), Some(asked), "{found}");
    for list in ["bits", "strong"] {
        let rows = found["thresholds"][list].as_array().unwrap();
        assert_eq!(rows.iter().filter(|row| row["in_use"] == true).count(), 1, "{found}");
        let answers: Vec<u64> = rows.iter().map(|row| row["answers"].as_u64().unwrap()).collect();
        assert!(answers.is_sorted_by(|a, b| a >= b), "{found}");
        for field in ["from", "precision", "recall", "f1", "answered"] {
            assert!(rows.iter().all(|row| row[field].is_number()), "{field}: {found}");
        }
    }
}

#[test]
fn what_cannot_be_evaluated_is_said_with_its_reason() {
    let house = House::new();
    write_labelled(house.path());
    write_threads(&house.path().join("box"));
    for empty in ["empty", "one/only"] {
        fs::create_dir_all(house.path().join(empty)).unwrap();
    }
    fs::write(house.path().join("one/only/1"), mail("a", "b", "")).unwrap();
    fs::write(
        house.path().join("strangers.mbox"),
        "From x Thu Jan  1 00:00:00 1970\nSubject: a\n\nb\n\n".repeat(3),
    )
    .unwrap();
    for (args, code, said) in [
        ("", 64, "--train"),
        ("--train train", 64, "--test"),
        ("--threads box", 64, "--pool"),
        ("--threads box --pool 0", 64, "--pool"),
        ("--train train --test test --threads box --pool 3", 64, "cannot be used"),
        ("--train train --test test --view body", 64, "noq"),
        ("--train train --test test --thresholds", 64, "--threads"),
        ("--train train --test test --method gzip", 64, "bm25"),
        ("--train train --test test --metric euclid", 64, "one-sided"),
        ("--train train --test test --attract 0", 64, "percentage"),
        ("--train train --test test --age -1", 64, "age"),
        ("--train nowhere --test test", 65, "nowhere"),
        ("--train train --test nowhere", 65, "nowhere"),
        ("--train empty --test test", 65, "at least two"),
        ("--train one --test test", 65, "at least two"),
        ("--train train --test one", 65, "no mail"),
        ("--threads nowhere --pool 3", 65, "nowhere"),
        ("--threads empty --pool 3", 65, "0 mails"),
        ("--threads box --pool 1000", 65, "leaves none"),
        ("--threads strangers.mbox --pool 2", 65, "thread"),
        ("--train train --test test --plot nowhere/x.svg", 73, "nowhere"),
    ] {
        let ended = house.run(&format!("evaluate {args}"), b"").code(code);
        assert!(ended.err.contains(said), "{args}: {}", ended.err);
        assert_eq!(ended.out, "", "{args}");
    }
}

#[test]
fn what_is_unreadable_or_empty_is_passed_over() {
    let house = House::new();
    write_labelled(house.path());
    let train = house.path().join("train");
    fs::create_dir(train.join("no-mail")).unwrap();
    fs::create_dir(train.join("one-mail")).unwrap();
    fs::write(train.join("one-mail/1"), mail("Alone", "nobody writes about chess here", "")).unwrap();
    // A link to nothing can be read by nobody, root included.
    std::os::unix::fs::symlink("nothing", train.join("cooking/broken")).unwrap();
    fs::write(train.join("cooking/secret"), mail("x", "y", "")).unwrap();
    fs::set_permissions(train.join("cooking/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(train.join("cooking/empty"), "").unwrap();
    let readable = fs::read(train.join("cooking/secret")).is_ok();
    let ended = house.run("evaluate --json --train train --test test", b"").code(0);
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(found["labels"].as_u64(), Some(4));
    assert_eq!(found["skipped"].as_u64(), Some(if readable { 1 } else { 2 }), "{}", ended.err);
    assert!(ended.err.contains("cooking/broken"), "{}", ended.err);
    assert_eq!(found["as_they_lie"].as_u64(), Some(1), "the empty file");
    let text = house.run("evaluate --train train --test test --method svm", b"").code(0).out;
    assert!(text.contains("default gain") && text.contains("svm"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// An mbox in which the mails of the topics are answered by somebody else, in the same words.
fn write_conversations(path: &Path) -> usize {
    let mut mbox = String::new();
    let mut mails = 0;
    for (round, hour) in [("question", 10), ("answer", 20)] {
        for (label, texts) in topics() {
            for (n, (subject, text)) in texts.iter().enumerate() {
                let more = if round == "answer" {
                    format!("In-Reply-To: <question-{label}-{n}@example.org>\n")
                } else {
                    String::new()
                };
                write!(
                    mbox,
                    "From x Thu Jan  1 00:00:00 1970\nFrom: {round}-{n}@example.org\nSubject: {subject}\n\
                     Message-ID: <{round}-{label}-{n}@example.org>\nDate: {} Jan 2026 {hour}:{n:02}:00 +0000\n{more}\n\
                     {text}\n\n",
                    n % 28 + 1
                )
                .unwrap();
                mails += 1;
            }
        }
    }
    fs::write(path, mbox).unwrap();
    mails
}

#[test]
fn a_network_is_simulated_and_drawn() {
    let house = House::new();
    let mbox = house.path().join("list.mbox");
    let mails = write_conversations(&mbox);
    let page = house.path().join("network.html");
    let asked = format!("simulate {} --gateways 4 --report {}", mbox.display(), page.display());
    let ended = house.run(&format!("{asked} --json"), b"").code(0);
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(found["gateways"], 4);
    assert_eq!(found["mails"], mails);
    assert!(found["clients"].as_u64().unwrap() > 2);
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["configured", "central", "literal", "flooding-2", "random-40"]);
    for row in rows {
        for field in
            ["recall", "precision", "bodies_per_post", "offers_per_post", "hops_mean", "load_max_share"]
        {
            assert!(row[field].is_f64(), "{field}: {row}");
        }
    }
    assert!(rows[1]["recall"].as_f64().unwrap() > 0.5, "who answers in the same words is found: {found}");
    assert!(fs::read_to_string(&page).unwrap().contains("4 gateways"));
    // The same for people.
    let ended = house.run(&format!("{asked} --rules configured,central"), b"").code(0);
    assert!(ended.out.contains("configured") && ended.out.contains("recall"), "{}", ended.out);
}

#[test]
fn scenarios_are_read_and_refused_in_words() {
    let house = House::new();
    let mbox = house.path().join("list.mbox");
    write_conversations(&mbox);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios");
    let mut played = 0;
    for entry in fs::read_dir(shipped).unwrap() {
        let asked = format!(
            "simulate {} --scenario {} --gateways 3 --mails 12 --rules configured",
            mbox.display(),
            entry.unwrap().path().display()
        );
        house.run(&asked, b"").code(0);
        played += 1;
    }
    assert!(played >= 7);
    let own = house.path().join("own.toml");
    for (text, args, code, said) in [
        ("gatways = 3", "", 65, "gatways"),
        ("loss = 2", "", 65, "loss = 2: a share from 0 to 0.9 is needed"),
        ("", "--gateways 0", 64, "gateways = 0: a number from 1 to 100,000 is needed"),
        ("", "--rules sprinkling", 64, "sprinkling"),
    ] {
        fs::write(&own, text).unwrap();
        let asked = format!("simulate {} --scenario {} {args}", mbox.display(), own.display());
        let ended = house.run(&asked, b"").code(code);
        assert!(ended.err.contains(said), "{asked}: {}", ended.err);
    }
}

/// What a network of real gateways did stands beside what the simulator makes of the same posts.
#[test]
fn a_trace_is_replayed() {
    let house = House::new();
    let file = house.path().join("network.trace");
    let gateway = |knows: &str| {
        format!("{{\"gateway\":{{\"transport\":\"http\",\"asked\":true,\"knows\":[{knows}]}}}}\n")
    };
    let post = |at: u64, author: u32, home: u32, words: &str| {
        let text = format!("About {words} and {words} again, as {words} goes with {words}.");
        let rest = format!("\"home\":{home},\"thread\":0,\"text\":{text:?}");
        format!("{{\"post\":{{\"at\":{at}000000,\"author\":{author},{rest}}}}}\n")
    };
    let lines = [
        "{\"network\":{\"cache\":100,\"latency_ms\":[1,9],\"routing\":{\"max_hops\":2}}}\n".to_owned(),
        gateway("1"),
        gateway("0"),
        post(1_700_000_000, 0, 0, "telescopes, mirrors and lenses"),
        post(1_700_000_100, 1, 1, "telescopes, mirrors and lenses"),
        "{\"transfer\":{\"at\":1700000101000000,\"from\":0,\"to\":1,\"post\":0,\"cause\":\"walk\",\"ended\":\"taken\",\"attempts\":1}}\n".to_owned(),
        "{\"reached\":{\"author\":1,\"post\":0}}\n".to_owned(),
    ];
    fs::write(&file, lines.concat()).unwrap();
    let asked = format!("simulate --trace {} --rules configured,central --json", file.display());
    let found: Value = serde_json::from_str(&house.run(&asked, b"").code(0).out).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["trace", "configured", "central"]);
    assert_eq!((&found["gateways"], &found["clients"], &found["mails"]), (&2.into(), &2.into(), &2.into()));
    assert_eq!((rows[0]["recall"].as_f64(), rows[0]["bodies_per_post"].as_f64()), (Some(0.5), Some(0.5)));
    assert_eq!(rows[1]["recall"].as_f64(), Some(1.0), "{found}");
    for (text, args, code, said) in [
        ("{}", "", 65, "line 1"),
        ("", "", 65, "no gateway, or no post"),
        ("", "--gateways 3", 64, "--gateways"),
        ("", "list.mbox", 64, "MBOX"),
    ] {
        fs::write(&file, text).unwrap();
        let ended = house.run(&format!("simulate --trace {} {args}", file.display()), b"").code(code);
        assert!(ended.err.contains(said), "{text} {args}: {}", ended.err);
    }
}
