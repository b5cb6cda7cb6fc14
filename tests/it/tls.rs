//! HTTPS by the server itself: HTTP/2, cookies that stay on it, certificates that are exchanged while it runs.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client, Version};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::cluster::{fresh_database, passable_directory};
use crate::patience::{eventually, within};
use crate::server::Setup;

/// Makes a certificate for the loopback address, and writes it with its key; answers the certificate.
fn certify(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    certificate.pem()
}

/// A client that trusts this certificate only, over a connection of its own.
fn trusting(certificate: &str) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test]
async fn https_with_http_2_and_certificates_that_change() {
    let folder = passable_directory();
    let first = certify(folder.path());
    let setup = Setup::on(&fresh_database().await)
        .with("tls-cert", folder.path().join("cert.pem").display())
        .with("tls-key", folder.path().join("key.pem").display())
        .at_a_known_address();
    let url = setup.url().replace("http:", "https:");
    let address = url.trim_start_matches("https://").to_owned();
    let server = setup.start_unready().await;
    let client = trusting(&first);
    eventually("it is ready", async || {
        client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let answer = client.post(format!("{url}/newacc")).json(&json!({ "nickname": "A", "password": "p" })).send().await;
    let answer = answer.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.split("; ").any(|part| part == "Secure"), "{cookie}");
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    // Who does not agree on a key says nothing, and keeps nobody waiting.
    let mut silent = tokio::net::TcpStream::connect(&address).await.unwrap();
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(url.replace("https:", "http:")).send().await.is_err());
    assert!(trusting(&certify(passable_directory().path())).get(&url).send().await.is_err(), "any certificate will do");
    assert_eq!(trusting(&first).get(format!("{url}/healthz")).send().await.unwrap().status(), 200);

    // A stream goes on over the exchange.
    let cookie = cookie.to_owned();
    let mut stream = client.get(format!("{url}/events")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(stream.version(), Version::HTTP_2);
    within("the first line", stream.chunk()).await.unwrap().unwrap();
    let second = certify(folder.path());
    kill_process(server.pid(), Signal::HUP).unwrap();
    let health = format!("{url}/healthz");
    eventually("the new certificate is served", async || trusting(&second).get(&health).send().await.is_ok()).await;
    assert!(trusting(&first).get(&health).send().await.is_err());
    assert_eq!(client.get(&health).send().await.unwrap().status(), 200, "an open connection was cut off");

    // What cannot be used changes nothing.
    fs::write(folder.path().join("cert.pem"), "no certificate").unwrap();
    kill_process(server.pid(), Signal::HUP).unwrap();
    eventually("it says so", async || server.setup().log().contains("the certificate stays as it was")).await;
    assert_eq!(trusting(&second).get(&health).send().await.unwrap().status(), 200);
    let mut rest = Vec::new();
    within("the end of the silent one", silent.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_start() {
    let folder = passable_directory();
    certify(folder.path());
    let database = fresh_database().await;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let refused = async |setup: Setup, why: &str| {
        let (mut process, _) = setup.launch();
        assert!(!within("the end", process.wait()).await.unwrap().success());
        assert!(setup.log().contains(why), "{}", setup.log());
    };
    let setup = || Setup::on(&database);
    refused(setup().with("tls-cert", cert.display()), "goes together with tls-key").await;
    refused(setup().with("tls-cert", cert.display()).with("tls-key", "/nowhere"), "/nowhere").await;
    // The key of another certificate.
    let other = passable_directory();
    certify(other.path());
    let foreign = other.path().join("key.pem");
    refused(setup().with("tls-cert", cert.display()).with("tls-key", foreign.display()), "cannot be served").await;
    refused(setup().with("tls-cert", key.display()).with("tls-key", key.display()), "cannot be served").await;
}
