//! The routes of the tag "Group keys": versions, and the wrapped keys of members.

use be8_events::group::GroupKeySecret;
use be8_events::{Event, GroupEvent, Secret};
use be8_projections::StoredSealed;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use super::groups::{GroupInput, account_id, group_id};
use crate::app::Handle;
use crate::app::names::open;
use crate::domain::group_keys::{AllocateVersion, StoreKey};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::body::Body;
use crate::http::request::lenient::{LONGEST_ECHO, Lenient};
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Refused, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::text::utf16_len;
use crate::vault::Opener;

/// The keys of groups.
pub struct GroupKeys(pub Handle);

/// A wrapped key to store.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupKeyInput", rename_all = "camelCase", example)]
pub struct KeyInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
    /// The key, wrapped for the member by the keyholder; at least 10 characters, and at most 8192 bytes unless the server is set
    /// otherwise.
    #[oai(validator(min_length = 10))]
    pub group_key: Lenient<String>,
    /// For whom.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<String>,
    /// Who wrapped it.
    pub keyholder: Lenient<String>,
    /// The initialisation vector of the wrapping, at most 1024 bytes.
    pub iv: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for KeyInput {
    fn example() -> Self {
        Self {
            group_id: json!("g10001").into(),
            group_key: json!("T3BhcXVlIHRvIHRoZSBzZXJ2ZXI=").into(),
            acc_id: json!("10001").into(),
            keyholder: json!("10002").into(),
            iv: json!("2d1a8a7e-7f1c-4a4e-9a8a-3a6f8a1b2c3d").into(),
        }
    }
}

/// Whose wrapped keys of which group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupKeysInput", example)]
pub struct KeysInput {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: Lenient<String>,
    /// The member.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<String>,
}

impl poem_openapi::types::Example for KeysInput {
    fn example() -> Self {
        Self { group_id: json!("g10001").into(), acc_id: json!("10001").into() }
    }
}

/// The version that was taken.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "VersionTaken", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct VersionTaken {
    /// Always true.
    pub valid: True,
    /// The version, as a number.
    #[oai(validator(minimum(value = "1")))]
    pub group_version: u32,
}

/// The newest version.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "CurrentVersion", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct CurrentVersion {
    /// Always true.
    pub valid: True,
    /// The version, as a string; null if none was ever taken.
    pub group_version: Option<String>,
}

/// The version under which the key is stored.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "KeyStored", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct KeyStored {
    /// Always true.
    pub valid: True,
    /// The version, as a string.
    pub group_version: String,
}

/// A wrapped key.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupKey", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct WrappedKey {
    /// The version, as a string.
    pub group_version: String,
    /// The wrapped key as it was sent.
    pub group_key: String,
    /// Who wrapped it.
    pub keyholder: String,
    /// The initialisation vector of the wrapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
}

/// The wrapped keys of a member.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupKeyList", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct KeyList {
    /// Always true.
    pub valid: True,
    /// All versions that were stored for it, ascending.
    pub group_keys: Vec<WrappedKey>,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "increaseGroupVersion",
        &[Always(Code::NotAuth), Always(Code::GroupNotExisting), Always(Code::NoGroupMember)],
    ),
    Operation::contract(
        "getGroupVersion",
        &[Always(Code::NotAuth), Always(Code::GroupNotExisting), Always(Code::NoGroupMember)],
    )
    .nullable("CurrentVersion", "groupVersion"),
    Operation::contract(
        "storeGroupKey",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::MemberNotExisting),
            When(Code::NoGroupMember, "(the caller, then `accID`)"),
            Always(Code::KeyholderNotExisting),
            When(
                Code::InvalidGroupKey,
                "(also for a key of more than 8192 bytes, unless the server is set otherwise, and for an `iv` of \
                 more than 1024 bytes)",
            ),
        ],
    ),
    Operation::contract(
        "listGroupKeys",
        &[
            Always(Code::NotAuth),
            Always(Code::GroupNotExisting),
            Always(Code::NoGroupMember),
            Always(Code::MemberNotExisting),
            When(Code::NoGroupMember, "(`accID`)"),
        ],
    ),
];

#[OpenApi]
impl GroupKeys {
    /// Take the next version of a group's key
    ///
    /// A number is never taken twice.
    #[oai(
        path = "/groupincreaseversion",
        method = "post",
        operation_id = "increaseGroupVersion",
        tag = "Tag::GroupKeys"
    )]
    async fn increase(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<GroupInput>,
    ) -> Result<Answer<VersionTaken, Refused>, WireError> {
        let command = AllocateVersion { session: session.0, group: group_id(&body.group_id) };
        let taken = |group_version| VersionTaken { valid: True, group_version };
        self.0.get()?.execute(key.with(&body), command, taken).await
    }

    /// Look up the newest version of a group's key
    #[oai(path = "/groupgetcurrentversion", method = "post", operation_id = "getGroupVersion", tag = "Tag::GroupKeys")]
    async fn current(
        &self,
        session: Session,
        body: Body<GroupInput>,
    ) -> Result<Answer<CurrentVersion, Refused>, WireError> {
        let app = self.0.get()?;
        let (session, now, group) = (session.required()?, app.now(), group_id(&body.group_id));
        let standing = match reads::standing(&app.views, session, now, group).await? {
            Some(standing) => standing?,
            None => app.read.group_standing(session, now, group).await?.ok_or(WireError::from(Code::NotAuth))?,
        };
        if !standing.exists {
            return Err(Code::GroupNotExisting.into());
        }
        if !standing.member {
            return Err(Code::NoGroupMember.into());
        }
        let group_version = standing.version.map(|version| version.to_string());
        Ok(Answer::new(&CurrentVersion { valid: True, group_version }))
    }

    /// Store a wrapped key for a member
    ///
    /// It is stored under the version that the session's account took last since it came into the
    /// group, else under the newest; if there is none, version 1 is taken. Once a key is stored
    /// for a version and member, only who took the version may replace it; storing the same bytes
    /// again is valid and changes nothing.
    #[oai(path = "/groupstorekey", method = "post", operation_id = "storeGroupKey", tag = "Tag::GroupKeys")]
    async fn store(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<KeyInput>,
    ) -> Result<Answer<KeyStored, Refused>, WireError> {
        let once = key.with(&body);
        let body = body.into_inner();
        let (group, account, keyholder) =
            (group_id(&body.group_id), account_id(&body.acc_id), account_id(&body.keyholder));
        let app = self.0.get()?;
        let most = app.settings.group_key_bytes;
        let iv = body.iv.echo();
        let key = body.group_key.into_string().filter(|key| utf16_len(key) >= 10 && key.len() <= most);
        let key = key.filter(|_| iv.as_ref().is_none_or(|iv| iv.len() <= LONGEST_ECHO));
        let key = key.map(|key| Secret::new(GroupKeySecret { key, iv }));
        let command = StoreKey { session: session.0, group, account, keyholder, key };
        let stored = |version: u32| KeyStored { valid: True, group_version: version.to_string() };
        app.execute(once, command, stored).await
    }

    /// Fetch the wrapped keys of a member
    ///
    /// One's own, or those of another member: they are wrapped for that member alone.
    #[oai(path = "/groupgetkeys", method = "post", operation_id = "listGroupKeys", tag = "Tag::GroupKeys")]
    async fn keys(&self, session: Session, body: Body<KeysInput>) -> Result<Answer<KeyList, Refused>, WireError> {
        let app = self.0.get()?;
        let (group, account) = (group_id(&body.group_id), account_id(&body.acc_id));
        let (session, now) = (session.required()?, app.now());
        if let Some(keys) = reads::group_keys(&app.views, session, now, group, account).await? {
            return Ok(Answer::written(keys?));
        }
        let list = app.read.group_keys(session, now, group, account).await?;
        let list = list.ok_or(WireError::from(Code::NotAuth))?;
        let refusal = match (list.standing.exists, list.standing.member, list.account_exists, list.account_member) {
            (false, ..) => Some(Code::GroupNotExisting),
            (_, false, ..) => Some(Code::NoGroupMember),
            (_, _, false, _) => Some(Code::MemberNotExisting),
            (_, _, _, false) => Some(Code::NoGroupMember),
            _ => None,
        };
        if let Some(code) = refusal {
            return Err(code.into());
        }
        let opener = app.vault.opener(&list.live).await?;
        Ok(Answer::new(&key_list(&list.keys, &opener)?))
    }
}

/// The wrapped keys that these events stored, as far as they can be opened.
pub(in crate::http) fn key_list(keys: &[StoredSealed], opener: &Opener) -> Result<KeyList, WireError> {
    let mut group_keys = Vec::with_capacity(keys.len());
    for event in keys {
        let Event::Group(GroupEvent::GroupKeyStored(stored)) = &event.stored.event else { continue };
        let Some(secret) = open::<GroupKeySecret>(opener, event)? else { continue };
        let GroupKeySecret { key, iv } = secret.into_inner();
        group_keys.push(WrappedKey {
            group_version: stored.version.to_string(),
            group_key: key,
            keyholder: stored.keyholder.to_string(),
            iv,
        });
    }
    Ok(KeyList { valid: True, group_keys })
}
