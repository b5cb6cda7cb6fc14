//! Events of the `devices-N` streams: the devices to which messages for an account are pushed (Web Push).

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{Hash32, Sealing, StreamName, Subject};

family! {
    /// Devices that receive pushes.
    DeviceEvent {
        /// A device subscribed to pushes.
        DeviceSubscribed = 2 older { 1 => DeviceSubscribed::from_v1 },
        /// A device is no longer pushed to.
        DeviceDropped = 3 older { 1 => DeviceDropped::from_older, 2 => DeviceDropped::from_older },
    }
}

impl DeviceEvent {
    /// Under which key the secret part is sealed; none if there is none.
    pub(crate) fn sealing(&self, stream: StreamName) -> Option<Sealing> {
        match (self, stream) {
            (Self::DeviceSubscribed(_), StreamName::Devices(account)) => {
                Some(Sealing::Lasting(Subject::Account(account)))
            }
            (Self::DeviceSubscribed(_) | Self::DeviceDropped(_), _) => None,
        }
    }
}

/// A device of the account subscribed, or renewed its subscription. Sealed under `Account`:
/// [`DeviceSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceSubscribed {
    /// The endpoint, as an HMAC under a key of the account: the device.
    pub endpoint: Hash32,
    /// The whole subscription, likewise: an identical one of the same session is no event.
    pub subscription: Hash32,
    /// The session that subscribed, by the hash of its token: the device ends with it. None where
    /// version 1 of the event did not record it; such a device ends with any session of its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Hash32>,
}

impl DeviceSubscribed {
    /// Reads version 1, which did not record the session.
    pub(crate) fn from_v1(payload: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct V1 {
            endpoint: Hash32,
            subscription: Hash32,
        }
        let V1 { endpoint, subscription } = serde_json::from_slice(payload)?;
        Ok(Self { endpoint, subscription, session: None })
    }
}

/// The secret part of [`DeviceSubscribed`]: a push subscription (W3C Push API, section 8).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceSecret {
    /// Where to post.
    pub endpoint: String,
    /// The public key of the device, base64url (RFC 8291).
    pub p256dh: String,
    /// The authentication secret of the device, base64url (RFC 8291).
    pub auth: String,
}

/// A device is no longer pushed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceDropped {
    /// Which.
    pub endpoint: Hash32,
    /// Why.
    pub why: Dropped,
}

impl DeviceDropped {
    /// Reads versions 1 and 2, which knew fewer reasons.
    pub(crate) fn from_older(payload: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(payload)
    }
}

/// Why a device no longer gets pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Dropped {
    /// The push service says that the subscription no longer exists.
    Gone,
    /// The account subscribed more devices than it may have; the oldest gave way.
    Displaced,
    /// The session that subscribed it ended, or its browser opened another one by `/login`.
    SessionEnded,
    /// Another account subscribed the same endpoint.
    Taken,
    /// The push service refused many pushes in a row and accepted none.
    Refused,
    /// Its owner ended it.
    Unsubscribed,
}
