//! TLS between the server and PostgreSQL: with whom it talks is checked where the URL asks for that.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::client::two_people;
use crate::cluster::{Database, fresh_database};
use crate::server::Setup;

/// The request for TLS with which a client begins (PostgreSQL, section 55.2.11): its length, and a code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// PostgreSQL behind TLS, with a certificate that signs itself.
struct Behind {
    url: String,
    certificate: String,
    _accepting: AbortOnDropHandle<()>,
}

impl Behind {
    /// With a certificate for this name.
    async fn start(database: &Database, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], secret).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let options = &database.options;
        let socket = options.get_socket().unwrap().join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://be8@127.0.0.1:{}/{}", listener.local_addr().unwrap().port(), database.name);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, acceptor.clone(), socket.clone()));
            }
        });
        Self { url, certificate: certificate.pem(), _accepting: AbortOnDropHandle::new(accepting) }
    }
}

async fn pass(mut client: TcpStream, acceptor: TlsAcceptor, socket: PathBuf) {
    let mut request = [0; 8];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request, SSL_REQUEST, "it speaks without TLS");
    client.write_all(b"S").await.unwrap();
    // A client that does not like the certificate ends it here.
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let mut server = UnixStream::connect(socket).await.unwrap();
    // However it ends.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[tokio::test]
async fn the_certificate_is_checked_where_the_url_asks_for_it() {
    let database = fresh_database().await;
    let (right, other) =
        (Behind::start(&database, "127.0.0.1").await, Behind::start(&database, "elsewhere.example").await);
    let setup = Setup::on(&database);
    let root = |file: &str, certificate: &str| {
        let path = setup.file(file);
        std::fs::write(&path, certificate).unwrap();
        path.display().to_string()
    };
    let (of_right, of_other) = (root("right.pem", &right.certificate), root("other.pem", &other.certificate));
    let full = "sslmode=verify-full";
    for (url, refused) in [
        (format!("{}?{full}&sslrootcert={of_right}", right.url), None),
        (format!("{}?sslmode=require", other.url), None),
        (format!("{}?{full}", right.url), Some("UnknownIssuer")),
        (format!("{}?sslrootcert=system", right.url), Some("UnknownIssuer")),
        (format!("{}?{full}&sslrootcert={of_other}", right.url), Some("invalid peer certificate")),
        (format!("{}?{full}&sslrootcert={of_other}", other.url), Some("not valid for name \"127.0.0.1\"")),
    ] {
        let said = setup.clone().through(url.clone()).run(&["migrate"]).await;
        match refused {
            None => assert!(said.success, "{url}: {}", said.err),
            Some(why) => assert!(!said.success && said.err.contains(why), "{url}: {}", said.err),
        }
    }
    // The authorities of the system, which this variable of OpenSSL names instead of those that are installed.
    let system = setup.through(format!("{}?sslrootcert=system", right.url)).with_variable("SSL_CERT_FILE", &of_right);
    let server = system.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    assert_eq!(alice.write(&thread, &bob, "over TLS").await, 2);
}
