//! Images in a bucket: the same as in a folder, in a store that speaks S3 and believes only what is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

const ID: &str = "AKIATEST";
const SECRET: &str = "not/a/secret";
const BUCKET: &str = "pictures";
const REGION: &str = "eu-test-1";

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Bytes, DateTime<Utc>)>,
    /// What a request was that the store did not believe.
    faults: Vec<String>,
    /// Whether it is broken.
    broken: bool,
    /// There is no such bucket.
    gone: bool,
    /// It takes requests and never answers.
    hangs: bool,
    /// The next object is stored, and its answer is lost.
    loses_answer: Option<Loss>,
    /// Objects that cannot be deleted.
    stubborn: BTreeSet<String>,
    /// What is in front of it knows nothing of these objects, or, without any, of the whole store.
    hidden: Option<BTreeSet<String>>,
}

/// How an answer is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Something between store and server answers instead.
    Replaced,
    /// The connection ends.
    Cut,
}

/// A store as small as it can be.
struct Store {
    url: String,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, state) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<State>>::default());
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let state = shared.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(tcp), service));
            }
        });
        Self { url, state }
    }

    fn names(&self) -> Vec<String> {
        lock(&self.state).objects.keys().cloned().collect()
    }

    fn setup(&self, setup: Setup) -> Setup {
        self.setup_but(setup, "", "")
    }

    /// The same, but for one setting or variable.
    fn setup_but(&self, mut setup: Setup, name: &str, value: &str) -> Setup {
        let or = |this: &str, usual: &str| if this == name { value.to_owned() } else { usual.to_owned() };
        for (variable, usual) in [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)] {
            setup = setup.with_variable(variable, &or(variable, usual));
        }
        for (flag, usual) in [
            ("media-s3-bucket", BUCKET),
            ("media-s3-prefix", "of/be8"),
            ("media-s3-endpoint", &self.url),
            ("media-s3-region", REGION),
        ] {
            setup = setup.with(flag, or(flag, usual));
        }
        setup
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Whether a request is signed as it should be (AWS Signature Version 4), and its body the one that was signed.
fn is_signed(request: &Request<Incoming>, body: &[u8]) -> Option<bool> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let (authorization, date) = (header("authorization")?, header("x-amz-date")?);
    let mut parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?.split(", ");
    let scope = parts.next()?.strip_prefix("Credential=")?.strip_prefix(ID)?.strip_prefix('/')?;
    let signed = parts.next()?.strip_prefix("SignedHeaders=")?;
    let signature = parts.next()?.strip_prefix("Signature=")?;
    if scope != format!("{}/{REGION}/s3/aws4_request", &date[..8]) {
        return Some(false);
    }
    let query = request.uri().query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let mut query: Vec<String> =
        query.map(|part| if part.contains('=') { part.to_owned() } else { format!("{part}=") }).collect();
    query.sort_unstable();
    let headers: Option<String> =
        signed.split(';').map(|name| Some(format!("{name}:{}\n", header(name)?.trim()))).collect();
    let content = header("x-amz-content-sha256")?;
    let asked = [request.method().as_str(), request.uri().path(), &query.join("&"), &headers?, signed, content];
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(asked.join("\n").as_bytes())));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part);
    }
    Some(hex(&hmac(&key, &text)) == signature && (content == hex(&Sha256::digest(body))))
}

type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

async fn answer(state: Arc<Mutex<State>>, mut request: Request<Incoming>) -> Answer {
    let body = request.body_mut().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let say = |status: StatusCode, text: String| {
        let answer = Response::builder().status(status).header("etag", "\"1\"");
        Ok(answer.body(Full::from(text)).unwrap())
    };
    if lock(&state).hangs {
        std::future::pending::<()>().await;
    }
    let mut state = lock(&state);
    if state.gone {
        return say(StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>".to_owned());
    }
    if state.broken {
        return say(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>".to_owned());
    }
    let line = format!("{} {}", request.method(), request.uri());
    let path = request.uri().path().strip_prefix(&format!("/{BUCKET}")).map(|rest| rest.trim_start_matches('/'));
    let (Some(true), Some(key)) = (is_signed(&request, &body), path.map(str::to_owned)) else {
        state.faults.push(line);
        return say(StatusCode::FORBIDDEN, "<Error><Code>SignatureDoesNotMatch</Code></Error>".to_owned());
    };
    if state.hidden.as_ref().is_some_and(|hidden| hidden.is_empty() || hidden.contains(&key)) {
        return say(StatusCode::NOT_FOUND, "<html>not here</html>".to_owned());
    }
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::PUT if request.headers().get("if-none-match").is_none_or(|tag| tag != "*") => {
            state.faults.push(format!("{line} might overwrite"));
            say(StatusCode::BAD_REQUEST, String::new())
        }
        Method::PUT if state.objects.contains_key(&key) => say(StatusCode::PRECONDITION_FAILED, String::new()),
        Method::PUT => {
            state.objects.insert(key, (body, Utc::now()));
            match state.loses_answer.take() {
                Some(Loss::Replaced) => say(StatusCode::SERVICE_UNAVAILABLE, String::new()),
                Some(Loss::Cut) => Err(std::io::ErrorKind::ConnectionAborted.into()),
                None => say(StatusCode::OK, String::new()),
            }
        }
        Method::GET if key.is_empty() => {
            let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = prefix.replace("%2F", "/");
            let found =
                state.objects.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(name, (body, time))| {
                    let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
                    format!(
                        "<Contents><Key>{name}</Key><LastModified>{time}</LastModified><ETag>\"1\"</ETag>\
                     <Size>{}</Size></Contents>",
                        body.len()
                    )
                });
            let found: String = found.collect();
            say(StatusCode::OK, format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"))
        }
        Method::GET => match state.objects.get(&key) {
            None => say(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
            Some((body, time)) => Ok(Response::builder()
                .header("etag", "\"1\"")
                .header("last-modified", time.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
                .body(Full::from(body.clone()))
                .unwrap()),
        },
        Method::DELETE if state.stubborn.contains(&key) => {
            say(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>".to_owned())
        }
        Method::DELETE => {
            state.objects.remove(&key);
            say(StatusCode::NO_CONTENT, String::new())
        }
        // Deleting several at once is what not every store knows.
        _ => {
            state.faults.push(line);
            say(StatusCode::METHOD_NOT_ALLOWED, String::new())
        }
    }
}

#[tokio::test]
async fn images_live_and_end_in_a_bucket() {
    let store = Store::start().await;
    let server = store.setup(Setup::on(&fresh_database().await)).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let content = "a ciphertext ".repeat(1000);
    alice.posts(&thread, &bob.id, "holiday", &content).await;
    let names = store.names();
    assert!(matches!(&*names, [name] if name.starts_with("of/be8/")), "{names:?}");
    {
        let state = lock(&store.state);
        assert!(state.objects.values().all(|(body, _)| !body.windows(12).any(|part| part == b"a ciphertext")));
    }
    assert_eq!(bob.looks_at(&alice, "holiday").await.as_deref(), Some(&*content));
    // Nothing of it is in the data directory.
    assert!(super::blobs(server.setup()).is_empty());
    // Another server of the same log finds it there.
    let second = server.setup().second().start().await;
    let there = bob.client.at(&second);
    let answer = there.post("/imageget", &serde_json::json!({ "sender": alice.id, "contentID": "holiday" })).await;
    assert_eq!(answer.json()["content"], content);

    // A store that is broken is reported as such, and loses nothing.
    lock(&store.state).broken = true;
    let picture = alice.picture(&thread, &bob.id, "lost", "lost");
    assert_eq!(alice.client.post("/imageupload", &picture).await.verdict(), "503 UNAVAILABLE");
    assert_eq!(bob.asks_for_image(&alice, "holiday").await.verdict(), "503 UNAVAILABLE");
    assert!(!server.setup().log().contains(SECRET));
    lock(&store.state).broken = false;
    assert_eq!(bob.looks_at(&alice, "holiday").await.as_deref(), Some(&*content));

    // Alice goes, and so does what she posted.
    assert_eq!(alice.client.get("/destroyacc").await.status, 200);
    eventually("it is swept", async || store.names().is_empty()).await;
    assert_eq!(lock(&store.state).faults, Vec::<String>::new());
}

/// Two people of a server that keeps its images in this store, and an image that one posted to the other.
async fn with_an_image(store: &Store, change: impl FnOnce(Setup) -> Setup) -> (Server, Person, Person, String) {
    let server = change(store.setup(Setup::on(&fresh_database().await))).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.posts(&thread, &bob.id, "holiday", "a ciphertext").await;
    (server, alice, bob, thread)
}

/// What a server says that cannot start.
async fn refusal(setup: Setup) -> String {
    let (mut process, _lines) = setup.launch();
    let status = within("the end of a server that cannot start", process.wait()).await.unwrap();
    assert!(!status.success());
    setup.log()
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_refused_at_start() {
    let store = Store::start().await;
    for (flag, value, says) in [
        ("media-s3-endpoint", "127.0.0.1:9000", "media-s3-endpoint: "),
        ("media-s3-endpoint", "http://169.254.169.254", "metadata service"),
        ("media-s3-endpoint", "https://id:geheim@s3.be8.example", "credentials do not belong there"),
        ("media-s3-bucket", "pic/tures", "media-s3-bucket: "),
        ("media-s3-region", "eu west", "media-s3-region: "),
    ] {
        let said = refusal(store.setup_but(Setup::on(&fresh_database().await), flag, value)).await;
        assert!(said.contains(says) && !said.contains("geheim"), "{flag} {value}: {said}");
    }
    for (variable, value, says) in [
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_SECRET_ACCESS_KEY is not set"),
        ("AWS_SECRET_ACCESS_KEY", "geheim\n", "AWS_SECRET_ACCESS_KEY has a character"),
        ("AWS_SECRET_ACCESS_KEY", "geheim", "SignatureDoesNotMatch"),
    ] {
        let said = refusal(store.setup_but(Setup::on(&fresh_database().await), variable, value)).await;
        assert!(said.contains(says) && !said.contains("geheim"), "{variable}: {said}");
    }
    let elsewhere = Setup::on(&fresh_database().await).with("media-s3-bucket", BUCKET);
    let elsewhere = elsewhere.with_variable("AWS_ACCESS_KEY_ID", ID).with_variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let said = refusal(elsewhere.with_variable("AWS_ENDPOINT_URL", "http://169.254.169.254/latest")).await;
    assert!(said.contains("AWS_ENDPOINT_URL") && said.contains("metadata service"), "{said}");
    // Without credentials nobody is asked for some unless that is wanted.
    let metadata = Store::start().await;
    for (wanted, says) in [(false, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"), (true, "403")] {
        let bare = Setup::on(&fresh_database().await).with("media-s3-bucket", BUCKET);
        let bare = bare.with("media-s3-endpoint", &store.url).with("media-s3-cloud-credentials", wanted);
        let said = refusal(bare.with_variable("AWS_METADATA_ENDPOINT", &metadata.url)).await;
        assert!(said.contains(says), "{said}");
        assert_eq!(lock(&metadata.state).faults.is_empty(), !wanted, "{said}");
    }
    lock(&store.state).gone = true;
    let said = refusal(store.setup(Setup::on(&fresh_database().await))).await;
    assert!(said.contains("bucket pictures") || said.contains("NoSuchBucket"), "{said}");
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_image() {
    let store = Store::start().await;
    let (server, alice, bob, thread) = with_an_image(&store, |setup| setup).await;
    lock(&store.state).gone = true;
    assert_eq!(bob.asks_for_image(&alice, "holiday").await.verdict(), "503 UNAVAILABLE");
    let picture = alice.picture(&thread, &bob.id, "lost", "lost");
    assert_eq!(alice.client.post("/imageupload", &picture).await.verdict(), "503 UNAVAILABLE");
    // The server is ready all the same, and says what is wrong: in its log once, in a gauge and in the answer.
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["images"].as_array().map(Vec::len), Some(1), "{}", ready.text);
    assert!((server.metric("be8_image_store_failing").await - 1.0).abs() < f64::EPSILON);
    assert_eq!(server.setup().log().matches("the store of images fails").count(), 1, "{}", server.setup().log());
    lock(&store.state).gone = false;
    assert_eq!(bob.looks_at(&alice, "holiday").await.as_deref(), Some("a ciphertext"));
    assert_eq!(server.get("/readyz").await.json().get("images"), None);
    // Something in front of the store answers 404 without a word, to everything or only to the object.
    lock(&store.state).hidden = Some(BTreeSet::new());
    assert_eq!(bob.asks_for_image(&alice, "holiday").await.verdict(), "503 UNAVAILABLE");
    let names = store.names().into_iter().collect();
    lock(&store.state).hidden = Some(names);
    assert_eq!(bob.looks_at(&alice, "holiday").await, None);
    lock(&store.state).hidden = None;
    assert_eq!(bob.looks_at(&alice, "holiday").await.as_deref(), Some("a ciphertext"));
    lock(&store.state).objects.clear();
    assert_eq!(bob.looks_at(&alice, "holiday").await, None);
}

#[tokio::test]
async fn a_store_that_is_away_fills_no_log_and_is_swept_later() {
    let store = Store::start().await;
    let (server, alice, _, _) = with_an_image(&store, |setup| setup).await;
    lock(&store.state).gone = true;
    assert_eq!(alice.client.get("/destroyacc").await.status, 200);
    // The sweep finds it, and comes back.
    let errors = async || server.metric("be8_image_store_errors_total").await;
    eventually("the sweep fails", async || errors().await >= 2.0).await;
    let first = errors().await;
    eventually("it is tried again", async || errors().await > first).await;
    let log = server.setup().log();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("the store of images fails") && log.contains("NoSuchBucket"), "{log}");
    lock(&store.state).gone = false;
    eventually("it is swept", async || store.names().is_empty()).await;
}

#[tokio::test]
async fn a_store_that_never_answers_holds_up_nobody_for_long() {
    let store = Store::start().await;
    let short = |setup: Setup| {
        let setup = setup.with("media-s3-connect-seconds", 1).with("media-s3-attempt-seconds", 1);
        setup.with("media-s3-total-seconds", 2).with("media-bodies", 4)
    };
    let (server, alice, bob, _) = with_an_image(&store, short).await;
    lock(&store.state).hangs = true;
    // One account has one of the four turns, so the other one gets one at once.
    let ask = async |person: &Person| person.asks_for_image(&alice, "holiday").await.verdict();
    let all = async { tokio::join!(ask(&bob), ask(&bob), ask(&bob), ask(&alice)) };
    let (one, two, three, other) = within("the answers", all).await;
    assert_eq!([&*one, &*two, &*three, &*other], ["503 UNAVAILABLE"; 4]);
    assert_eq!(server.get("/me").await.verdict(), "401 NOTAUTH");
    // Nor does it keep the server from stopping.
    server.terminate();
    let (_, status) = within("the end of the server", server.ended()).await;
    assert!(status.success());
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_there_once() {
    let store = Store::start().await;
    let (_server, alice, bob, thread) = with_an_image(&store, |setup| setup).await;
    for (nth, how) in [Loss::Replaced, Loss::Cut].into_iter().enumerate() {
        lock(&store.state).loses_answer = Some(how);
        let name = format!("{how:?}");
        alice.posts(&thread, &bob.id, &name, &name).await;
        assert!(lock(&store.state).loses_answer.is_none());
        assert_eq!(store.names().len(), nth + 2);
        assert_eq!(bob.looks_at(&alice, &name).await, Some(name));
    }
}

#[tokio::test]
async fn blobs_that_cannot_be_deleted_keep_no_others() {
    let store = Store::start().await;
    let (server, alice, bob, thread) = with_an_image(&store, |setup| setup).await;
    for nth in 0..29 {
        alice.posts(&thread, &bob.id, &format!("picture {nth}"), "a ciphertext").await;
    }
    // In the order in which they are removed, so that all the others come after them.
    let stubborn: BTreeSet<String> = store.names().into_iter().take(25).collect();
    lock(&store.state).stubborn.clone_from(&stubborn);
    assert_eq!(alice.client.get("/destroyacc").await.status, 200);
    eventually("all others are swept", async || store.names().into_iter().eq(stubborn.iter().cloned())).await;
    assert!(server.metric("be8_images_not_swept_total").await >= 25.0);
    assert_eq!(lock(&store.state).faults, Vec::<String>::new());
}
