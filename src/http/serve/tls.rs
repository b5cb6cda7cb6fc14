//! HTTPS: connections that are encrypted before anything is said, and certificates that are
//! exchanged while the server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::secret_file::{self, Refused};

/// No file of a certificate or key is longer.
const LONGEST: u64 = 1 << 20;

/// How long a client may take to agree on a key.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is refused: it cannot be read, is empty, or others may read the private key.
    #[error("{what} {cause}")]
    Refused {
        /// Certificate or key.
        what: &'static str,
        /// Why.
        cause: Refused,
    },
    /// A file holds something else.
    #[error("{what} {path}: holds {found}{cause}", path = path.display())]
    Content {
        /// Certificate or key.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What it seems to hold.
        found: &'static str,
        /// What the parser says, if that says more.
        cause: String,
    },
    /// Certificate and key do not go together.
    #[error("{path} cannot be served: {cause}")]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// The certificate that is served now.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = read(&files)?;
        Ok(Self { files, current: Arc::new(RwLock::new(current)) })
    }

    /// Reads them again, for new connections; if that fails, the current ones stay.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.files)?;
        *self.current.write() = new;
        Ok(())
    }

    /// Agrees with a client on a key; none if that fails, or takes too long.
    pub(in crate::http) async fn agree(&self, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.read().clone());
        match timeout(HANDSHAKE, acceptor.accept(socket)).await {
            Ok(Ok(socket)) => return Some(socket),
            Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on a key"),
            Err(_) => tracing::debug!("a client took too long to agree on a key"),
        }
        None
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let what = "TLS certificate";
    let text = secret_file::read_public(&files.cert, LONGEST).map_err(|cause| TlsError::Refused { what, cause })?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        failed => return Err(content(what, &files.cert, &text, failed.err())),
    };
    let what = "TLS key";
    let text = secret_file::read(&files.key, LONGEST).map_err(|cause| TlsError::Refused { what, cause })?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|cause| content(what, &files.key, &text, Some(cause)))?;
    let certificate = |cause| TlsError::Certificate { path: files.cert.clone(), cause };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(certificate)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(certificate)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with a file that does not hold what it should.
fn content(what: &'static str, path: &Path, text: &[u8], cause: Option<pem::Error>) -> TlsError {
    // That nothing was found is said by what is there instead.
    let cause = cause.filter(|cause| !matches!(cause, pem::Error::NoItemsFound));
    let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
    TlsError::Content { what, path: path.to_owned(), found: secret_file::recognise(text), cause }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let home = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = TlsFiles { cert: home.path().join("cert.pem"), key: home.path().join("key.pem") };
        let with = |cert: &[u8], key: &[u8], mode: u32| {
            fs::write(&files.cert, cert).unwrap();
            fs::write(&files.key, key).unwrap();
            fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
            read(&files).map(drop).map_err(|error| error.to_string())
        };
        let (cert, key) = (cert.as_bytes(), key.as_bytes());
        with(cert, key, 0o600).unwrap();
        with(cert, key, 0o400).unwrap();
        let marked = |text: &[u8]| [b"\xef\xbb\xbf", text].concat();
        with(&marked(cert), &marked(key), 0o600).unwrap();
        let crlf = |text: &[u8]| String::from_utf8(text.to_owned()).unwrap().replace('\n', "\r\n").into_bytes();
        with(&marked(&crlf(cert)), &marked(&crlf(key)), 0o600).unwrap();
        // Both in one file, as some programs write it.
        let both = [cert, key].concat();
        with(&both, &both, 0o600).unwrap();
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (cert, key, mode, what) in [
            (cert, key, 0o640, "TLS key FILE: its mode is 0640"),
            (cert, key, 0o644, "TLS key FILE: its mode is 0644"),
            (cert, b"", 0o600, "TLS key FILE: it is empty"),
            (b"\n", key, 0o600, "TLS certificate FILE: it is empty"),
            (cert, cert, 0o600, "TLS key FILE: holds a certificate in PEM"),
            (cert, cert, 0o644, "TLS key FILE: holds a certificate in PEM"),
            (key, key, 0o600, "TLS certificate FILE: holds a private key in PEM"),
            (cert, encrypted, 0o600, "TLS key FILE: holds an encrypted private key"),
            (cert, b"\x30\x82\x01\x00\xff", 0o600, "TLS key FILE: holds binary data (DER or PKCS #12)"),
            (b"\xff\xfe-\0", key, 0o600, "TLS certificate FILE: holds text in UTF-16"),
            (cert, b"hello", 0o600, "TLS key FILE: holds something else"),
        ] {
            let said = with(cert, key, mode).unwrap_err();
            let said = said.replace(files.cert.to_str().unwrap(), "FILE").replace(files.key.to_str().unwrap(), "FILE");
            assert!(said.starts_with(what), "{what}: {said}");
        }
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let said = with(cert, other.signing_key.serialize_pem().as_bytes(), 0o600).unwrap_err();
        assert!(said.contains("cannot be served"), "{said}");
    }
}
