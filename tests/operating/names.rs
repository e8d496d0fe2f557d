//! `check` on the records of our own names, against a name server of the test.

use super::support::daemon::{Config, House};
use super::support::dns::NameServer;

/// Name, state, what is said and how to mend it, of the lines about names.
fn lines(dns: &NameServer, more: &[&str]) -> Vec<(String, String, String)> {
    let config = Config::new()
        .text("gateway", "address", "mailto:cmr@home.org")
        .text("gateway", "hostname", "mx.home.org")
        .text("gateway", "operator", "Olga <olga@home.org>")
        .set("authentication", "verify", "true")
        .set("authentication", "dns", format!("[\"{}\"]", dns.address()));
    let house = House::new(&config);
    let args: Vec<&str> = ["check", "--json"].iter().chain(more).copied().collect();
    let ended = house.run(&args, b"");
    let report: serde_json::Value =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let text = |line: &serde_json::Value, field: &str| line[field].as_str().unwrap().to_owned();
    let wanted = ["dns", "ptr", "mx", "spf", "dkim", "dmarc"];
    let all = report["lines"].as_array().unwrap().iter();
    all.filter(|line| wanted.contains(&line["name"].as_str().unwrap()))
        .map(|line| {
            let says = format!("{} -> {}", text(line, "says"), text(line, "mend"));
            (text(line, "name"), text(line, "state"), says)
        })
        .collect()
}

#[test]
fn what_is_published_is_seen_and_what_is_missing_is_named() {
    let dns = NameServer::start();
    let address = "8.8.8.8".parse().unwrap();
    dns.host("mx.home.org", address)
        .name_of(address, "mx.home.org")
        .exchanger("home.org", 20, "backup.home.org")
        .exchanger("home.org", 10, "mx.home.org")
        .text("home.org", "v=spf1 ip4:8.8.8.8 -all")
        .text("key1._domainkey.home.org", "v=DKIM1; k=ed25519; p=AAAA")
        .text("_dmarc.home.org", "v=DMARC1; p=reject");
    let seen = lines(&dns, &["--dkim", "key1"]);
    let names: Vec<&str> = seen.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["dns", "ptr", "mx", "spf", "dkim", "dmarc"], "{seen:?}");
    assert!(seen.iter().all(|(_, state, _)| state == "ok"), "{seen:?}");
    let says = |name: &str| seen.iter().find(|(it, _, _)| it == name).unwrap().2.clone();
    assert!(says("dns").contains("mx.home.org is 8.8.8.8"), "{seen:?}");
    assert!(says("ptr").contains("8.8.8.8 is mx.home.org, there and back"), "{seen:?}");
    assert!(says("mx").contains("mx.home.org (10), backup.home.org (20)"), "{seen:?}");

    // Another host's record, and nothing else.
    let dns = NameServer::start();
    dns.host("mx.home.org", address).text("home.org", "v=spf1 ip4:9.9.9.9 -all");
    let seen = lines(&dns, &[]);
    for (name, state, says) in [
        ("dns", "ok", "mx.home.org is 8.8.8.8"),
        ("ptr", "warn", "8.8.8.8.in-addr.arpa. IN PTR mx.home.org."),
        ("mx", "warn", "home.org. IN MX 10 mx.home.org."),
        ("spf", "warn", "does not let 8.8.8.8 send"),
        ("dkim", "ok", "--dkim SELECTOR"),
        ("dmarc", "warn", "_dmarc.home.org. IN TXT \"v=DMARC1; p=none; rua=mailto:olga@home.org\""),
    ] {
        let found = seen.iter().find(|(it, _, _)| it == name);
        assert!(found.is_some_and(|(_, was, it)| was == state && it.contains(says)), "{name}: {seen:?}");
    }

    // Nothing at all is published.
    let dns = NameServer::start();
    let seen = lines(&dns, &["--dkim", "key1"]);
    let missing: Vec<&str> = seen.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(missing, ["dns", "mx", "spf", "dkim", "dmarc"], "{seen:?}");
    assert!(seen.iter().all(|(_, state, says)| state == "warn" && says.contains("publish: ")), "{seen:?}");
}
