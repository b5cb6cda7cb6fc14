//! The lead of a process: a session advisory lock of PostgreSQL, and a checkpoint that only its
//! holder can move, since both live on one connection.

use std::time::Duration;

use be8_database::{Connector, Deadline, with_deadline};
use be8_events::Position;
use sqlx::{Connection, PgConnection};

use super::LogError;

/// How long PostgreSQL may take to answer the holder of a lead before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a statement of a process may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The lead of one process: nobody else has it while this value lives and its connection does.
#[derive(Debug)]
pub struct Lead {
    connection: PgConnection,
    pub(super) name: &'static str,
    pub(super) checkpoint: Option<i64>,
}

/// Grants leadership leases.
#[derive(Debug, Clone)]
pub struct Leads(Connector);

impl Leads {
    /// Leads in this database.
    pub fn new(connect: &Connector) -> Self {
        // A node that vanished must not keep the lead for as long as TCP believes in it.
        Self(connect.with([
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
        ]))
    }

    /// Takes the lead of a process; none if another node has it.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn take(&self, name: &'static str) -> Result<Option<Lead>, LogError> {
        let mut connection = self.0.connect().await?;
        // Two keys: the first one sets the processes of be8 apart from other locks.
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock(hashtext('be8 process'), hashtext($1))")
            .bind(name)
            .fetch_one(Deadline::new(&mut connection, PATIENCE))
            .await?;
        if taken {
            return Ok(Some(Lead { connection, name, checkpoint: None }));
        }
        with_deadline(PATIENCE, connection.close()).await?;
        Ok(None)
    }

    /// How far a process has come, whichever node leads it.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn checkpoint(&self, name: &str) -> Result<i64, LogError> {
        let mut connection = self.0.connect().await?;
        let saved = saved(&mut connection, name).await?;
        with_deadline(PATIENCE, connection.close()).await?;
        Ok(saved)
    }
}

/// What a process saved last, 0 at first.
async fn saved(connection: &mut PgConnection, name: &str) -> Result<i64, LogError> {
    let saved: Option<i64> = sqlx::query_scalar("select reached from checkpoints where process = $1")
        .bind(name)
        .fetch_optional(Deadline::new(connection, PATIENCE))
        .await?;
    Ok(saved.unwrap_or(0))
}

impl Lead {
    /// Makes sure that the lead is still held.
    ///
    /// # Errors
    /// [`LogError::Database`] when the connection, and with it the lock, is lost.
    pub async fn confirm(&mut self) -> Result<(), LogError> {
        Ok(with_deadline(PATIENCE, self.connection.ping()).await?)
    }

    /// How far the process has come: what it saved last, 0 at first.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn checkpoint(&mut self) -> Result<i64, LogError> {
        if let Some(checkpoint) = self.checkpoint {
            return Ok(checkpoint);
        }
        let saved = saved(&mut self.connection, self.name).await?;
        Ok(*self.checkpoint.insert(saved))
    }

    /// Saves how far the process has come, by a count of its own.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn save(&mut self, reached: i64) -> Result<(), LogError> {
        self.store(reached, false).await.map(|_| ())
    }

    /// Saves how far in the log the process has come; false, and nothing is saved, if the log of the database ends before that. It
    /// does when it lost events and this node has not noticed it yet: what is appended there later must not be passed over.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn save_position(&mut self, reached: Position) -> Result<bool, LogError> {
        self.store(reached.0, true).await
    }

    /// Stores the checkpoint; one that is a position, only if the log goes that far. Whether it did.
    async fn store(&mut self, reached: i64, is_position: bool) -> Result<bool, LogError> {
        let query = sqlx::query(
            "insert into checkpoints (process, reached)
             select $1, $2 where not $3 or $2 <= (select position from log_head)
             on conflict (process) do update set reached = excluded.reached",
        );
        let query = query.bind(self.name).bind(reached).bind(is_position);
        let saved = query.execute(self.connection()).await?.rows_affected() == 1;
        if saved {
            self.checkpoint = Some(reached);
        }
        Ok(saved)
    }

    /// The connection that holds the lock, for one statement: what is written through it is written by the leader.
    pub(super) const fn connection(&mut self) -> Deadline<'_> {
        Deadline::new(&mut self.connection, LIMIT)
    }

    /// The same for a transaction, which the caller bounds.
    pub(super) const fn transactions(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the lead up.
    pub async fn resign(self) {
        // The lock goes with the connection, however that ends.
        let _ = with_deadline(PATIENCE, self.connection.close()).await;
    }
}
