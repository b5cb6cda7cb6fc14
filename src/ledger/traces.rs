//! What the log and the vault still hold of an account: the question that a report of an erasure answers.

use be8_events::{AccId, Day, KeyId, Position, StreamName, Subject};
use sqlx::Row;

use super::{Log, LogError};

/// What became of one sealed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The position of its event.
    pub position: Position,
    /// Its bytes are still there.
    pub bytes: bool,
    /// All keys that sealed it live: anyone who has the master key can read it.
    pub readable: bool,
}

impl Log {
    /// The streams that an account has by their names: its own ones, and its conversations.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn streams_of(&self, account: AccId) -> Result<Vec<StreamName>, LogError> {
        // No index answers this. It is asked seldom, and the dictionary has one short row a stream.
        let names: Vec<String> = sqlx::query_scalar(
            "select name from streams where name in ('account-' || $1, 'devices-' || $1)
                or name like 'media-' || $1 || '-%'
                or name ~ ('^dialog-(' || $1 || '-[0-9]+|[0-9]+-' || $1 || ')$') order by name",
        )
        .bind(account.to_string())
        .fetch_all(self.pool())
        .await?;
        let parse = |name: &String| {
            let damaged = LogError::Stored("unknown stream name");
            name.parse().map_err(|_| damaged)
        };
        names.iter().map(parse).collect()
    }

    /// What became of the sealed payloads of these events, each given with its day.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn traces(&self, events: &[(Position, Day)]) -> Result<Vec<Trace>, LogError> {
        let rows = sqlx::query(
            "select u.position, s.position is not null or m.position is not null as bytes,
                exists (select from vault.key k where k.id = s.key and k.wrapped is not null)
                or 3 = (select count(*) from vault.key k
                        where k.id in (m.account_key, m.stay_key, m.day_key) and k.wrapped is not null) as readable
             from unnest($1::bigint[], $2::date[]) u(position, day)
             left join sealed s on s.position = u.position
             left join sealed_message m on m.day = u.day and m.position = u.position
             order by u.position",
        )
        .bind(events.iter().map(|event| event.0.0).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.1.0).collect::<Vec<_>>())
        .fetch_all(self.pool())
        .await?;
        let trace = |row: &sqlx::postgres::PgRow| {
            let (bytes, readable) = (row.try_get("bytes")?, row.try_get("readable")?);
            Ok(Trace { position: Position(row.try_get("position")?), bytes, readable })
        };
        rows.iter().map(trace).collect()
    }

    /// The data keys that these subjects have or had, each with whether it lives.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn keys_of(&self, subjects: &[Subject]) -> Result<Vec<(Subject, KeyId, bool)>, LogError> {
        let names: Vec<String> = subjects.iter().map(Subject::to_string).collect();
        let rows: Vec<(String, KeyId, bool)> = sqlx::query_as(
            "select subject, id, wrapped is not null from vault.key where subject = any ($1) order by id",
        )
        .bind(names)
        .fetch_all(self.pool())
        .await?;
        let parse = |(subject, id, lives): (String, KeyId, bool)| {
            let damaged = LogError::Stored("the subject of a data key");
            Ok((subject.parse().map_err(|_| damaged)?, id, lives))
        };
        rows.into_iter().map(parse).collect()
    }
}
