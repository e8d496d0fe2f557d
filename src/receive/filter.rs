//! The content filter on sockets: takes mail from the mail server in front, asks the judge, and
//! hands it on to the next hop, whose word is the word the mail server in front gets.

mod connection;
mod receipts;
mod spool;
mod witness;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::connection::Connection;
use self::receipts::Receipts;
use self::witness::Witness;
use super::Arrival;
use crate::filter::{Judgement, OnError};
use crate::listen;
use crate::send::hop::Patience;
use crate::smtp::Reply;

pub use spool::Spool;
pub use witness::testify;

/// Bytes of mails that are held in memory to be read, all together.
const READ_TOGETHER: usize = 256 * 1024 * 1024;

/// A mail that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The mail with its envelope: all recipients that are accepted. Without its text
    /// if that is longer than [`Judge::most`].
    pub arrival: Arrival,
    /// The recipients whose copies end here.
    pub taken: Vec<String>,
    /// Whether the text is there.
    pub whole: bool,
}

/// Who decides about mail that passes.
pub trait Judge: Send + Sync + 'static {
    /// Whether the copy for this recipient ends here; `size` is what the client declared.
    fn takes(&self, recipient: &str, size: Option<u64>) -> bool;

    /// Bytes of the longest mail that is looked into; longer ones are only passed.
    fn most(&self) -> usize;

    /// Decides about one mail, and has stored what it promises when it comes back.
    fn judge(&self, passing: Passing) -> impl Future<Output = Judgement> + Send;
}

/// Everything a filter is told. A new one may come while it runs: it holds for the connections
/// that begin afterwards.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name.
    pub hostname: String,
    /// Who may hand mail in.
    pub clients: Vec<IpNet>,
    /// Who gets it next.
    pub next_hop: SocketAddr,
    /// Where mails that are too long for memory lie meanwhile.
    pub spool: PathBuf,
    /// What happens to a mail when the judge fails altogether.
    pub on_error: OnError,
    /// Whether a refusal for good by the next hop is passed on as such; else it is a reason to try
    /// again.
    pub pass_refusals: bool,
    /// Deadlines at the next hop.
    pub patience: Patience,
    /// The longest silence of a client.
    pub idle: Duration,
    /// The longest wait for the judge.
    pub judge: Duration,
    /// Connections at the same time.
    pub max_connections: usize,
    /// The longest that mails under way are waited for when the filter stops.
    pub drain: Duration,
    /// The program that [`testify`]s when it is called with the argument `witness`: this one. Without it a mail may
    /// come twice when this process is killed.
    pub witness: Option<PathBuf>,
}

impl Options {
    /// The defaults, for clients on loopback.
    #[must_use]
    pub fn new(hostname: &str, next_hop: SocketAddr, spool: PathBuf) -> Self {
        Options {
            hostname: hostname.to_owned(),
            clients: vec![IpNet::from(IpAddr::from([127, 0, 0, 1]))],
            next_hop,
            spool,
            on_error: OnError::Defer,
            pass_refusals: false,
            patience: Patience::default(),
            idle: Duration::from_secs(5 * 60),
            judge: Duration::from_secs(4 * 60),
            max_connections: 1_000,
            drain: Duration::from_secs(30),
            witness: None,
        }
    }
}

/// What all connections share.
struct Shared<J> {
    judge: Arc<J>,
    /// Permits for bytes of mails in memory.
    memory: Arc<Semaphore>,
    receipts: Arc<Receipts>,
    witness: Option<Arc<Witness>>,
    stop: watch::Receiver<bool>,
}

/// Passes mail on until `stop` is true, or its sender is gone.
///
/// Then no connection is accepted any more, and mails whose text has begun are finished, for
/// [`Options::drain`] at most; what is not finished then is cut off without an answer, and so still
/// the sender's.
pub async fn serve<J: Judge>(
    listener: TcpListener,
    options: watch::Receiver<Arc<Options>>,
    judge: Arc<J>,
    mut stop: watch::Receiver<bool>,
) {
    let (spool, program) = {
        let options = options.borrow();
        (options.spool.clone(), options.witness.clone())
    };
    let receipts = tokio::select! {
        receipts = Receipts::open_alone(&spool, witness::PATIENCE + Duration::from_secs(5)) => Arc::new(receipts),
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let witness = program.zip(receipts.file()).and_then(|(program, file)| {
        let started = Witness::start(&program, file);
        if let Err(error) = &started {
            tracing::warn!(%error, "no witness: a mail may come twice if this process is killed");
        }
        started.ok().map(Arc::new)
    });
    let memory = Arc::new(Semaphore::new(READ_TOGETHER));
    let (told, stopping) = (options.clone(), stop.clone());
    let admit = move |stream, peer: SocketAddr, under_way| {
        let options = Arc::clone(&told.borrow());
        let address = peer.ip().to_canonical();
        if !options.clients.iter().any(|net| net.contains(&address)) {
            tracing::warn!(%address, "no client of the filter: [filter] clients names who may hand mail in");
            listen::dismiss(stream, &Reply::new(554, 7, 1, "You are no client of this filter").to_bytes());
            None
        } else if under_way >= options.max_connections {
            listen::dismiss(stream, &Reply::unavailable("Too many connections; try again later").to_bytes());
            None
        } else {
            let shared = Shared {
                judge: Arc::clone(&judge),
                memory: Arc::clone(&memory),
                receipts: Arc::clone(&receipts),
                witness: witness.clone(),
                stop: stopping.clone(),
            };
            Some(Connection::new(options, shared, address).run(stream))
        }
    };
    let left = listen::accept(listener, stop, admit, move || options.borrow().drain).await;
    if left > 0 {
        tracing::warn!(left, "connections of the filter cut off while stopping");
    }
}
