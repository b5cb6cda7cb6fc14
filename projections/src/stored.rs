//! Reading back what the log holds: an event's stored fields, and its sealed payload beside it.

use be8_events::{AccId, Event, Hash32, KeyId, Position, Sealed, SealedContext, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::ReadError;

/// The stored fields of an event that a reader needs.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it stands.
    pub position: Position,
    /// When it happened.
    pub time: Timestamp,
    /// Its schema version as written.
    pub schema: u16,
    /// Its salt.
    pub salt: Hash32,
    /// What happened.
    pub event: Event,
}

/// A stored event with its sealed payload.
#[derive(Debug, Clone)]
pub struct StoredSealed {
    /// The event.
    pub stored: Stored,
    /// What is sealed; none once it was swept.
    pub sealed: Option<Sealed>,
}

impl Stored {
    /// What the sealed payload is bound to.
    pub fn context(&self) -> SealedContext<'_> {
        SealedContext { kind: self.event.kind(), schema: self.schema, salt: &self.salt }
    }

    pub(crate) const COLUMNS: &str = "e.position, e.kind, e.schema, e.time, e.salt, e.payload, \
         s.key, s.nonce, s.bytes, k.id as live";

    /// Joins the event at `position` as `e`, its lasting sealed payload as `s`, its living key as `k`.
    pub(crate) fn join(position: &str) -> String {
        format!(
            "left join events e on e.position = {position}
left join sealed s on s.position = {position}
left join vault.key k on k.id = s.key and k.wrapped is not null"
        )
    }

    /// Those of a second event in the same row.
    pub(crate) const SECOND_COLUMNS: &str = "e2.position as position2, e2.kind as kind2, e2.schema as schema2, \
         e2.time as time2, e2.salt as salt2, e2.payload as payload2, \
         s2.key as key2, s2.nonce as nonce2, s2.bytes as bytes2, k2.id as live2";

    /// Joins a second event at `position`, like [`Stored::join`].
    pub(crate) fn join_second(position: &str) -> String {
        format!(
            "left join events e2 on e2.position = {position}
left join sealed s2 on s2.position = {position}
left join vault.key k2 on k2.id = s2.key and k2.wrapped is not null"
        )
    }

    /// The columns of an event `le` that somebody wrote, with its sealed payload `lm`; `m_live` says
    /// whether all three keys of it live.
    pub(crate) const MESSAGE_COLUMNS: &str = "le.position as m_position, le.kind as m_kind, le.schema as m_schema, \
         le.time as m_time, le.salt as m_salt, le.payload as m_payload, \
         lm.account_key, lm.stay_key, lm.day_key, lm.nonce as m_nonce, lm.bytes as m_bytes, \
         3 = (select count(*) from vault.key lk \
              where lk.id in (lm.account_key, lm.stay_key, lm.day_key) and lk.wrapped is not null) as m_live";

    /// Joins what [`Self::MESSAGE_COLUMNS`] name.
    pub(crate) fn join_message(position: &str) -> String {
        format!(
            "left join events le on le.position = {position}
left join sealed_message lm on lm.day = (le.time at time zone 'UTC')::date and lm.position = le.position"
        )
    }

    /// Puts an event together from its columns.
    pub(crate) fn new(
        position: i64,
        kind: &str,
        schema: i16,
        time: DateTime<Utc>,
        salt: &[u8],
        payload: &[u8],
    ) -> Result<Self, ReadError> {
        let schema = u16::try_from(schema).map_err(|_| ReadError::Damaged("a schema version"))?;
        Ok(Self {
            position: Position(position),
            time: time.into(),
            schema,
            salt: Hash32(salt.try_into().map_err(|_| ReadError::Damaged("a salt"))?),
            event: Event::decode(kind, schema, payload)?,
        })
    }
}

impl StoredSealed {
    /// Reads [`Stored::COLUMNS`]; adds the payload's key to `live` if it is.
    pub(crate) fn read(row: &PgRow, live: &mut Vec<KeyId>) -> Result<Self, ReadError> {
        let stored = Stored::new(
            row.try_get("position")?,
            row.try_get("kind")?,
            row.try_get("schema")?,
            row.try_get("time")?,
            row.try_get("salt")?,
            row.try_get("payload")?,
        )?;
        let sealed = match row.try_get::<Option<KeyId>, _>("key")? {
            None => None,
            Some(key) => Some(sealed(vec![key], row.try_get("nonce")?, row.try_get("bytes")?)?),
        };
        live.extend(row.try_get::<Option<KeyId>, _>("live")?);
        Ok(Self { stored, sealed })
    }
}

/// Reads [`Stored::SECOND_COLUMNS`]; none where the join found no event.
pub(crate) fn second_sealed(row: &PgRow, live: &mut Vec<KeyId>) -> Result<Option<StoredSealed>, ReadError> {
    let Some(position) = row.try_get("position2")? else { return Ok(None) };
    let stored = Stored::new(
        position,
        row.try_get("kind2")?,
        row.try_get("schema2")?,
        row.try_get("time2")?,
        row.try_get("salt2")?,
        row.try_get("payload2")?,
    )?;
    let sealed = match row.try_get::<Option<KeyId>, _>("key2")? {
        None => None,
        Some(key) => Some(sealed(vec![key], row.try_get("nonce2")?, row.try_get("bytes2")?)?),
    };
    live.extend(row.try_get::<Option<KeyId>, _>("live2")?);
    Ok(Some(StoredSealed { stored, sealed }))
}

impl StoredSealed {
    /// Reads [`Stored::MESSAGE_COLUMNS`]; adds the payload's keys to `live` if they are.
    pub(crate) fn read_message(row: &PgRow, live: &mut Vec<KeyId>) -> Result<Self, ReadError> {
        let stored = Stored::new(
            row.try_get("m_position")?,
            row.try_get("m_kind")?,
            row.try_get("m_schema")?,
            row.try_get("m_time")?,
            row.try_get("m_salt")?,
            row.try_get("m_payload")?,
        )?;
        let keys = [row.try_get("account_key")?, row.try_get("stay_key")?, row.try_get("day_key")?];
        let sealed = match keys {
            [Some(account), Some(stay), Some(day)] => {
                let keys: Vec<KeyId> = vec![account, stay, day];
                if row.try_get::<bool, _>("m_live")? {
                    live.extend(&keys);
                }
                Some(sealed(keys, row.try_get("m_nonce")?, row.try_get("m_bytes")?)?)
            }
            _ => None,
        };
        Ok(Self { stored, sealed })
    }
}

/// Like [`StoredSealed::read`]; none where the join found no event.
pub(crate) fn optional_sealed(row: &PgRow, live: &mut Vec<KeyId>) -> Result<Option<StoredSealed>, ReadError> {
    match row.try_get::<Option<i64>, _>("position")? {
        None => Ok(None),
        Some(_) => StoredSealed::read(row, live).map(Some),
    }
}

/// A sealed payload from its columns.
pub(crate) fn sealed(keys: Vec<KeyId>, nonce: &[u8], bytes: Vec<u8>) -> Result<Sealed, ReadError> {
    let nonce = nonce.try_into().map_err(|_| ReadError::Damaged("a nonce"))?;
    Ok(Sealed { keys, nonce, bytes })
}

/// The account behind a number that the database holds.
pub(crate) fn account(number: i64) -> Result<AccId, ReadError> {
    AccId::new(number).ok_or(ReadError::Damaged("an account id"))
}
