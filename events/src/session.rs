//! Events of the `session-H` streams: sessions, found by the SHA-256 of their token.

use serde::{Deserialize, Serialize};

use crate::family::family;
use crate::{AccId, Sealing, Subject};

family! {
    /// Sessions.
    SessionEvent {
        /// A session was opened for an account.
        SessionOpened = 1,
        /// A session ended.
        SessionEnded = 1,
        /// A session got a name.
        SessionNamed = 1,
    }
}

impl SessionEvent {
    /// Under which key the secret part is sealed; none if there is none.
    pub(crate) fn sealing(&self) -> Option<Sealing> {
        match self {
            Self::SessionNamed(e) => Some(Sealing::Lasting(Subject::Account(e.account))),
            Self::SessionOpened(_) | Self::SessionEnded(_) => None,
        }
    }
}

/// A session was opened for an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionOpened {
    /// Whose session it is.
    pub account: AccId,
    /// How it came about.
    pub how: Opening,
}

/// How a session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// With the account itself, by `/newacc`.
    Created,
    /// With the account's password, by `/login`.
    Login,
}

/// A session ended; its token is dead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionEnded {
    /// Whose session it was.
    pub account: AccId,
    /// Why it ended.
    pub why: Ending,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The same browser created another account.
    Replaced,
    /// Its owner ended it, by `/logout` or from another session.
    LoggedOut,
    /// The account opened more sessions than it may have; the oldest gave way.
    Displaced,
    /// The operator ended it.
    Operator,
}

/// The owner of a session gave it a name, or took it away. Sealed under `Account`: [`SessionSecret`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionNamed {
    /// Whose session it is.
    pub account: AccId,
}

/// The secret part of [`SessionNamed`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionSecret {
    /// The name, at most 64 UTF-16 units; empty: none any more.
    pub name: String,
}
