use super::*;

/// A folder on a server, and a database, as values.
struct World {
    known: Known,
    facts: Facts,
    uids: BTreeSet<u32>,
    after: Vec<u32>,
    steps: Vec<Step>,
}

impl World {
    fn new(uids: impl IntoIterator<Item = u32>, known: Known) -> World {
        let uids: BTreeSet<u32> = uids.into_iter().collect();
        let next = uids.last().map_or(1, |uid| uid.saturating_add(1));
        let exists = u32::try_from(uids.len()).unwrap();
        let facts = Facts { validity: 1, next: Some(next), exists, read_only: false };
        World { known, facts, uids, after: Vec::new(), steps: Vec::new() }
    }

    /// Looks through the folder, up to so many steps, as the adapter does; `fate` decides.
    fn look(&mut self, steps: usize, fate: impl Fn(u32) -> Fate) -> (bool, Counts) {
        let mut look = Look::new(&self.known, &self.facts, true, 1000);
        for _ in 0..steps {
            let step = look.step();
            self.steps.push(step.clone());
            match step {
                Step::Highest => look.highest(self.uids.last().copied()),
                Step::Search(from, to) => look.found(self.uids.range(from..=to).copied().collect(), to),
                Step::Sizes(uids) => {
                    let there = uids.into_iter().filter(|uid| self.uids.contains(uid));
                    look.sized(there.map(|uid| (uid, if uid % 1000 == 999 { 1001 } else { 1000 })).collect());
                }
                Step::Take(uid, _) => {
                    let fate = fate(uid);
                    match fate {
                        Fate::Taken => {
                            self.known.after.push(uid);
                            self.known.settled.push(uid);
                        }
                        Fate::Left => self.known.settled.push(uid),
                        Fate::Again => self.known.settled.push(uid),
                        Fate::Unknown(_) => {}
                    }
                    look.fate(uid, &fate);
                }
                Step::Settle(next) => {
                    self.known.next = self.known.next.max(next);
                    self.known.settled.retain(|uid| *uid >= next);
                    look.settled(next);
                }
                Step::After { uids, .. } => {
                    self.known.after.retain(|uid| !uids.contains(uid));
                    self.after.extend(uids);
                }
                Step::Rest => return (true, look.counts),
            }
        }
        (false, look.counts)
    }
}

const ALL: usize = 1_000_000;

#[test]
fn everything_is_taken_once_and_then_dealt_with() {
    let mut world = World::new((1..=1200).map(|n| n * 3), Known::default());
    let (done, counts) = world.look(ALL, |uid| if uid.is_multiple_of(2) { Fate::Taken } else { Fate::Left });
    assert!(done);
    // 999 is too large.
    assert_eq!((counts.taken, counts.left, counts.too_large, counts.behind), (600, 599, 1, 0));
    assert_eq!(world.after.len(), 600);
    assert_eq!(world.known, Known { next: 3601, ..Known::default() });
    let before = world.steps.len();
    let (done, counts) = world.look(ALL, |_| panic!("again"));
    assert!(done && counts == Counts::default());
    assert_eq!(world.steps.len(), before + 1, "a folder without news costs nothing");
}

#[test]
fn a_look_that_is_cut_off_anywhere_loses_and_repeats_nothing() {
    let mut cuts = 0;
    for steps in 1..700 {
        let mut world = World::new(1..=600, Known::default());
        let taken = std::cell::RefCell::new(Vec::new());
        let fate = |uid: u32| {
            taken.borrow_mut().push(uid);
            if uid.is_multiple_of(5) { Fate::Left } else { Fate::Taken }
        };
        let (done, _) = world.look(steps, fate);
        cuts += usize::from(!done);
        let (done, _) = world.look(ALL, fate);
        assert!(done);
        let mut taken = taken.into_inner();
        taken.sort_unstable();
        assert_eq!(taken, (1..=600).collect::<Vec<_>>(), "cut after {steps} steps");
        world.after.sort_unstable();
        world.after.dedup();
        assert_eq!(world.after.len(), 480, "cut after {steps} steps");
        assert!(world.known.after.is_empty());
    }
    assert!(cuts > 500, "only {cuts} looks were cut off");
}

#[test]
fn a_hundred_thousand_mails_in_steps_of_bounded_size() {
    let mut world = World::new(1..=100_000, Known::default());
    let (done, counts) = world.look(ALL, |_| Fate::Left);
    assert!(done && counts.left == 99_900, "{counts:?}");
    let (mut searches, mut largest) = (0, 0);
    for step in &world.steps {
        match step {
            Step::Search(from, to) => {
                assert!(to - from < WIDEST);
                searches += 1;
            }
            Step::Sizes(uids) => largest = largest.max(uids.len()),
            _ => {}
        }
    }
    assert_eq!((searches, largest), (5, BATCH));
}

#[test]
fn gaps_in_the_uids_are_crossed() {
    let mut world = World::new([5, 4_000_000_000], Known::default());
    let (done, counts) = world.look(ALL, |_| Fate::Taken);
    assert!(done && counts.taken == 2, "{counts:?}");
    let searches = world.steps.iter().filter(|step| matches!(step, Step::Search(..))).count();
    assert!(searches < 21_000, "{searches}");
    assert_eq!(world.known.next, 4_000_000_001);
    // The last UID there can be.
    let mut world = World::new([u32::MAX - 1], Known { next: u32::MAX - 5, ..Known::default() });
    assert_eq!(world.look(ALL, |_| Fate::Taken).1.taken, 1);
    assert_eq!(world.known.next, u32::MAX);
}

#[test]
fn a_server_that_does_not_say_what_comes_next() {
    let mut world = World::new([3, 9], Known::default());
    world.facts.next = None;
    assert_eq!(world.look(ALL, |_| Fate::Taken).1.taken, 2);
    assert_eq!(world.known.next, 10);
    // The last mail is deleted: the highest UID is lower now, and nothing is new.
    world.uids.remove(&9);
    let (done, counts) = world.look(ALL, |_| panic!("again"));
    assert!(done && counts.taken == 0);
    world.uids.insert(11);
    assert_eq!(world.look(ALL, |_| Fate::Taken).1.taken, 1);
    world.uids.clear();
    world.facts.exists = 0;
    assert!(world.look(ALL, |_| panic!("again")).0);
}

#[test]
fn going_back_is_seen_where_it_is_told() {
    let known = Known { next: 10, ..Known::default() };
    let facts = |next| Facts { validity: 1, next, exists: 1, read_only: false };
    for (next, back) in [(Some(10), false), (Some(11), false), (Some(9), true), (None, false)] {
        assert_eq!(went_back(&known, &facts(next)), back, "{next:?}");
    }
}

#[test]
fn what_came_during_a_look_is_news() {
    let facts = |validity, next, exists| Facts { validity, next, exists, read_only: false };
    for (seen, now, news) in [
        (facts(1, Some(9), 4), facts(1, Some(9), 4), false),
        (facts(1, Some(9), 4), facts(1, Some(9), 3), false),
        (facts(1, Some(9), 4), facts(1, Some(10), 4), true),
        (facts(1, Some(9), 4), facts(1, Some(8), 4), true),
        (facts(1, Some(9), 4), facts(2, Some(9), 4), true),
        (facts(1, None, 4), facts(1, None, 4), false),
        (facts(1, None, 4), facts(1, None, 5), true),
        // Told only now and then, which alone is no news.
        (facts(1, Some(9), 4), facts(1, None, 4), false),
    ] {
        assert_eq!(is_news(&seen, &now), news, "{seen:?}, {now:?}");
    }
}

#[test]
fn a_folder_that_can_only_be_read_is_read() {
    let mut world = World::new(1..=10, Known { after: vec![1], ..Known::default() });
    world.facts.read_only = true;
    let (done, counts) = world.look(ALL, |_| Fate::Taken);
    assert!(done && counts.taken == 10);
    assert!(world.after.is_empty() && world.known.after.len() == 11, "it is done when that is possible");
    world.facts.read_only = false;
    assert!(world.look(ALL, |_| panic!("again")).0);
    assert!(world.known.after.is_empty());
}

#[test]
fn what_was_put_off_is_tried_again_and_mails_that_are_gone_are_no_trouble() {
    let mut world = World::new([7, 8], Known { next: 7, again: vec![3, 4], ..Known::default() });
    world.uids.insert(3);
    assert_eq!(world.look(ALL, |_| Fate::Taken).1.taken, 3, "3 is there, 4 is gone");
    assert_eq!(world.known.next, 9);
}

#[test]
fn uids_that_nobody_asked_for_do_not_count() {
    let known = Known { next: 7, ..Known::default() };
    let facts = Facts { validity: 1, next: Some(20), exists: 3, read_only: false };
    let mut look = Look::new(&known, &facts, true, 1000);
    assert_eq!(look.step(), Step::Search(7, 19));
    look.found(vec![6, 7, 7, 20, u32::MAX, 19], 19);
    assert_eq!(look.step(), Step::Sizes(vec![7, 19]));
    look.sized(vec![]);
    assert_eq!(look.step(), Step::Settle(20));
}

#[test]
fn what_a_search_leaves_out_is_not_behind() {
    let facts = Facts { validity: 1, next: Some(100_001), exists: 100_000, read_only: false };
    let mut look = Look::new(&Known { folder: 1, next: 1, ..Known::default() }, &facts, true, 1000);
    assert_eq!((look.step(), look.counts.behind), (Step::Search(1, SPAN), 100_000));
    // Older than `since`, but for one.
    look.found(vec![SPAN - 1], SPAN);
    assert_eq!(look.counts.behind, 100_001 - u64::from(SPAN));
}
