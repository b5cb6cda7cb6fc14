//! Sending one push, and what its answer means.

use std::fmt;
use std::time::Duration;

use be8_events::Secret;
use be8_events::device::DeviceSecret;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, StatusCode};
use url::Url;
use web_push::{ContentEncoding, SubscriptionInfo, Urgency, WebPushMessageBuilder};

use super::{AllowedHosts, PushSettings, Vapid};
use crate::client::{Client, Failure};

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
    client: Client,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("vapid", &self.vapid).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender that signs with this key pair.
    pub fn new(settings: &PushSettings, vapid: Vapid) -> Self {
        let client = match settings.test_peer {
            None => Client::public(settings.timeout, settings.at_once),
            Some(peer) => Client::to_test_peer(peer, settings.timeout, settings.at_once),
        };
        Self::over(client, settings, vapid)
    }

    fn over(client: Client, settings: &PushSettings, vapid: Vapid) -> Self {
        Self { vapid, hosts: settings.hosts.clone(), client }
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
        match self.client.send(request).await {
            Err(Failure::Forbidden(_)) => Outcome::Forbidden,
            Err(Failure::Unreachable(_)) => Outcome::Unreachable,
            Err(Failure::Lost(_) | Failure::Late | Failure::TooLong) => Outcome::Lost,
            Ok(answer) => {
                let outcome = outcome(answer.status(), answer.headers(), now);
                // The status is known. The body is read so that the connection can be used again: what it says does not
                // matter, and one that does not come costs its connection only.
                let _ = self.client.body(answer, LONGEST_ANSWER).await;
                outcome
            }
        }
    }

    /// Encrypts, signs and addresses a push; nothing if that cannot be done.
    fn request(&self, push: &Push) -> Option<Request> {
        let device = push.subscription.expose();
        // As the list understood it, not as another parser might.
        let url = Url::parse(&device.endpoint).ok()?;
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
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert("ttl", message.ttl.into());
        headers.insert("urgency", message.urgency.unwrap_or_default().to_string().parse().ok()?);
        headers.insert("topic", message.topic.unwrap_or_default().parse().ok()?);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(payload.content_encoding.to_str()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        for (name, value) in payload.crypto_headers {
            headers.insert(name, value.parse().ok()?);
        }
        *request.body_mut() = Some(payload.content.into());
        Some(request)
    }
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

#[cfg(test)]
mod tests;
