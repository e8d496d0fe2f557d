//! Addresses that enemies write into headers: whatever the router would like to send there, nothing
//! goes.

use std::net::TcpListener;

use crate::gate::{Gate, ask, own_ip, post};
use crate::support::daemon::Config;
use crate::support::messages::{in_seconds, message};

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
