//! Who becomes a contact: whoever has brought something useful, by a key of its own; and nobody by standing in
//! a header.

use crate::gate::{Gate, ask, post};
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message, signed};
use cmr_mail::keys::Scheme;

const ONE: &str = "http://one.example/cmr";
const TWO: &str = "http://two.example/cmr";
const HOME: &str = "http://home-of-others.example/cmr";
const CLIENT: &str = "mailto:client@one.example";

const PLANETS: &str =
    "Jupiter is the largest planet of the solar system, and Saturn has the brightest rings.";

#[test]
fn who_has_brought_something_useful_is_asked_first() {
    let gate = Gate::new("home", |config: Config| {
        config.text("http", "listen", "127.0.0.1:0").set("routing", "contacts", "1").set(
            "routing",
            "strong_match",
            "1.0",
        )
    });
    gate.start();
    gate.posts(PLANETS);
    gate.until_routed();
    for address in [ONE, TWO, HOME] {
        gate.house.verb(&["keys", "set", address, "--text", address]);
    }
    let brings = |from: &[&str], text: &str, key: Option<&str>| {
        let hops: Vec<_> = (20..).zip(from).map(|(age, address)| (in_seconds(-age), *address)).collect();
        let plain = message(&hops, text);
        let sent = key.map_or(plain.clone(), |key| signed(plain, Scheme::Hmac, key));
        assert_eq!(ask(gate.at("http"), &post("/cmr", "", &sent.write())).status, 200, "{text}");
        gate.until_routed();
    };
    let credited = |address: &str| {
        let conn = gate.house.read_database();
        conn.query_row("SELECT credited_at FROM peer WHERE address = ?1", [address.as_bytes()], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .unwrap()
    };
    // Useful, and from one that signs it; the router that took it from its author has brought nothing itself.
    brings(&[ONE, HOME, CLIENT], &format!("Is it so? {PLANETS}"), Some(ONE));
    assert!(credited(ONE).is_some());
    assert_eq!(credited(HOME), None, "lines below the first are not signed");
    // Heard later, and of no use to anybody here.
    brings(&[TWO], "The bakery sells rye bread and poppy seed rolls on Saturdays.", Some(TWO));
    assert_eq!(credited(TWO), None);
    // What nobody proved earns nothing.
    let stranger = "http://stranger.example/cmr";
    brings(&[stranger, ONE, CLIENT], &format!("A stranger says: {PLANETS}"), None);
    assert_eq!(credited(stranger), None);
    let before = credited(ONE);
    let id =
        gate.posts("Submarine cables carry what continents say, and fishing anchors cut them every week.");
    gate.until_routed();
    let explained = gate.house.json(&["explain", &id]);
    let asked: Vec<&str> =
        explained["peers"].as_array().unwrap().iter().map(|peer| peer["address"].as_str().unwrap()).collect();
    assert_eq!(asked, [ONE], "the one contact");
    assert_eq!(credited(ONE), before, "a stranger's word about it");
    // It brings something useful itself; from then on it earns by what others bring from it.
    brings(&[HOME], &format!("We have it, too: {PLANETS}"), Some(HOME));
    let first = credited(HOME).unwrap();
    brings(&[ONE, HOME, CLIENT], &format!("Once more: {PLANETS}"), Some(ONE));
    assert!(credited(HOME).unwrap() > first && credited(ONE) > before);
}
