//! Where connections come from: the hosts of an address in their order, each attempt bounded, each session prepared and
//! verified before anybody uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::address::{Address, BadAddress, Target, place};
use crate::deadline::with_deadline;
use crate::error::ConnectError;
use crate::session::{self, BASE, Seen};

/// Makes connections to one database. Clones share what is known of the hosts.
#[derive(Debug, Clone)]
pub struct Connector {
    shared: Arc<Shared>,
    /// What each session sets, in this order.
    settings: Arc<Vec<(String, String)>>,
    /// Which server will do.
    target: Target,
}

/// What all connectors to a database know together.
#[derive(Debug)]
pub(crate) struct Shared {
    address: Address,
    /// Which host is used, and since when.
    current: Mutex<(usize, Instant)>,
    /// The same, for who asks often.
    index: AtomicUsize,
    /// PostgreSQL did not answer a write, and none has been answered since.
    stalled: AtomicBool,
}

impl Shared {
    pub(crate) fn current(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    pub(crate) fn options(&self, host: usize) -> PgConnectOptions {
        self.address.hosts[host % self.address.hosts.len()].clone()
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::SeqCst)
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        if self.stalled.swap(stalled, Ordering::SeqCst) != stalled {
            if stalled {
                tracing::warn!("PostgreSQL does not answer writes: this server is not ready");
            } else {
                tracing::info!("PostgreSQL answers writes again");
            }
        }
    }

    fn use_host(&self, host: usize) {
        let mut current = self.current.lock();
        if current.0 != host {
            *current = (host, Instant::now());
            self.index.store(host, Ordering::Relaxed);
            tracing::warn!(host = place(&self.options(host)), "connected to another host of the database");
        }
    }

    /// Whether a connection of this age was made to the host that is used now.
    pub(crate) fn is_of_current(&self, age: Duration) -> bool {
        let current = self.current.lock();
        current.1.elapsed() >= age
    }
}

impl From<Address> for Connector {
    fn from(address: Address) -> Self {
        let ours = BASE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = address.settings.iter().cloned().chain(ours).collect();
        let target = address.target;
        let shared = Shared {
            address,
            current: Mutex::new((0, Instant::now())),
            index: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), settings: Arc::new(settings), target }
    }
}

impl From<PgConnectOptions> for Connector {
    fn from(options: PgConnectOptions) -> Self {
        Address::from(options).into()
    }
}

impl Connector {
    /// The same for work that has to write: a standby will not do.
    ///
    /// # Errors
    /// [`BadAddress`] when the URL asks for a standby.
    pub fn for_writing(self) -> Result<Self, BadAddress> {
        match self.target {
            Target::Any | Target::Writable => Ok(Self { target: Target::Writable, ..self }),
            Target::ReadOnly | Target::Standby | Target::PreferStandby => Err(BadAddress::standby()),
        }
    }

    /// The same with settings of the session more, or other values of them.
    #[must_use]
    pub fn with<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let more = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { settings: Arc::new(self.settings.iter().cloned().chain(more).collect()), ..self.clone() }
    }

    /// The same for statements that all look things up by key: plans are made once and by index, whatever the statistics of a
    /// young or fast-growing table say.
    #[must_use]
    pub fn by_key(&self) -> Self {
        self.with([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ])
    }

    /// The database and where it is, without who connects.
    pub fn describe(&self) -> String {
        self.shared.address.describe()
    }

    /// How long an attempt to connect may take.
    pub fn connect_timeout(&self) -> Duration {
        self.shared.address.connect_timeout
    }

    /// Whether PostgreSQL does not answer writes, as far as is known.
    pub fn is_stalled(&self) -> bool {
        self.shared.is_stalled()
    }

    /// Notes whether PostgreSQL answers writes.
    pub fn set_stalled(&self, stalled: bool) {
        self.shared.set_stalled(stalled);
    }

    /// Whether a standby will not do.
    pub(crate) fn has_to_write(&self) -> bool {
        self.target == Target::Writable
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A connection, to the host that was used last or the first of the others that can be used.
    ///
    /// # Errors
    /// [`ConnectError`] when there is none.
    pub async fn connect(&self) -> Result<PgConnection, ConnectError> {
        let (hosts, current) = (self.shared.address.hosts.len(), self.shared.current());
        let mut failed = Vec::new();
        for prefer in [true, false] {
            for host in (0..hosts).map(|offset| (current + offset) % hosts) {
                match self.attempt(host, prefer).await {
                    Ok(connection) => {
                        self.shared.use_host(host);
                        return Ok(connection);
                    }
                    Err(error) => failed.push((host, error)),
                }
            }
            if self.target != Target::PreferStandby {
                break;
            }
        }
        if hosts == 1
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        let silent = failed.iter().all(|(_, error)| error.is_silence());
        let what = failed.iter().map(|(host, error)| match error {
            // These name the host themselves.
            ConnectError::ReadOnly(_) | ConnectError::NotStandby(_) => error.to_string(),
            _ => format!("{}: {error}", place(&self.shared.options(*host))),
        });
        Err(ConnectError::Hosts { what: what.collect::<Vec<_>>().join("; "), silent })
    }

    async fn attempt(&self, host: usize, prefer: bool) -> Result<PgConnection, ConnectError> {
        let options = self.shared.options(host);
        with_deadline(self.connect_timeout(), async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let seen = self.prepare(&mut connection).await?;
            let place = || place(&options);
            match self.target {
                Target::Writable if seen.read_only => Err(ConnectError::ReadOnly(place())),
                Target::ReadOnly if !seen.read_only => Err(ConnectError::NotStandby(place())),
                Target::Standby if !seen.standby => Err(ConnectError::NotStandby(place())),
                Target::PreferStandby if prefer && !seen.standby => Err(ConnectError::NotStandby(place())),
                _ => Ok(connection),
            }
        })
        .await
    }

    pub(crate) async fn prepare(&self, connection: &mut PgConnection) -> Result<Seen, ConnectError> {
        session::prepare(connection, &self.settings, self.shared.address.private).await
    }

    /// A connection that receives notifications, and makes no other when it is lost.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        let preparing = self.clone();
        let limit = self.connect_timeout();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            .max_lifetime(None)
            .idle_timeout(None)
            .after_connect(move |connection, _| {
                let preparing = preparing.clone();
                Box::pin(async move { Ok(preparing.prepare(connection).await.map(drop)?) })
            })
            .connect_lazy_with(self.shared.options(self.shared.current()));
        let mut listener = with_deadline(limit, PgListener::connect_with(&pool)).await?;
        listener.eager_reconnect(false);
        Ok(listener)
    }
}
