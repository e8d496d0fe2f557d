//! The receiver on a real socket, with a client on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use cmr_mail::config::TlsFiles;
use cmr_mail::listen::bind;
use cmr_mail::receive::smtp::{Options, serve};
use cmr_mail::receive::{Arrival, Handler, Verdict};
use cmr_mail::smtp::Reply;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::script::{self, Mail, Script};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

type Waiting = (Arrival, oneshot::Sender<Verdict>);

struct Door(Mutex<mpsc::Sender<Waiting>>);

impl Handler for Door {
    async fn admit(&self, arrival: Arrival) -> Verdict {
        let (sender, verdict) = oneshot::channel();
        self.0.lock().unwrap().send((arrival, sender)).unwrap();
        verdict.await.unwrap()
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

pub(crate) struct World {
    stream: Option<BufReader<Box<dyn Stream>>>,
    plain: TcpStream,
    mails: mpsc::Receiver<Waiting>,
    verdict: Option<oneshot::Sender<Verdict>>,
    _options: watch::Sender<Arc<Options>>,
    _stop: watch::Sender<bool>,
}

impl World {
    pub(crate) fn new(script: &Script, runtime: &Handle) -> Self {
        let _inside = runtime.enter();
        let tls = script.config.starttls.then(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
            let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
            files.acceptor().unwrap().into()
        });
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mails) = mpsc::channel();
        let options = Arc::new(Options::new(script.config.clone(), tls));
        let (options, options_of_it) = watch::channel(options);
        let (stop, stop_of_it) = watch::channel(false);
        let door = Arc::new(Door(Mutex::new(sender)));
        runtime.spawn(serve(vec![listener], options_of_it, door, stop_of_it));

        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::new(script.client, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let plain = TcpStream::from(socket);
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = Box::new(plain.try_clone().unwrap());
        World {
            stream: Some(BufReader::new(stream)),
            plain,
            mails,
            verdict: None,
            _options: options,
            _stop: stop,
        }
    }

    fn stream(&mut self) -> &mut BufReader<Box<dyn Stream>> {
        self.stream.as_mut().unwrap()
    }
}

impl script::World for World {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream().get_mut();
        // The server may have closed with all said; then its words are still to be read.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        self.stream().read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        let line = line.strip_suffix(b"\r\n").ok_or("the server closed")?;
        Ok(String::from_utf8(line.to_vec()).unwrap())
    }

    fn mail(&mut self) -> Result<Mail, String> {
        let (arrival, verdict) = self.mails.recv_timeout(PATIENCE).map_err(|_| "no mail was handed over")?;
        self.verdict = Some(verdict);
        Ok(Mail {
            sender: arrival.sender,
            recipients: arrival.recipients,
            peer: arrival.peer,
            relay: arrival.through_relay,
            helo: arrival.helo,
            tls: arrival.tls,
            raw: arrival.raw,
        })
    }

    fn answer(&mut self, replies: Vec<Reply>) -> Result<(), String> {
        let verdict = self.verdict.take().ok_or("no mail to answer")?;
        verdict.send(replies[0].clone().into()).map_err(|_| "nobody waits".to_owned())
    }

    fn tls(&mut self) -> Result<(), String> {
        if !self.stream().buffer().is_empty() {
            return Err("the server spoke before the handshake".to_owned());
        }
        let connector =
            native_tls::TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
        let stream = connector
            .connect("mx.example.org", self.plain.try_clone().unwrap())
            .map_err(|error| error.to_string())?;
        self.stream = Some(BufReader::new(Box::new(stream)));
        Ok(())
    }

    fn closed(&mut self) -> Result<(), String> {
        let mut rest = Vec::new();
        self.stream().read_to_end(&mut rest).map_err(|error| error.to_string())?;
        if rest.is_empty() { Ok(()) } else { Err(format!("the server also said {rest:?}")) }
    }

    fn end(&mut self) -> Result<(), String> {
        match self.mails.try_recv() {
            Ok((arrival, _)) => Err(format!("a mail was handed over: {arrival:?}")),
            Err(_) => Ok(()),
        }
    }
}
