//! Tests of the sender: what answers mean, and how it goes over real TLS, with a fake resolver.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::guard::Resolve;

/// Some time: only an answer that names a date is compared with it.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

const HOST: &str = "push.example.org";
/// A public address; where the connection leads in the end is the test's own port.
const PUBLIC: &str = "1.1.1.1";

#[derive(Debug)]
struct Fake(Vec<IpAddr>);

#[async_trait]
impl Resolve for Fake {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(host, HOST);
        Ok(self.0.clone())
    }
}

/// What the server does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    Answers(&'static str),
    Silent,
    NoHandshake,
}

/// A server over TLS whose certificate is for `name`: its address, the authority, and the requests that it got.
async fn serve(name: &str, manner: Manner) -> (SocketAddr, RootCertStore, JoinHandle<Vec<String>>) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        // Until the test has seen its outcome and nobody connects any more.
        while let Ok(Ok((tcp, _))) = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await {
            if matches!(manner, Manner::NoHandshake) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                continue;
            }
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if tls.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            requests.push(String::from_utf8_lossy(&request).into_owned());
            match manner {
                Manner::Answers(answer) => tls.write_all(answer.as_bytes()).await.unwrap(),
                Manner::Silent | Manner::NoHandshake => tokio::time::sleep(Duration::from_secs(2)).await,
            }
            tls.shutdown().await.ok();
        }
        requests
    });
    (address, roots, serving)
}

fn sender(address: SocketAddr, roots: RootCertStore, resolves_to: &[&str]) -> Sender {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    Vapid::make(&file).unwrap();
    let settings = PushSettings {
        key_file: Some(file.clone()),
        default_key_file: file,
        subject: Some("mailto:a@b.c".to_owned()),
        hosts: HOST.parse().unwrap(),
        timeout: Duration::from_millis(500),
        at_once: 1,
        queue: 1,
        refusals: 10,
        lifetime: TimeDelta::days(1),
        test_peer: None,
    };
    let resolver = Arc::new(Fake(resolves_to.iter().map(|address| address.parse().unwrap()).collect()));
    let client = Client::to_test_tls(resolver, roots, address, settings.timeout);
    let vapid = Vapid::load(&settings).unwrap().unwrap();
    Sender::over(client, &settings, vapid)
}

fn push_to(endpoint: &str) -> Push {
    // The keys of RFC 8291, section 5.
    let device = DeviceSecret {
        endpoint: endpoint.to_owned(),
        p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4".to_owned(),
        auth: "BTBZMqHH6r4Tts7J_aSIgg".to_owned(),
    };
    let payload = Secret::new(b"what nobody else reads".to_vec());
    Push { subscription: Secret::new(device), payload, topic: "a-topic".to_owned(), ttl: 77 }
}

async fn outcome_at(cert: &str, manner: Manner, resolves_to: &[&str]) -> (Outcome, Vec<String>) {
    let (address, roots, serving) = serve(cert, manner).await;
    let sender = sender(address, roots, resolves_to);
    let outcome = sender.send(&push_to(&format!("https://{HOST}/p?q=1")), NOW).await;
    drop(sender);
    (outcome, serving.await.unwrap())
}

#[tokio::test]
async fn a_push_goes_over_tls_as_the_standards_have_it() {
    let answer = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
    let (outcome, requests) = outcome_at(HOST, Manner::Answers(answer), &[PUBLIC]).await;
    assert_eq!((outcome, requests.len()), (Outcome::Accepted, 1));
    let head = requests[0].to_ascii_lowercase();
    assert!(head.starts_with("post /p?q=1 http/1.1\r\n"), "{head}");
    for line in ["host: push.example.org", "ttl: 77", "urgency: high", "topic: a-topic", "content-encoding: aes128gcm"]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(head.contains("\r\nauthorization: vapid t=") && head.contains(", k="), "{head}");
    assert!(!head.contains("nobody"), "{head}");
}

#[tokio::test]
async fn redirections_are_not_followed() {
    let answer =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://push.example.org/other\r\ncontent-length: 0\r\n\r\n";
    let (outcome, requests) = outcome_at(HOST, Manner::Answers(answer), &[PUBLIC]).await;
    assert_eq!((outcome, requests.len()), (Outcome::Refused(307), 1));
}

/// Shows (docs/protocol.md): Push services.
#[tokio::test]
async fn nothing_is_sent_to_what_is_not_public_or_not_who_it_should_be() {
    let answer = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
    for resolves_to in [&["127.0.0.1"][..], &[PUBLIC, "10.0.0.1"], &["::ffff:127.0.0.1"]] {
        let (outcome, requests) = outcome_at(HOST, Manner::Answers(answer), resolves_to).await;
        assert_eq!((outcome, requests.len()), (Outcome::Forbidden, 0), "{resolves_to:?}");
    }
    let (outcome, requests) = outcome_at("other.example.org", Manner::Answers(answer), &[PUBLIC]).await;
    assert_eq!((outcome, requests.len()), (Outcome::Unreachable, 0));
    let (address, roots, serving) = serve(HOST, Manner::Answers(answer)).await;
    let sender = sender(address, roots, &[PUBLIC]);
    for endpoint in
        ["https://other.example.org/", "http://push.example.org/", "https://a@push.example.org/", "https://"]
    {
        assert_eq!(sender.send(&push_to(endpoint), NOW).await, Outcome::Forbidden, "{endpoint}");
    }
    assert_eq!(serving.await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_was_sent_without_an_answer_is_lost_and_what_was_not_sent_is_not() {
    let (outcome, requests) = outcome_at(HOST, Manner::Silent, &[PUBLIC]).await;
    assert_eq!((outcome, requests.len()), (Outcome::Lost, 1));
    let (outcome, requests) = outcome_at(HOST, Manner::Answers(""), &[PUBLIC]).await;
    assert_eq!((outcome, requests.len()), (Outcome::Lost, 1));
    let (outcome, _) = outcome_at(HOST, Manner::NoHandshake, &[PUBLIC]).await;
    assert_eq!(outcome, Outcome::Unreachable);
    let (address, roots, serving) = serve(HOST, Manner::Silent).await;
    serving.abort();
    serving.await.unwrap_err();
    let sender = sender(address, roots, &[PUBLIC]);
    assert_eq!(sender.send(&push_to(&format!("https://{HOST}/")), NOW).await, Outcome::Unreachable);
}

#[test]
fn answers_mean_what_the_services_document() {
    let now: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
    let says = |status: u16, retry: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.extend(retry.map(|retry| (RETRY_AFTER, retry.parse().unwrap())));
        outcome(StatusCode::from_u16(status).unwrap(), &headers, now)
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (status, retry, expected) in [
        (201, None, Outcome::Accepted),
        (200, None, Outcome::Accepted),
        (404, None, Outcome::Gone),
        (410, None, Outcome::Gone),
        (401, None, Outcome::Unauthorized(401)),
        (403, None, Outcome::Unauthorized(403)),
        (413, None, Outcome::Refused(413)),
        (400, Some("1"), Outcome::Refused(400)),
        (301, None, Outcome::Refused(301)),
        (429, None, Outcome::NotNow(429, None)),
        (429, Some("17"), Outcome::NotNow(429, seconds(17))),
        (503, Some(" 0 "), Outcome::NotNow(503, seconds(0))),
        (500, Some("Mon, 23 Nov 2026 10:01:00 GMT"), Outcome::NotNow(500, seconds(60))),
        (500, Some("Mon, 23 Nov 2026 09:00:00 GMT"), Outcome::NotNow(500, seconds(0))),
        (599, Some("soon"), Outcome::NotNow(599, None)),
        (429, Some("-1"), Outcome::NotNow(429, None)),
    ] {
        assert_eq!(says(status, retry), expected, "{status} {retry:?}");
    }
}
