//! An SMTP server that follows a script: what it says, what it must hear, when it breaks off.
//!
//! One step a line:
//! `S text` says the line · `R bytes` says just these bytes · `C line` must hear this line · `L` hears any line ·
//! `M bytes` must hear this mail in its wire form, the final dot excluded (`M` alone: any) ·
//! `N count` reads so many bytes · `X` closes · `H` says nothing until the client leaves ·
//! `TLS name` takes a handshake with that certificate · `--` waits for the next connection.
//! Bytes know the escapes `\r \n \\ \xHH` and `\*COUNTxTEXT\*` for a repetition.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// A script that goes wrong by waiting fails after this.
const PATIENCE: Duration = Duration::from_secs(20);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<Result<(), String>>,
}

impl Scripted {
    /// Listens on a port of its own and plays the steps, one connection after the other.
    pub(crate) fn play(steps: Vec<String>) -> Self {
        Self::play_at(TcpListener::bind("127.0.0.1:0").expect("bind"), steps)
    }

    /// The same with this listener.
    pub(crate) fn play_at(listener: TcpListener, steps: Vec<String>) -> Self {
        let address = listener.local_addr().expect("address");
        let thread = std::thread::spawn(move || {
            for connection in steps.split(|step| step == "--") {
                let (stream, _) = listener.accept().map_err(|e| e.to_string())?;
                serve(stream, connection)?;
            }
            Ok(())
        });
        Self { address, thread }
    }

    /// Waits for the end of the script.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.thread.join().expect("the script's thread")
    }
}

fn serve(stream: TcpStream, steps: &[String]) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
    stream.set_nodelay(true).expect("nodelay");
    let mut stream: Option<Box<dyn Stream>> = Some(Box::new(stream));
    let mut plain = None;
    for step in steps {
        let fault = |what: String| format!("at {step:?}: {what}");
        let (kind, rest) = step.split_once(' ').unwrap_or((step, ""));
        let Some(s) = stream.as_mut() else {
            return Err(fault("the connection is closed already".to_owned()));
        };
        match kind {
            "S" => say(s, &[rest.as_bytes(), b"\r\n"].concat()).map_err(|e| fault(e.to_string()))?,
            "R" => say(s, &unescape(rest)).map_err(|e| fault(e.to_string()))?,
            "C" | "L" => {
                let line = hear(s, b"\r\n").map_err(|e| fault(e.to_string()))?;
                if kind == "C" && line != rest.as_bytes() {
                    return Err(fault(format!("heard {:?}", String::from_utf8_lossy(&line))));
                }
            }
            "M" => {
                let mail = hear(s, b"\r\n.\r\n").map_err(|e| fault(e.to_string()))?;
                if !rest.is_empty() && mail != unescape(rest) {
                    return Err(fault(format!("heard {:?}", String::from_utf8_lossy(&mail))));
                }
            }
            "N" => {
                let mut bytes = vec![0; rest.parse().expect("a count")];
                s.read_exact(&mut bytes).map_err(|e| fault(e.to_string()))?;
            }
            "X" => stream = None,
            "H" => {
                let mut sink = Vec::new();
                match s.read_to_end(&mut sink) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
                    Err(e) => return Err(fault(e.to_string())),
                }
            }
            "TLS" => {
                plain = stream.take();
                let taken = plain.take().expect("a stream");
                match acceptor(rest).accept(taken) {
                    Ok(tls) => stream = Some(Box::new(tls)),
                    // The client refuses our certificate: that is what such a script is for.
                    Err(_) => return Ok(()),
                }
            }
            other => return Err(fault(format!("no such step {other:?}"))),
        }
    }
    drop(plain);
    Ok(())
}

fn say(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// Reads up to and without `end`, byte by byte, so that nothing behind it is lost.
fn hear(stream: &mut Box<dyn Stream>, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            let heard = String::from_utf8_lossy(&heard).into_owned();
            return Err(io::Error::other(format!("the client left after {heard:?}")));
        }
        heard.push(byte[0]);
        // The final dot of an empty mail follows DATA's CRLF, which was read before.
        if heard.ends_with(end) {
            heard.truncate(heard.len() - end.len());
            return Ok(heard);
        }
    }
}

fn acceptor(name: &str) -> native_tls::TlsAcceptor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let read = |ending: &str| std::fs::read(folder.join(format!("{name}.{ending}"))).expect(name);
    let identity = native_tls::Identity::from_pkcs8(&read("pem"), &read("key")).expect("an identity");
    native_tls::TlsAcceptor::new(identity).expect("an acceptor")
}

pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let kind = after.chars().next().expect("an escape");
        rest = &after[kind.len_utf8()..];
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            '\\' => out.push(b'\\'),
            'x' => {
                let (hex, after) = rest.split_at(2);
                out.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
                rest = after;
            }
            '*' => {
                let (inner, after) = rest.split_once("\\*").expect("the end of a repetition");
                let (count, text) = inner.split_once('x').expect("COUNTxTEXT");
                for _ in 0..count.parse().expect("a count") {
                    out.extend_from_slice(text.replace("\\r\\n", "\r\n").as_bytes());
                }
                rest = after;
            }
            other => panic!("no such escape {other:?}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
