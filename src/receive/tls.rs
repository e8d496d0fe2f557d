//! Certificate and key for STARTTLS.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use native_tls::{Identity, Protocol, TlsConnector};
use tokio_native_tls::TlsAcceptor;

use super::TlsError;

/// Longest trial handshake with our own certificate.
const TRIAL: Duration = Duration::from_secs(10);

/// Reads a PEM certificate chain and a PEM PKCS#8 key, and tries them in one handshake with
/// ourselves: a key that does not fit is found now and not by the first client. TLS 1.2 and
/// newer are spoken.
pub fn load_tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let unusable =
        |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    // The library wants these words at the very start.
    let key_pem = key_pem.trim_ascii_start();
    if !key_pem.starts_with(b"-----BEGIN PRIVATE KEY-----") {
        return Err(TlsError::NotPkcs8 { path: key.to_owned() });
    }
    let identity = Identity::from_pkcs8(&certificate_pem, key_pem).map_err(unusable)?;
    let acceptor = native_tls::TlsAcceptor::builder(identity)
        .min_protocol_version(Some(Protocol::Tlsv12))
        .build()
        .map_err(unusable)?;
    if !shakes_hands(&acceptor) {
        return Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() });
    }
    Ok(acceptor.into())
}

/// One handshake over a pair of sockets of our own. The client checks nothing: it is the
/// server's side that is tried.
fn shakes_hands(acceptor: &native_tls::TlsAcceptor) -> bool {
    let Ok((ours, theirs)) = UnixStream::pair() else {
        return false;
    };
    for stream in [&ours, &theirs] {
        if stream.set_read_timeout(Some(TRIAL)).is_err() {
            return false;
        }
    }
    let Ok(connector) = TlsConnector::builder()
        .danger_accept_invalid_certs(true)
        .danger_accept_invalid_hostnames(true)
        .build()
    else {
        return false;
    };
    thread::scope(|scope| {
        let client = scope.spawn(move || connector.connect("localhost", theirs).is_ok());
        let server = acceptor.accept(ours).is_ok();
        server && client.join().unwrap_or(false)
    })
}
