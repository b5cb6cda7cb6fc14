//! Events of the `account-N` streams: the life of an account.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, Hash32, Sealing, StreamName, Subject, Timestamp};

family! {
    /// Accounts: what they set, and how long they live.
    AccountEvent {
        /// An account came into being.
        AccountCreated = 1,
        /// An account took another nickname.
        NicknameChanged = 1,
        /// An account set its status text.
        StatusSet = 1,
        /// An account set its public key.
        PublicKeySet = 1,
        /// An account set its lock codes.
        CodesSet = 1,
        /// An account changed a lock code.
        CodeChanged = 1,
        /// A token extended the life of an account.
        LifetimeExtended = 1,
        /// An account was removed.
        AccountRemoved = 1,
        /// An account changed its password.
        PasswordChanged = 1,
    }
}

impl AccountEvent {
    /// Under which key the secret part is sealed; none if there is none.
    pub(crate) fn sealing(&self, stream: StreamName) -> Option<Sealing> {
        let StreamName::Account(account) = stream else { return None };
        let subject = match self {
            Self::AccountCreated(_)
            | Self::NicknameChanged(_)
            | Self::StatusSet(_)
            | Self::CodesSet(_)
            | Self::CodeChanged(_)
            | Self::PasswordChanged(_) => Subject::Account(account),
            Self::PublicKeySet(_) => Subject::PublicKey(account),
            Self::LifetimeExtended(_) | Self::AccountRemoved(_) => return None,
        };
        Some(Sealing::Lasting(subject))
    }

    /// How it changes the life of the account; none if the account only sets something.
    pub const fn life(&self) -> Option<Life<'_>> {
        Some(match self {
            Self::AccountCreated(e) => Life::Created(e),
            Self::LifetimeExtended(e) => Life::Extended(e),
            Self::AccountRemoved(e) => Life::Removed(e),
            Self::NicknameChanged(_)
            | Self::StatusSet(_)
            | Self::PublicKeySet(_)
            | Self::CodesSet(_)
            | Self::CodeChanged(_)
            | Self::PasswordChanged(_) => return None,
        })
    }
}

/// How an event changes the life of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Life<'e> {
    /// It begins.
    Created(&'e AccountCreated),
    /// It lasts longer.
    Extended(&'e LifetimeExtended),
    /// It ends.
    Removed(&'e AccountRemoved),
}

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

/// An account took another nickname. Sealed under `Account`: [`NicknameSecret`]. Its position is how others name the nickname.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NicknameChanged {}

/// The secret part of [`NicknameChanged`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NicknameSecret {
    /// The nickname, 1 to 30 UTF-16 units.
    pub nickname: String,
}

/// An account set its status text. Sealed under `Account`: [`StatusSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StatusSet {}

/// The secret part of [`StatusSet`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusSecret {
    /// The text, at most 280 UTF-16 units; empty is allowed.
    pub status: String,
}

/// An account set its two lock codes, for the first time. Sealed under `Account`: [`CodesSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CodesSet {}

/// The secret part of [`CodesSet`]: argon2id hashes in PHC string format.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CodesSecret {
    /// Of the code that unlocks the client.
    pub unlock: String,
    /// Of the code that removes the account.
    pub destroy: String,
}

/// An account changed one of its lock codes. Sealed under `Account`: [`CodeSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CodeChanged {
    /// Which of the two.
    pub which: CodeKind,
}

/// One of an account's two lock codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CodeKind {
    /// Unlocks the client.
    Unlock,
    /// Removes the account.
    Destroy,
}

/// The secret part of [`CodeChanged`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CodeSecret {
    /// The new code as an argon2id hash in PHC string format.
    pub hash: String,
}

/// An account changed its password. Sealed under `Account`: [`PasswordSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordChanged {}

/// The secret part of [`PasswordChanged`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PasswordSecret {
    /// The new password as an argon2id hash in PHC string format.
    pub password: String,
}

/// A token extended the life of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LifetimeExtended {
    /// Until when it lives now; never earlier than before.
    pub until: Timestamp,
    /// Whether it is endless from here on.
    pub endless: bool,
    /// The token, by its HMAC under the server's key.
    pub token: Hash32,
}

/// An account was removed, with its sessions and data keys; its conversations and groups follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountRemoved {
    /// The account.
    pub account: AccId,
    /// Why.
    pub reason: Removal,
}

/// Why an account was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// Its owner asked for it.
    Panic,
    /// Its destroy code was entered.
    Code,
    /// It expired.
    Expiry,
    /// The operator removed it.
    Operator,
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
