//! HTTPS by the server itself: HTTP/2, cookies that stay on it, certificates that are exchanged while it runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client, Version};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::client::http_client;
use crate::cluster::{fresh_database, passable_directory};
use crate::patience::{eventually, within};
use crate::server::Setup;

/// Makes a certificate for the loopback address, and writes it with its key; answers the certificate.
fn certify(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(folder.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    certificate.pem()
}

/// A client that trusts this certificate only, over a connection of its own.
fn trusting(certificate: &str) -> Client {
    let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
    http_client().tls_certs_only([certificate]).build().unwrap()
}

/// HTTP/2 has an authority where HTTP/1.1 has a host: the server knows by both whether a page is its own.
///
/// Shows (docs/protocol.md): Requests from other origins; The cookie.
#[tokio::test]
async fn own_pages_are_recognised_over_each_protocol() {
    let folder = passable_directory();
    let certificate = Certificate::from_pem(certify(folder.path()).as_bytes()).unwrap();
    let setup = Setup::on(&fresh_database().await)
        .with("tls-cert", folder.path().join("cert.pem").display())
        .with("tls-key", folder.path().join("key.pem").display())
        // Elsewhere, so that it is the address which was asked for that counts.
        .with("public-url", "https://be8.example")
        .at_a_known_address();
    let url = setup.url().replace("http:", "https:");
    let _server = setup.start_unready().await;
    let builder = || http_client().tls_certs_only([certificate.clone()]);
    let clients = [(builder().http1_only(), Version::HTTP_11), (builder(), Version::HTTP_2)];
    for (client, version) in clients.map(|(builder, version)| (builder.build().unwrap(), version)) {
        eventually("it is ready", async || {
            client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        let post = async |path: &str, cookie: &str, lines: &[(&str, &str)]| {
            let request = client.post(format!("{url}{path}")).header("cookie", cookie);
            let request = lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let answer = request.json(&json!({ "nickname": "A", "password": "p" })).send().await.unwrap();
            assert_eq!(answer.version(), version);
            let cookie = answer.headers().get("set-cookie").map(|line| line.to_str().unwrap().to_owned());
            (answer.status().as_u16(), cookie)
        };
        let other = format!("{}0", url.replace("127.0.0.1", "localhost"));
        for foreign in [
            &[("origin", "https://evil.example")][..],
            &[("origin", &other)],
            &[("origin", &url.replace("https:", "http:"))],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-site"), ("origin", &url)],
        ] {
            assert_eq!(post("/newacc", "", foreign).await, (403, None), "{version:?} {foreign:?}");
        }
        let (status, cookie) = post("/newacc", "", &[("origin", &url)]).await;
        let cookie = cookie.unwrap();
        assert!(status == 200 && cookie.starts_with("__Host-be8="), "{cookie}");
        assert_eq!(post("/destroyacc", &cookie, &[("origin", &other)]).await, (403, None));
        assert_eq!(post("/destroyacc", &cookie.replace("__Host-", ""), &[]).await.0, 401);
        let own = [("origin", url.as_str()), ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];
        assert_eq!(post("/destroyacc", &cookie, &own).await.0, 200);
    }
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
    let plain = http_client().build().unwrap();
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

/// Debian 12's curl takes an answer for a failure whose body was not read: the server must take it, small or large.
#[tokio::test]
async fn what_is_refused_unread_reaches_curl_over_http_2() {
    let folder = passable_directory();
    let certificate = Certificate::from_pem(certify(folder.path()).as_bytes()).unwrap();
    let cert = folder.path().join("cert.pem");
    let setup = Setup::on(&fresh_database().await)
        .with("tls-cert", cert.display())
        .with("tls-key", folder.path().join("key.pem").display())
        .at_a_known_address();
    let url = setup.url().replace("http:", "https:");
    let _server = setup.start_unready().await;
    let client = http_client().tls_certs_only([certificate]).build().unwrap();
    eventually("it is ready", async || {
        client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let body = folder.path().join("body");
    for (length, path, header, expected) in [
        (2, "/nowhere", "A: b", "404 2"),
        (60_000, "/nowhere", "A: b", "404 2"),
        (60_000, "/newacc", "Content-Encoding: gzip", "415 2"),
        (60_000, "/newacc", "Origin: https://evil.example", "403 2"),
        (200_000, "/imageupload", "A: b", "401 2"),
        (6_000_000, "/newacc", "A: b", "413 2"),
    ] {
        fs::write(&body, vec![b' '; length]).unwrap();
        let mut command = tokio::process::Command::new("curl");
        command.args([
            "-sS",
            "--http2",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "--cacert",
        ]);
        command.arg(&cert).args(["-H", "Content-Type: application/json", "-H", header, "--data-binary"]);
        command.arg(format!("@{}", body.display())).arg(format!("{url}{path}"));
        let output = within("the end of curl", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.success(), said.as_str()), (true, expected), "{path} {length}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_reported_at_start() {
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
    let (no_cert, right) = (setup().with("tls-cert", key.display()), setup().with("tls-cert", cert.display()));
    refused(no_cert.with("tls-key", key.display()), "holds a private key in PEM").await;
    // Whatever its mode, which is that of a certificate.
    fs::set_permissions(&cert, Permissions::from_mode(0o644)).unwrap();
    refused(right.clone().with("tls-key", cert.display()), "holds a certificate in PEM").await;
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    refused(right.with("tls-key", key.display()), "its mode is 0640").await;
}
