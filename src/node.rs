//! A node: the database, the vault, the ledger and the feed, wired together.

mod attached;
mod audit;
mod erasures;
mod files;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use be8_database::{
    Address, BadAddress, ConnectError, Connector, Deadline, Pool, check_sessions, reason, with_deadline,
};
use be8_projections::shapes;
use be8_projections::{ReadError, ReadModels};
use parking_lot::Mutex;
use sqlx::Connection;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::tokens::{self, TokenError};
use crate::app::{App, ImageReads, LoginAttempts, Names, SeenSessions, StreamIds};
use crate::app::{BadOperatorToken, OperatorToken};
use crate::audit::key_file::KeyFileError;
use crate::audit::{TransparencyError, Witness};
use crate::config::Config;
use crate::domain::hours::StrikeHour;
use crate::feed::Hub;
use crate::http::routes::presenters::Presenters;
use crate::http::serve::tls::TlsError;
use crate::http::site::SiteError;
use crate::ledger::rebuild::{Progress, RebuildError, RebuildSession};
use crate::ledger::{Leads, Ledger, Log, LogError, SweepConnector, TransparencyTables};
use crate::media::{Blobs, MediaError};
use crate::password::{BadHashSettings, PasswordHasher};
use crate::postgres::{PostgresError, PrivateCluster};
use crate::process::answers::AnswerSweeper;
use crate::process::{
    ProcessRunner, checkpoints::Checkpoints, expiry::Expiry, hours::HourTicker, media::MediaSweeper, overdue::Overdue,
    push::Pusher, removal::Removals, rotation::Rotation, session_days::SessionDaySweeper, sweep::Sweeping,
    witnesses::Witnesses,
};
use crate::push::{BadVapid, Sender, Vapid};
use crate::support::clock::{Clock, FileClock, SystemClock};
use crate::vault::{self, Vault, VaultError};
use crate::views::Views;

use audit::{transparency, witness_key};

pub use attached::Attached;
pub use files::{cluster_settings, make_data_dir};

/// The database of a private cluster.
const DATABASE: &str = "be8";

/// The version of this program.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The data directory cannot be made.
    #[error("data directory {dir}: {cause}")]
    DataDir {
        /// Which.
        dir: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The address of the database is none.
    #[error("the database URL cannot be used: {0}")]
    DatabaseUrl(#[from] BadAddress),
    /// The private PostgreSQL does not start.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The database does not answer.
    #[error("the database does not answer: {}", reason(.0))]
    Database(#[from] sqlx::Error),
    /// No connection to the database can be used.
    #[error("the database cannot be used: {0}")]
    Connect(#[from] ConnectError),
    /// The schema cannot be brought up to this version.
    #[error("the schema of the database cannot be brought up to this version: {}", reason(.0))]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The read models are of a newer version.
    #[error(
        "the live read models were made by be8 {0}, which is newer: run that, or go back by its rebuild --rollback"
    )]
    Newer(String),
    /// The read models cannot be made those of this version.
    #[error("the read models cannot be rebuilt: {0}")]
    Rebuild(#[from] RebuildError),
    /// There is no log where one was looked for.
    #[error("no log of be8 in {0}: name the database or the data directory of the server (--database-url, --data-dir)")]
    NoLog(String),
    /// The keys are not there.
    #[error("this log was imported without its vault: it can be read (be8 log, state, history, check), not served")]
    NoVault,
    /// The vault does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operator's token cannot be used.
    #[error(transparent)]
    Operator(#[from] BadOperatorToken),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The files cannot be served.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A read model cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Images cannot be kept.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The key pair of Web Push cannot be used.
    #[error(transparent)]
    Vapid(#[from] BadVapid),
    /// The tokens of the file cannot be issued.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The transparency log cannot be opened.
    #[error(transparent)]
    Transparency(#[from] TransparencyError),
    /// The key of the witness cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Password hashing cannot be set up.
    #[error(transparent)]
    Hash(#[from] BadHashSettings),
}

/// How long a short statement at the start may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a statement of a command that reads may take, at least.
const COMMAND: Duration = Duration::from_secs(60);

/// The database of a node: its own private one, or a given one.
#[derive(Debug)]
pub struct Database {
    cluster: Option<PrivateCluster>,
    /// How to connect.
    pub connect: Connector,
    description: String,
}

impl Database {
    /// Finds the database that is set, starting the private cluster if it is that one. With
    /// `attach` a cluster that runs already will do.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn open(config: &Config, attach: bool) -> Result<Self, NodeError> {
        make_data_dir(config)?;
        let database = Self::find(config, attach).await?;
        let connect = database.connect.clone().for_writing()?;
        check_sessions(&connect).await?;
        Ok(Self { connect, ..database })
    }

    /// Finds the database that is set, for a command that only reads: a standby will do. Nothing is made where there is none.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn open_to_read(config: &Config) -> Result<Self, NodeError> {
        let settings = cluster_settings(config);
        if config.database_url.is_none() && !settings.has_cluster() {
            return Err(NodeError::NoLog(settings.dir.display().to_string()));
        }
        let database = Self::find(config, true).await?;
        check_sessions(&database.connect).await?;
        match database.lacks_log().await {
            Ok(false) => Ok(database),
            lacks => {
                let description = database.description.clone();
                database.close().await;
                Err(lacks.err().unwrap_or(NodeError::NoLog(description)))
            }
        }
    }

    async fn find(config: &Config, attach: bool) -> Result<Self, NodeError> {
        if let Some(url) = &config.database_url {
            let connect = Connector::from(Address::parse(url)?);
            // Never the URL itself: it may hold a password.
            let description = connect.describe();
            return Ok(Self { cluster: None, connect, description });
        }
        let settings = cluster_settings(config);
        let cluster =
            if attach { PrivateCluster::attach(&settings).await? } else { PrivateCluster::start(&settings).await? };
        cluster.create_database(DATABASE).await?;
        let connect = Connector::from(Address::private(cluster.connect_options(DATABASE)));
        let description = format!("private PostgreSQL in {}", settings.dir.display());
        Ok(Self { cluster: Some(cluster), connect, description })
    }

    /// What it is, for people.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Brings the schema up to this version. Read models of an older one are rebuilt, which takes as
    /// long as it takes; nodes of that version serve meanwhile, and stop then.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn migrate(&self) -> Result<(), NodeError> {
        self.connect.watched(self.migrate_now()).await
    }

    async fn migrate_now(&self) -> Result<(), NodeError> {
        let mut connection = self.connect.connect().await?;
        schema::migrator().run(&mut connection).await?;
        let live: Option<(Vec<String>, String)> =
            sqlx::query_as("select models, build from log_head join read_generations using (generation)")
                .fetch_optional(&mut connection)
                .await?;
        connection.close().await?;
        match live {
            Some((models, _)) if models == shapes() => return Ok(()),
            Some((_, build)) if schema::is_newer(&build, BUILD) => return Err(NodeError::Newer(build)),
            _ => {}
        }
        let session = RebuildSession::open(&self.connect, true).await?;
        let made = session.make_current(BUILD, &log_progress).await;
        session.close().await;
        Ok(made?)
    }

    /// Whether the schema of the log is not here: the database is empty, or another program's.
    async fn lacks_log(&self) -> Result<bool, NodeError> {
        self.ask("select to_regclass('log_head') is null").await
    }

    /// Whether the keys of what is sealed are not here: after an import without the vault.
    async fn lacks_vault(&self) -> Result<bool, NodeError> {
        self.ask("select keys > 0 and not exists (select from vault.master) from log_head").await
    }

    async fn ask(&self, question: &'static str) -> Result<bool, NodeError> {
        let mut connection = self.connect.connect().await?;
        let answer = sqlx::query_scalar(question).fetch_one(Deadline::new(&mut connection, ANSWER)).await?;
        with_deadline(ANSWER, connection.close()).await?;
        Ok(answer)
    }

    /// The vault, if it is there and its master key is, too; neither is made.
    ///
    /// # Errors
    /// [`NodeError::Vault`] for a key that does not open it.
    pub async fn vault(&self, config: &Config) -> Result<Option<Arc<Vault>>, NodeError> {
        let mut connection = self.connect.connect().await?;
        let mut ask = async |sql: &'static str| -> Result<bool, sqlx::Error> {
            sqlx::query_scalar(sql).fetch_one(Deadline::new(&mut connection, ANSWER)).await
        };
        let there = ask("select to_regclass('vault.master') is not null").await?;
        let filled = there && ask("select exists (select from vault.master)").await?;
        with_deadline(ANSWER, connection.close()).await?;
        if !filled || !config.master_key_file.exists() {
            return Ok(None);
        }
        Ok(Some(Vault::open_files(self.reader(config), &config.key_files()).await?))
    }

    /// Collects what the planner of the private cluster goes by.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn analyze(&self) -> Result<(), NodeError> {
        match &self.cluster {
            Some(cluster) => self.connect.watched(async { Ok(cluster.analyze(DATABASE).await?) }).await,
            None => Ok(()),
        }
    }

    /// A pool for reading, for a command: unlike a request it can wait.
    pub fn reader(&self, config: &Config) -> Pool {
        reading_pool(&self.connect, 2, config.server.database_read.max(COMMAND))
    }

    /// Stops the private cluster, if there is one.
    pub async fn close(self) {
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Logs the progress of a rebuild.
fn log_progress(progress: Progress) {
    match progress {
        Progress::Begun { generation, resumed } => {
            tracing::info!(generation = generation.0, resumed, "the read models are of another version: rebuilding");
        }
        Progress::Replayed { reached, target } => {
            tracing::info!(reached = reached.0, target = target.0, "replaying the log");
        }
        Progress::Indexing(left) => tracing::info!(left, "making indexes"),
        Progress::Comparing(position) => tracing::info!(position = position.0, "comparing live and rebuilt tables"),
    }
}

/// The pool for reading, as a node makes it: all its statements look things up by key.
pub fn reading_pool(connect: &Connector, connections: u32, limit: Duration) -> Pool {
    connect.by_key().pool(connections, limit)
}

/// The clock that a test turns, if one does.
pub fn test_clock(config: &Config) -> Option<Arc<dyn Clock>> {
    let file = config.server.test_clock_file.clone()?;
    Some(Arc::new(FileClock::new(file)))
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// What the routes share.
    pub app: Arc<App>,
    /// The database.
    pub database: Database,
    ledger: JoinHandle<Result<(), LogError>>,
    feed: JoinHandle<()>,
    processes: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts a node, which pushes if there is a key pair for it: opens the database and the vault, brings the schema up
    /// to date, applies the erasures of the log to the vault, and starts the loops.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn start(config: &Config, vapid: Option<Vapid>, stop: CancellationToken) -> Result<Self, NodeError> {
        // Before anything is started: mistakes of the settings leave no trace.
        let operator = config.server.operator_token_file.as_deref().map(OperatorToken::load).transpose()?;
        let passwords = PasswordHasher::new(config.hash)?;
        make_data_dir(config)?;
        let witness_key = witness_key(&config.audit)?;
        let database = Database::open(config, false).await?;
        database.migrate().await?;
        if database.lacks_vault().await? {
            return Err(NodeError::NoVault);
        }
        let pool = reading_pool(&database.connect, config.server.database_connections, config.server.database_read);
        let vault = Vault::open_files(pool.clone(), &config.key_files()).await?;
        let log = Log::new(pool.clone());
        // Before anything is written: a database that was put back from an older copy stays as it is.
        let transparency = Arc::new(transparency(&log, &config.audit).await?);
        erasures::apply_erasures(&log, &vault).await?;
        let clock = test_clock(config).unwrap_or_else(|| Arc::new(SystemClock));
        let (ledger, ledger_task) = Ledger::start(
            pool.clone(),
            database.connect.clone(),
            vault.clone(),
            clock.clone(),
            config.ledger.clone(),
            stop.clone(),
        )
        .await?;
        // The counters have a snapshot from the first moment on; the hours to come are the process's.
        if let Err(error) = ledger.execute(StrikeHour).await {
            tracing::warn!(%error, "the hour was not struck");
        }
        if let Some(file) = &config.server.tokens_file {
            tokens::issue_file(&ledger, &vault, file).await?;
        }
        let position = ledger.position();
        let hub = Hub::new(config.hub, position, stop.clone());
        let feed = tokio::spawn(hub.clone().run(log.clone(), ledger.subscribe_all(position)));
        let runner = ProcessRunner::new(Leads::new(&database.connect), stop.clone());
        let store: String = sqlx::query_scalar("select id::text from media_store").fetch_one(&pool).await?;
        let media = Blobs::open(&config.media, &store)?;
        let read = Arc::new(ReadModels::new(pool.clone()));
        if media.is_unmarked().await {
            media.mark(read.has_images().await?)?;
        }
        media.probe().await?;
        let sweepers = SweepConnector::new(&database.connect);
        // What removes for good does not go by a clock that has jumped.
        let trusted: Arc<dyn Clock> = Arc::new(ledger.trusted_time().clone());
        let overdue = Overdue {
            vault: vault.clone(),
            log: log.clone(),
            clock: clock.clone(),
            trusted: trusted.clone(),
            settings: config.rotation,
        };
        let mut processes = vec![
            runner.spawn(HourTicker { ledger: ledger.clone(), clock: clock.clone() }),
            runner.spawn(Checkpoints::new(
                transparency.clone(),
                ledger.clone(),
                config.audit.interval,
                config.audit.on_request,
            )),
            tokio::spawn(vault::watch(vault.clone(), stop.clone())),
            tokio::spawn(media.clone().watch(stop.clone())),
            tokio::spawn(overdue.watch(stop.clone())),
            runner.spawn(Rotation::new(vault.clone(), log.clone(), clock.clone(), trusted.clone(), config.rotation)),
            runner.spawn(Removals { ledger: ledger.clone(), read: read.clone() }),
            runner.spawn(Sweeping { log: ledger.log().clone(), sweepers: sweepers.clone() }),
            runner.spawn(Expiry {
                ledger: ledger.clone(),
                read,
                sweepers,
                lifetime: config.app.message_lifetime,
                cleared: Arc::default(),
            }),
            runner.spawn(SessionDaySweeper {
                ledger: ledger.clone(),
                read: ReadModels::new(pool.clone()),
                after: Mutex::default(),
            }),
            runner.spawn(AnswerSweeper { ledger: ledger.clone(), clock: trusted.clone() }),
            runner.spawn(MediaSweeper {
                log: Log::new(pool.clone()),
                read: ReadModels::new(pool.clone()),
                blobs: media.clone(),
                clock: trusted,
                grace: config.server.media_grace,
                walk: Mutex::default(),
            }),
        ];
        if !config.audit.witnesses.is_empty() {
            let asking = Witnesses::new(transparency.clone(), config.audit.witnesses.clone());
            processes.push(runner.spawn(asking));
        }
        if let Some(vapid) = vapid {
            let (read, sender) = (ReadModels::new(pool.clone()), Sender::new(&config.push, vapid));
            let (ledger, vault) = (ledger.clone(), vault.clone());
            processes.push(runner.spawn(Pusher::new(ledger, read, vault, clock.clone(), sender, &config.push)));
        }
        let views = match config.views {
            None => Views::off(),
            Some(settings) => Views::start(&ledger, &pool, vault.clone(), Arc::new(Presenters), settings, stop.clone()),
        };
        let seen = SeenSessions::default();
        processes.push(tokio::spawn(seen.clone().keep(ledger.session_days(), config.app.seen_pause, stop.clone())));
        let app = Arc::new(App {
            views,
            seen,
            code_attempts: ledger.code_attempts(),
            ledger,
            read: ReadModels::new(pool),
            stream_ids: StreamIds::new(vault.clone()),
            vault,
            hub,
            media,
            image_reads: ImageReads::new(config.large_bodies.bodies),
            logins: passwords.with_queue(config.app.login_queue),
            codes: passwords.with_queue(config.hash.queue),
            passwords,
            login_attempts: LoginAttempts::default(),
            names: Names::default(),
            transparency,
            public_log: config.audit.public,
            witness: witness_key
                .map(|key| Witness::new(key, config.audit.witness_logs.clone(), TransparencyTables::of(&log))),
            clock,
            operator,
            settings: config.app.clone(),
            stop,
        });
        Ok(Self { app, database, ledger: ledger_task, feed, processes })
    }

    /// Waits for the loops, which end with the token given to [`Node::start`], and closes the
    /// database.
    ///
    /// # Errors
    /// [`NodeError::Log`]: the ledger could not go on, and the node stopped by itself.
    pub async fn stop(self) -> Result<(), NodeError> {
        for task in self.processes.into_iter().chain([self.feed]) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a loop did not end");
            }
        }
        let ended = self.ledger.await.unwrap_or(Err(LogError::Died));
        self.database.close().await;
        Ok(ended?)
    }
}
