//! Reading the live generation: every statement names the generation that it saw, so that a
//! switch between two statements is noticed and the statement asked again.

use std::sync::{Arc, PoisonError, RwLock};

use be8_database::{Pool, reason};
use be8_events::DecodeError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Row, error::BoxDynError};

use crate::{
    Generation, account, credential, device, ends, group, image, insight, keyholder, message, registry, thread, token,
};

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer, or refused.
    #[error("the database did not answer a reader: {}", reason(.0))]
    Database(#[from] sqlx::Error),
    /// A stored event that this build cannot read.
    #[error(transparent)]
    Event(#[from] DecodeError),
    /// A stored value that cannot be what it should be.
    #[error("the database holds {0} that cannot be")]
    Damaged(&'static str),
    /// Another version of be8 has made its own read models live.
    #[error("the read models are those of another version of be8")]
    Foreign,
}

/// What PostgreSQL says of a statement that was made for tables of another shape: undefined table, column or function,
/// and another type of a column.
const UNDEFINED: [&str; 4] = ["42P01", "42703", "42883", "42804"];

/// The reading statements of one generation.
#[derive(Debug)]
pub(crate) struct Statements {
    generation: Generation,
    pub(crate) account: Arc<str>,
    pub(crate) public_keys: Arc<str>,
    pub(crate) threads: Arc<str>,
    pub(crate) messages: Arc<str>,
    pub(crate) participation: Arc<str>,
    pub(crate) image: Arc<str>,
    pub(crate) needed_blobs: Arc<str>,
    pub(crate) forgotten_blobs: Arc<str>,
    pub(crate) forgotten_blobs_of_day: Arc<str>,
    pub(crate) sealed_event: Arc<str>,
    pub(crate) group_standing: Arc<str>,
    pub(crate) group_members: Arc<str>,
    pub(crate) group_keys: Arc<str>,
    pub(crate) stays: Arc<str>,
    pub(crate) credential: Arc<str>,
    pub(crate) codes: Arc<str>,
    pub(crate) devices: Arc<str>,
    pub(crate) keyholder_in: Arc<str>,
    pub(crate) spared_keyholders: Arc<str>,
    pub(crate) ends: Arc<str>,
    pub(crate) group_ends: Arc<str>,
    pub(crate) ties: Arc<str>,
    pub(crate) overdue: Arc<str>,
    pub(crate) sessions: Arc<str>,
    pub(crate) groups_ever: Arc<str>,
    pub(crate) insights: Arc<str>,
    pub(crate) daily_insights: Arc<str>,
    pub(crate) tokens: Arc<str>,
}

impl Statements {
    fn new(generation: Generation) -> Self {
        Self {
            generation,
            account: account::account_sql(generation).into(),
            public_keys: account::public_keys_sql(generation).into(),
            threads: thread::threads_sql(generation).into(),
            messages: message::messages_sql(generation).into(),
            image: image::image_sql(generation).into(),
            needed_blobs: image::needed_sql(generation).into(),
            forgotten_blobs: image::forgotten_sql(generation).into(),
            forgotten_blobs_of_day: image::forgotten_of_day_sql(generation).into(),
            group_standing: group::standing_sql(generation).into(),
            group_members: group::members_sql(generation).into(),
            stays: group::stays_sql(generation).into(),
            devices: device::devices_sql(generation).into(),
            group_keys: group::keys_sql(generation).into(),
            credential: credential::credential_sql(generation).into(),
            codes: credential::codes_sql(generation).into(),
            sealed_event: account::sealed_event_sql().into(),
            insights: insight::insights_sql(generation).into(),
            daily_insights: insight::daily_insights_sql(generation).into(),
            tokens: token::tokens_sql(generation).into(),
            participation: thread::participation_sql(generation).into(),
            keyholder_in: keyholder::keyholder_in_sql(generation).into(),
            spared_keyholders: keyholder::spared_keyholders_sql(generation).into(),
            ends: ends::ends_sql(generation).into(),
            group_ends: ends::group_ends_sql(generation).into(),
            ties: ends::ties_sql(generation).into(),
            overdue: ends::overdue_sql(generation).into(),
            sessions: ends::sessions_sql(generation).into(),
            groups_ever: ends::groups_ever_sql(generation).into(),
        }
    }
}

/// The read models of the live generation.
#[derive(Debug)]
pub struct ReadModels {
    pool: Pool,
    statements: RwLock<Arc<Statements>>,
}

impl ReadModels {
    /// Reads through this pool.
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self { pool: pool.into(), statements: RwLock::new(Arc::new(Statements::new(Generation::FIRST))) }
    }

    /// The statements that an answer needs, by name: what a benchmark measures as the floor.
    pub fn statements(&self) -> Vec<(&'static str, Arc<str>)> {
        let sql = self.current();
        vec![
            ("account", sql.account.clone()),
            ("public_keys", sql.public_keys.clone()),
            ("threads", sql.threads.clone()),
            ("messages", sql.messages.clone()),
        ]
    }

    fn current(&self) -> Arc<Statements> {
        self.statements.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a statement of the live generation. All have the column `generation`, and always
    /// answer at least one row.
    pub(crate) async fn fetch(
        &self,
        which: impl Fn(&Statements) -> &Arc<str>,
        bind: impl Fn(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, ReadError> {
        loop {
            let statements = self.current();
            let mut arguments = PgArguments::default();
            bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            let answer =
                sqlx::query_with(AssertSqlSafe(which(&statements).clone()), arguments).fetch_all(&self.pool).await;
            let live = match answer {
                Ok(rows) => {
                    let row = rows.first().ok_or(ReadError::Damaged("a head row"))?;
                    let live = Generation(row.try_get("generation")?);
                    if live == statements.generation {
                        return Ok(rows);
                    }
                    live
                }
                Err(error) => {
                    // Undefined: the table, of an older generation that is already dropped, or what a table has not
                    // that was made by a build of another shape.
                    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
                    if !UNDEFINED.contains(&&*code) {
                        return Err(error.into());
                    }
                    let live: i32 = sqlx::query_scalar("select generation from log_head").fetch_one(&self.pool).await?;
                    if Generation(live) == statements.generation {
                        return Err(error.into());
                    }
                    Generation(live)
                }
            };
            if !registry::is_ours(live, &self.pool).await? {
                return Err(ReadError::Foreign);
            }
            *self.statements.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Statements::new(live));
        }
    }
}
