//! Reading back what the log holds: an event's stored fields, and its sealed payload beside it.

use be8_events::{Event, Hash32, KeyId, Position, Sealed, SealedContext, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::ReadError;
use crate::columns::{Columns, columns};

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

impl Stored {
    /// What the sealed payload is bound to.
    pub fn context(&self) -> SealedContext<'_> {
        SealedContext { kind: self.event.kind(), schema: self.schema, salt: &self.salt }
    }
}

/// A stored event with its sealed payload.
#[derive(Debug, Clone)]
pub struct StoredSealed {
    /// The event.
    pub stored: Stored,
    /// What is sealed; none once it was swept.
    pub sealed: Option<Sealed>,
}

columns! {
    /// What is read of an event in `events`.
    EventRow { position: i64, kind: String, schema: i16, time: DateTime<Utc>, salt: Vec<u8>, payload: Vec<u8>, }
}

columns! {
    /// What is read of a payload in `sealed`, under one key.
    SealedRow { key: KeyId, nonce: Vec<u8>, bytes: Vec<u8>, }
}

columns! {
    /// What is read of a payload in `sealed_message`, under three keys.
    SealedMessageRow { account_key: KeyId, stay_key: KeyId, day_key: KeyId, nonce: Vec<u8>, bytes: Vec<u8>, }
}

/// Joins the payload of the message that is the event `event`, as `sealed`.
pub(crate) fn join_sealed_message(event: &str, sealed: &str) -> String {
    format!(
        "left join sealed_message {sealed}
  on {sealed}.day = ({event}.time at time zone 'UTC')::date and {sealed}.position = {event}.position"
    )
}

impl EventRow {
    /// The event.
    pub(crate) fn stored(self) -> Result<Stored, ReadError> {
        let schema = u16::try_from(self.schema).map_err(|_| ReadError::Damaged("schema version"))?;
        Ok(Stored {
            position: Position(self.position),
            time: self.time.into(),
            schema,
            salt: Hash32(self.salt.try_into().map_err(|_| ReadError::Damaged("salt"))?),
            event: Event::decode(&self.kind, schema, &self.payload)?,
        })
    }
}

impl SealedRow {
    /// The payload.
    pub(crate) fn sealed(self) -> Result<Sealed, ReadError> {
        sealed(vec![self.key], self.nonce, self.bytes)
    }
}

impl SealedMessageRow {
    /// The payload.
    pub(crate) fn sealed(self) -> Result<Sealed, ReadError> {
        sealed(vec![self.account_key, self.stay_key, self.day_key], self.nonce, self.bytes)
    }
}

fn sealed(keys: Vec<KeyId>, nonce: Vec<u8>, bytes: Vec<u8>) -> Result<Sealed, ReadError> {
    Ok(Sealed { keys, nonce: nonce.try_into().map_err(|_| ReadError::Damaged("nonce"))?, bytes })
}

/// An event that a statement joins under this name, with the payload that lasts until its key is deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named(pub(crate) &'static str);

impl Named {
    /// Its columns, for a list of what is selected.
    pub(crate) fn columns(self) -> String {
        let name = self.0;
        let (event, sealed) = (EventRow::part(name, name), SealedRow::part(&format!("{name}_sealed"), name));
        format!("{event}, {sealed}, {name}_live.id as {name}_live")
    }

    /// Joins the event at a position.
    pub(crate) fn join(self, position: &str) -> String {
        let name = self.0;
        format!(
            "left join events {name} on {name}.position = {position}
left join sealed {name}_sealed on {name}_sealed.position = {position}
left join vault.key {name}_live on {name}_live.id = {name}_sealed.key and {name}_live.wrapped is not null"
        )
    }

    /// Reads it; none where there is none. Adds the payload's key to `live` if it is.
    pub(crate) fn read(self, row: &PgRow, live: &mut Vec<KeyId>) -> Result<Option<StoredSealed>, ReadError> {
        let Some(event) = EventRow::read(row, self.0)? else { return Ok(None) };
        let sealed = SealedRow::read(row, self.0)?.map(SealedRow::sealed).transpose()?;
        live.extend(row.try_get::<Option<KeyId>, _>(format!("{}_live", self.0).as_str())?);
        Ok(Some(StoredSealed { stored: event.stored()?, sealed }))
    }

    /// Reads one that is always there.
    pub(crate) fn read_one(self, row: &PgRow, live: &mut Vec<KeyId>) -> Result<StoredSealed, ReadError> {
        self.read(row, live)?.ok_or(ReadError::Damaged("position of an event"))
    }
}

/// An event that a statement joins under this name and that may be a message, with a message's payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedMessage(pub(crate) &'static str);

impl NamedMessage {
    /// Its columns, for a list of what is selected; among them whether all three keys of the payload live.
    pub(crate) fn columns(self) -> String {
        let name = self.0;
        let (event, sealed) = (EventRow::part(name, name), SealedMessageRow::part(&format!("{name}_sealed"), name));
        format!("{event}, {sealed}, {} as {name}_live", keys_live(&format!("{name}_sealed")))
    }

    /// Joins the event at a position.
    pub(crate) fn join(self, position: &str) -> String {
        let name = self.0;
        format!(
            "left join events {name} on {name}.position = {position}\n{}",
            join_sealed_message(name, &format!("{name}_sealed"))
        )
    }

    /// Reads it. Adds the payload's keys to `live` if all of them are.
    pub(crate) fn read_one(self, row: &PgRow, live: &mut Vec<KeyId>) -> Result<StoredSealed, ReadError> {
        let event = EventRow::read(row, self.0)?.ok_or(ReadError::Damaged("position of a message"))?;
        let sealed = SealedMessageRow::read(row, self.0)?.map(SealedMessageRow::sealed).transpose()?;
        if let Some(sealed) = &sealed
            && row.try_get(format!("{}_live", self.0).as_str())?
        {
            live.extend(&sealed.keys);
        }
        Ok(StoredSealed { stored: event.stored()?, sealed })
    }
}

/// The condition that all three keys of the row `sealed` of `sealed_message` live.
pub(crate) fn keys_live(sealed: &str) -> String {
    format!(
        "3 = (select count(*) from vault.key k where k.wrapped is not null
       and k.id in ({sealed}.account_key, {sealed}.stay_key, {sealed}.day_key))"
    )
}
