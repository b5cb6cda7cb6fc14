//! A push service as small as it can be: it takes a push only if signature and encryption are right, checked with other
//! libraries than those that made them, and answers as a test asks it to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hkdf::Hkdf;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::SUBJECT;
use crate::patience::eventually;

/// The device of a browser, which alone can read what is pushed to it.
#[derive(Clone)]
pub struct Device {
    host: String,
    path: String,
    key: p256::SecretKey,
    auth: [u8; 16],
}

impl Device {
    /// A device of a browser whose push service is Mozilla's.
    pub fn new() -> Self {
        Self::at("updates.push.services.mozilla.com")
    }

    /// A device with an endpoint at this host.
    pub fn at(host: &str) -> Self {
        let path = format!("/wpush/v2/{}", BASE64.encode(rand::random::<[u8; 24]>()));
        Self { host: host.to_owned(), path, key: secret_key(), auth: rand::random() }
    }

    /// The same endpoint with other keys.
    pub fn renewed(&self) -> Self {
        Self { key: secret_key(), auth: rand::random(), ..self.clone() }
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}{}", self.host, self.path)
    }

    fn public(&self) -> Vec<u8> {
        self.key.public_key().to_sec1_point(false).as_bytes().to_vec()
    }

    /// What the browser's page is given, and sends to `/subscribe`.
    pub fn subscription(&self) -> Value {
        json!({
            "endpoint": self.endpoint(), "expirationTime": null,
            "keys": { "p256dh": BASE64.encode(self.public()), "auth": BASE64.encode(self.auth) },
        })
    }

    /// All that must not be seen anywhere: parts of the subscription.
    pub fn secrets(&self) -> Vec<String> {
        vec![self.path.clone(), BASE64.encode(self.public()), BASE64.encode(self.auth)]
    }

    /// Decrypts a message (RFC 8188, section 2; RFC 8291, section 3.4).
    fn decrypt(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (salt, rest) = body.split_at_checked(16)?;
        let (size, rest) = rest.split_at_checked(4)?;
        let (length, rest) = rest.split_first()?;
        let (theirs, sealed) = rest.split_at_checked(usize::from(*length))?;
        // One record holds it all.
        let size = u32::from_be_bytes(size.try_into().ok()?) as usize;
        if theirs.len() != 65 || sealed.len() > size || body.len() > 4096 {
            return None;
        }
        let sender = p256::PublicKey::from_sec1_bytes(theirs).ok()?;
        let shared = p256::ecdh::diffie_hellman(self.key.to_nonzero_scalar(), sender.as_affine());
        let info = [b"WebPush: info\0".as_slice(), &self.public(), theirs].concat();
        let input = expand(&self.auth, shared.raw_secret_bytes(), &info, 32)?;
        let key = expand(salt, &input, b"Content-Encoding: aes128gcm\0", 16)?;
        let nonce = expand(salt, &input, b"Content-Encoding: nonce\0", 12)?;
        let cipher = Aes128Gcm::new_from_slice(&key).ok()?;
        let mut plain = cipher.decrypt(&Nonce::try_from(&*nonce).ok()?, sealed).ok()?;
        // The padding: zeros after the delimiter of the last record.
        while plain.pop_if(|byte| *byte == 0).is_some() {}
        (plain.pop()? == 2).then_some(plain)
    }
}

fn secret_key() -> p256::SecretKey {
    loop {
        if let Ok(key) = p256::SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
            return key;
        }
    }
}

fn expand(salt: &[u8], input: &[u8], info: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; length];
    Hkdf::<Sha256>::new(Some(salt), input).expand(info, &mut out).ok()?;
    Some(out)
}

/// How the service answers a push.
#[derive(Debug, Clone)]
pub enum Manner {
    /// With this status.
    Status(u16),
    /// With this status, and for this many seconds not again.
    RetryAfter(u16, u32),
    /// 201, but late.
    Slow(Duration),
    /// Not at all: the connection stays open.
    Never,
    /// Not at all: the connection ends.
    HangUp,
}

/// A push that came, and was what it should be.
#[derive(Debug, Clone)]
pub struct Received {
    /// The endpoint.
    pub endpoint: String,
    /// What the device reads.
    pub payload: Value,
    /// Headers of the push.
    pub ttl: u32,
    pub topic: String,
    pub urgency: String,
}

#[derive(Default)]
struct State {
    devices: HashMap<String, Device>,
    manners: HashMap<String, VecDeque<Manner>>,
    always: HashMap<String, Manner>,
    received: Vec<Received>,
    faults: Vec<String>,
    /// Under way now, and the most there ever were.
    busy: (usize, usize),
}

/// The push service.
pub struct Peer {
    address: SocketAddr,
    vapid: String,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    /// A service that knows a server by the public half of its key pair.
    pub async fn start(vapid: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut peer = Self { address, vapid: vapid.to_owned(), state: Arc::default(), task: None };
        peer.serve(listener);
        peer
    }

    fn serve(&mut self, listener: TcpListener) {
        let (state, vapid) = (self.state.clone(), self.vapid.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let (state, vapid) = (state.clone(), vapid.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), vapid.clone(), request));
                    // A connection may end as it likes.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        }));
    }

    /// Goes away: nobody can connect any more, and open connections end.
    pub async fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Comes back at the same address.
    pub async fn come_back(&mut self) {
        self.serve(TcpListener::bind(self.address).await.expect("the port of before"));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets a device be pushed to.
    pub fn knows(&self, device: &Device) {
        lock(&self.state).devices.insert(device.endpoint(), device.clone());
    }

    /// A new device that it knows.
    pub fn device(&self) -> Device {
        self.device_at("updates.push.services.mozilla.com")
    }

    /// The same at another service.
    pub fn device_at(&self, host: &str) -> Device {
        let device = Device::at(host);
        self.knows(&device);
        device
    }

    /// Answers the next pushes to a device so; those after them with 201.
    pub fn will(&self, device: &Device, manners: impl IntoIterator<Item = Manner>) {
        lock(&self.state).manners.entry(device.endpoint()).or_default().extend(manners);
    }

    /// Answers all pushes to a device so, from now on; or as usual again.
    pub fn always(&self, device: &Device, manner: Option<Manner>) {
        let mut state = lock(&self.state);
        match manner {
            Some(manner) => state.always.insert(device.endpoint(), manner),
            None => state.always.remove(&device.endpoint()),
        };
    }

    /// All that came, whatever was answered. Nothing of it was wrong.
    pub fn received(&self) -> Vec<Received> {
        let state = lock(&self.state);
        assert!(state.faults.is_empty(), "{:?}", state.faults);
        state.received.clone()
    }

    /// What came for a device.
    pub fn pushes_to(&self, device: &Device) -> Vec<Value> {
        let received = self.received().into_iter().filter(|push| push.endpoint == device.endpoint());
        received.map(|push| push.payload).collect()
    }

    /// Waits until this many pushes came for a device.
    pub async fn wait_for(&self, device: &Device, count: usize) -> Vec<Value> {
        eventually("enough is pushed", async || self.pushes_to(device).len() >= count).await;
        self.pushes_to(device)
    }

    /// The most pushes that ever waited for their answers at once.
    pub fn busiest(&self) -> usize {
        lock(&self.state).busy.1
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    vapid: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let manner = {
        let mut state = lock(&state);
        match check(&state, &vapid, &head, &body) {
            Ok(received) => {
                let endpoint = received.endpoint.clone();
                state.received.push(received);
                let next = state.manners.get_mut(&endpoint).and_then(VecDeque::pop_front);
                state.busy.0 += 1;
                state.busy.1 = state.busy.1.max(state.busy.0);
                next.or_else(|| state.always.get(&endpoint).cloned()).unwrap_or(Manner::Status(201))
            }
            Err(fault) => {
                state.faults.push(fault);
                state.busy.0 += 1;
                Manner::Status(400)
            }
        }
    };
    let (status, retry) = match manner {
        Manner::Status(status) => (status, None),
        Manner::RetryAfter(status, seconds) => (status, Some(seconds)),
        Manner::Slow(time) => {
            tokio::time::sleep(time).await;
            (201, None)
        }
        Manner::Never => std::future::pending().await,
        Manner::HangUp => return Err(std::io::ErrorKind::ConnectionAborted.into()),
    };
    lock(&state).busy.0 -= 1;
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry {
        response = response.header("retry-after", seconds);
    }
    Ok(response.body(Full::default()).expect("an answer"))
}

/// Checks a push as a push service and the browser behind it do.
fn check(state: &State, vapid: &str, head: &hyper::http::request::Parts, body: &[u8]) -> Result<Received, String> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).ok_or(format!("no {name}"));
    let origin = format!("https://{}", header("host")?);
    let endpoint = format!("{origin}{}", head.uri);
    let device = state.devices.get(&endpoint).ok_or(format!("nobody is at {endpoint}"))?;
    if head.method != "POST" || header("content-encoding")? != "aes128gcm" {
        return Err(format!("{} with {}", head.method, header("content-encoding")?));
    }
    // RFC 8292, section 3: the token, and the key that signed it.
    let parameters = header("authorization")?.strip_prefix("vapid ").ok_or("no vapid")?;
    let parameters: HashMap<&str, &str> = parameters.split(',').filter_map(|one| one.trim().split_once('=')).collect();
    let (token, key) = (parameters.get("t").ok_or("no t")?, parameters.get("k").ok_or("no k")?);
    if *key != vapid {
        return Err(format!("signed by {key}"));
    }
    verify(token, key, &origin)?;
    let topic = header("topic")?;
    let letters = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if topic.is_empty() || topic.len() > 32 || !letters {
        return Err(format!("the topic {topic}"));
    }
    let plain = device.decrypt(body).ok_or("it cannot be decrypted")?;
    Ok(Received {
        endpoint,
        payload: serde_json::from_slice(&plain).map_err(|error| error.to_string())?,
        ttl: header("ttl")?.parse().map_err(|_| "no number as ttl")?,
        topic: topic.to_owned(),
        urgency: header("urgency")?.to_owned(),
    })
}

/// Verifies a token (RFC 7515 with ES256; RFC 8292, section 2).
fn verify(token: &str, key: &str, origin: &str) -> Result<(), String> {
    let bytes = |text: &str| BASE64.decode(text).map_err(|error| error.to_string());
    let (signed, signature) = token.rsplit_once('.').ok_or("no token")?;
    let (header, claims) = signed.split_once('.').ok_or("no token")?;
    let json = |text: &str| serde_json::from_slice::<Value>(&bytes(text)?).map_err(|error| error.to_string());
    if json(header)?["alg"] != "ES256" {
        return Err(format!("the header {}", json(header)?));
    }
    let key = VerifyingKey::from_sec1_bytes(&bytes(key)?).map_err(|error| error.to_string())?;
    let signature = Signature::from_slice(&bytes(signature)?).map_err(|error| error.to_string())?;
    key.verify(signed.as_bytes(), &signature).map_err(|_| "the signature is wrong")?;
    let claims = json(claims)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let left = claims["exp"].as_u64().unwrap_or(0).saturating_sub(now);
    let right = claims["aud"] == origin && claims["sub"] == SUBJECT && left > 0 && left <= 24 * 60 * 60;
    if right { Ok(()) } else { Err(format!("the claims {claims} for {origin}")) }
}

/// The device of RFC 8291, section 5, reads the message of that section.
///
/// Shows (docs/protocol.md): Pushes.
#[test]
fn the_test_reads_what_the_standard_encrypts() {
    let bytes = |text: &str| BASE64.decode(text).unwrap();
    let device = Device {
        key: p256::SecretKey::from_slice(&bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap(),
        auth: bytes("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap(),
        ..Device::new()
    };
    let body = bytes(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_\
         yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    );
    assert_eq!(device.decrypt(&body).unwrap(), b"When I grow up, I want to be a watermelon");
    assert!(Device::new().decrypt(&body).is_none());
}
