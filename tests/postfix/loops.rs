//! Circles come to an end, with a clear word.

use crate::identity::{config, world};
use crate::mails::numbered;
use crate::server::{can_run, free_port};
use crate::support::client::Client;
use crate::support::daemon::House;

#[test]
fn a_mail_that_has_passed_sixty_servers_is_refused() {
    if !can_run() {
        return;
    }
    let (postfix, _house, daemon) = world("shadow");
    let filter = daemon.address("filter");
    let received =
        |number: usize| "Received: from a by b; Sun, 22 Nov 2026 08:00:00 +0000\r\n".repeat(number);
    let mail = |number| [received(number).into_bytes(), numbered(1, 100)].concat();
    let mut client = Client::connect(filter).unwrap();
    let refused = client.send("a@people.test", &["bob@cmr.test"], &mail(60)).unwrap();
    assert_eq!((refused.code, &refused.text[..6]), (554, "5.4.6 "), "{refused:?}");
    let passed = client.send("a@people.test", &["bob@cmr.test"], &mail(40)).unwrap();
    assert_eq!(passed.code, 250, "{passed:?}");
    postfix.wait_until_empty();
    assert_eq!(postfix.delivered(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn a_filter_that_is_its_own_next_hop_does_not_start() {
    let listen = free_port();
    let house = House::new(&config("shadow", listen, listen));
    let ended = house.try_start_with(|_| {}).err().expect("it does not start");
    assert_eq!(ended.code(), Some(78));
    assert!(house.log().contains("round in a circle"), "{}", house.log());
}

/// Two filters in a circle, and one that reaches itself by a way that its configuration does not
/// show.
#[test]
fn filters_in_a_circle_say_so() {
    let (a, b) = (free_port(), free_port());
    let house = |listen, next_hop| House::new(&config("shadow", listen, next_hop));
    let (first, second) = (house(a, b), house(b, a));
    let daemons = [first.start(), second.start()];
    for listen in [a, b] {
        let (mut client, greeting) = Client::greeted(listen).unwrap();
        assert_eq!(greeting.code, 220);
        let refused = client.command("EHLO client.test").unwrap();
        assert_eq!((refused.code, &refused.text[..6]), (421, "4.4.6 "), "{refused:?}");
        assert!(refused.text.contains("A circle"), "{refused:?}");
    }
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    let hopper = crate::hopper::Hopper::before(a);
    let house = House::new(&config("shadow", a, hopper.address));
    let daemon = house.start();
    let (mut client, _) = Client::greeted(a).unwrap();
    let refused = client.command("EHLO client.test").unwrap();
    assert!(refused.code == 421 && refused.text.contains("A circle"), "{refused:?}");
    assert!(daemon.stop().success());
}

/// Two filters in a row are none.
#[test]
fn filters_in_a_row_pass_mail() {
    if !can_run() {
        return;
    }
    let (postfix, _house, daemon) = world("shadow");
    let front = House::new(&config("shadow", free_port(), daemon.address("filter")));
    let first = front.start();
    let mut client = Client::connect(first.address("filter")).unwrap();
    let reply = client.send("a@people.test", &["bob@cmr.test"], &numbered(1, 100)).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    postfix.wait_until_empty();
    assert_eq!(postfix.delivered(), 1);
    assert!(first.stop().success() && daemon.stop().success());
}
