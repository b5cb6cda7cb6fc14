//! Events of the `account-N` streams: the life of an account.

use serde::{Deserialize, Serialize};

use crate::{AccId, Hash32, Timestamp};

/// An account came into being. Sealed under `Account`: [`AccountSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountCreated {
    /// The account.
    pub account: AccId,
    /// Until when it lives unless its life is extended.
    pub until: Timestamp,
}

/// The secret part of [`AccountCreated`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountSecret {
    /// The nickname, 1 to 30 UTF-16 units.
    pub nickname: String,
    /// The password as an argon2id hash in PHC string format.
    pub password: String,
}

/// An account set its public key. Sealed under `PublicKey`: [`PublicKeySecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PublicKeySet {
    /// The curve.
    pub curve: Curve,
    /// SHA-256 of the uncompressed point (SEC 1, section 2.3.3): the fingerprint of the key.
    pub sha256: Hash32,
}

/// A NIST curve by its JWK name (RFC 7518, section 6.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Curve {
    /// secp256r1.
    #[serde(rename = "P-256")]
    P256,
    /// secp384r1.
    #[serde(rename = "P-384")]
    P384,
}

impl Curve {
    /// The JWK name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }
}

/// The secret part of [`PublicKeySet`]: public by nature, but personal, and so erasable.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PublicKeySecret {
    /// The x coordinate as it was sent: base64url (RFC 7518, section 6.2.1.2).
    pub x: String,
    /// The y coordinate as it was sent.
    pub y: String,
}
