//! The session alone: no socket, and time passes when the script says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cmr_mail::smtp::{Action, Reply, Session, Transaction};

use crate::script::{self, Mail, Script};

pub(crate) struct World {
    session: Session,
    now: Duration,
    said: VecDeque<u8>,
    mail: Option<Transaction>,
    handshake: bool,
    closed: bool,
}

impl World {
    pub(crate) fn new(script: &Script) -> Self {
        let now = Duration::from_secs(1_000);
        let mut world = World {
            session: Session::new(Arc::new(script.config.clone()), script.client, now),
            now,
            said: VecDeque::new(),
            mail: None,
            handshake: false,
            closed: false,
        };
        world.act();
        world
    }

    fn act(&mut self) {
        while let Some(action) = self.session.poll(self.now) {
            assert!(!self.closed, "an action after Close");
            match action {
                Action::Send(bytes) => self.said.extend(bytes),
                Action::StartTls => self.handshake = true,
                Action::Deliver(mail) => self.mail = Some(mail),
                Action::Close => self.closed = true,
            }
        }
    }
}

impl script::World for World {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        if !self.session.wants_read() {
            return Err("the session does not want to read".to_owned());
        }
        self.session.receive(bytes);
        self.act();
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.said.iter().position(|&byte| byte == b'\n').ok_or("the server is silent")?;
        let line: Vec<u8> = self.said.drain(..=end).collect();
        let line = line.strip_suffix(b"\r\n").ok_or("a line without CR LF")?;
        Ok(String::from_utf8(line.to_vec()).unwrap())
    }

    fn mail(&mut self) -> Result<Mail, String> {
        let mail = self.mail.clone().ok_or("no mail was handed over")?;
        Ok(Mail {
            sender: mail.sender,
            recipients: mail.recipients,
            peer: mail.origin,
            relay: mail.through_relay,
            helo: mail.helo,
            tls: mail.tls,
            raw: mail.raw,
        })
    }

    fn answer(&mut self, replies: Vec<Reply>) -> Result<(), String> {
        self.mail.take().ok_or("no mail to answer")?;
        self.session.answer(&replies, self.now);
        self.act();
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while self.session.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.session.expired(self.now);
            self.act();
        }
    }

    fn full(&mut self) {
        self.session.no_room();
    }

    fn stop(&mut self) {
        self.session.finish(Reply::unavailable("The service stops; try again later"));
        self.act();
    }

    fn tls(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.handshake) {
            return Err("no handshake is due".to_owned());
        }
        self.session.tls_started(self.now);
        self.act();
        Ok(())
    }

    fn closed(&mut self) -> Result<(), String> {
        if self.closed { Ok(()) } else { Err("the connection is open".to_owned()) }
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(mail) = &self.mail {
            return Err(format!("a mail was handed over: {mail:?}"));
        }
        if self.said.is_empty() {
            return Ok(());
        }
        Err(format!("the server also said {:?}", self.line()))
    }
}
