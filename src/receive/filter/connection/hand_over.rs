//! Handing a spooled mail to the next hop: once, and with its word written down before it is said to anybody.
//!
//! It knows the receipts and the witness. It must never know what was decided about the mail.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Connection;
use crate::receive::filter::receipts::{Name, State, Turn};
use crate::receive::filter::witness::Held;
use crate::receive::filter::{Judge, Spool};
use crate::send::hop::{Hop, HopError, takes};
use crate::smtp::{Heard, Reply};

impl<J: Judge> Connection<J> {
    /// Hands it on unless the next hop has it; in both cases the word that says so is written down
    /// before it is said to anybody.
    pub(super) async fn pass_once(
        &mut self,
        name: Option<Name>,
        spool: &Spool,
        stamp: Option<String>,
        client: &TcpStream,
    ) -> Reply {
        let turn = match name.map(|name| Arc::clone(&self.shared.receipts).begin(name)) {
            Some(State::Taken) => {
                self.reset().await;
                tracing::info!("handed over again: the next hop has this mail");
                return Reply::stored("The next hop has it since it was first handed over");
            }
            Some(State::UnderWay) => {
                self.reset().await;
                return Reply::trouble("This mail is being handed on at this moment");
            }
            Some(State::New(turn)) => Some(turn),
            None => None,
        };
        self.pass(spool, stamp, turn, client).await
    }

    /// Hands the spooled mail to the next hop; its word.
    async fn pass(
        &mut self,
        spool: &Spool,
        stamp: Option<String>,
        turn: Option<Turn>,
        client: &TcpStream,
    ) -> Reply {
        let Some(hop) = self.hop.take() else { return self.gone().reply() };
        match self.hand_over(hop, spool, stamp, turn, client).await {
            Ok(heard) => self.passed_on(&heard),
            Err(error) => self.lost(&error),
        }
    }

    async fn hand_over(
        &mut self,
        hop: Hop,
        spool: &Spool,
        stamp: Option<String>,
        turn: Option<Turn>,
        client: &TcpStream,
    ) -> Result<Heard, HopError> {
        let mut text = match hop.text().await? {
            Ok(text) => text,
            // 2xx before there was a text is no word about it: something is out of step.
            Err((_, heard)) if heard.code < 400 => {
                let reason = format!("it answers DATA with {}", heard.text());
                return Err(HopError::Broken { address: self.options.next_hop, reason });
            }
            Err((hop, heard)) => {
                // The mail is still open there, and would be in the way of the next one.
                self.hop = Some(hop);
                self.reset().await;
                return Ok(heard);
            }
        };
        if let Some(stamp) = stamp {
            text.push(format!("{stamp}\r\n").as_bytes()).await?;
        }
        let mut at = 0;
        while at < spool.length() {
            let bytes = match spool.read(at).await {
                Ok(bytes) if !bytes.is_empty() => bytes,
                // The text is dropped without its end: the next hop never takes half a mail.
                other => {
                    let reason = other.err().map_or("it is too short".to_owned(), |error| error.to_string());
                    tracing::error!(reason, "a spooled mail can't be read");
                    return Err(HopError::Broken {
                        address: self.options.next_hop,
                        reason: format!("our spool failed: {reason}"),
                    });
                }
            };
            text.push(&bytes).await?;
            at = at.saturating_add(bytes.len() as u64);
        }
        // Whoever is not there any more will hand it over again: it must not go out twice.
        if !self.session.says_farewell() && has_gone(client) {
            let reason = "the mail server in front has gone".to_owned();
            return Err(HopError::Broken { address: self.options.next_hop, reason });
        }
        if text.is_out_of_step() {
            let reason = "it says something before the text has ended".to_owned();
            return Err(HopError::Broken { address: self.options.next_hop, reason });
        }
        // From the dot to the receipt the witness stands ready: killed in between we would not know whose the mail is.
        let witness = self.shared.witness.clone();
        let held = witness.as_ref().zip(turn.as_ref());
        let held = held.and_then(|(witness, turn)| witness.hold(text.connection(), turn.name()));
        let write_down = |heard: &Heard| {
            if let Some(turn) = turn.filter(|_| takes(heard)) {
                turn.taken();
            }
        };
        let ended = text.end(write_down).await;
        // Whoever is cut off before this leaves the connection with the witness.
        let is_known = held.is_none_or(Held::heard);
        let (hop, heard) = ended?;
        match is_known {
            true => self.hop = Some(hop),
            false => hop.cut(),
        }
        if heard.code < 300 && !takes(&heard) {
            self.hop = None;
            let reason = format!("it answers the text with {} {}", heard.code, heard.text());
            return Err(HopError::Broken { address: self.options.next_hop, reason });
        }
        Ok(heard)
    }
}

/// Whether the client has closed the connection. What it has sent beyond is left to be read.
fn has_gone(client: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    match socket2::SockRef::from(client).peek(&mut byte) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}
