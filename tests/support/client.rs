//! An SMTP client that does as it is told, right or wrong.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::daemon::PATIENCE;

/// A connection to a mail server.
pub(crate) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// One reply: its code, and its text with the lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) fn connect(server: SocketAddr) -> io::Result<Client> {
        let (mut client, greeting) = Client::greeted(server)?;
        if greeting.code != 220 {
            return Err(io::Error::other(format!("greeted with {greeting:?}")));
        }
        client.write(b"EHLO client.test\r\n")?;
        match client.reply()? {
            Reply { code: 250, .. } => Ok(client),
            other => Err(io::Error::other(format!("EHLO: {other:?}"))),
        }
    }

    /// Connects and returns the greeting, whatever it is.
    pub(crate) fn greeted(server: SocketAddr) -> io::Result<(Client, Reply)> {
        Client::over(TcpStream::connect_timeout(&server, PATIENCE)?)
    }

    /// As [`Client::greeted`], from this address of this machine.
    pub(crate) fn greeted_from(from: Ipv4Addr, server: SocketAddr) -> io::Result<(Client, Reply)> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<(Client, Reply)> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut client = Client { stream, reader };
        let greeting = client.reply()?;
        Ok((client, greeting))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        let mut text = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end_matches(['\r', '\n']);
            let wrong = || io::Error::other(format!("no reply: {line:?}"));
            let code = line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
            text.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text: text.join("\n") });
            }
        }
    }

    /// A command and its reply.
    pub(crate) fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// A whole mail; the first refusal, or the reply to the final dot.
    pub(crate) fn send(&mut self, from: &str, to: &[&str], mail: &[u8]) -> io::Result<Reply> {
        let reply = self.command(&format!("MAIL FROM:<{from}>"))?;
        if reply.code != 250 {
            return Ok(reply);
        }
        for to in to {
            let reply = self.command(&format!("RCPT TO:<{to}>"))?;
            if reply.code / 100 != 2 {
                self.command("RSET")?;
                return Ok(reply);
            }
        }
        let reply = self.command("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        self.write(&dotted(mail))?;
        self.reply()
    }
}

/// The mail as it stands between `DATA` and the next command: dots doubled, ended.
pub(crate) fn dotted(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 16);
    let mut at_start = true;
    for &byte in mail {
        if at_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        at_start = byte == b'\n';
    }
    if !at_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}
