//! Which code a failure of the inside is: of a decision, the ledger, a read, the vault, the media store, the hashers.

use std::time::Duration;

use be8_projections::ReadError;

use super::codes::Code;
use super::error::WireError;
use crate::app::names::Unreadable;
use crate::app::{NoCipher, NotAdmitted, NotReady};
use crate::domain::Rejection;
use crate::ledger::{LedgerError, LogError};
use crate::media::MediaError;
use crate::password::HashError;
use crate::vault::VaultError;
use crate::views::Away;

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
            // A caller that checks before a command checks again.
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

impl From<Away> for WireError {
    fn from(error: Away) -> Self {
        tracing::error!(%error, "a read failed");
        Code::Unavailable.into()
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
            MediaError::Store(_) | MediaError::Late(_) | MediaError::Place { .. } | MediaError::Unmounted(_) => {
                Code::Unavailable.into()
            }
            MediaError::Damaged(_) | MediaError::Worker(_) => {
                tracing::error!(%error, "an image could not be stored or fetched");
                Code::Internal.into()
            }
        }
    }
}

impl From<HashError> for WireError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => Self::retry(Code::Unavailable, Duration::from_secs(5)),
            HashError::Broken(_) => {
                tracing::error!(%error, "a password could not be hashed");
                Self::from(Code::Internal)
            }
        }
    }
}

impl From<NotReady> for WireError {
    fn from(NotReady: NotReady) -> Self {
        Code::Unavailable.into()
    }
}

impl From<Unreadable> for WireError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Read(error) => error.into(),
            Unreadable::Vault(error) => error.into(),
            // It is in the log already.
            Unreadable::Payload | Unreadable::NoName => Code::Internal.into(),
        }
    }
}

impl From<NoCipher> for WireError {
    fn from(error: NoCipher) -> Self {
        match error {
            NoCipher::Vault(error) => error.into(),
            NoCipher::NotYet => Code::Unavailable.into(),
        }
    }
}

impl From<NotAdmitted> for WireError {
    fn from(refusal: NotAdmitted) -> Self {
        match refusal {
            NotAdmitted::Closed => Code::RegistrationClosed.into(),
            NotAdmitted::NoRoom { back_after } => Self::retry(Code::Unavailable, back_after),
            NotAdmitted::Log(error) => error.into(),
        }
    }
}
