//! The mail server between the gateways: it takes everything, brings each gateway its mail in order, again
//! and again until it is taken, and throws away what is for people.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::sink::{Mail, Sink};

/// What the threads of the relay share.
#[derive(Default)]
struct Shared {
    /// Where each gateway takes mail now; none while it is dead.
    places: Mutex<Vec<Option<SocketAddr>>>,
    /// Mails that are taken and not yet brought.
    waiting: AtomicUsize,
    for_people: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

/// A running relay; its threads end with the process.
pub(super) struct Relay {
    sink: Sink,
    shared: Arc<Shared>,
}

impl Relay {
    /// For so many gateways; the mail of gateway N has the domain `gN.test`.
    pub(super) fn start(gateways: usize) -> Relay {
        let shared = Arc::new(Shared { places: Mutex::new(vec![None; gateways]), ..Shared::default() });
        let lanes: Vec<Sender<Mail>> = (0..gateways)
            .map(|gateway| {
                let (send, mails) = channel();
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let mut client = None;
                    for mail in mails {
                        shared.bring(gateway, &mail, &mut client);
                        shared.waiting.fetch_sub(1, Ordering::SeqCst);
                    }
                });
                send
            })
            .collect();
        let told = Arc::clone(&shared);
        let sink = Sink::telling(move |mail| {
            for to in &mail.to {
                match gateway_of(to).filter(|number| *number < lanes.len()) {
                    Some(number) => {
                        told.waiting.fetch_add(1, Ordering::SeqCst);
                        lanes[number].send(Mail { to: vec![to.clone()], ..mail.clone() }).unwrap();
                    }
                    None => drop(told.for_people.fetch_add(1, Ordering::SeqCst)),
                }
            }
        });
        Relay { sink, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.sink.address()
    }

    /// A gateway takes mail there from now on.
    pub(super) fn is_at(&self, gateway: usize, place: Option<SocketAddr>) {
        self.shared.places.lock().unwrap()[gateway] = place;
    }

    /// Whether mail waits for a gateway that lives.
    pub(super) fn is_busy(&self, dead: usize) -> bool {
        // Each dead one's thread holds the first of its mails; those behind it are not told apart.
        dead == 0 && self.shared.waiting.load(Ordering::SeqCst) > 0
    }

    /// Mails to people, so far.
    pub(super) fn for_people(&self) -> usize {
        // What was taken is not looked at again.
        self.sink.forget();
        self.shared.for_people.load(Ordering::SeqCst)
    }

    /// What gateways refused for good.
    pub(super) fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }
}

impl Shared {
    /// Brings a mail to its gateway, however long that takes.
    fn bring(&self, gateway: usize, mail: &Mail, client: &mut Option<Client>) {
        let to: Vec<&str> = mail.to.iter().map(String::as_str).collect();
        loop {
            if client.is_none() {
                let place = self.places.lock().unwrap()[gateway];
                *client = place.and_then(|place| Client::connect(place).ok());
            }
            match client.as_mut().map(|client| client.send(&mail.from, &to, &mail.raw)) {
                Some(Ok(reply)) if reply.code / 100 == 2 => return,
                Some(Ok(reply)) if reply.code / 100 == 5 => {
                    return self
                        .refused
                        .lock()
                        .unwrap()
                        .push(format!("{to:?}: {} {}", reply.code, reply.text));
                }
                // Dead, or asks to come again: a mail server tries later.
                _ => {
                    *client = None;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// The gateway whose mail address this is.
fn gateway_of(address: &str) -> Option<usize> {
    address.rsplit_once('@')?.1.strip_prefix('g')?.strip_suffix(".test")?.parse().ok()
}
