//! The routes of the tag "Devices": where an account is notified of messages by Web Push.

use std::borrow::Cow;

use be8_events::device::DeviceSecret;
use be8_events::{AccId, DeviceEvent, Event, Secret, Subject};
use poem_openapi::param::Path;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::Type;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::{Value, json};

use super::sessions::CURRENT;
use crate::app::names::open;
use crate::app::{App, Handle};
use crate::domain::device::{Subscribe, Unsubscribe};
use crate::domain::hours::StrikeHour;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::ledger::push_endpoints;
use crate::push::subscription;
use crate::vault::{DataKey, Found};

/// Devices.
pub struct Devices(pub Handle);

/// The keys of a push subscription (RFC 8291).
#[derive(Debug, Default, Object)]
#[oai(rename = "SubscriptionKeys")]
pub struct SubscriptionKeys {
    /// The public key of the device: an uncompressed point of P-256, base64url.
    p256dh: String,
    /// The authentication secret of the device: 16 bytes, base64url.
    auth: String,
}

/// A member that is there and null.
#[derive(Debug, Default)]
pub struct Null;

impl Type for Null {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "null".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        // The version of OpenAPI that is published has no type of its own for it, and of an enum of null alone the
        // generator for Java makes what does not compile.
        let schema = MetaSchema { nullable: true, ..MetaSchema::new("string") };
        MetaSchemaRef::Inline(Box::new(schema))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// A push subscription, as `PushSubscription.toJSON()` of a browser has it.
#[derive(Debug, Default, Object)]
#[oai(rename = "SubscriptionInput", rename_all = "camelCase", example)]
pub struct SubscriptionInput {
    /// Where to push: an https URL, at most 2048 bytes.
    pub endpoint: Lenient<String>,
    /// Always null, and never absent.
    pub expiration_time: Lenient<Null>,
    /// The keys.
    pub keys: Lenient<SubscriptionKeys>,
}

impl poem_openapi::types::Example for SubscriptionInput {
    fn example() -> Self {
        Self {
            endpoint: json!("https://updates.push.services.mozilla.com/wpush/v2/gAAAAABexample").into(),
            expiration_time: Value::Null.into(),
            // The device of RFC 8291, section 5.
            keys: json!({
                "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                "auth": "BTBZMqHH6r4Tts7J_aSIgg",
            })
            .into(),
        }
    }
}

/// The device is subscribed.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Subscribed", read_only_all)]
pub struct Subscribed {
    /// Always true.
    pub valid: True,
    /// Always true.
    pub subscribe: True,
}

/// A device of one's own account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "PushDevice", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct PushDevice {
    /// Names it.
    pub device: String,
    /// Where is pushed to, by which a browser knows its own subscription.
    pub endpoint: String,
    /// When it subscribed last (RFC 3339).
    pub subscribed: String,
    /// The session that it belongs to, as the list of sessions names it; missing where an early version did not record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// The devices of one's own account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "PushDeviceList", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct PushDeviceList {
    /// Always true.
    pub valid: True,
    /// The devices.
    pub devices: Vec<PushDevice>,
}

fn example_device() -> String {
    CURRENT.to_owned()
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "subscribe",
        &[
            When(Code::NotAuth, "without a session of a living account"),
            When(
                Code::InvalidSubscribe,
                "when `endpoint` is no https URL with a host, `expirationTime` is absent or not null, or `keys` \
                 has not a point of P-256 and a secret of 16 bytes",
            ),
        ],
    ),
    Operation::own("listDevices", &[Always(Code::NotAuth)]),
    Operation::own(
        "unsubscribe",
        &[Always(Code::NotAuth), When(Code::NotFound, "when the account has no such device")],
    ),
];

#[OpenApi]
impl Devices {
    /// Subscribe a device
    ///
    /// From now on messages to the account are pushed to the device, if the server has a key pair for
    /// that and if its operator's list of push services (`--push-hosts`) has the host of the
    /// `endpoint`. A subscription at another host is accepted, and nothing is ever sent to it: the
    /// answer is the same.
    ///
    /// A device belongs to the session that subscribed it and ends with it: by `/logout`, by a new
    /// account in the same browser, by the operator, or with the account. An endpoint that another
    /// account subscribes is taken from the former one. So a client subscribes at each start. The same
    /// subscription of the same session again changes nothing; by another session of the account, the
    /// device moves to that; other keys for the same endpoint replace the former ones. An account has
    /// a bounded number of devices (20): one more displaces the oldest. A device that its push service
    /// calls gone (404, 410), or to which it refuses many pushes in a row (10), is dropped.
    #[oai(path = "/subscribe", method = "post", operation_id = "subscribe", tag = "Tag::Devices")]
    async fn subscribe(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<SubscriptionInput>,
    ) -> Result<Answer<Subscribed, (), 201>, WireError> {
        let app = self.0.get()?;
        let once = key.with(&body);
        let me = app.signed_in(session.required()?).await?;
        let device = checked(&body).ok_or(WireError::from(Code::InvalidSubscribe))?;
        let Some((own, server)) = keys_of(app, me.id).await? else {
            // The account was removed this moment.
            return Err(Code::NotAuth.into());
        };
        let endpoint = own.mac("endpoint", device.endpoint.as_bytes());
        let whole = json!([device.endpoint, device.p256dh, device.auth]).to_string();
        let place = push_endpoints::fingerprint(&server, &device.endpoint);
        let listed = app.settings.push_hosts.admit(&device.endpoint).is_some();
        let command = Subscribe {
            session: session.0,
            account: me.id,
            endpoint,
            subscription: own.mac("subscription", whole.as_bytes()),
            secret: Secret::new(device),
            most: app.settings.devices,
            place,
            holder: app.ledger.push_endpoints().holders(&[place]).await?.remove(&place),
        };
        let answer = app.execute(once, command, |()| Subscribed::default()).await?;
        metrics::counter!("be8_push_subscriptions_total", "listed" => if listed { "yes" } else { "no" }).increment(1);
        Ok(answer)
    }

    /// List one's devices
    #[oai(path = "/me/devices", method = "get", operation_id = "listDevices", tag = "Tag::Devices")]
    async fn list(&self, session: Session) -> Result<Answer<PushDeviceList>, WireError> {
        let app = self.0.get()?;
        let now = app.now();
        let me = app.signed_in(session.required()?).await?.id;
        let found = app.read.devices(&[me], now).await?;
        let opener = app.vault.opener(&found.live).await?;
        let mut devices = Vec::with_capacity(found.found.len());
        for (_, event) in &found.found {
            let Event::Device(DeviceEvent::DeviceSubscribed(subscribed)) = &event.stored.event else { continue };
            // None once the account was removed this moment.
            let Some(secret) = open::<DeviceSecret>(&opener, event)? else { continue };
            devices.push(PushDevice {
                device: subscribed.endpoint.to_string(),
                endpoint: secret.into_inner().endpoint,
                subscribed: event.stored.time.to_string(),
                session: subscribed.session.map(|session| session.to_string()),
            });
        }
        Ok(Answer::new(&PushDeviceList { valid: True, devices }))
    }

    /// Unsubscribe a device
    ///
    /// Nothing is pushed to it any more. Its session stays open.
    #[oai(path = "/me/devices/:device", method = "delete", operation_id = "unsubscribe", tag = "Tag::Devices")]
    async fn unsubscribe(
        &self,
        session: Session,
        /// The device, as the list of devices names it, or `current` for what the session of the request subscribed.
        #[oai(name = "device", example = "example_device")]
        device: Path<String>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        app.signed_in(session.required()?).await?;
        let endpoint = match device.0.as_str() {
            CURRENT => None,
            device => Some(device.parse().map_err(|_| WireError::from(Code::NotFound))?),
        };
        let found = app.ledger.execute(Unsubscribe { session: session.0, endpoint }).await?;
        if found { Ok(Answer::new(&Success::default())) } else { Err(Code::NotFound.into()) }
    }
}

/// The keys for the fingerprints of a subscription: that of the account, and that of the server. None if the account has
/// none any more.
async fn keys_of(app: &App, account: AccId) -> Result<Option<(DataKey, DataKey)>, WireError> {
    let (own, server) = (Subject::Account(account), Subject::Server);
    let mut found = app.vault.find(&[own, server]).await?;
    if !found.contains_key(&server) {
        // It comes with the first hour, which a server that has just begun may not have recorded yet.
        app.ledger.execute(StrikeHour).await?;
        found = app.vault.find(&[own, server]).await?;
    }
    match (found.remove(&own), found.remove(&server)) {
        (Some(Found::Live(own)), Some(Found::Live(server))) => Ok(Some((own, server))),
        (Some(Found::Live(_)), _) => {
            // It is never erased.
            tracing::error!("the key of the server is not there");
            Err(Code::Internal.into())
        }
        _ => Ok(None),
    }
}

/// The check `subscribe`.
fn checked(body: &SubscriptionInput) -> Option<be8_events::device::DeviceSecret> {
    let keys = body.keys.value()?.as_object()?;
    let key = |name: &str| keys.get(name)?.as_str();
    if !body.expiration_time.is_null() {
        return None;
    }
    subscription::check(body.endpoint.str()?, key("p256dh")?, key("auth")?)
}
