//! Many mails; and a daemon that is killed on the way.

use std::time::{Duration, Instant};

use super::dovecot::Dovecot;
use super::is_full;
use super::reading::{house, post};
use super::support::Random;

#[test]
fn many_mails_in_bounded_memory() {
    let mails = if is_full() { 10_000 } else { 600 };
    let dovecot = Dovecot::start();
    for n in 1..=mails {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    let house = house(&dovecot.config("cmr", ""));
    let begun = Instant::now();
    let daemon = house.start();
    dovecot.until_flagged("cmr", "INBOX", 'S', mails);
    let (took, peak) = (begun.elapsed(), daemon.memory_kib("VmHWM"));
    let rate = mails as f64 / took.as_secs_f64();
    println!("{mails} mails in {:.1} s: {rate:.0} a second, {} MiB", took.as_secs_f64(), peak >> 10);
    assert_eq!(house.json(&["status"])["messages"], mails as u64);
    assert!(peak < 150 << 10, "{peak} KiB");
    if is_full() {
        assert!(rate >= 300.0, "{rate:.0} a second");
    }
    assert!(daemon.stop().success());
}

#[test]
fn killed_on_the_way_each_mail_is_there_once_and_dealt_with() {
    let (mails, kills) = if is_full() { (10_000, 30) } else { (800, 5) };
    let dovecot = Dovecot::start();
    dovecot.make("cmr", "Done");
    for n in 1..=mails {
        dovecot.deliver("cmr", "INBOX", &post(n).write());
    }
    let house = house(&dovecot.config("cmr", "after = \"move:Done\""));
    let (mut random, mut on_the_way) = (Random(6), 0);
    for _ in 0..kills {
        let daemon = house.start();
        let database = house.read_database();
        let stored = || {
            let count = database.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0));
            usize::try_from(count.unwrap()).unwrap()
        };
        // It has to come further each time, or it would never be on the way.
        let before = stored();
        let goal = mails.min(before + mails / (kills + 2));
        house.until("progress", |_| (stored() >= goal).then_some(()));
        std::thread::sleep(Duration::from_millis(random.below(60)));
        daemon.kill();
        let left = dovecot.flagged("cmr", "INBOX", 'S').1;
        on_the_way += usize::from(stored() > before && left > 0);
        // What is still to be read shows before the folder was ever read to its end.
        let shown = &house.json(&["status"])["mailboxes"][0];
        let behind = usize::try_from(shown["behind"].as_u64().unwrap()).unwrap();
        assert!(behind <= mails && behind + stored() >= mails, "{shown}, {} are stored", stored());
    }
    assert!(on_the_way >= kills / 2, "only {on_the_way} of {kills} were killed on the way");
    let daemon = house.start();
    house.until("the rest", |_| (dovecot.flagged("cmr", "INBOX", 'S').1 == 0).then_some(()));
    assert_eq!(dovecot.flagged("cmr", "Done", 'S').1, mails);
    house.until("all of them", |house| {
        let messages = house.json(&["status"])["messages"].as_u64().unwrap();
        assert!(messages <= mails as u64, "{messages}");
        (messages == mails as u64).then_some(())
    });
    println!("{on_the_way} of {kills} kills were on the way");
    let beginning = format!("reading the folder account=\"cmr\" mails={mails}");
    assert!(house.log().contains(&beginning), "{beginning} is not in\n{}", house.log());
    let database = house.read_database();
    house.until("nothing is left to be done in the folder", |_| {
        let left: i64 = database.query_row("SELECT count(*) FROM imap_mail", [], |row| row.get(0)).unwrap();
        (left == 0).then_some(())
    });
    assert!(daemon.stop().success());
}
