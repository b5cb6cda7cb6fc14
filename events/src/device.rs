//! Events of the `devices-N` streams: where an account is told of messages by Web Push.

use serde::{Deserialize, Serialize};

use crate::Hash32;

/// A device of the account subscribed, or renewed its subscription. Sealed under `Account`:
/// [`DeviceSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceSubscribed {
    /// The endpoint, as an HMAC under a key of the account: the device.
    pub endpoint: Hash32,
    /// The whole subscription, likewise: an identical one is no event.
    pub subscription: Hash32,
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

/// A device is no longer told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceDropped {
    /// Which.
    pub endpoint: Hash32,
    /// Why.
    pub why: Dropped,
}

/// Why a device is no longer told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Dropped {
    /// The push service says that the subscription is gone.
    Gone,
    /// The account subscribed more devices than it may have; the oldest gave way.
    Displaced,
}
