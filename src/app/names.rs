//! Names by the position of the event that set them: unsealed once, kept while their key lives.

use std::sync::Arc;

use be8_events::account::{AccountSecret, NicknameSecret, StatusSecret};
use be8_events::group::GroupSecret;
use be8_events::{AccountEvent, Event, GroupEvent, Position, Secret, SecretPayload};
use be8_projections::{ReadError, ReadModels, StoredSealed};
use moka::sync::Cache;

use crate::vault::{Opener, Vault, VaultError};

/// What stands for a nickname that was erased (docs/protocol.md, "Placeholders for what is erased").
pub const EXPIRED_USER: &str = "Expired User";

/// What stands for the name of a group that was erased (docs/protocol.md, "Placeholders for what is erased").
const EXPIRED_GROUP: &str = "Group";

/// How many names are kept in memory.
const KEPT: u64 = 65_536;

/// Why what was sealed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The database does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The vault does not open it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What was sealed has no known shape.
    #[error("a secret payload has no known shape")]
    Payload,
    /// A name was looked for in an event of a kind that sets none.
    #[error("an event sets no name")]
    NoName,
}

/// The nicknames for the feed: a change names its sender's by position.
#[derive(Debug)]
pub struct Names {
    kept: Cache<Position, (be8_events::KeyId, Arc<str>)>,
}

impl Default for Names {
    fn default() -> Self {
        Self { kept: Cache::new(KEPT) }
    }
}

impl Names {
    /// The nickname that an event set, or what stands for it once its key is deleted.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub async fn nickname(
        &self,
        read: &ReadModels,
        vault: &Arc<Vault>,
        position: Position,
    ) -> Result<Arc<str>, Unreadable> {
        // The vault forgets a deleted key as soon as this node learns of the deletion.
        if let Some((key, name)) = self.kept.get(&position)
            && vault.knows(key)
        {
            return Ok(name);
        }
        let (event, live) = read.sealed_event(position).await?;
        let opener = vault.opener(&live).await?;
        let Some(event) = event else { return Ok(EXPIRED_USER.into()) };
        let name: Arc<str> = open_name(&opener, &event)?.into();
        if let Some(&key) = live.first() {
            self.kept.insert(position, (key, name.clone()));
        }
        Ok(name)
    }
}

/// The name that an event set, of an account or a group, or what stands for it once its key is deleted.
///
/// # Errors
/// [`Unreadable`]
pub fn open_name(opener: &Opener, event: &StoredSealed) -> Result<String, Unreadable> {
    Ok(match &event.stored.event {
        Event::Group(GroupEvent::GroupCreated(_)) => {
            let secret = open::<GroupSecret>(opener, event)?;
            secret.map_or_else(|| EXPIRED_GROUP.to_owned(), |secret| secret.into_inner().name)
        }
        Event::Account(AccountEvent::NicknameChanged(_)) => {
            let secret = open::<NicknameSecret>(opener, event)?;
            secret.map_or_else(|| EXPIRED_USER.to_owned(), |secret| secret.into_inner().nickname)
        }
        Event::Account(AccountEvent::AccountCreated(_)) => {
            let secret = open::<AccountSecret>(opener, event)?;
            secret.map_or_else(|| EXPIRED_USER.to_owned(), |secret| secret.into_inner().nickname)
        }
        Event::Account(
            AccountEvent::StatusSet(_)
            | AccountEvent::PublicKeySet(_)
            | AccountEvent::CodesSet(_)
            | AccountEvent::CodeChanged(_)
            | AccountEvent::PasswordChanged(_)
            | AccountEvent::LifetimeExtended(_)
            | AccountEvent::AccountRemoved(_),
        )
        | Event::Group(
            GroupEvent::MemberJoined(_)
            | GroupEvent::MemberAdded(_)
            | GroupEvent::MemberLeft(_)
            | GroupEvent::MemberKicked(_)
            | GroupEvent::VersionAllocated(_)
            | GroupEvent::GroupKeyStored(_)
            | GroupEvent::GroupDestroyed(_)
            | GroupEvent::GroupUpdateSignalled(_),
        )
        | Event::Session(_)
        | Event::Device(_)
        | Event::Dialog(_)
        | Event::Message(_)
        | Event::Media(_)
        | Event::Reads(_)
        | Event::Token(_)
        | Event::Server(_)
        | Event::Erasure(_) => {
            let (position, kind) = (event.stored.position, event.stored.event.kind());
            tracing::error!(%position, kind, "a name was looked for in an event that sets none");
            return Err(Unreadable::NoName);
        }
    })
}

/// The status that an event set; empty without one, and once its key is deleted.
///
/// # Errors
/// [`Unreadable`]
pub fn open_status(opener: &Opener, event: Option<&StoredSealed>) -> Result<String, Unreadable> {
    let secret = event.map(|event| open::<StatusSecret>(opener, event)).transpose()?.flatten();
    Ok(secret.map_or_else(String::new, |secret| secret.into_inner().status))
}

/// The secret part of an event; none once its key is deleted or it was swept.
///
/// # Errors
/// [`Unreadable`]
pub fn open<T: serde::de::DeserializeOwned>(
    opener: &Opener,
    event: &StoredSealed,
) -> Result<Option<Secret<T>>, Unreadable> {
    let Some(sealed) = &event.sealed else { return Ok(None) };
    let Some(plain) = opener.open(sealed, event.stored.context())? else { return Ok(None) };
    SecretPayload::read(plain.expose()).map(Some).map_err(|error| {
        // The error of serde_json may quote what it read: only its class is logged.
        tracing::error!(position = %event.stored.position, class = ?error.classify(), "a secret payload has no known shape");
        Unreadable::Payload
    })
}
