//! The settings, read from flags, the environment and a file, checked at start.

mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::ArgMatches;

use crate::app::{AdmissionSettings, AppSettings};
use crate::audit::AuditSettings;
use crate::feed::HubSettings;
use crate::http::layers::large_bodies::LargeBodySettings;
use crate::http::layers::limits::LimitSettings;
use crate::http::request::address::{ForwardedBy, Networks, Proxies};
use crate::http::request::body::BodyLimits;
use crate::http::serve::connections::ConnectionSettings;
use crate::http::serve::tls::TlsFiles;
use crate::http::site::SiteSettings;
use crate::ledger::LedgerSettings;
use crate::media::{MediaSettings, S3Settings};
use crate::password::HashSettings;
use crate::process::rotation::RotationSettings;
use crate::push::PushSettings;
use crate::settings::{BadValue, count, hours, optional, parse, path, seconds, text};
use crate::support::memory;
use crate::vault::KeyFiles;
use crate::views::{ViewFlags, ViewSettings};
pub use table::{flags, markdown, settings};

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is no TOML table of scalars.
    #[error("settings file {path}: {what}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A setting that does not exist.
    #[error("settings file {path}: there is no setting {name:?} (docs/settings.md lists them)")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A value that a setting cannot have.
    #[error("setting {name}: {what}")]
    Value {
        /// The name.
        name: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl From<BadValue> for ConfigError {
    fn from(BadValue { name, what }: BadValue) -> Self {
        Self::Value { name, what }
    }
}

crate::settings::settings! {
    /// What concerns no module alone.
    #[derive(Debug, Clone)]
    pub struct ServerSettings {
        listen: SocketAddr = parse, "listen", "ADDRESS:PORT", "127.0.0.1:3000", "Where to listen";
        public_url: Option<String> = optional(url), "public-url", "URL", "", "The address that clients use, if it is not where the server listens; when it is https the session cookie is Secure and its name __Host-be8";
        trusted_proxies: Option<Networks> = optional(parse), "trusted-proxy", "NETWORK,...", "", "Trusted reverse proxies, by address or network (10.0.0.0/8): their statements about the client, its scheme and host are honoured";
        forwarded_header: ForwardedBy = parse, "forwarded-header", "x-forwarded-for|forwarded", "x-forwarded-for", "The header in which those proxies name the client; with the first, X-Forwarded-Proto and X-Forwarded-Host are read, too";
        data_dir: Option<PathBuf> = optional(path), "data-dir", "DIR", "", "Where the server keeps its files: /var/lib/be8 for root, ./.be8 for others";
        database_url: Option<String> = optional(text), "database-url", "URL", "", "A PostgreSQL to use (also DATABASE_URL); without it a private one is run in the data directory";
        database_connections: u32 = count, "database-connections", "N", "16", "Connections for reading";
        database_read: Duration = seconds, "database-read-seconds", "N", "10", "How long a statement that reads may take before its request is answered by 503";
        pg_bin: Option<PathBuf> = optional(path), "pg-bin", "DIR", "", "Where the programs of PostgreSQL are, for the private one (also PG_BIN); searched in the usual places";
        postgres_buffers_mib: Option<u32> = optional(count), "postgres-buffers-mib", "MIB", "", "Memory in which the private PostgreSQL keeps its tables (shared_buffers); a quarter of the machine's, from 128 to 8192";
        master_key_file: Option<PathBuf> = optional(path), "master-key-file", "FILE", "", "The key that opens the vault; made on the first start as master.key in the data directory";
        rotating_key_file: Option<PathBuf> = optional(path), "rotating-key-file", "FILE", "", "A second key that the vault needs, changed on a schedule; made as rotating.key beside the master key; servers on one database share the file";
        operator_token_file: Option<PathBuf> = optional(path), "operator-token-file", "FILE", "", "A file with the operator's token (at least 32 random bytes); without it there is no operator access";
        tls_cert: Option<PathBuf> = optional(path), "tls-cert", "FILE", "", "A certificate chain in PEM: the server then speaks https, and reloads it on SIGHUP";
        tls_key: Option<PathBuf> = optional(path), "tls-key", "FILE", "", "The private key of the certificate, in PEM";
        media_dir: Option<PathBuf> = optional(path), "media-dir", "DIR", "", "Where images are kept; media in the data directory; nodes of one database share it";
        media_grace: TimeDelta = hours, "media-orphan-hours", "HOURS", "24", "How long the content of an image may exist without a message";
        tokens_file: Option<PathBuf> = optional(path), "tokens-file", "FILE", "", "A TOML file with tokens that extend the life of accounts; those that were never issued are issued at the start";
        log: String = log_filter, "log", "FILTER", "info", "What is logged: error, warn, info, debug, trace, or a filter by module";
        log_json: bool = json_lines, "log-format", "text|json", "text", "How it is logged";
        test_mode: bool = parse, "test-mode", "true|false", "false", "Allows settings that are too weak for production, for tests; refused unless the server listens on loopback";
        test_clock_file: Option<PathBuf> = optional(path), "test-clock-file", "FILE", "", "Moves the server's clock by the seconds in the file (a second number: how many seconds have passed besides), for tests; refused without test-mode";
        push_test_peer: Option<SocketAddr> = optional(loopback), "push-test-peer", "http://ADDRESS:PORT", "", "Sends all pushes to a push service of a test on this machine instead; refused without test-mode";
    }
}

/// An address for clients.
fn url(text: Option<&str>) -> Result<String, String> {
    match text.unwrap_or_default() {
        url if url.starts_with("https://") || url.starts_with("http://") => Ok(url.trim_end_matches('/').to_owned()),
        url => Err(format!("{url:?} begins with neither https:// nor http://")),
    }
}

/// What is logged.
fn log_filter(text: Option<&str>) -> Result<String, String> {
    Ok(text.unwrap_or("info").to_owned())
}

/// Whether lines of JSON are logged.
fn json_lines(text: Option<&str>) -> Result<bool, String> {
    match text {
        Some("json") => Ok(true),
        Some("text") | None => Ok(false),
        Some(other) => Err(format!("{other:?} is neither text nor json")),
    }
}

/// A push service of a test: on this machine.
fn loopback(text: Option<&str>) -> Result<SocketAddr, String> {
    let address = text.and_then(|text| text.strip_prefix("http://")).and_then(|address| address.parse().ok());
    let address: SocketAddr = address.ok_or("no http://ADDRESS:PORT")?;
    if address.ip().is_loopback() { Ok(address) } else { Err("only on a loopback address".to_owned()) }
}

/// Everything that is set.
#[derive(Debug, Clone)]
pub struct Config {
    /// What concerns no module alone, as it is set; what follows from it stands below.
    pub server: ServerSettings,
    /// The address that clients use.
    pub public_url: String,
    /// Where the server keeps its files.
    pub data_dir: PathBuf,
    /// A PostgreSQL to use; none: a private one.
    pub database_url: Option<String>,
    /// What is kept of what is read; none: every read is answered from PostgreSQL.
    pub views: Option<ViewSettings>,
    /// Where the programs of PostgreSQL are.
    pub pg_bin: Option<PathBuf>,
    /// `shared_buffers` of the private PostgreSQL, in MiB.
    pub postgres_buffers_mib: u32,
    /// The key that opens the vault.
    pub master_key_file: PathBuf,
    /// The key that is changed on a schedule.
    pub rotating_key_file: PathBuf,
    /// The certificate and its key, if the server speaks https itself.
    pub tls: Option<TlsFiles>,
    /// When the rotating key is changed.
    pub rotation: RotationSettings,
    /// Limits on requests.
    pub limits: LimitSettings,
    /// The transparency log.
    pub audit: AuditSettings,
    /// The files that are served.
    pub site: SiteSettings,
    /// Where images are kept.
    pub media: MediaSettings,
    /// How large bodies take turns.
    pub large_bodies: LargeBodySettings,
    /// Password hashing.
    pub hash: HashSettings,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// The feed.
    pub hub: HubSettings,
    /// Request bodies.
    pub body: BodyLimits,
    /// Connections of clients.
    pub connections: ConnectionSettings,
    /// Web Push.
    pub push: PushSettings,
    /// The routes.
    pub app: AppSettings,
}

/// Whether these settings ask for lines of JSON, whatever else is wrong with them; none where there are no settings, or their
/// file cannot be read.
pub fn log_json(matches: &ArgMatches) -> Option<bool> {
    matches.try_contains_id("log-format").ok()?;
    let values = table::collect(matches).ok()?;
    Some(values.text("log-format") == Some("json"))
}

impl Config {
    /// Where the keys of the vault lie.
    pub fn key_files(&self) -> KeyFiles {
        KeyFiles {
            master: self.master_key_file.clone(),
            rotating: self.rotating_key_file.clone(),
            rotate: self.rotation.every.is_some(),
        }
    }

    /// Reads and checks all settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that cannot be used.
    pub fn new(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let values = table::collect(matches)?;
        let server = ServerSettings::read(&values)?;
        server.check()?;
        let tls = server.tls()?;
        let hash = HashSettings::read(&values)?;
        // The least that OWASP names for argon2id with one lane.
        if !server.test_mode && (hash.memory_kib < 19_456 || hash.passes < 2) {
            return Err(wrong("hash-memory-kib", "needs at least 19456 KiB and 2 passes"));
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let public_url = server.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", server.listen));
        let data_dir = server.data_dir.clone().unwrap_or_else(default_data_dir);
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let master_key_file = server.master_key_file.clone().unwrap_or_else(|| data_dir.join("master.key"));
        let beside_master_key = |name| master_key_file.with_file_name(name);
        let environment = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let push = PushSettings::read(&values, data_dir.join("vapid.key"), server.push_test_peer)?;
        let admission = AdmissionSettings::read(&values, data_dir.clone())?;
        let app = AppSettings::read(&values, push.hosts.clone(), admission)?;
        let proxies =
            Proxies { trusted: server.trusted_proxies.clone().unwrap_or_default(), header: server.forwarded_header };
        Ok(Self {
            views: ViewFlags::read(&values)?.settings(memory::total(), server.test_mode)?,
            rotation: RotationSettings::read(&values)?,
            limits: LimitSettings::read(&values)?,
            audit: AuditSettings::read(&values, beside_master_key("audit.key"), public_url.clone())?,
            site: SiteSettings::read(&values)?,
            media: MediaSettings {
                folder: server.media_dir.clone().unwrap_or_else(|| data_dir.join("media")),
                s3: values.text("media-s3-bucket").map(|_| S3Settings::read(&values)).transpose()?,
            },
            large_bodies: LargeBodySettings::read(&values)?,
            hash,
            ledger: LedgerSettings::read(&values)?,
            hub: HubSettings::read(&values, app.heartbeat * 3)?,
            body: BodyLimits::read(&values)?,
            connections: ConnectionSettings::read(&values, proxies)?,
            push,
            app,
            database_url: server.database_url.clone().or_else(|| environment("DATABASE_URL")),
            pg_bin: server.pg_bin.clone().or_else(|| environment("PG_BIN").map(PathBuf::from)),
            postgres_buffers_mib: server.postgres_buffers_mib.unwrap_or_else(|| default_buffers_mib(memory::total())),
            rotating_key_file: server.rotating_key_file.clone().unwrap_or_else(|| beside_master_key("rotating.key")),
            master_key_file,
            data_dir,
            public_url,
            tls,
            server,
        })
    }
}

fn wrong(name: &'static str, what: impl Into<String>) -> ConfigError {
    ConfigError::Value { name, what: what.into() }
}

impl ServerSettings {
    /// What is for tests only is refused elsewhere.
    fn check(&self) -> Result<(), ConfigError> {
        if self.test_mode && !self.listen.ip().is_loopback() {
            let what = format!("not while listening on {}: only on a loopback address", self.listen);
            return Err(wrong("test-mode", what));
        }
        let for_tests =
            [("test-clock-file", self.test_clock_file.is_some()), ("push-test-peer", self.push_test_peer.is_some())];
        match for_tests.into_iter().find(|(_, set)| *set && !self.test_mode) {
            Some((name, _)) => Err(wrong(name, "only with test-mode")),
            None => Ok(()),
        }
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
            (None, None) => Ok(None),
            _ => Err(wrong("tls-cert", "goes together with tls-key")),
        }
    }
}

/// Root's directory must be one that PostgreSQL's own user can enter.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() { "/var/lib/be8".into() } else { ".be8".into() }
}

/// A quarter of the memory, as PostgreSQL's manual advises for a machine of its own (section 20.4.1),
/// within bounds: a small machine needs the rest, and beyond the upper one nothing is gained.
fn default_buffers_mib(memory: Option<u64>) -> u32 {
    let quarter = memory.map_or(0, |bytes| bytes / 4 / (1 << 20));
    u32::try_from(quarter).unwrap_or(u32::MAX).clamp(128, 8192)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_takes_a_quarter_of_the_memory_within_bounds() {
        let gib = |n: u64| Some(n << 30);
        assert_eq!([None, gib(0), gib(1), gib(16), gib(1024)].map(default_buffers_mib), [128, 128, 256, 4096, 8192]);
    }
}
