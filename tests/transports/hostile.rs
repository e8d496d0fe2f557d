//! Addresses that enemies write into headers: whatever the router would like to send there, nothing
//! goes.

use std::net::TcpListener;

use crate::gate::{Gate, ask, own_ip, post};
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message};

/// Whoever writes somebody's web address into headers makes us upload there next to nothing, however
/// many addresses of a host, hosts of a domain and domains there are.
#[test]
fn strangers_cause_few_uploads() {
    let listed = "http://listed.victim.example/cmr";
    let gate = Gate::new("home", |config: Config| {
        // One attempt each: none of these names is in the DNS.
        let config = config.text("send", "retry_first", "1h").text("send", "retry_max", "1h");
        config.text("http", "listen", "127.0.0.1:0").set("routing", "pinned", format!("[{listed:?}]"))
    });
    gate.start();
    gate.posts("The largest planet of the solar system is Jupiter, and Saturn is the second largest.");
    let mut number = 0;
    let mut asks = |addresses: &[String]| {
        number += 1;
        let hops: Vec<_> =
            addresses.iter().zip(1..).map(|(address, n)| (in_seconds(-5 * n), address.as_str())).collect();
        let text = format!("What is the largest planet of the solar system? Number {number} asks.");
        let asks = message(&hops, text);
        let answer = ask(gate.at("http"), &post("/cmr", "", &asks.write()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        asks.id().to_string()
    };
    // One address again and again; others of its host and domain; many lines in a header.
    let mut all: Vec<_> = (0..10).map(|_| asks(&["http://victim.example/upload".to_owned()])).collect();
    for n in 0..10 {
        all.push(asks(&[format!("http://victim.example/upload?{n}")]));
        all.push(asks(&[format!("https://h{n}.victim.example:8443/")]));
    }
    all.push(asks(&(0..20).map(|n| format!("http://l{n}.victim.example/")).collect::<Vec<_>>()));
    // A mail server is not what a web address may lead to.
    all.push(asks(&["http://smtp.other.example:25/".to_owned()]));
    // Somebody else asks, while there are so few contacts that it is among those considered.
    all.push(asks(&["http://later.example/".to_owned()]));
    gate.until_routed();
    // Many domains.
    for n in 0..60 {
        all.push(asks(&[format!("http://www.victim{n}.example/")]));
    }
    gate.until_routed();
    let queue = gate.house.json(&["queue", "list", "--all"]);
    let mut to = std::collections::BTreeMap::<&str, usize>::new();
    for row in queue.as_array().unwrap() {
        *to.entry(row["to"].as_str().unwrap()).or_default() += 1;
    }
    println!("{to:?}");
    let of_victim = to.iter().filter(|(to, _)| to.contains("victim.example") && **to != listed);
    assert_eq!(of_victim.clone().count(), 2, "two addresses of a domain: {to:?}");
    assert_eq!(to["http://victim.example/upload"], 3, "three trials of one");
    assert!(of_victim.map(|(_, sent)| sent).sum::<usize>() <= 6, "{to:?}");
    let strangers = to.keys().filter(|to| **to != listed).count();
    assert!((3..=30).contains(&strangers), "{strangers} new addresses: {to:?}");
    // The operator's own contact in the same domain is another matter.
    assert!(to.get(listed).is_some_and(|sent| *sent > 6), "{to:?}");
    // And `explain` says it.
    let said = |id: &String| gate.house.json(&["explain", id]).to_string();
    let of: Vec<String> = all.iter().map(said).collect();
    for words in ["was sent 3/d, which is the limit", "2 other contacts at victim.example", "30/h addresses"]
    {
        assert!(of.iter().any(|it| it.contains(words)), "{words}");
    }
    assert!(
        of.iter().any(|it| it.contains("port 25 of http://smtp.other.example:25/")),
        "{}",
        of[of.len() - 1]
    );
    assert!(!to.contains_key("http://smtp.other.example:25/"), "{to:?}");
}

#[test]
fn nothing_goes_to_hostile_addresses() {
    let victim = TcpListener::bind((own_ip(), 0)).unwrap();
    victim.set_nonblocking(true).unwrap();
    let at = victim.local_addr().unwrap();
    let gate = Gate::new("home", |config: Config| config.text("http", "listen", "127.0.0.1:0"));
    gate.start();
    gate.posts("The largest planet of the solar system is Jupiter, and Saturn is the second largest.");
    let port = at.port();
    let hostile = [
        format!("http://{at}/cmr"),
        format!("http://localhost:{port}/"),
        format!("http://LOCALHOST.:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("https://{at}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://192.168.1.1/setup.cgi?reboot=1".to_owned(),
        "http://printer.local/".to_owned(),
        format!("http://{at}\\@peer.example/"),
        format!("http://user@{at}/"),
        "ssh://-oProxyCommand=touch%20x/".to_owned(),
        "ssh://cmr@peer.example/rm%20-rf".to_owned(),
        "mailto:a?bcc=b".to_owned(),
        "mailto:a@b.example?bcc=c@d.example".to_owned(),
        "mailto:a@b.example,c@d.example".to_owned(),
        "mailto:victim@peer.example".to_owned(),
        "mailto:olga@home.test".to_owned(),
        format!("udp://{at}/victim"),
        "udp://victim.example:53/x".to_owned(),
        "udp://8.8.8.8:53/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "javascript:alert(1)".to_owned(),
        "gopher://peer.example:25/_HELO".to_owned(),
    ];
    // How often there was something that its sender could have been told.
    let mut tempting = 0;
    for (number, address) in hostile.iter().enumerate() {
        let hops = [(in_seconds(-5), address.as_str())];
        let asks =
            message(&hops, format!("What is the largest planet of the solar system? Number {number} asks."));
        let answer = ask(gate.at("http"), &post("/cmr", "", &asks.write()));
        assert_eq!(answer.status, 200, "{address}: {}", answer.text());
        let id = asks.id().to_string();
        gate.house.until_idle();
        let explained = gate.house.json(&["explain", &id]);
        tempting += usize::from(!explained["matches"].as_array().unwrap().is_empty());
        assert!(explained["forwards"].as_array().unwrap().is_empty(), "{address}: {explained}");
    }
    let queue = gate.house.json(&["queue", "list", "--all"]);
    assert_eq!(queue.as_array().unwrap().len(), 0, "{queue}");
    assert!(tempting > 0, "nothing was close to anything");
    let met = victim.accept();
    assert!(met.is_err(), "somebody was asked: {met:?}");
}
