//! The queue's way through real SMTP to mail hosts, with processes that stop in between.

use cmr_mail::cli::demo::host::{MailHost, MailHostConfig};
use cmr_mail::message::{Address, UnixTime};
use cmr_mail::send::mailto::{Mailto, Smarthost, Submission};
use cmr_mail::send::outcome::Outcome;
use cmr_mail::send::queue::{ComposeFault, End, Event, House, MailCarrier, Settings, run};
use cmr_mail::store::queue::{Delivery, DeliveryKind, NewDelivery, counts, enqueue, list};
use cmr_mail::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(30);

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixTime(i64::try_from(since.as_micros()).expect("before the year 294246"))
}

/// A gateway as the queue sees it: it composes a mail that names its delivery.
struct Gateway<C> {
    carrier: MailCarrier<C>,
    attempts: AtomicUsize,
    changed: Notify,
}

impl<C> House for Gateway<C>
where
    C: Fn(&Delivery) -> Result<Submission, ComposeFault> + Send + Sync + 'static,
{
    fn now(&self) -> UnixTime {
        now()
    }

    async fn carry(&self, delivery: &Delivery) -> Outcome {
        self.carrier.carry(delivery).await
    }

    fn ended(&self, _: &rusqlite::Connection, _: &Delivery, _: &End, _: UnixTime) -> Result<(), StoreError> {
        Ok(())
    }

    fn tell(&self, event: &Event<'_>) {
        if let Event::Attempt { .. } = event {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_waiters();
        }
    }
}

fn compose(delivery: &Delivery) -> Result<Submission, ComposeFault> {
    match delivery.why.as_str() {
        "gone" => return Err(ComposeFault::Never("the message was removed".to_owned())),
        "early" => return Err(ComposeFault::Later("the key is not there yet".to_owned())),
        "broken" => panic!("played"),
        _ => {}
    }
    let recipient = delivery.to.mail_address().expect("a mail address").to_owned();
    let mail = format!("Message-ID: {}\r\nTo: {recipient}\r\n\r\n.x\r\n", delivery.message_id);
    Ok(Submission {
        envelope_sender: Some(format!("bounces+{}@gw.example", delivery.id)),
        recipient,
        mail: mail.into_bytes(),
        configured: false,
    })
}

fn delivery(n: usize, domain: &str, why: &str) -> NewDelivery {
    NewDelivery {
        kind: DeliveryKind::Answer,
        seq: None,
        thread: None,
        to: Address::new(format!("mailto:ann@{domain}")).expect("an address"),
        transport: "mailto".to_owned(),
        destination: domain.to_owned(),
        stamp: None,
        message_id: format!("<{n}.{domain}@gw.example>"),
        detail: None,
        why: why.to_owned(),
        next_try: now(),
    }
}

/// How often each Message-ID lies among these mails.
fn ids(mails: &[Arc<[u8]>]) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for mail in mails {
        let text = std::str::from_utf8(mail).expect("ASCII");
        assert!(text.ends_with("\r\n\r\n.x\r\n"), "{text:?}");
        let id = text.lines().next().expect("a line").to_owned();
        *ids.entry(id).or_default() += 1;
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_delivery_arrives_though_the_worker_is_cut_off_again_and_again() {
    const EACH: usize = 40;
    let domains = ["a.example", "b.example", "c.example"];
    let hosts: Vec<MailHost> = domains
        .iter()
        .map(|d| MailHost::start(MailHostConfig::new(d, &[&format!("ann@{d}")])).expect("a host"))
        .collect();
    let smarthost = {
        let mut config = MailHostConfig::new("smarthost.example", &[]);
        config.sessions = 12;
        config.routes =
            domains.iter().zip(&hosts).map(|(d, host)| ((*d).to_owned(), host.address())).collect();
        MailHost::start(config).expect("the smarthost")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let store = Store::open(&data).expect("a store");
    store
        .write_async(move |tx| {
            for n in 0..EACH {
                for domain in domains {
                    enqueue(tx, &delivery(n, domain, "a test"), now())?;
                }
            }
            Ok(())
        })
        .await
        .expect("queued");

    let mut cuts = 0;
    let start = Instant::now();
    loop {
        let mailto = Mailto::new(Smarthost::at(smarthost.address()), "gw.example").expect("a client");
        let gateway = Arc::new(Gateway {
            carrier: MailCarrier::new(mailto, compose),
            attempts: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let worker = tokio::spawn(run(
            store.clone(),
            Arc::clone(&gateway),
            Settings::default(),
            Arc::new(Notify::new()),
            std::future::pending(),
        ));
        // As a process that is killed: nothing is finished, nothing is written down any more.
        let goal = 3 + cuts % 5;
        let enough = async {
            loop {
                let changed = gateway.changed.notified();
                let left = store.read_async(|c| list(c, false, 1)).await.expect("read");
                if gateway.attempts.load(Ordering::SeqCst) >= goal || left.is_empty() {
                    return left.is_empty();
                }
                // The worker before may have been cut off between its last mark and its word.
                let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
            }
        };
        let Ok(all) = tokio::time::timeout(PATIENCE, enough).await else {
            panic!("it does not go on: {:#?}", store.read(|c| list(c, false, 5)));
        };
        worker.abort();
        let _ = worker.await;
        if all {
            break;
        }
        cuts += 1;
        assert!(start.elapsed() < PATIENCE * 3, "it takes too long");
    }

    let mut twice = 0;
    for (domain, host) in domains.iter().zip(&hosts) {
        let mailbox = format!("ann@{domain}");
        let ids = host.wait_for(PATIENCE, |m| Some(ids(m.of(&mailbox))).filter(|ids| ids.len() == EACH));
        let ids = ids.unwrap_or_else(|| panic!("{domain}: not every Message-ID arrived"));
        twice += ids.values().filter(|n| **n > 1).count();
    }
    println!("{} deliveries, {cuts} cuts, {twice} arrived more than once", EACH * domains.len());
    assert!(cuts > 10, "only {cuts} cuts");
    let counted = store.read_async(counts).await.expect("counted");
    assert_eq!(counted.queued(), 0);
    assert_eq!(counted.sent, u64::try_from(EACH * domains.len()).expect("small"));
}

#[tokio::test]
async fn what_can_not_be_composed_is_given_up_or_waits() {
    let host = MailHost::start(MailHostConfig::new("a.example", &["ann@a.example"])).expect("a host");
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("data")).expect("a store");
    let whys = ["gone", "early", "broken", "a test"];
    store
        .write_async(move |tx| {
            for (n, why) in whys.iter().enumerate() {
                enqueue(tx, &delivery(n, "a.example", why), now())?;
            }
            Ok(())
        })
        .await
        .expect("queued");
    let mailto = Mailto::new(Smarthost::at(host.address()), "gw.example").expect("a client");
    let gateway = Arc::new(Gateway {
        carrier: MailCarrier::new(mailto, compose),
        attempts: AtomicUsize::new(0),
        changed: Notify::new(),
    });
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let worker = tokio::spawn(run(
        store.clone(),
        Arc::clone(&gateway),
        Settings::default(),
        Arc::new(Notify::new()),
        async move { stopped.notified().await },
    ));
    let all = async {
        loop {
            let changed = gateway.changed.notified();
            if gateway.attempts.load(Ordering::SeqCst) == whys.len() {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("four attempts");
    stop.notify_one();
    assert_eq!(worker.await.expect("ended").cut_off, 0);
    gateway.carrier.mailto().close().await;

    let rows = store.read_async(|c| list(c, true, 10)).await.expect("read");
    let errors: Vec<String> =
        rows.iter().map(|d| format!("{} {}", d.state, d.last_error.as_deref().unwrap_or("-"))).collect();
    assert_eq!(errors[0], "failed the message was removed");
    assert_eq!(errors[1], "ready the key is not there yet");
    assert!(errors[2].starts_with("ready an error in the program while composing"), "{}", errors[2]);
    assert_eq!(errors[3], "sent -");
    assert_eq!(host.mailbox("ann@a.example").len(), 1);
}
