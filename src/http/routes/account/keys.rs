//! The routes of the tag "Keys": the public keys of accounts.

use std::collections::{BTreeSet, HashMap};

use be8_events::account::PublicKeySecret;
use be8_events::{AccId, AccountEvent, Event, Hash32, Secret};
use be8_projections::StoredSealed;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use crate::app::Handle;
use crate::app::names::open;
use crate::domain::account::SetPublicKey;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::routes::account::jwk;
use crate::http::wire::answer::json as bytes;
use crate::http::wire::answer::{Answer, Refused, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::vault::Opener;

/// Public keys: setting one's own, fetching others'.
pub struct Keys(pub Handle);

/// An elliptic curve public key as a JSON Web Key (RFC 7517, RFC 7518).
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "PublicKeyInput")]
pub struct PublicKeyInput {
    /// `P-384`, as web clients use, or `P-256`.
    crv: String,
    /// Always true.
    ext: bool,
    /// What the key is for; not kept.
    key_ops: Vec<String>,
    /// Always `EC`.
    kty: String,
    /// The x coordinate, base64url.
    x: String,
    /// The y coordinate, base64url.
    y: String,
}

/// A public key to set.
#[derive(Debug, Default, Object)]
#[oai(rename = "KeyInput", rename_all = "camelCase", example)]
pub struct KeyInput {
    /// The key. It is the session account's, whatever `accID` it may hold.
    pub public_key: Lenient<PublicKeyInput>,
}

impl poem_openapi::types::Example for KeyInput {
    fn example() -> Self {
        // The generator of P-384: a point that everybody knows to be on the curve.
        let key = json!({
            "crv": "P-384", "ext": true, "key_ops": [], "kty": "EC",
            "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
        });
        Self { public_key: key.into() }
    }
}

/// Whose key is wanted.
#[derive(Debug, Default, Object)]
#[oai(rename = "KeyOwnerInput", example)]
pub struct KeyOwnerInput {
    /// The account.
    #[oai(rename = "accID")]
    pub acc_id: Lenient<String>,
}

impl poem_openapi::types::Example for KeyOwnerInput {
    fn example() -> Self {
        Self { acc_id: json!("10002").into() }
    }
}

/// Whose keys are wanted.
#[derive(Debug, Default, Object)]
#[oai(rename = "KeyOwnersInput", example)]
pub struct KeyOwnersInput {
    /// The accounts; at least one.
    #[oai(rename = "accIDs", validator(min_items = 1))]
    pub acc_ids: Lenient<Vec<String>>,
}

impl poem_openapi::types::Example for KeyOwnersInput {
    fn example() -> Self {
        Self { acc_ids: json!(["10001", "10002"]).into() }
    }
}

/// A public key as it is handed out. An account that has set none has only `key_ops`.
#[derive(Debug, Clone, Default, Object, Serialize)]
#[oai(rename = "PublicKey", read_only_all, skip_serializing_if_is_none)]
pub struct PublicKey {
    /// The curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<&'static str>,
    /// Always the string `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ext: Option<&'static str>,
    /// Always `deriveKey` and `deriveBits`.
    pub key_ops: [&'static str; 2],
    /// Always `EC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kty: Option<&'static str>,
    /// The x coordinate, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The y coordinate, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The account that owns the key.
    #[oai(rename = "accID")]
    #[serde(rename = "accID", skip_serializing_if = "Option::is_none")]
    pub acc_id: Option<String>,
}

/// One account's public key.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "KeyFound", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct KeyFound {
    /// Always true.
    pub valid: True,
    /// The key.
    pub public_key: PublicKey,
}

/// An account and its public key.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "AccountKey", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct AccountKey {
    /// The account.
    #[oai(rename = "accID")]
    #[serde(rename = "accID")]
    pub acc_id: String,
    /// The key.
    pub public_key: PublicKey,
}

/// Several accounts' public keys.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "KeysFound", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct KeysFound {
    /// Always true.
    pub valid: True,
    /// The keys in the order in which they were asked for; accounts without a key are left out.
    pub public_keys: Vec<AccountKey>,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "setKey",
        &[Always(Code::NotAuth), When(Code::InvalidPublicKey, "(also for a point that is not on the curve)")],
    ),
    Operation::contract("getKey", &[Always(Code::NotAuth), Always(Code::MemberNotExisting)]),
    Operation::contract("getKeys", &[Always(Code::NotAuth), Always(Code::MemberNotExisting)]),
];

#[OpenApi]
impl Keys {
    /// Set one's public key
    ///
    /// Kept are `crv`, `kty`, `x` and `y`, for the session's account. Setting the same key again
    /// is valid and changes nothing; another key is a new event: the history of keys is audited.
    #[oai(path = "/setkey", method = "post", operation_id = "setKey", tag = "Tag::Keys")]
    async fn set(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<KeyInput>,
    ) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let once = key.with(&body);
        let Some(key) = body.public_key.value().and_then(jwk::check) else {
            // No session comes before no key.
            app.signed_in(session).await?;
            return Err(Code::InvalidPublicKey.into());
        };
        let command = SetPublicKey {
            session: Some(session),
            curve: key.curve,
            sha256: key.fingerprint,
            secret: Secret::new(key.coordinates),
        };
        app.execute(once, command, |()| Success::default()).await
    }

    /// Fetch one public key
    #[oai(path = "/getkey", method = "post", operation_id = "getKey", tag = "Tag::Keys")]
    async fn get(&self, session: Session, body: Body<KeyOwnerInput>) -> Result<Answer<KeyFound, Refused>, WireError> {
        let ids = parsed(body.acc_id.str().map(|id| vec![id]));
        let (app, session) = (self.0.get()?, session.required()?);
        if let Some(found) = reads::owners_of_keys(&app.views, session, app.now(), ids.as_deref()).await? {
            let blank = bytes(&public_key(None));
            let key = found?.into_iter().next().and_then(|account| account.shown.key.clone());
            let key = key.as_deref().unwrap_or(&blank);
            return Ok(Answer::written([b"{\"valid\":true,\"publicKey\":", key, b"}"].concat()));
        }
        let found = self.find(session, ids).await?.into_iter().next();
        let public_key = found.and_then(|(_, key)| key).unwrap_or_else(|| public_key(None));
        Ok(Answer::new(&KeyFound { valid: True, public_key }))
    }

    /// Fetch several public keys
    ///
    /// One id that names no account fails the whole request.
    #[oai(path = "/getkeys", method = "post", operation_id = "getKeys", tag = "Tag::Keys")]
    async fn get_all(
        &self,
        session: Session,
        body: Body<KeyOwnersInput>,
    ) -> Result<Answer<KeysFound, Refused>, WireError> {
        let ids = parsed(body.acc_ids.strings().filter(|ids| !ids.is_empty()));
        let (app, session) = (self.0.get()?, session.required()?);
        if let Some(found) = reads::owners_of_keys(&app.views, session, app.now(), ids.as_deref()).await? {
            let found = found?;
            let keys = ids.iter().flatten().zip(&found).filter_map(|(id, account)| {
                let key = account.shown.key.as_deref()?;
                Some([format!("{{\"accID\":\"{id}\",\"publicKey\":").as_bytes(), key, b"}"].concat())
            });
            let keys: Vec<_> = keys.collect();
            return Ok(Answer::written(reads::list(b"publicKeys", keys.iter().map(|key| &**key))));
        }
        let found = self.find(session, ids).await?;
        let public_keys = found
            .into_iter()
            .filter_map(|(id, key)| Some(AccountKey { acc_id: id.to_string(), public_key: key? }))
            .collect();
        Ok(Answer::new(&KeysFound { valid: True, public_keys }))
    }
}

impl Keys {
    /// The keys of the named accounts, in that order; none for an account without a key.
    async fn find(
        &self,
        session: Hash32,
        ids: Option<Vec<AccId>>,
    ) -> Result<Vec<(AccId, Option<PublicKey>)>, WireError> {
        let app = self.0.get()?;
        // Each is looked up and opened once, however often it is asked for.
        let asked: BTreeSet<AccId> = ids.iter().flatten().copied().collect();
        let asked: Vec<AccId> = asked.into_iter().collect();
        let keys = app.read.public_keys(session, app.now(), &asked).await?;
        let keys = keys.ok_or(WireError::from(Code::NotAuth))?;
        let ids = ids.ok_or(WireError::from(Code::MemberNotExisting))?;
        let opener = app.vault.opener(&keys.live).await?;
        let read = |(id, event): (AccId, Option<StoredSealed>)| {
            let key = event.as_ref().map(|event| read_key(&opener, id, event)).transpose()?.flatten();
            Ok::<_, WireError>((id, key))
        };
        let found: HashMap<AccId, Option<PublicKey>> = keys.found.into_iter().map(read).collect::<Result<_, _>>()?;
        let key = |id: AccId| found.get(&id).map(|key| (id, key.clone())).ok_or(Code::MemberNotExisting.into());
        ids.into_iter().map(key).collect()
    }
}

/// The accounts that these texts name; none if one of them names none.
fn parsed(ids: Option<Vec<&str>>) -> Option<Vec<AccId>> {
    ids?.into_iter().map(|id| id.parse().ok()).collect()
}

/// The public key that an event set; none once it is erased.
pub(in crate::http) fn read_key(
    opener: &Opener,
    owner: AccId,
    event: &StoredSealed,
) -> Result<Option<PublicKey>, WireError> {
    let Event::Account(AccountEvent::PublicKeySet(set)) = &event.stored.event else { return Ok(None) };
    let secret = open::<PublicKeySecret>(opener, event)?;
    Ok(secret.map(|secret| PublicKey {
        crv: Some(set.curve.name()),
        acc_id: Some(owner.to_string()),
        ..public_key(Some(secret.into_inner()))
    }))
}

/// A key with these coordinates.
fn public_key(coordinates: Option<PublicKeySecret>) -> PublicKey {
    let set = coordinates.is_some();
    let (x, y) = coordinates.map(|key| (key.x, key.y)).unzip();
    PublicKey {
        crv: None,
        ext: set.then_some("true"),
        key_ops: ["deriveKey", "deriveBits"],
        kty: set.then_some("EC"),
        x,
        y,
        acc_id: None,
    }
}
