//! Within one process: the story by the gateway's own doors, and a copy of the database's files
//! at every moment of every transaction and checkpoint. Each copy is opened, the step that was
//! under way is done again and the story goes on; it has to end as if nothing had happened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cmr_mail::config::Config;
use cmr_mail::gateway::sender::Sender;
use cmr_mail::gateway::{Composed, Gateway};
use cmr_mail::message::UnixTime;
use cmr_mail::receive::{Arrival, Via};
use cmr_mail::send::backoff::Schedule;
use cmr_mail::send::outcome::{Outcome, Reply, Trouble};
use cmr_mail::send::queue::{End, Event, House as Carrying, Settings, run};
use cmr_mail::smtp::Severity;
use cmr_mail::store::queue::{Delivery, counts};
use cmr_mail::store::{Boundary, FILE_NAME, Options, StoreError};
use tokio::sync::Notify;

use crate::place;
use crate::play::confirmation;
use crate::story::{GONE, Step, Story, config, story};
use crate::support::daemon::House;
use crate::support::messages::{Mail as Draft, now};
use crate::support::sink::{Mail, Sink};
use crate::world::World;

/// How far the story is, as the world outside sees it.
#[derive(Clone, Default)]
struct Outside {
    /// Steps whose success was heard of.
    done: usize,
    mails: Vec<Mail>,
}

/// A copy of the files, and what was known outside at that moment.
struct Copied {
    boundary: Boundary,
    files: Vec<(&'static str, Vec<u8>)>,
    outside: Outside,
}

/// The gateway's sending side with the correspondents in memory.
struct Post {
    gateway: Gateway,
    sender: Sender,
    outside: Arc<Mutex<Outside>>,
    over: Arc<Notify>,
}

impl Carrying for Post {
    fn now(&self) -> UnixTime {
        now()
    }

    async fn carry(&self, delivery: &Delivery) -> Outcome {
        if delivery.to.to_string() == GONE {
            return Outcome::Retry { trouble: Trouble::Later, reason: "nobody answers".to_owned() };
        }
        match self.gateway.compose(delivery) {
            Ok(Composed::Mail(mail)) => {
                let mail = Mail { from: mail.sender, to: vec![mail.recipient], raw: mail.mail };
                self.outside.lock().unwrap().mails.push(mail);
                Outcome::Done(Reply { code: 250, text: "2.0.0 taken".to_owned() })
            }
            Ok(Composed::Parcel(_)) => panic!("no mail"),
            Ok(Composed::Gone(reason)) => Outcome::Fail { reason, reply: None },
            Err(error) => panic!("{error}"),
        }
    }

    fn ended(
        &self,
        tx: &rusqlite::Connection,
        delivery: &Delivery,
        end: &End,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.sender.ended(tx, delivery, end, now)
    }

    fn tell(&self, event: &Event<'_>) {
        assert!(matches!(event, Event::Attempt { .. }), "{event:?}");
        self.over.notify_one();
    }
}

/// Tells the rest of the story to a gateway.
fn go_on(story: &Story, gateway: &Gateway, outside: &Arc<Mutex<Outside>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = outside.lock().unwrap().done;
    for step in &story.steps[done..] {
        let admit = |from: &str, to: &str, raw: &[u8]| {
            let arrival = Arrival {
                proof: None,
                via: Via::Smtp,
                peer: Some([127, 0, 0, 1].into()),
                through_relay: false,
                relay: None,
                kept: None,
                helo: None,
                tls: false,
                sender: Some(from.to_owned()),
                recipients: vec![to.to_owned()],
                raw: raw.to_vec(),
                received: now(),
            };
            let reply = runtime.block_on(gateway.admit_arrival(arrival)).reply;
            assert_eq!(reply.severity(), Severity::Success, "{}: {reply:?}", step.name());
        };
        match step {
            Step::Mail { from, to, raw, .. } => admit(from, to, raw),
            Step::Confirm { person, .. } => {
                let to = confirmation(gateway.store().path(), person);
                admit(person, &to, &Draft::from(person).text("yes").write());
            }
            Step::Verb { request, name, .. } => {
                gateway.handle(request.clone()).unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
            }
            Step::Rest => {}
        }
        gateway.route_pending().unwrap();
        if matches!(step, Step::Rest) {
            runtime.block_on(send(gateway, outside));
        }
        outside.lock().unwrap().done += 1;
    }
}

/// Works off the queue.
async fn send(gateway: &Gateway, outside: &Arc<Mutex<Outside>>) {
    let over = Arc::new(Notify::new());
    let post = Post {
        gateway: gateway.clone(),
        sender: Sender::new(gateway.clone()).unwrap(),
        outside: Arc::clone(outside),
        over: Arc::clone(&over),
    };
    // What can't be delivered at once is given up, with a notice to the operator.
    let schedule = Schedule { give_up: Duration::ZERO, ..Schedule::default() };
    let store = gateway.store().clone();
    let until_empty = {
        let store = store.clone();
        async move {
            while store.read(counts).unwrap().queued() > 0 {
                over.notified().await;
            }
        }
    };
    run(
        store,
        Arc::new(post),
        Settings { schedule, ..Settings::default() },
        gateway.queued_in(cmr_mail::store::queue::Lane::Mail),
        until_empty,
    )
    .await;
}

fn files(data: &Path) -> Vec<(&'static str, Vec<u8>)> {
    // The index of the log lives in memory; whoever opens the files makes it anew.
    [FILE_NAME, "cmr-mail.db-wal"]
        .into_iter()
        .filter_map(|name| Some((name, std::fs::read(data.join(name)).ok()?)))
        .collect()
}

/// The house with its data in this directory.
fn config_in(house: &House, data: &Path) -> Config {
    let text = std::fs::read_to_string(house.dir().join("cmr-mail.toml")).unwrap();
    let text = text.replace("\"data\"", &format!("{:?}", data.to_str().unwrap()));
    Config::parse(&text, house.dir().join("cmr-mail.toml")).unwrap()
}

fn ended(data: &Path, outside: &Mutex<Outside>) -> World {
    World::of(&data.join(FILE_NAME), &outside.lock().unwrap().mails).unwrap()
}

#[test]
fn every_moment_of_every_transaction_leads_to_the_same_end() {
    let begun = Instant::now();
    let story = story();
    // Nobody comes there: the mails are carried in memory.
    let house = House::new_in(&place(), &config(&Sink::start()));
    let data = house.dir().join("data");
    let outside = Arc::new(Mutex::new(Outside::default()));
    let copies = Arc::new(Mutex::new(Vec::<Copied>::new()));
    let watch = {
        let (data, outside, copies) = (data.clone(), Arc::clone(&outside), Arc::clone(&copies));
        move |boundary| {
            let outside = outside.lock().unwrap().clone();
            copies.lock().unwrap().push(Copied { boundary, files: files(&data), outside });
        }
    };
    let options = Options { watch: Some(Arc::new(watch)), ..Options::default() };
    let gateway = Gateway::open_with(&config_in(&house, &data), options).unwrap();
    go_on(&story, &gateway, &outside);
    gateway.close();
    let reference = ended(&data, &outside);
    for (what, least) in [("arrived: given-up", 3), ("arrived: later_match", 1), ("arrived: answer", 3)] {
        assert!(reference.count(what) >= least, "{what}: {reference:#?}");
    }

    let copies = std::mem::take(&mut *copies.lock().unwrap());
    let boundaries = copies.len();
    let commits = copies.iter().filter(|copied| copied.boundary == Boundary::AfterCommit).count();
    let mut seen = HashSet::new();
    let mut opened = 0;
    for (number, Copied { boundary, files, outside }) in copies.into_iter().enumerate() {
        // What differs neither inside nor outside from an earlier moment ends as that one did.
        if !seen.insert((files.clone(), outside.done, outside.mails.len())) {
            continue;
        }
        opened += 1;
        let data: PathBuf = house.dir().join(format!("copy{number}"));
        cmr_mail::store::prepare_dir(&data).unwrap();
        for (name, content) in files {
            std::fs::write(data.join(name), content).unwrap();
        }
        let outside = Arc::new(Mutex::new(outside));
        let gateway = Gateway::open(&config_in(&house, &data)).unwrap();
        go_on(&story, &gateway, &outside);
        gateway.close();
        let differs = ended(&data, &outside).differs_from(&reference);
        assert!(differs.is_empty(), "moment {number}, {boundary:?}: {differs:#?}");
        std::fs::remove_dir_all(data).unwrap();
    }
    println!(
        "{boundaries} moments of {commits} commits and of checkpoints, {opened} of them different and gone on from, in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(commits > 30 && opened > 50, "{commits} commits, {opened} moments");
}
