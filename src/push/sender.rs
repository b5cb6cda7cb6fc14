//! Sending one push, and what its answer means.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use be8_events::Secret;
use be8_events::device::DeviceSecret;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;
use web_push::{ContentEncoding, SubscriptionInfo, Urgency, WebPushMessageBuilder};

use super::connect::Connector;
use super::guard::Forbidden;
use super::{AllowedHosts, PushSettings, Vapid};

/// For how long an idle connection is kept: shorter than services close it, for a push sent on a
/// closing connection may be lost.
const IDLE: Duration = Duration::from_secs(20);
/// The longest body of an answer that is read, so that its connection can be used again.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Something to push to a device.
#[derive(Debug)]
pub struct Push {
    /// The device.
    pub subscription: Secret<DeviceSecret>,
    /// What is sent to it.
    pub payload: Secret<Vec<u8>>,
    /// Of what is not delivered yet, the service keeps the newest of a topic: at most 32
    /// characters of base64url.
    pub topic: String,
    /// For how long the service may keep it, in seconds.
    pub ttl: u32,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service took it.
    Accepted,
    /// It was sent, and no answer came: it may have arrived.
    Lost,
    /// No connection came about: nothing was sent.
    Unreachable,
    /// The service does not accept it now; it may have said for how long.
    NotNow(u16, Option<Duration>),
    /// The subscription no longer exists (404, 410).
    Gone,
    /// The service does not accept our signature (401, 403).
    Unauthorized(u16),
    /// The service does not accept it, ever.
    Refused(u16),
    /// The endpoint is no place where pushes may go.
    Forbidden,
    /// The subscription cannot be encrypted for.
    Unusable,
}

/// Sends pushes.
pub struct Sender {
    vapid: Vapid,
    hosts: AllowedHosts,
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("vapid", &self.vapid).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender that signs with this key pair.
    pub fn new(settings: &PushSettings, vapid: Vapid) -> Self {
        let connector = match settings.test_peer {
            None => Connector::guarded(settings.timeout),
            Some(peer) => Connector::to_test_peer(peer, settings.timeout),
        };
        Self::over(connector, settings, vapid)
    }

    fn over(connector: Connector, settings: &PushSettings, vapid: Vapid) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.at_once)
            .build(connector);
        Self { vapid, hosts: settings.hosts.clone(), client, timeout: settings.timeout }
    }

    /// The entry of the list of hosts that lets an endpoint in.
    pub fn service(&self, endpoint: &str) -> Option<&str> {
        self.hosts.admit(endpoint)
    }

    /// Sends a push. It takes no longer than twice the time-out of the settings.
    pub async fn send(&self, push: &Push, now: DateTime<Utc>) -> Outcome {
        if self.service(&push.subscription.expose().endpoint).is_none() {
            return Outcome::Forbidden;
        }
        let Some(request) = self.request(push) else { return Outcome::Unusable };
        // Connecting has a limit of its own: beyond both, the request was sent.
        match tokio::time::timeout(self.timeout * 2, self.client.request(request)).await {
            Err(_) => Outcome::Lost,
            Ok(Err(error)) if error.is_connect() => match is_forbidden(&error) {
                true => Outcome::Forbidden,
                false => Outcome::Unreachable,
            },
            Ok(Err(_)) => Outcome::Lost,
            Ok(Ok(answer)) => {
                let outcome = outcome(answer.status(), answer.headers(), now);
                let body = drain(answer);
                // The answer is known; a body that does not come costs its connection only.
                let _ = tokio::time::timeout(self.timeout, body).await;
                outcome
            }
        }
    }

    /// Encrypts, signs and addresses a push; nothing if that cannot be done.
    fn request(&self, push: &Push) -> Option<Request<Full<Bytes>>> {
        let device = push.subscription.expose();
        // As the list understood it, not as another parser might.
        let url = Url::parse(&device.endpoint).ok()?;
        let uri: Uri = url.as_str().parse().ok()?;
        if uri.host() != url.host_str() {
            return None;
        }
        let info = SubscriptionInfo::new(url.as_str(), &device.p256dh, &device.auth);
        let mut message = WebPushMessageBuilder::new(&info);
        message.set_ttl(push.ttl);
        // Phones deliver anything less when it suits them.
        message.set_urgency(Urgency::High);
        message.set_topic(push.topic.clone());
        message.set_payload(ContentEncoding::Aes128Gcm, push.payload.expose());
        message.set_vapid_signature(self.vapid.sign(&url.origin().ascii_serialization()).ok()?);
        let message = message.build().ok()?;
        let payload = message.payload?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("ttl", message.ttl)
            .header("urgency", message.urgency.unwrap_or_default().to_string())
            .header("topic", message.topic.unwrap_or_default())
            .header(CONTENT_ENCODING, payload.content_encoding.to_str())
            .header(CONTENT_TYPE, "application/octet-stream");
        for (name, value) in payload.crypto_headers {
            request = request.header(name, value);
        }
        request.body(Full::new(payload.content.into())).ok()
    }
}

/// Whether a failed connect was the guard's doing.
fn is_forbidden(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<Forbidden>() || inner.is_some_and(|inner| inner.is::<Forbidden>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What a status means (RFC 8030, section 5, and what the services document).
fn outcome(status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Accepted,
        404 | 410 => Outcome::Gone,
        code @ (401 | 403) => Outcome::Unauthorized(code),
        code @ (429 | 500..=599) => Outcome::NotNow(code, retry_after(headers, now)),
        // Redirections are not followed.
        code => Outcome::Refused(code),
    }
}

/// For how long a service wants to be left alone: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?.to_utc();
    Some((until - now).to_std().unwrap_or_default())
}

/// Reads the body of an answer, so that the connection can be used again.
async fn drain(answer: Response<Incoming>) {
    // What it says does not matter, nor whether it is too long.
    let _ = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
}

#[cfg(test)]
mod tests;
