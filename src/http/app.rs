//! What the routes share: the ledger, the read models, the vault, the feed and the settings.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use be8_events::Timestamp;
use be8_projections::{ReadError, ReadModels};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::admission::AdmissionSettings;
use super::error::{Code, WireError};
use super::image_reads::ImageReads;
use super::logins::LoginAttempts;
use super::names::Names;
use super::operator::OperatorToken;
use super::stream_id::StreamIds;
use crate::audit::{Transparency, Witness};
use crate::clock::Clock;
use crate::domain::Rejection;
use crate::feed::Hub;
use crate::ledger::{CodeAttempts, Ledger, LedgerError, LogError};
use crate::media::{Blobs, MediaError};
use crate::password::PasswordHasher;
use crate::push::AllowedHosts;
use crate::push::hosts::BROWSERS;
use crate::vault::{Vault, VaultError};

/// What the routes do is bounded by these.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// How long an account lives unless its life is extended.
    pub account_lifetime: TimeDelta,
    /// How long a message is shown.
    pub message_lifetime: TimeDelta,
    /// The most members that a group may be created for.
    pub group_members: u32,
    /// How many sessions an account may have open.
    pub sessions_per_account: usize,
    /// The most UTF-8 bytes of a message text.
    pub message_bytes: usize,
    /// The most UTF-8 bytes of a wrapped key.
    pub group_key_bytes: usize,
    /// The most devices of an account that are told of messages.
    pub devices: usize,
    /// The push services that something may be sent to.
    pub push_hosts: AllowedHosts,
    /// The pause between comment lines on a silent event stream.
    pub heartbeat: Duration,
    /// When new accounts are refused.
    pub admission: AdmissionSettings,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            account_lifetime: TimeDelta::days(30),
            message_lifetime: TimeDelta::days(30),
            group_members: 1000,
            sessions_per_account: 32,
            message_bytes: 262_144,
            group_key_bytes: 8192,
            devices: 20,
            push_hosts: BROWSERS.parse().expect("the list of the browsers' push services"),
            heartbeat: Duration::from_secs(15),
            admission: AdmissionSettings::default(),
        }
    }
}

/// What the routes share.
#[derive(Debug)]
pub struct App {
    /// The way to write.
    pub ledger: Ledger,
    /// The way to read.
    pub read: ReadModels,
    /// Opens what is sealed.
    pub vault: Arc<Vault>,
    /// The ids of events in streams.
    pub stream_ids: StreamIds,
    /// The open event streams.
    pub hub: Arc<Hub>,
    /// The contents of images.
    pub media: Blobs,
    /// Turns of those who fetch an image.
    pub image_reads: ImageReads,
    /// Hashes passwords.
    pub passwords: PasswordHasher,
    /// Checks the passwords of logins, in a queue of its own.
    pub logins: PasswordHasher,
    /// Hashes and checks lock codes, in a queue of its own.
    pub codes: PasswordHasher,
    /// Who tried to log in, and how often.
    pub login_attempts: LoginAttempts,
    /// Attempts at lock codes.
    pub code_attempts: CodeAttempts,
    /// Nicknames by the event that set them.
    pub names: Names,
    /// The transparency log.
    pub transparency: Arc<Transparency>,
    /// Whether its hashes are public.
    pub public_log: bool,
    /// Cosigns foreign logs; none: this server is no witness.
    pub witness: Option<Witness>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The operator's token; none: operator access does not exist.
    pub operator: Option<OperatorToken>,
    /// The settings.
    pub settings: AppSettings,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
}

/// The routes' way to the [`App`]: empty while the server still starts, so that it can listen and
/// say so from its first moment, and so that the document of the routes needs no database.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<OnceLock<Arc<App>>>);

impl Handle {
    /// Makes the server ready. Only the first call counts.
    pub fn set(&self, app: Arc<App>) {
        // A second call cannot come: a process makes one app.
        let _ = self.0.set(app);
    }

    /// What the routes share.
    ///
    /// # Errors
    /// [`Code::Unavailable`] while the server starts.
    pub fn get(&self) -> Result<&Arc<App>, WireError> {
        self.0.get().ok_or_else(|| Code::Unavailable.into())
    }
}

impl App {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl From<Rejection> for WireError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotAuthenticated => Code::NotAuth,
            Rejection::AccountNotExisting => Code::AccNotExists,
            Rejection::CircularConversation => Code::CircularConversation,
            Rejection::InvalidThread => Code::InvalidThreadId,
            Rejection::InvalidMessageType => Code::InvalidMessageType,
            Rejection::InvalidNickname => Code::InvalidNickname,
            Rejection::InvalidGroupType => Code::InvalidGroupType,
            Rejection::GroupNotExisting => Code::GroupNotExisting,
            Rejection::MemberNotExisting => Code::MemberNotExisting,
            Rejection::KeyholderNotExisting => Code::KeyholderNotExisting,
            Rejection::NoGroupMember => Code::NoGroupMember,
            Rejection::NotAdmin => Code::NotAdmin,
            Rejection::AlreadyMember => Code::IsAlreadyMember,
            Rejection::GroupFull => Code::GroupMaxReached,
            Rejection::CircularKick => Code::CircularKick,
            Rejection::InvalidGroupKey => Code::InvalidGroupKey,
            Rejection::InvalidUpdateType => Code::InvalidUpdateType,
            Rejection::InvalidContentId => Code::InvalidContentId,
            Rejection::ContentExists => Code::ContentExists,
            Rejection::MessageTooLarge => Code::TooLarge,
            Rejection::InvalidToken => Code::InvalidToken,
            Rejection::TokenNotExisting => Code::TokenNotExist,
            Rejection::InvalidLinkType => Code::InvalidLinkType,
            Rejection::NotUsedOrSentLink => Code::NotUsedOrSentLink,
            Rejection::NumbersExhausted => Code::Unavailable,
            // The one route that tries tokens says it in a shape of its own.
            Rejection::TokenInUse => Code::Internal,
            Rejection::CodesAlreadySet => Code::CodesAlreadySet,
            // No route appends with an expected version.
            Rejection::WrongExpectedVersion => Code::Internal,
            // Whoever checks before a command checks again.
            Rejection::Outdated => Code::Unavailable,
        }
        .into()
    }
}

impl From<LedgerError> for WireError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Rejected(rejection) => rejection.into(),
            LedgerError::Overloaded | LedgerError::Unavailable => Code::Unavailable.into(),
            LedgerError::InFlight => Code::InFlight.into(),
            LedgerError::KeyReused => Code::IdempotencyKeyReused.into(),
            LedgerError::OutcomeUnknown => Code::OutcomeUnknown.into(),
            LedgerError::Internal => Code::Internal.into(),
        }
    }
}

impl From<ReadError> for WireError {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a read failed");
        match error {
            ReadError::Database(_) | ReadError::Foreign => Code::Unavailable.into(),
            ReadError::Event(_) | ReadError::Damaged(_) => Code::Internal.into(),
        }
    }
}

impl From<LogError> for WireError {
    fn from(error: LogError) -> Self {
        tracing::error!(%error, "the log could not be read");
        match error {
            LogError::Database(_)
            | LogError::Foreign
            | LogError::Newer
            | LogError::Fork { .. }
            | LogError::OtherDatabase
            | LogError::Died
            | LogError::Clock => Code::Unavailable.into(),
            LogError::Vault(error) => error.into(),
            LogError::Undecodable { .. } | LogError::Damaged { .. } | LogError::Stored(_) => Code::Internal.into(),
        }
    }
}

impl From<VaultError> for WireError {
    fn from(error: VaultError) -> Self {
        tracing::error!(%error, "the vault could not be read");
        match error {
            VaultError::Database(_) => Code::Unavailable.into(),
            _ => Code::Internal.into(),
        }
    }
}

impl From<MediaError> for WireError {
    fn from(error: MediaError) -> Self {
        match error {
            // In the log once a minute.
            MediaError::Store(_) | MediaError::Late(_) | MediaError::Place { .. } => Code::Unavailable.into(),
            MediaError::Damaged(_) | MediaError::Worker(_) => {
                tracing::error!(%error, "an image could not be stored or fetched");
                Code::Internal.into()
            }
        }
    }
}
