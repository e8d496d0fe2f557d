//! A name server on loopback, with a zone of its own, and the keys that sign the tests' mail.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults, SpfOutput, SpfResult};

/// The type of a TXT record (RFC 1035, section 3.2.2).
const TXT: u16 = 16;

#[derive(Default)]
struct Zone {
    /// Names in lower case; what is not here does not exist.
    texts: BTreeMap<String, String>,
    /// Records of other types: name, type, data.
    records: Vec<(String, u16, Vec<u8>)>,
    /// How often anything was asked about a name.
    asked: BTreeMap<String, usize>,
}

/// A running name server; its thread ends with the process.
#[derive(Clone)]
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    pub(crate) fn start() -> NameServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = NameServer { address: socket.local_addr().unwrap(), zone: Arc::default() };
        let zone = Arc::clone(&server.zone);
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut datagram) {
                if let Some(reply) = reply(&datagram[..length], &zone) {
                    socket.send_to(&reply, client).unwrap();
                }
            }
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a TXT record. A name that begins with `silent` is never answered, whatever it holds.
    pub(crate) fn text(&self, name: &str, text: &str) -> &NameServer {
        self.zone.lock().unwrap().texts.insert(name.to_ascii_lowercase(), text.to_owned());
        self
    }

    /// Adds an A record.
    pub(crate) fn host(&self, name: &str, address: Ipv4Addr) -> &NameServer {
        self.record(name, 1, address.octets().to_vec())
    }

    /// Adds an MX record.
    pub(crate) fn exchanger(&self, name: &str, preference: u16, host: &str) -> &NameServer {
        self.record(name, 15, [preference.to_be_bytes().to_vec(), labels(host)].concat())
    }

    /// Adds the name of an address (PTR).
    pub(crate) fn name_of(&self, address: Ipv4Addr, host: &str) -> &NameServer {
        let [a, b, c, d] = address.octets();
        self.record(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), 12, labels(host))
    }

    fn record(&self, name: &str, kind: u16, data: Vec<u8>) -> &NameServer {
        self.zone.lock().unwrap().records.push((name.to_ascii_lowercase(), kind, data));
        self
    }

    /// How often anything was asked about a name.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.zone.lock().unwrap().asked.get(name).copied().unwrap_or(0)
    }
}

/// A name as it stands in a record (RFC 1035, section 3.1).
fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// The reply to a query (RFC 1035, section 4); `None`: silence.
fn reply(query: &[u8], zone: &Mutex<Zone>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let name = labels.join(".");
    let mut zone = zone.lock().unwrap();
    *zone.asked.entry(name.clone()).or_default() += 1;
    if labels.iter().any(|label| label.starts_with("silent")) {
        return None;
    }
    let mut there: Vec<(u16, Vec<u8>)> = zone
        .records
        .iter()
        .filter(|(of, _, _)| *of == name)
        .map(|(_, kind, data)| (*kind, data.clone()))
        .collect();
    if let Some(text) = zone.texts.get(&name) {
        let mut data = Vec::new();
        for part in text.as_bytes().chunks(255) {
            data.push(u8::try_from(part.len()).unwrap());
            data.extend_from_slice(part);
        }
        there.push((TXT, data));
    }
    let answers: Vec<&(u16, Vec<u8>)> = there.iter().filter(|(of, _)| *of == kind).collect();
    let mut out = query.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, if there.is_empty() { 0x83 } else { 0x80 }]);
    out.extend_from_slice(&[0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    out.extend_from_slice(question);
    for (kind, data) in answers {
        // The name of the question, the type, IN, a minute.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(data);
    }
    Some(out)
}

/// Who signs mail for a domain.
pub(crate) struct Signer {
    domain: String,
    key: Vec<u8>,
}

impl Signer {
    /// With a fresh key, which the name server knows under the selector `s`.
    pub(crate) fn new(domain: &str, dns: &NameServer) -> Signer {
        Signer::with(domain, dns, "")
    }

    /// The same; the domain only tries its key out (RFC 6376, section 3.6.1).
    pub(crate) fn on_trial(domain: &str, dns: &NameServer) -> Signer {
        Signer::with(domain, dns, "t=y; ")
    }

    fn with(domain: &str, dns: &NameServer, flags: &str) -> Signer {
        let key = Ed25519Key::generate_pkcs8().unwrap();
        let public = STANDARD.encode(Ed25519Key::from_pkcs8_der(&key).unwrap().public_key());
        dns.text(&format!("s._domainkey.{domain}"), &format!("v=DKIM1; k=ed25519; {flags}p={public}"));
        Signer { domain: domain.to_owned(), key }
    }

    /// The mail with a signature over these fields on top.
    pub(crate) fn sign(&self, mail: &[u8], fields: &[&str]) -> Vec<u8> {
        self.sign_with(mail, fields, false)
    }

    /// As [`Signer::sign`], with `l=` if that is wanted.
    pub(crate) fn sign_with(&self, mail: &[u8], fields: &[&str], partial: bool) -> Vec<u8> {
        let key = Ed25519Key::from_pkcs8_der(&self.key).unwrap();
        let signer = DkimSigner::from_key(key)
            .domain(self.domain.clone())
            .selector("s")
            .headers(fields.iter().map(|field| (*field).to_owned()))
            .body_length(partial);
        let mut signed = signer.sign(mail).unwrap().to_header().into_bytes();
        signed.extend_from_slice(mail);
        signed
    }

    /// The mail with an ARC set on top (RFC 8617): that SPF held for this sender.
    pub(crate) fn seal(&self, mail: &[u8], fields: &[&str], sender: &str) -> Vec<u8> {
        let key = Ed25519Key::from_pkcs8_der(&self.key).unwrap();
        let message = AuthenticatedMessage::parse(mail).unwrap();
        let domain = sender.rsplit_once('@').unwrap().1.to_owned();
        let spf = SpfOutput::new(domain).with_result(SpfResult::Pass);
        let results = AuthenticationResults::new(&self.domain).with_spf_mailfrom_result(
            &spf,
            "192.0.2.7".parse().unwrap(),
            sender,
            "client.test",
        );
        let sealer = ArcSealer::from_key(key)
            .domain(self.domain.clone())
            .selector("s")
            .headers(fields.iter().map(|field| (*field).to_owned()));
        let set = sealer.seal(&message, &results, &ArcOutput::default()).unwrap();
        let mut sealed = set.to_header().into_bytes();
        sealed.extend_from_slice(mail);
        sealed
    }
}
