//! One connection of the filter: the dialogue with the mail server in front, and beside it the one
//! with the next hop.
//!
//! Hello, senders and recipients are asked of the next hop while the client waits, so every
//! reply about them is its own. The text is spooled first, and decided about; only a mail
//! that is whole goes on, and the next hop's word about it is ours.

mod hand_over;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::receipts::{Name, Naming};
use super::{Judge, Options, Passing, Shared, Spool};
use crate::filter::{Judgement, OnError, Trace};
use crate::message::UnixTime;
use crate::receive::{Arrival, Via};
use crate::send::hop::{Hop, HopError};
use crate::smtp::{Heard, MailLine, Offered, RcptLine, RelaySession, Reply, Severity, Step};

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
/// After the last word the client may take its time to close, so long at most.
const LINGER: Duration = Duration::from_secs(2);

/// The mail under way.
struct Open {
    /// The command that began it.
    line: Vec<u8>,
    sender: Option<String>,
    size: Option<u64>,
    recipients: Vec<Recipient>,
    spool: Spool,
    trace: Trace,
    naming: Naming,
    /// It can't be spooled; what is said about it at its end.
    lost: Option<Reply>,
}

struct Recipient {
    rcpt: RcptLine,
    /// The copy ends here; the next hop has not heard of it.
    taken: bool,
}

pub(super) struct Connection<J> {
    options: Arc<Options>,
    shared: Shared<J>,
    session: RelaySession,
    hop: Option<Hop>,
    filters: u32,
    open: Option<Open>,
    /// Who hands the mail in.
    address: IpAddr,
}

impl<J: Judge> Connection<J> {
    pub(super) fn new(options: Arc<Options>, shared: Shared<J>, address: IpAddr) -> Self {
        let session = RelaySession::new(&options.hostname);
        Connection { options, shared, session, hop: None, filters: 0, open: None, address }
    }

    /// Serves the client to the end.
    pub(super) async fn run(mut self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        if let Err(error) = self.converse(&mut stream).await {
            tracing::debug!(address = %self.address, %error, "connection of the filter lost");
        }
        if let Some(hop) = self.hop.take() {
            hop.quit().await;
        }
    }

    async fn converse(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut out = Vec::new();
        let mut told = false;
        let mut stop = self.shared.stop.clone();
        loop {
            let mut closing = false;
            while let Some(step) = self.session.poll() {
                match step {
                    Step::Send(bytes) => out.extend_from_slice(&bytes),
                    Step::Close => closing = true,
                    step => self.step(step, stream).await,
                }
            }
            if !out.is_empty() {
                timeout(self.options.idle, stream.write_all(&out)).await??;
                out.clear();
            }
            if closing {
                return linger(stream, &mut chunk).await;
            }
            let read = tokio::select! {
                read = timeout(self.options.idle, stream.read(&mut chunk)) => Some(read),
                _ = stop.wait_for(|stop| *stop), if !told => None,
            };
            match read {
                Some(Ok(Ok(0))) => return Ok(()),
                Some(Ok(Ok(length))) => self.session.receive(chunk.get(..length).unwrap_or_default()),
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(_)) => {
                    let late = Reply::new(421, 4, 2, "Nothing said for too long");
                    timeout(self.options.idle, stream.write_all(&late.to_bytes())).await??;
                    return Ok(());
                }
                None => {
                    told = true;
                    self.session.finish(Reply::unavailable("The service stops; try again later"));
                }
            }
        }
    }

    async fn step(&mut self, step: Step, client: &TcpStream) {
        match step {
            Step::Hello(filters) => {
                self.filters = filters;
                match self.offered().await {
                    Ok(offered) => self.session.offer(&offered),
                    // Anything but a 421 would make the client try its luck with HELO.
                    Err(error) => {
                        tracing::warn!(%error, "nothing can be passed on");
                        let told = error.reply();
                        let (subject, detail) =
                            if told.to_string().contains(" 4.4.6 ") { (4, 6) } else { (4, 1) };
                        self.session.answer(&Reply::new(421, subject, detail, &told.text()));
                    }
                }
            }
            Step::Mail(mail) => {
                let reply = self.mail(mail).await;
                self.session.answer(&reply);
            }
            Step::Rcpt(rcpt) => {
                let reply = self.rcpt(rcpt).await;
                self.session.answer(&reply);
            }
            Step::Abandon => {
                self.open = None;
                self.reset().await;
            }
            Step::Text(bytes) => self.text(&bytes).await,
            Step::Whole(doubtful) => {
                let replies = match self.open.take() {
                    Some(open) => self.whole(open, doubtful, client).await,
                    None => Vec::new(),
                };
                self.session.settle(&replies);
            }
            Step::Send(_) | Step::Close => {}
        }
    }

    /// What the next hop offers, connected to anew if it has gone.
    async fn offered(&mut self) -> Result<Offered, HopError> {
        if let Some(hop) = self.hop.take_if(|hop| !hop.is_stale()) {
            return Ok(self.hop.insert(hop).offered().clone());
        }
        let options = &self.options;
        let hop = Hop::open(options.next_hop, &options.hostname, self.filters, options.patience).await?;
        Ok(self.hop.insert(hop).offered().clone())
    }

    async fn mail(&mut self, mail: MailLine) -> Reply {
        // A kept connection may be at its end without our knowing; nothing is lost by a second try.
        let mut heard = self.begin(&mail).await;
        if matches!(heard, Err(HopError::Broken { .. })) {
            heard = self.begin(&mail).await;
        }
        let reply = match heard {
            Ok(heard) => self.passed_on(&heard),
            Err(error) => self.lost(&error),
        };
        if reply.severity() == Severity::Success {
            self.open = Some(Open {
                line: mail.line,
                sender: mail.address,
                size: mail.size,
                recipients: Vec::new(),
                spool: Spool::new(&self.options.spool),
                trace: Trace::default(),
                naming: Naming::default(),
                lost: None,
            });
        }
        reply
    }

    async fn begin(&mut self, mail: &MailLine) -> Result<Heard, HopError> {
        self.offered().await?;
        let Some(hop) = &mut self.hop else { return Err(self.gone()) };
        let attributes = self.session.attributes();
        let heard = match hop.forward(attributes).await {
            Ok(()) => hop.command(&mail.line).await,
            Err(error) => Err(error),
        };
        // A farewell in place of an answer is the end of a kept connection as well.
        match heard {
            Ok(heard) if heard.code != 421 => Ok(heard),
            Ok(heard) => {
                self.hop = None;
                Err(HopError::Broken { address: self.options.next_hop, reason: heard.text() })
            }
            Err(error) => {
                self.hop = None;
                Err(error)
            }
        }
    }

    async fn rcpt(&mut self, rcpt: RcptLine) -> Reply {
        let Some(open) = &mut self.open else { return Reply::trouble("No mail is open") };
        let taken = self.shared.judge.takes(&rcpt.address, open.size);
        let reply = if taken { Reply::new(250, 1, 5, "Recipient ok") } else { self.ask(&rcpt.line).await };
        if reply.severity() == Severity::Success
            && let Some(open) = &mut self.open
        {
            open.recipients.push(Recipient { rcpt, taken });
        }
        reply
    }

    /// Asks the next hop within the mail under way.
    async fn ask(&mut self, line: &[u8]) -> Reply {
        let Some(hop) = &mut self.hop else { return self.gone().reply() };
        match hop.command(line).await {
            Ok(heard) => self.passed_on(&heard),
            Err(error) => self.lost(&error),
        }
    }

    async fn text(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.trace.push(bytes);
        if open.lost.is_some() {
            return;
        }
        open.naming.push(bytes);
        if let Err(error) = open.spool.push(bytes).await {
            tracing::warn!(%error, dir = %self.options.spool.display(), "a mail can't be spooled");
            open.lost = Some(Reply::no_room(&format!("No room for this mail at present: {error}")));
            open.spool = Spool::new(&self.options.spool);
        }
    }

    /// The mail is here: what becomes of it, for each recipient.
    async fn whole(&mut self, open: Open, doubtful: bool, client: &TcpStream) -> Vec<Reply> {
        let refusal = if open.trace.is_loop() {
            Some(Reply::new(554, 4, 6, "A loop: the mail has passed more than 50 mail servers"))
        } else if doubtful {
            Some(Reply::malformed_mail(
                "A lone dot stands behind an LF without its CR: where does the mail end?",
            ))
        } else {
            open.lost.clone()
        };
        if let Some(refusal) = refusal {
            tracing::warn!(sender = open.sender, reply = %refusal, "not passed on");
            self.reset().await;
            return vec![refusal];
        }
        let by = Instant::now() + self.options.patience.in_all;
        if let Some(hop) = &mut self.hop {
            hop.until(Some(by));
        }
        let (judgement, ends_here) = match self.judge(&open).await {
            Ok(judgement) => judgement,
            Err(error) => {
                tracing::warn!(%error, "a spooled mail can't be read");
                self.reset().await;
                return vec![Reply::trouble("The spooled mail can't be read; try again later")];
            }
        };
        let replies = self.carry_out(open, judgement, ends_here, client).await;
        if let Some(hop) = &mut self.hop {
            hop.until(None);
        }
        replies
    }

    /// Asks the judge. Also whether a copy ends here.
    async fn judge(&mut self, open: &Open) -> io::Result<(Judgement, bool)> {
        let judge = Arc::clone(&self.shared.judge);
        let length = usize::try_from(open.spool.length()).unwrap_or(usize::MAX);
        let whole = length <= judge.most();
        let taken: Vec<String> =
            open.recipients.iter().filter(|it| it.taken).map(|it| it.rcpt.address.clone()).collect();
        let ends_here = !taken.is_empty();
        let (client, helo) = self.session.origin();
        let client = client.filter(|client| !client.is_loopback() && !self.is_client(*client));
        let helo = helo.map(str::to_owned);
        // A judge that hangs keeps its room. Room and verdict together have the time of a verdict: the
        // next hop needs the rest.
        let by = Instant::now() + self.options.judge;
        let room = match whole {
            true => match timeout_at(by, self.room(length)).await {
                Ok(room) => room,
                Err(_) => return Ok((self.undecided("No room to read this mail in time"), ends_here)),
            },
            false => None,
        };
        let raw = if whole { open.spool.whole().await? } else { Vec::new() };
        let passing = Passing {
            arrival: Arrival {
                peer: client,
                through_relay: true,
                relay: Some(self.address),
                helo,
                sender: open.sender.clone(),
                recipients: open.recipients.iter().map(|it| it.rcpt.address.clone()).collect(),
                ..Arrival::new(Via::Filter, raw, UnixTime::from(SystemTime::now()))
            },
            taken,
            whole,
        };
        // On a task of its own: neither a panic there nor the client's going away may reach the
        // other side.
        let task = tokio::spawn(async move {
            let judgement = judge.judge(passing).await;
            drop(room);
            judgement
        });
        let why = match timeout_at(by, task).await {
            Ok(Ok(judgement)) => return Ok((judgement, ends_here)),
            Ok(Err(error)) => {
                tracing::error!(%error, "the judge of a mail failed");
                "Trouble here; try again later"
            }
            Err(_) => {
                tracing::error!(limit = ?self.options.judge, "no word about a mail in time");
                "No verdict in time; try again later"
            }
        };
        Ok((self.undecided(why), ends_here))
    }

    /// What the owner wants of a mail about which there is no verdict.
    fn undecided(&self, why: &str) -> Judgement {
        match self.options.on_error {
            OnError::Defer => Judgement::Hold(Reply::trouble(why)),
            OnError::Pass => Judgement::Unprocessed(Reply::trouble(why)),
        }
    }

    /// Waits for room in memory.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(super::READ_TOGETHER)).unwrap_or(u32::MAX);
        Arc::clone(&self.shared.memory).acquire_many_owned(bytes).await.ok()
    }

    async fn carry_out(
        &mut self,
        open: Open,
        judgement: Judgement,
        ends_here: bool,
        client: &TcpStream,
    ) -> Vec<Reply> {
        let mut ours = vec![None; open.recipients.len()];
        let mut stamp = None;
        match judgement {
            Judgement::Go { stamp: mark, taken } => {
                stamp = mark;
                fill(&mut ours, &open, &taken);
            }
            // Where each recipient has a reply of its own, the others need not wait.
            Judgement::Hold(reply) if ends_here && self.session.is_lmtp() => fill(&mut ours, &open, &reply),
            Judgement::Hold(reply) => {
                tracing::warn!(sender = open.sender, %reply, "held back");
                self.reset().await;
                return vec![reply];
            }
            Judgement::Unprocessed(why) => {
                tracing::warn!(sender = open.sender, %why, "passed on without being processed");
                for (recipient, ours) in open.recipients.iter().zip(&mut ours).filter(|(it, _)| it.taken) {
                    let reply = self.ask(&recipient.rcpt.line).await;
                    if reply.severity() == Severity::Success {
                        continue;
                    }
                    // Nobody takes it in our place: the mail server in front has to keep it.
                    if !self.session.is_lmtp() {
                        self.reset().await;
                        return vec![why];
                    }
                    *ours = Some(why.clone());
                }
            }
        }
        let passed = if ours.iter().all(Option::is_some) {
            self.reset().await;
            None
        } else {
            let name = self.name(&open, &ours);
            Some(self.pass_once(name, &open.spool, stamp, client).await)
        };
        if let Some(reply) = passed.as_ref().filter(|reply| reply.severity() != Severity::Success) {
            tracing::warn!(sender = open.sender, %reply, "not passed on");
        }
        let trouble = Reply::trouble("No word from the next hop");
        let each =
            ours.into_iter().map(|ours| ours.or_else(|| passed.clone()).unwrap_or_else(|| trouble.clone()));
        if self.session.is_lmtp() {
            return each.collect();
        }
        // One reply for all: the next hop's, which concerns somebody else's mail too.
        vec![passed.clone().or_else(|| each.clone().next()).unwrap_or_else(|| trouble.clone())]
    }

    /// What names this mail if it is handed over again, if the mail server in front has a number for it.
    fn name(&self, open: &Open, ours: &[Option<Reply>]) -> Option<Name> {
        let ident = self.session.attributes().iter().find_map(|it| {
            let (name, value) = it.split_once('=')?;
            let known = !value.is_empty() && !value.eq_ignore_ascii_case("[UNAVAILABLE]");
            (known && name.eq_ignore_ascii_case("IDENT")).then_some(value)
        })?;
        let goes = open.recipients.iter().zip(ours).filter(|(_, ours)| ours.is_none());
        let recipients = goes.map(|(it, _)| it.rcpt.line.as_slice());
        Some(open.naming.clone().name(ident, std::iter::once(open.line.as_slice()).chain(recipients)))
    }

    /// Forgets the mail under way at the next hop, too.
    async fn reset(&mut self) {
        let Some(hop) = &mut self.hop else { return };
        if !matches!(hop.command(b"RSET").await, Ok(heard) if heard.code < 300) {
            self.hop = None;
        }
    }

    /// The next hop's word in our mouth. What is no answer to the question is trouble; its farewell
    /// is no reason for us to say farewell.
    fn passed_on(&mut self, heard: &Heard) -> Reply {
        match heard.code {
            421 => {
                self.hop = None;
                Reply::heard(451, &heard.lines)
            }
            300..=399 => {
                self.hop = None;
                Reply::trouble("The next hop gave an answer to another question")
            }
            // A next hop that is set up wrongly must not cost mail that was accepted in front.
            500.. if !self.options.pass_refusals => {
                tracing::warn!(said = heard.text(), "the next hop refuses for good; the mail is kept");
                Reply::heard(451, &heard.lines).or_status(4, 0)
            }
            _ => heard.reply(),
        }
    }

    fn lost(&mut self, error: &HopError) -> Reply {
        tracing::warn!(%error, "not passed on");
        self.hop = None;
        error.reply()
    }

    fn gone(&self) -> HopError {
        HopError::Broken { address: self.options.next_hop, reason: "it has gone meanwhile".to_owned() }
    }

    fn is_client(&self, address: IpAddr) -> bool {
        self.options.clients.iter().any(|net| net.contains(&address))
    }
}

/// The reply to the copies that end here.
fn fill(ours: &mut [Option<Reply>], open: &Open, reply: &Reply) {
    for (recipient, ours) in open.recipients.iter().zip(ours) {
        if recipient.taken {
            *ours = Some(reply.clone());
        }
    }
}

/// Closes our side, and reads what the client still sends for a short while.
async fn linger(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<()> {
    stream.shutdown().await?;
    let swallow = async { while matches!(stream.read(chunk).await, Ok(length) if length > 0) {} };
    let _ = timeout(LINGER, swallow).await;
    Ok(())
}
