//! The files that a configuration names: certificates, keys, passwords. They are tried when the
//! configuration is read, so that a wrong one stops the start and not the first session.

use super::fault::Fault;
use super::sections::TlsFiles;
use native_tls::{HandshakeError, Identity, TlsAcceptor, TlsConnector};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A PEM file is never larger; more is some other file.
const MOST: u64 = 1024 * 1024;

/// A handshake with ourselves takes milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub why: String,
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Fault::File { path: error.path, why: error.why }
    }
}

fn error(path: &Path, why: impl Into<String>) -> FileError {
    FileError { path: path.to_path_buf(), why: why.into() }
}

/// The bytes of a regular file of reasonable length.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let system = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => error(path, "there is no such file"),
        ErrorKind::PermissionDenied => error(path, "this user may not read it"),
        _ => error(path, format!("cannot be read: {e}")),
    };
    let metadata = fs::metadata(path).map_err(system)?;
    if !metadata.is_file() {
        return Err(error(path, "is not a file"));
    }
    if metadata.len() > MOST {
        return Err(error(path, format!("is {} bytes long; that is no file of this kind", metadata.len())));
    }
    fs::read(path).map(Zeroizing::new).map_err(system)
}

/// The permissions of a file that others than its user and group can read.
pub(super) fn readable_by_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o004 != 0).then_some(mode)
}

/// Where `label` begins in a PEM file.
fn pem<'a>(bytes: &'a [u8], label: &str) -> Option<&'a [u8]> {
    let begin = format!("-----BEGIN {label}-----");
    let at = bytes.windows(begin.len()).position(|window| window == begin.as_bytes())?;
    bytes.get(at..)
}

/// That this is a file of certificates.
pub(super) fn check_certificates(path: &Path) -> Result<(), FileError> {
    let bytes = read(path)?;
    let Some(from) = pem(&bytes, "CERTIFICATE") else {
        return Err(error(path, "holds no certificate (a line -----BEGIN CERTIFICATE-----)"));
    };
    match native_tls::Certificate::stack_from_pem(from) {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(error(path, "holds no certificate")),
        Err(e) => Err(error(path, format!("a certificate in it cannot be read: {e}"))),
    }
}

impl TlsFiles {
    /// Reads both files and makes of them what TLS sessions are accepted with: TLS 1.2 or newer.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the two do not belong together.
    pub fn acceptor(&self) -> Result<TlsAcceptor, FileError> {
        check_certificates(&self.certificate)?;
        let certificate = read(&self.certificate)?;
        let key = read(&self.key)?;
        let key = pem(&key, "PRIVATE KEY").ok_or_else(|| self.no_key(&key))?;
        let identity = Identity::from_pkcs8(&certificate, key)
            .map_err(|e| error(&self.key, format!("is no usable key: {e}")))?;
        let acceptor = TlsAcceptor::builder(identity)
            .min_protocol_version(Some(native_tls::Protocol::Tlsv12))
            .build()
            .map_err(|e| error(&self.key, e.to_string()))?;
        self.try_out(&acceptor)?;
        Ok(acceptor)
    }

    /// Why a file holds no key that can be used, by the other kinds there are.
    fn no_key(&self, bytes: &[u8]) -> FileError {
        let old = ["RSA PRIVATE KEY", "EC PRIVATE KEY"];
        if pem(bytes, "ENCRYPTED PRIVATE KEY").is_some() {
            error(&self.key, "is protected by a passphrase, which nobody can type in; store it without one")
        } else if let Some(kind) = old.iter().find(|kind| pem(bytes, kind).is_some()) {
            let convert = "convert it: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW";
            error(&self.key, format!("is of the old form \"{kind}\"; {convert}"))
        } else {
            error(&self.key, "holds no key (a line -----BEGIN PRIVATE KEY-----)")
        }
    }

    /// A handshake with ourselves. The library takes a key that does not fit its certificate
    /// without a word, and every session would fail later.
    fn try_out(&self, acceptor: &TlsAcceptor) -> Result<(), FileError> {
        let trouble = |e: std::io::Error| error(&self.key, format!("could not be tried: {e}"));
        let (ours, theirs) = UnixStream::pair().map_err(trouble)?;
        for end in [&ours, &theirs] {
            end.set_read_timeout(Some(HANDSHAKE)).map_err(trouble)?;
            end.set_write_timeout(Some(HANDSHAKE)).map_err(trouble)?;
        }
        let client = TlsConnector::builder()
            .danger_accept_invalid_certs(true)
            .danger_accept_invalid_hostnames(true)
            .build()
            .map_err(|e| error(&self.certificate, e.to_string()))?;
        let client = std::thread::spawn(move || client.connect("localhost", theirs).map(drop).is_ok());
        let accepted = acceptor.accept(ours).map(drop);
        let connected = client.join().unwrap_or(false);
        match accepted {
            Ok(()) if connected => Ok(()),
            Err(HandshakeError::WouldBlock(_)) => Err(error(&self.key, "a handshake with it did not finish")),
            _ => Err(error(
                &self.key,
                format!("does not belong to the certificate {}", self.certificate.display()),
            )),
        }
    }
}
