//! What became of a mail: `trace`, the log, and what the next hop said.

use super::post;
use super::support::daemon::{Config, House};
use super::support::sink::Sink;

#[test]
fn a_mail_is_followed_from_its_receipt_to_the_last_delivery() {
    let sink = Sink::start();
    let config = Config::new().trusting_loopback().smarthost(sink.address()).text("log", "format", "json");
    let house = House::new(&config);
    let daemon = house.start();
    sink.refuse("ann@a.test", &["451 4.3.0 not now", "452 4.2.2 full"]);
    let id = post(&daemon, "ann@a.test", "Planets", "Jupiter is the largest planet of all.");
    house.until_idle();
    sink.wait_for("ann@a.test", |_| true);

    let traced = house.json(&["trace", &id]);
    let what: Vec<&str> =
        traced["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(what[0], "received", "{traced}");
    let of = |word| what.iter().filter(|it| **it == word).count();
    assert_eq!((of("decided"), of("queued"), of("not sent yet"), of("sent")), (1, 1, 2, 1), "{traced}");
    assert_eq!(what.last(), Some(&"sent"), "{traced}");
    let times: Vec<&str> =
        traced["events"].as_array().unwrap().iter().map(|e| e["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{traced}");
    let text = String::from_utf8(house.verb(&["trace", &id])).unwrap();
    assert!(text.contains("451 4.3.0 not now"), "{text}");
    assert_eq!(house.run(&["trace", "0123456789abcdef"], b"").status.code(), Some(69));

    // The dialogue of each failed attempt is there, and not that of the one that worked.
    let delivery = traced["events"].as_array().unwrap().iter().find_map(|e| e["delivery"].as_i64()).unwrap();
    let shown = house.json(&["queue", "show", &delivery.to_string()]);
    let tried = shown["tried"].as_array().unwrap();
    assert_eq!(tried.len(), 3, "{shown}");
    let transcript = tried[0]["transcript"].as_str().unwrap();
    for part in ["(connected to ", "> EHLO mx.home.test", "> RCPT TO:<ann@a.test>", "< 451 4.3.0 not now"] {
        assert!(transcript.contains(part), "{part} in\n{transcript}");
    }
    assert!(tried[2].get("transcript").is_none(), "{shown}");
    let text = String::from_utf8(house.verb(&["queue", "show", &delivery.to_string()])).unwrap();
    assert!(text.contains("    < 451 4.3.0 not now"), "{text}");

    // The same id in every line of the log that is about it.
    assert!(daemon.stop().success());
    let log = house.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for message in ["arrived", "routed", "not sent; it will be tried again", "sent"] {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("no line {message}: {log}"));
        assert!(line["id"] == id.as_str() || line["ids"] == id.as_str(), "{line}");
    }
}

/// Passwords, keys and what people wrote stand in no log, not even in the most talkative one, and
/// in no transcript.
#[test]
fn secrets_and_bodies_are_never_logged() {
    const PASSWORD: &str = "Kreuzschnabel-55";
    const KEY: &str = "4b657953656372657442656c6f6e6773";
    const WORDS: &str = "Wiedehopf-31 nests in the vineyard";
    let (login, host) = logging_in();
    let config = Config::new()
        .trusting_loopback()
        .text("log", "level", "trace")
        .text("send", "smarthost", format!("smtp://{host}"))
        .text("send", "user", "cmr")
        .text("send", "password_command", format!("printf %s {PASSWORD}"));
    let house = House::new(&config);
    let daemon = house.start();
    house.verb(&["keys", "set", "mailto:cmr@peer.test", "--hex", KEY]);
    let id = post(&daemon, "ann@a.test", "Birds", &format!("{WORDS}."));
    house.until("it is given up", |house| {
        let queue = house.json(&["queue", "list", "--all"]);
        queue.as_array().unwrap().iter().any(|it| it["state"] == "failed").then_some(())
    });
    let said = login.join().unwrap();
    assert!(said.contains("AUTH"), "the password was asked for: {said}");
    let queue = house.json(&["queue", "list", "--all"]);
    let delivery = queue[0]["delivery"].as_i64().unwrap().to_string();
    let mut seen = house.log();
    assert!(seen.contains("arrived"), "it is the log");
    let transcript = String::from_utf8(house.verb(&["queue", "show", &delivery])).unwrap();
    assert!(transcript.contains("> AUTH PLAIN ***") && transcript.contains("> (the mail, "), "{transcript}");
    seen.push_str(&transcript);
    seen.push_str(&String::from_utf8(house.verb(&["trace", &id])).unwrap());
    assert!(daemon.stop().success());
    seen.push_str(&house.log());
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("\0cmr\0{PASSWORD}"))
    };
    for secret in [PASSWORD, KEY, &KEY.to_uppercase(), "KeySecretBelongs", "Wiedehopf-31", &encoded] {
        assert!(!seen.contains(secret), "{secret} in\n{seen}");
    }
}

/// A smarthost that wants a login and refuses the mail for good; what it heard.
fn logging_in() -> (std::thread::JoinHandle<String>, std::net::SocketAddr) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut out = stream.try_clone().unwrap();
        let mut heard = String::new();
        let mut mail = false;
        out.write_all(b"220 hello\r\n").unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            heard.push_str(&line);
            heard.push('\n');
            let reply = match line.split(' ').next().unwrap() {
                "." => "550 5.7.1 no such words here",
                _ if mail => continue,
                "EHLO" => "250-hello\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "AUTH" => "235 2.7.0 ok",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            mail = line == "DATA";
            out.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            if line == "." {
                break;
            }
        }
        heard
    });
    (thread, address)
}

#[test]
fn a_later_match_that_a_limit_kept_back_is_explained() {
    let sink = Sink::start();
    let config =
        Config::new().trusting_loopback().smarthost(sink.address()).text("people", "first_post", "publish");
    let house = House::new(&config);
    let daemon = house.start();
    let question =
        post(&daemon, "ann@a.test", "Wrens", "Where does the golden wren of the mangrove build its nest?");
    house.until_idle();
    let mut told = Vec::new();
    for n in 0..4 {
        let text =
            format!("The golden wren of the mangrove builds its nest in hollow number {n}, near the water.");
        let id = post(&daemon, "bob@b.test", &format!("Nest {n}"), &text);
        house.until_idle();
        let reasons = house.json(&["explain", &id])["reasons"].to_string();
        told.push(reasons.contains(&format!("{question} matches it, but whoever wrote that was not told: ")));
    }
    assert_eq!(told, [false, false, false, true], "three of one author is what a person gets in a day");
    assert_eq!(house.json(&["status"])["silenced"], 1);
    assert!(daemon.stop().success());
}
