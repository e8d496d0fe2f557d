//! The pages in a real browser: every page in light and dark, wide and narrow, and a walk through
//! them by mouse and keyboard.
//!
//! Chromium is large: it is used by `./test full` alone. `CMR_MAIL_AXE` may name a copy of axe.min.js,
//! whose checks of accessibility are made then beside those of `browser.py`.

use std::process::Command;

use super::pages::house;
use super::post;

#[test]
fn a_browser_finds_nothing_wrong() {
    if std::env::var_os("CMR_MAIL_FULL").is_none() {
        println!("not looked at with a browser: that is for ./test full");
        return;
    }
    let (house, sink) = house();
    let daemon = house.start();
    sink.refuse("ann@a.test", &["451 4.3.0 not now"; 1000]);
    house.verb(&["peers", "pin", "mailto:cmr@peer.test"]);
    for (n, text) in [
        "Saturn has rings that are made of ice and dust.",
        "Mercury is the innermost planet, and it has no moon.",
        "The largest moon is Ganymede, a moon of Jupiter.",
    ]
    .iter()
    .enumerate()
    {
        post(&daemon, "bob@b.test", &format!("Note {n}"), text);
    }
    house.run(&["deliver"], b"From: x@y.test\nTo: cmr@home.test\nMessage-ID: <9@y.test>\n\nWho am I?\n");
    let id = post(&daemon, "ann@a.test", "Planets", "Which planet is the largest planet of all?");
    let delivery = house.until("her answer waits", |house| {
        let queue = house.json(&["queue", "list"]);
        let found = queue
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["to"] == "mailto:ann@a.test" && it["attempts"] != 0);
        found.map(|it| it["delivery"].to_string())
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operating/browser.py");
    let axe = std::env::var("CMR_MAIL_AXE").unwrap_or_default();
    let pictures = std::env::var_os("CMR_MAIL_PICTURES");
    let done = Command::new("python3")
        .arg(script)
        .args([&format!("http://{}", daemon.address("web")), "anna", "a long password", &id, &delivery, &axe])
        .args(pictures)
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(daemon.stop().success());
}
