//! Whatever breaks, Postfix keeps the mail and delivers it once: none returned, none lost, none
//! twice.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::hopper::{Hopper, Manner};
use crate::identity::config;
use crate::mails::{added, names, numbered, recipient, send_all, send_from};
use crate::server::{Postfix, Setup, can_run, free_port};
use crate::support::daemon::{Daemon, House, until};

fn number() -> usize {
    if crate::full() { 500 } else { 40 }
}

struct World {
    postfix: Postfix,
    hopper: Hopper,
    filter: SocketAddr,
    house: House,
    sent: Vec<Vec<u8>>,
}

impl World {
    /// A Postfix, a filter and between the filter and Postfix's way back a next hop that can break.
    fn new(number: usize) -> (World, Daemon) {
        World::in_place(&std::env::temp_dir(), number)
    }

    /// The same with the filter's files on that disk.
    fn in_place(place: &Path, number: usize) -> (World, Daemon) {
        let (listen, back) = (free_port(), free_port());
        let postfix = Postfix::start(&Setup::filtered_by(listen), Some(back));
        let hopper = Hopper::before(back);
        let house = House::new_in(place, &config("copy", listen, hopper.address));
        let daemon = house.start();
        let sent = World::new_of(number);
        (World { postfix, hopper, filter: listen, house, sent }, daemon)
    }

    fn new_of(number: usize) -> Vec<Vec<u8>> {
        // Some of them too long for memory.
        (0..number).map(|at| numbered(at, if at % 10 == 0 { 300_000 } else { 2_000 })).collect()
    }

    fn send(&self) {
        send_all(self.postfix.entrance, &self.sent);
    }

    /// Mails that Postfix knows to be with the filter's next hop.
    fn heard(&self) -> usize {
        let filter = format!("]:{}, ", self.filter.port());
        let log = self.postfix.log();
        log.lines().filter(|line| line.contains(&filter) && line.contains("status=sent")).count()
    }

    /// All mails but the first ones are in Postfix's queue.
    fn none_has_left(&self, but: usize) {
        assert_eq!(self.postfix.delivered(), but);
        // One that moves from queue to queue may be counted twice, or not at all.
        until("all are in the queue", || (self.postfix.queued() == self.sent.len() - but).then_some(()));
        assert_eq!(self.postfix.delivered(), but);
    }

    /// Everything is there once, as it was sent, and nothing was returned to its sender.
    fn each_once(&self) {
        self.postfix.wait_until_empty();
        let found = self.postfix.maildir();
        let copies = |at: &usize| found.get(&recipient(*at)).map_or(0, Vec::len);
        let lost: Vec<usize> = (0..self.sent.len()).filter(|at| copies(at) == 0).collect();
        let doubled: Vec<usize> = (0..self.sent.len()).filter(|at| copies(at) > 1).collect();
        assert!(lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled {doubled:?}");
        for (at, sent) in self.sent.iter().enumerate() {
            let top = added(&found[&recipient(at)][0], sent).unwrap();
            assert!(!names(&top).contains(&"X-CMR"), "{top}");
        }
        assert!(!found.contains_key("sender@cmr.test"), "a mail was returned to its sender");
        assert!(!self.postfix.log().contains("status=bounced"));
    }

    /// Each of these rows in a world of its own, at the same time.
    fn next_hops(rows: &[Vec<Manner>]) {
        std::thread::scope(|scope| {
            for manners in rows {
                scope.spawn(|| World::next_hop(manners));
            }
        });
    }

    /// For each of them: mails come while the next hop behaves so, and then it is good again.
    fn next_hop(manners: &[Manner]) {
        let (mut world, daemon) = World::new(0);
        for manner in manners {
            let before = world.sent.len();
            world.sent.extend(World::new_of(number()));
            let misdeeds = world.hopper.misdeeds();
            world.hopper.behave(*manner);
            send_from(world.postfix.entrance, &world.sent, before);
            if *manner != Manner::Down {
                until("the fault has shown", || (world.hopper.misdeeds() > misdeeds + 3).then_some(()));
            }
            world.none_has_left(before);
            world.hopper.behave(Manner::Good);
            world.each_once();
        }
        assert!(daemon.stop().success());
    }
}

#[test]
fn the_filter_is_killed() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    let mut running = Some(daemon);
    let kills = if crate::full() { 5 } else { 2 };
    std::thread::scope(|scope| {
        scope.spawn(|| world.send());
        for kill in 1..=kills {
            // In the middle of the flow.
            let some = world.sent.len() * kill / (kills + 1);
            until("some mails have passed", || (world.postfix.delivered() >= some).then_some(()));
            // What the next hop has got it answers first, and what is under way then never reaches it: of that
            // the witness hears the end of a connection.
            let taken = world.hopper.hold();
            until("Postfix has heard of them", || (world.heard() >= taken).then_some(()));
            running.take().unwrap().kill();
            world.hopper.drop_held();
            running = Some(world.house.start());
        }
    });
    world.each_once();
    assert!(running.unwrap().stop().success());
}

/// Killed at any moment, also while the next hop makes up its mind, and between its word and ours: the witness hears
/// it in the filter's place, so that nothing is lost or returned, and nothing comes twice.
#[test]
fn the_filter_is_killed_at_any_moment() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    let mut running = Some(daemon);
    let kills = if crate::full() { 10 } else { 2 };
    // The next hop takes its time for the answer to a mail.
    world.hopper.silence(Duration::from_millis(300));
    world.hopper.behave(Manner::Late);
    let mut with_next_hop = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| world.send());
        for kill in 1..=kills {
            let some = world.sent.len() * kill / (kills + 1);
            until("some mails have passed", || (world.postfix.delivered() >= some).then_some(()));
            let doubtful = || Some(world.hopper.unanswered()).filter(|doubtful| *doubtful > 0);
            with_next_hop += until("the next hop makes up its mind about some", doubtful);
            running.take().unwrap().kill();
            running = Some(world.house.start());
        }
    });
    world.each_once();
    println!(
        "killed {kills} times at any moment in {} mails; {with_next_hop} were with the next hop",
        world.sent.len()
    );
    assert!(running.unwrap().stop().success());
}

/// How many mails the filter knows to be with the next hop: slots of 32 bytes that begin with their number.
fn receipts(house: &House) -> usize {
    let file = std::fs::read(house.dir().join("data/filter-receipts")).unwrap();
    file.chunks_exact(32).filter(|slot| slot[..8] != [0; 8]).count()
}

/// The next hop has said 250, and Postfix never hears it: the filter is killed, or the connection is
/// cut, before its own word is there. Handed over again such a mail is not handed on again.
#[test]
fn the_word_about_a_mail_is_lost() {
    if !can_run() {
        return;
    }
    let (listen, back) = (free_port(), free_port());
    let front = Hopper::before(listen);
    let postfix = Postfix::start(&Setup::filtered_by(front.address), Some(back));
    let hopper = Hopper::before(back);
    let house = House::new(&config("copy", listen, hopper.address));
    let mut running = Some(house.start());
    let world = World { postfix, hopper, filter: front.address, house, sent: World::new_of(number()) };
    let times = if crate::full() { 20 } else { 4 };
    let again = |house: &House| house.log().matches("handed over again").count();
    for time in 1..=times {
        let before = front.muted();
        front.mute();
        let [from, to] = [time - 1, time].map(|part| world.sent.len() * part / times);
        send_from(world.postfix.entrance, &world.sent[..to], from);
        until("a word is kept back", || (front.muted() > before).then_some(()));
        // What is on its way to the next hop is not what is looked at here. What Postfix has heard can't be
        // counted for it: words are cut off on their way in each round, not only those that are kept back.
        let taken = world.hopper.hold();
        until("the filter has noted what was taken", || (receipts(&world.house) >= taken).then_some(()));
        if time % 2 == 0 {
            running.take().unwrap().kill();
        }
        world.hopper.drop_held();
        front.cut_muted();
        if running.is_none() {
            running = Some(world.house.start());
        }
    }
    world.each_once();
    let again = again(&world.house);
    println!("{} words lost, {again} mails handed over again and not handed on", front.muted());
    assert!(again >= front.muted(), "{again} for {}", front.muted());
    assert!(running.unwrap().stop().success());
}

#[test]
fn the_filter_is_not_there_at_first() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    assert!(daemon.stop().success());
    world.send();
    world.none_has_left(0);
    let daemon = world.house.start();
    world.each_once();
    assert!(daemon.stop().success());
}

#[test]
fn the_filter_is_stopped() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| world.send());
        for part in [4, 2] {
            let some = world.sent.len() / part;
            until("some mails have passed", || (world.postfix.delivered() >= some).then_some(()));
            daemon.freeze();
            std::thread::sleep(Duration::from_secs(if crate::full() { 30 } else { 2 }));
            kill_process(pid, Signal::CONT).unwrap();
        }
    });
    world.each_once();
    assert!(daemon.stop().success());
}

/// A small disk of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Disk {
        let disk = Disk(tempfile::Builder::new().prefix("cmr-disk-").tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m,mode=755", "cmr-disk"])
            .arg(disk.0.path())
            .status();
        assert!(mounted.unwrap().success(), "this test mounts a small disk, as root");
        disk
    }

    fn rest(&self) -> PathBuf {
        self.0.path().join("rest")
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut rest = fs::File::options().append(true).create(true).open(self.rest()).unwrap();
        while rest.write_all(&[0; 4_096]).is_ok() {}
        assert_eq!(rest.write(&[0]).map_err(|error| error.kind()), Err(ErrorKind::StorageFull));
    }

    fn empty(&self) {
        fs::remove_file(self.rest()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still open on it ends with its owner.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn the_disk_of_the_filter_is_full() {
    if !can_run() {
        return;
    }
    let disk = Disk::new();
    let (mut world, daemon) = World::in_place(disk.0.path(), number());
    // All of them have to be spooled on the disk.
    world.sent = (0..world.sent.len()).map(|at| numbered(at, 300_000)).collect();
    disk.fill();
    world.send();
    until("the fault has shown", || (world.postfix.log().matches("452 4.3.1").count() >= 10).then_some(()));
    world.none_has_left(0);
    disk.empty();
    world.each_once();
    assert!(daemon.stop().success());
}

#[test]
fn the_next_hop_is_down_or_closes_in_the_middle() {
    if can_run() {
        World::next_hops(&[vec![Manner::Down], vec![Manner::ClosesInText]]);
    }
}

#[test]
fn the_next_hop_defers_or_refuses() {
    if can_run() {
        let says = |commands: &[&'static str], reply| {
            commands.iter().map(|command| Manner::Says(command, reply)).collect::<Vec<_>>()
        };
        let all = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."];
        let (later, never) = ("451 4.3.2 not now", "554 5.7.1 never");
        let some = if crate::full() {
            [says(&all, later), says(&all, never)]
        } else {
            [says(&["greeting", "."], later), says(&["MAIL", "RCPT", "."], never)]
        };
        World::next_hops(&some);
    }
}

/// Only a yes to the final dot is one: a farewell is 2xx as well, and so is what comes before the dot.
#[test]
fn the_next_hop_says_something_else_than_yes() {
    if can_run() {
        let early = Manner::Says("DATA", "354 go on\r\n250 2.0.0 early");
        World::next_hops(&[vec![Manner::Says(".", "221 2.0.0 closing")], vec![early]]);
    }
}

#[test]
fn the_next_hop_says_nothing() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    let silence = Duration::from_secs(if crate::full() { 90 } else { 3 });
    world.hopper.silence(silence);
    world.hopper.behave(Manner::Silent);
    world.send();
    until("the next hop has been silent for as long", || (world.hopper.misdeeds() > 0).then_some(()));
    world.none_has_left(0);
    world.hopper.behave(Manner::Good);
    world.each_once();
    assert!(daemon.stop().success());
}

/// It has the mail, and says so only after a long time: it is still one mail.
#[test]
fn the_next_hop_says_nothing_about_a_mail() {
    if !can_run() {
        return;
    }
    let (world, daemon) = World::new(number());
    world.hopper.silence(Duration::from_secs(if crate::full() { 90 } else { 3 }));
    world.hopper.behave(Manner::Late);
    world.send();
    until("the next hop was late", || (world.hopper.misdeeds() > 0).then_some(()));
    world.hopper.calm_down();
    world.each_once();
    assert!(daemon.stop().success());
}

/// The next hop dies while the filter hands a mail over: what it has of it is no mail.
#[test]
fn half_a_mail_never_arrives() {
    if !can_run() {
        return;
    }
    let (mut world, daemon) = World::new(if crate::full() { 100 } else { 15 });
    world.sent = (0..world.sent.len()).map(|at| numbered(at, 2_000_000)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| world.send());
        for _ in 0..5 {
            let before = world.postfix.delivered();
            until("another one is on its way", || {
                (world.postfix.delivered() > before || before == world.sent.len()).then_some(())
            });
            // Cuts what is open in the middle of anything.
            world.hopper.behave(Manner::Down);
            world.hopper.behave(Manner::Good);
        }
    });
    world.postfix.wait_until_empty();
    let found = world.postfix.maildir();
    for (at, sent) in world.sent.iter().enumerate() {
        // A connection may have been cut between the next hop's word and ours: then it came twice,
        // but whole.
        for copy in &found[&recipient(at)] {
            assert!(added(copy, sent).is_ok(), "{at}");
        }
    }
    assert_eq!(
        fs::read_dir(world.house.dir().join("data"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"))
            .count(),
        0
    );
    assert!(daemon.stop().success());
}
