//! Events of the `token-HMAC` streams: the tokens that extend the life of accounts, each known by
//! its HMAC under the server's key.

use serde::{Deserialize, Serialize};

use crate::AccId;
use crate::family::family;

family! {
    /// Tokens that extend the life of accounts.
    TokenEvent {
        /// A token was issued.
        TokenIssued = 1,
        /// An account took an endless token.
        TokenTaken = 1,
        /// An endless token can be taken again.
        TokenFreed = 1,
        /// A promo token was used up.
        TokenConsumed = 1,
        /// A token was revoked.
        TokenRevoked = 1,
    }
}

/// The operator issued a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenIssued {
    /// What it gives.
    pub grant: Grant,
}

/// What a token gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Grant {
    /// An endless life, to one account at a time.
    Endless,
    /// An extension by this much time from its use on, once.
    Promo {
        /// In milliseconds.
        millis: u64,
    },
}

/// An account took an endless token, which nobody else can use while the account lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenTaken {
    /// Which account.
    pub by: AccId,
}

/// The account that took an endless token was removed; another one can take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenFreed {
    /// Which account had it.
    pub by: AccId,
}

/// A promo token was used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenConsumed {
    /// By which account.
    pub by: AccId,
}

/// The operator revoked a token: it gives nothing any more. What it gave stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRevoked {}
