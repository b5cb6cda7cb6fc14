//! Sweeping: freeing the bytes of what is sealed and can never be read again. It touches rows that
//! no append touches, in bounded steps, and whatever it is stopped in can be done again.

use std::time::Duration;

use be8_database::{Connector, Deadline, with_deadline};
use be8_events::erasure::DeletedKey;
use be8_events::{Day, StreamName, Subject, ThreadId};
use chrono::NaiveDate;
use sqlx::{Connection, PgConnection};

use super::{LogError, partitions};

/// How many events of a thread one step looks at, and how many rows it deletes.
const STEP: i64 = 1000;
/// How long one step may take. Detaching a partition waits for all that may still use it.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the end of a connection may take.
const CLOSE: Duration = Duration::from_secs(5);

/// Opens connections that sweep.
#[derive(Debug, Clone)]
pub struct SweepConnector(Connector);

/// A connection that sweeps.
#[derive(Debug)]
pub struct SweepConnection {
    connection: PgConnection,
}

impl SweepConnector {
    /// Sweeping in this database.
    pub fn new(connect: &Connector) -> Self {
        // A sweeper does not wait long for others: it comes again.
        Self(connect.with([("lock_timeout", "2s"), ("statement_timeout", "55s")]))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn take(&self) -> Result<SweepConnection, LogError> {
        Ok(SweepConnection { connection: self.0.connect().await? })
    }
}

impl SweepConnection {
    fn connection(&mut self) -> Deadline<'_> {
        Deadline::new(&mut self.connection, LIMIT)
    }

    /// Lets the connection go.
    pub async fn close(self) {
        // It ends with this value, politely or not.
        let _ = with_deadline(CLOSE, self.connection.close()).await;
    }

    /// The days before `day` whose key still lives, ascending.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn live_days(&mut self, before: Day) -> Result<Vec<Day>, LogError> {
        let subjects: Vec<String> = sqlx::query_scalar(
            "select subject from vault.key where subject >= 'day/' and subject < 'day0' and wrapped is not null
             order by subject",
        )
        .fetch_all(self.connection())
        .await?;
        let days = subjects.iter().filter_map(|subject| match subject.parse() {
            Ok(Subject::Day(day)) => Some(day),
            _ => None,
        });
        Ok(days.filter(|day| *day < before).collect())
    }

    /// The partitions of days before `day` that hold nothing readable: the day's key is deleted, or there
    /// never was one.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn dead_partitions(&mut self, before: Day) -> Result<Vec<Day>, LogError> {
        let days = with_deadline(LIMIT, partitions::all(&mut self.connection)).await?;
        let live = self.live_days(before).await?;
        Ok(days.into_iter().filter(|day| *day < before && !live.contains(day)).collect())
    }

    /// Drops the partition of a day whose key is deleted.
    ///
    /// # Errors
    /// [`LogError`]; what is half done is finished by the next call.
    pub async fn drop_partition(&mut self, day: Day) -> Result<(), LogError> {
        Ok(with_deadline(LIMIT, partitions::remove(&mut self.connection, day)).await?)
    }

    /// Frees all that one deleted key had sealed; answers how many payloads that were.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn sweep(&mut self, deleted: &DeletedKey) -> Result<u64, LogError> {
        match deleted.subject {
            // The partition goes as a whole.
            Subject::Day(_) | Subject::Server => Ok(0),
            Subject::Account(_) | Subject::PublicKey(_) | Subject::GroupName(_) | Subject::GroupKeys(_) => {
                self.sweep_lasting(deleted.id).await
            }
            Subject::Stay { thread, .. } => self.sweep_stay(deleted.id, thread).await,
        }
    }

    async fn sweep_lasting(&mut self, key: i64) -> Result<u64, LogError> {
        let mut swept = 0;
        loop {
            let done = sqlx::query(
                "delete from sealed where position in (select position from sealed where key = $1 limit $2)",
            )
            .bind(key)
            .bind(STEP)
            .execute(self.connection())
            .await?;
            swept += done.rows_affected();
            if done.rows_affected() < STEP.cast_unsigned() {
                return Ok(swept);
            }
        }
    }

    /// Goes through the messages of a thread that still have a partition.
    async fn sweep_stay(&mut self, key: i64, thread: ThreadId) -> Result<u64, LogError> {
        let stream = match thread {
            ThreadId::Dialog { initiator, receiver } => StreamName::dialog(initiator, receiver),
            ThreadId::Group(group) => StreamName::Chat(group),
            ThreadId::System(_) => return Ok(0),
        };
        let Some(oldest) = with_deadline(LIMIT, partitions::all(&mut self.connection)).await?.into_iter().min() else {
            return Ok(0);
        };
        let begin: Option<(i64, i64)> = sqlx::query_as(
            "select id, stream_version_after(id, position_at($2::date::timestamp at time zone 'UTC'))
             from streams where name = $1",
        )
        .bind(stream.to_string())
        .bind(oldest.0)
        .fetch_optional(self.connection())
        .await?;
        let Some((stream, mut from)) = begin else { return Ok(0) };
        let mut swept = 0;
        loop {
            let rows: Vec<(i64, NaiveDate)> = sqlx::query_as(
                "select position, (time at time zone 'UTC')::date from events
                 where stream = $1 and version >= $2 and version < $2 + $3 and sealed is not null order by version",
            )
            .bind(stream)
            .bind(from)
            .bind(STEP)
            .fetch_all(self.connection())
            .await?;
            for of_day in rows.chunk_by(|a, b| a.1 == b.1) {
                let positions: Vec<i64> = of_day.iter().map(|row| row.0).collect();
                let done =
                    sqlx::query("delete from sealed_message where day = $1 and position = any ($2) and stay_key = $3")
                        .bind(of_day[0].1)
                        .bind(positions)
                        .bind(key)
                        .execute(self.connection())
                        .await?;
                swept += done.rows_affected();
            }
            from += STEP;
            let more: bool =
                sqlx::query_scalar("select exists (select from events where stream = $1 and version >= $2)")
                    .bind(stream)
                    .bind(from)
                    .fetch_one(self.connection())
                    .await?;
            if !more {
                return Ok(swept);
            }
        }
    }
}
