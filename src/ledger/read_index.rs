//! The read index: how far the log must have been followed before a read may be answered from memory.
//!
//! Only a question that is sent after a read began proves that everything acknowledged before it is covered. So a read that
//! comes while one is under way waits for the next one, and all that wait share that. At most one is under way.

use std::io;
use std::time::Duration;

use be8_database::{Connector, is_timeout, reason, with_deadline};
use be8_events::{Hash32, Position};
use be8_projections::Generation;
use sqlx::{PgConnection, Row};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Where the log stood after a read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Which question this answers, counted from 1.
    pub question: u64,
    /// The newest position.
    pub position: Position,
    /// The live generation of the read models.
    pub generation: Generation,
    /// The salt of the newest event, which distinguishes this log from every other one; none while there is no event.
    pub salt: Option<Hash32>,
}

/// Why the read index is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIndex {
    /// The database does not say.
    Away,
    /// The server stops, and nobody asks any more.
    Over,
}

/// Asks for the read index, on a connection of its own.
#[derive(Debug, Clone)]
pub struct ReadIndex {
    asks: mpsc::UnboundedSender<oneshot::Sender<Option<Index>>>,
}

/// What asks: one statement for all that wait.
struct Asking {
    connect: Connector,
    connection: Option<PgConnection>,
    limit: Duration,
    asked: u64,
}

impl ReadIndex {
    /// Begins to answer, until `stop`. A question that takes longer than `limit` has failed.
    pub fn start(connect: &Connector, limit: Duration, stop: CancellationToken) -> Self {
        let (asks, waiting) = mpsc::unbounded_channel();
        let asking = Asking { connect: connect.by_key(), connection: None, limit, asked: 0 };
        tokio::spawn(async move {
            tokio::select! { () = stop.cancelled() => {}, () = asking.run(waiting) => {} }
        });
        Self { asks }
    }

    /// Where the log stands at a moment after this call began.
    ///
    /// # Errors
    /// [`NoIndex`]
    pub async fn ask(&self) -> Result<Index, NoIndex> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).map_err(|_| NoIndex::Over)?;
        answered.await.map_err(|_| NoIndex::Over)?.ok_or(NoIndex::Away)
    }
}

impl Asking {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<Option<Index>>>) {
        let mut all = Vec::new();
        while waiting.recv_many(&mut all, usize::MAX).await > 0 {
            // What else is ready to run may ask, too: so a busy server asks PostgreSQL less often, and an idle one at once.
            tokio::task::yield_now().await;
            all.extend(std::iter::from_fn(|| waiting.try_recv().ok()));
            let index = match self.index().await {
                Ok(index) => Some(index),
                Err(error) => {
                    tracing::debug!(error = %reason(&error), "the read index is not known");
                    None
                }
            };
            metrics::histogram!("be8_view_reads_per_question").record(all.len() as f64);
            for answer in all.drain(..) {
                // The caller may have given up.
                let _ = answer.send(index);
            }
        }
    }

    /// Asks; once more on another connection if the one at hand has ended meanwhile.
    async fn index(&mut self) -> Result<Index, sqlx::Error> {
        if let Some(connection) = self.connection.take() {
            let asked = self.ask(connection).await;
            if asked.is_ok() || is_timeout(&asked) {
                return asked;
            }
        }
        let connection =
            with_deadline(self.limit, async { Ok::<_, sqlx::Error>(self.connect.connect().await?) }).await?;
        self.ask(connection).await
    }

    async fn ask(&mut self, mut connection: PgConnection) -> Result<Index, sqlx::Error> {
        let question = sqlx::query(
            "select h.position, h.generation, e.salt from log_head h left join events e on e.position = h.position",
        );
        let row = with_deadline(self.limit, question.fetch_one(&mut connection)).await?;
        self.connection = Some(connection);
        self.asked += 1;
        let bad = || sqlx::Error::Io(io::Error::other("a salt has 32 bytes"));
        let salt = row.try_get::<Option<&[u8]>, _>("salt")?;
        Ok(Index {
            question: self.asked,
            position: Position(row.try_get("position")?),
            generation: Generation(row.try_get("generation")?),
            salt: salt.map(|salt| salt.try_into().map(Hash32).map_err(|_| bad())).transpose()?,
        })
    }
}
