//! The settings, read from flags, the environment and a file, checked at start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::app::AdmissionSettings;
use crate::app::AppSettings;
use crate::audit::AuditSettings;
use crate::feed::HubSettings;
use crate::http::layers::limits::{Limit, LimitSettings};
use crate::http::layers::turnstile::TurnSettings;
use crate::http::request::address::{Networks, Proxies};
use crate::http::request::body::BodyLimits;
use crate::http::serve::connections::ConnectionSettings;
use crate::http::serve::tls::TlsFiles;
use crate::http::site::SiteSettings;
use crate::ledger::LedgerSettings;
use crate::media::{MediaSettings, S3Settings};
use crate::memory;
use crate::password::HashSettings;
use crate::process::rotation::RotationSettings;
use crate::push::PushSettings;
use crate::settings::SETTINGS;
pub use crate::settings::{flags, markdown};
use crate::vault::KeyFiles;
use crate::views::ViewSettings;

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

/// Everything that is set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The address that clients use.
    pub public_url: String,
    /// Limits on requests, and the trusted proxies.
    pub limits: LimitSettings,
    /// Where the server keeps its files.
    pub data_dir: PathBuf,
    /// A PostgreSQL to use; none: a private one.
    pub database_url: Option<String>,
    /// Connections for reading.
    pub database_connections: u32,
    /// How long a statement that reads may take.
    pub database_read: Duration,
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
    /// When it is changed.
    pub rotation: RotationSettings,
    /// A file with the operator's token.
    pub operator_token_file: Option<PathBuf>,
    /// A file with tokens to issue.
    pub tokens_file: Option<PathBuf>,
    /// The transparency log.
    pub audit: AuditSettings,
    /// Moves the clock, in tests.
    pub test_clock_file: Option<PathBuf>,
    /// The certificate and its key, if the server speaks https itself.
    pub tls: Option<TlsFiles>,
    /// The files that are served.
    pub site: SiteSettings,
    /// Where images are kept.
    pub media: MediaSettings,
    /// How long a blob may lie there without a message.
    pub media_grace: TimeDelta,
    /// How large bodies take turns.
    pub turns: TurnSettings,
    /// What is logged.
    pub log: String,
    /// Password hashing.
    pub hash: HashSettings,
    /// Logins that may wait for the check of their password.
    pub login_queue: usize,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// The feed.
    pub hub: HubSettings,
    /// How long a refused event stream is held open, and how many are at a time.
    pub refused: (Duration, usize),
    /// Request bodies.
    pub body: BodyLimits,
    /// Connections of clients.
    pub connections: ConnectionSettings,
    /// Web Push.
    pub push: PushSettings,
    /// The routes.
    pub app: AppSettings,
}

/// The values of all settings: a flag beats the environment, that beats the file, that the default.
struct Values(HashMap<&'static str, String>);

impl Values {
    fn collect(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let file = match matches.get_one::<String>("config") {
            Some(path) => read_file(Path::new(path))?,
            None => HashMap::new(),
        };
        let mut values = HashMap::new();
        for setting in SETTINGS {
            let said =
                matches!(matches.value_source(setting.name), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
            // A list may be given in several flags.
            let given = matches.get_many::<String>(setting.name).map(|all| all.cloned().collect::<Vec<_>>().join(","));
            let value = if said { given } else { file.get(setting.name).cloned().or(given) };
            values.extend(value.filter(|value| !value.is_empty()).map(|value| (setting.name, value)));
        }
        Ok(Self(values))
    }

    fn text(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, ConfigError> {
        let text = self.text(name).unwrap_or_default();
        text.parse().map_err(|error| ConfigError::Value { name, what: format!("{text:?}: {error}") })
    }

    /// A whole number of at least one.
    fn count<T: TryFrom<u64>>(&self, name: &'static str) -> Result<T, ConfigError> {
        let number: u64 = self.parse(name)?;
        let bad = || ConfigError::Value { name, what: format!("{number} is out of range") };
        if number == 0 { Err(bad()) } else { T::try_from(number).map_err(|_| bad()) }
    }

    fn seconds(&self, name: &'static str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_secs(u64::from(self.count::<u32>(name)?)))
    }

    /// A limit, or none.
    fn limit(&self, name: &'static str) -> Result<Option<Limit>, ConfigError> {
        if self.text(name) == Some("off") { Ok(None) } else { self.parse(name).map(Some) }
    }

    fn days(&self, name: &'static str) -> Result<TimeDelta, ConfigError> {
        Ok(TimeDelta::days(i64::from(self.count::<u16>(name)?)))
    }
}

/// Whether these settings ask for lines of JSON, whatever else is wrong with them; none where there are no settings, or their
/// file cannot be read.
pub fn log_json(matches: &ArgMatches) -> Option<bool> {
    matches.try_contains_id("log-format").ok()?;
    let values = Values::collect(matches).ok()?;
    Some(values.text("log-format") == Some("json"))
}

fn read_file(path: &Path) -> Result<HashMap<String, String>, ConfigError> {
    let bad = |what: String| ConfigError::File { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.message().to_owned()))?;
    let mut values = HashMap::new();
    for (name, value) in table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Err(ConfigError::Unknown { path: path.to_owned(), name });
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            toml::Value::Array(values) if setting.is_list() && values.iter().all(toml::Value::is_str) => {
                values.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            _ => return Err(bad(format!("{name} is neither text, number nor boolean"))),
        };
        values.insert(name, text);
    }
    Ok(values)
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
        let values = Values::collect(matches)?;
        let listen: SocketAddr = values.parse("listen")?;
        let test_mode: bool = values.parse("test-mode")?;
        if test_mode && !listen.ip().is_loopback() {
            let what = format!("not while listening on {listen}: only on a loopback address");
            return Err(ConfigError::Value { name: "test-mode", what });
        }
        let tls = match (values.text("tls-cert"), values.text("tls-key")) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert: cert.into(), key: key.into() }),
            (None, None) => None,
            _ => return Err(ConfigError::Value { name: "tls-cert", what: "goes together with tls-key".to_owned() }),
        };
        let public_url = match values.text("public-url") {
            None => format!("{}://{listen}", if tls.is_some() { "https" } else { "http" }),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                url.trim_end_matches('/').to_owned()
            }
            Some(url) => {
                let what = format!("{url:?} begins with neither https:// nor http://");
                return Err(ConfigError::Value { name: "public-url", what });
            }
        };
        let trusted = match values.text("trusted-proxy") {
            None => Networks::default(),
            Some(_) => values.parse("trusted-proxy")?,
        };
        let proxies = Proxies { trusted, header: values.parse("forwarded-header")? };
        let data_dir = values.text("data-dir").map_or_else(default_data_dir, PathBuf::from);
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let environment = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let hash = HashSettings {
            memory_kib: values.count("hash-memory-kib")?,
            passes: values.count("hash-passes")?,
            workers: match values.text("hash-workers") {
                None => HashSettings::default().workers,
                Some(_) => values.count("hash-workers")?,
            },
            queue: values.count("hash-queue")?,
            ..HashSettings::default()
        };
        let test_clock_file = values.text("test-clock-file").map(PathBuf::from);
        if test_clock_file.is_some() && !test_mode {
            let what = "only with test-mode".to_owned();
            return Err(ConfigError::Value { name: "test-clock-file", what });
        }
        let test_peer = values.text("push-test-peer").map(|peer| test_peer(peer, test_mode)).transpose()?;
        let lifetime = values.seconds("push-lifetime-seconds")?;
        let push = PushSettings {
            key_file: values.text("vapid-key-file").map(PathBuf::from),
            default_key_file: data_dir.join("vapid.key"),
            subject: values.text("vapid-subject").map(str::to_owned),
            hosts: values.parse("push-hosts")?,
            timeout: values.seconds("push-timeout-seconds")?,
            at_once: values.count("push-at-once")?,
            queue: values.count("push-queue")?,
            refusals: values.count("push-refusals")?,
            // A count of seconds in 32 bits is a span of time.
            lifetime: TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::MAX),
            test_peer,
        };
        // The least that OWASP names for argon2id with one lane.
        if !test_mode && (hash.memory_kib < 19_456 || hash.passes < 2) {
            let what = "needs at least 19456 KiB and 2 passes".to_owned();
            return Err(ConfigError::Value { name: "hash-memory-kib", what });
        }
        if let Some(other) = values.text("log-format").filter(|format| !["text", "json"].contains(format)) {
            let what = format!("{other:?} is neither text nor json");
            return Err(ConfigError::Value { name: "log-format", what });
        }
        let minutes = |name| Ok::<_, ConfigError>(TimeDelta::minutes(i64::from(values.count::<u32>(name)?)));
        let rotation = RotationSettings {
            every: match values.text("vault-rotation-hours") {
                Some("off") => None,
                _ => Some(TimeDelta::hours(i64::from(values.count::<u16>("vault-rotation-hours")?))),
            },
            after_erasure: minutes("vault-erasure-minutes")?,
            grace: minutes("vault-grace-minutes")?,
        };
        let master_key_file = values.text("master-key-file").map_or_else(|| data_dir.join("master.key"), PathBuf::from);
        let rotating_key_file = match values.text("rotating-key-file") {
            Some(file) => PathBuf::from(file),
            None => master_key_file.with_file_name("rotating.key"),
        };
        Ok(Self {
            rotating_key_file,
            rotation,
            audit: AuditSettings::new(
                |name| values.text(name),
                [values.seconds("checkpoint-interval")?, values.seconds("checkpoint-request-interval")?],
                &public_url,
                &master_key_file,
            )
            .map_err(|(name, what)| ConfigError::Value { name, what })?,
            listen,
            connections: ConnectionSettings {
                most: values.text("connections").map(|_| values.count("connections")).transpose()?,
                per_address: values.count("connections-per-address")?,
                proxies,
                head: values.seconds("request-head-seconds")?,
                stall: values.seconds("answer-stall-seconds")?,
                dead: values.seconds("connection-dead-seconds")?,
                answers: values.count::<usize>("answer-memory-mib")?.saturating_mul(1024 * 1024),
            },
            limits: LimitSettings {
                signups: values.limit("limit-signups")?,
                address: values.limit("limit-address")?,
                account: values.limit("limit-account")?,
                streams: values.limit("limit-streams")?,
            },
            database_url: values.text("database-url").map(str::to_owned).or_else(|| environment("DATABASE_URL")),
            database_connections: values.count("database-connections")?,
            database_read: values.seconds("database-read-seconds")?,
            views: ViewSettings::new(|name| values.text(name), memory::total(), test_mode)
                .map_err(|(name, what)| ConfigError::Value { name, what })?,
            postgres_buffers_mib: match values.text("postgres-buffers-mib") {
                None => default_buffers_mib(memory::total()),
                Some(_) => values.count("postgres-buffers-mib")?,
            },
            pg_bin: values.text("pg-bin").map(str::to_owned).or_else(|| environment("PG_BIN")).map(PathBuf::from),
            master_key_file,
            tls,
            site: SiteSettings {
                client: values.text("client-dir").map(PathBuf::from),
                insights: values.text("insights-dir").map(PathBuf::from),
            },
            media: MediaSettings {
                folder: values.text("media-dir").map_or_else(|| data_dir.join("media"), PathBuf::from),
                s3: match values.text("media-s3-bucket") {
                    None => None,
                    Some(bucket) => Some(S3Settings {
                        bucket: bucket.to_owned(),
                        prefix: values.text("media-s3-prefix").unwrap_or_default().to_owned(),
                        endpoint: values.text("media-s3-endpoint").map(str::to_owned),
                        region: values.text("media-s3-region").unwrap_or_default().to_owned(),
                        cloud_credentials: values.parse("media-s3-cloud-credentials")?,
                        connect: values.seconds("media-s3-connect-seconds")?,
                        attempt: values.seconds("media-s3-attempt-seconds")?,
                        total: values.seconds("media-s3-total-seconds")?,
                    }),
                },
            },
            media_grace: TimeDelta::hours(i64::from(values.count::<u16>("media-orphan-hours")?)),
            turns: TurnSettings {
                bodies: values.count("media-bodies")?,
                waiting: values.count("media-waiting")?,
                ..TurnSettings::default()
            },
            operator_token_file: values.text("operator-token-file").map(PathBuf::from),
            tokens_file: values.text("tokens-file").map(PathBuf::from),
            data_dir: data_dir.clone(),
            log: values.text("log").unwrap_or("info").to_owned(),
            hash,
            login_queue: values.count("login-queue")?,
            ledger: LedgerSettings {
                queue: values.count("ledger-queue")?,
                batch_commands: values.count("ledger-batch-commands")?,
                batch_bytes: values.count("ledger-batch-bytes")?,
                cached_streams: values.count("ledger-cached-streams")?,
                patience: values.seconds("ledger-patience-seconds")?,
                outcome_patience: values.seconds("ledger-outcome-seconds")?,
            },
            test_clock_file,
            hub: HubSettings {
                queue: values.count("events-queue")?,
                streams_per_account: values.count("events-per-account")?,
                unproven: values.seconds("events-heartbeat-seconds")? * 3,
            },
            refused: (values.seconds("events-refused-seconds")?, values.count("events-refused")?),
            body: BodyLimits {
                bytes: values.count("body-max-bytes")?,
                stall: values.seconds("body-stall-seconds")?,
                total: values.seconds("body-total-seconds")?,
                memory: values.count::<usize>("body-memory-mib")?.saturating_mul(1024 * 1024),
                ..BodyLimits::default()
            },
            push,
            app: AppSettings {
                account_lifetime: values.days("account-lifetime-days")?,
                message_lifetime: values.days("message-lifetime-days")?,
                sessions_per_account: values.count("sessions-per-account")?,
                group_members: values.count("group-max-members")?,
                message_bytes: values.count("message-max-bytes")?,
                group_key_bytes: values.count("group-key-max-bytes")?,
                devices: values.count("devices-per-account")?,
                push_hosts: values.parse("push-hosts")?,
                heartbeat: values.seconds("events-heartbeat-seconds")?,
                admission: AdmissionSettings {
                    open: match values.text("registration") {
                        Some("closed") => false,
                        Some("open") | None => true,
                        Some(other) => {
                            let what = format!("{other:?} is neither open nor closed");
                            return Err(ConfigError::Value { name: "registration", what });
                        }
                    },
                    free_disk: values.parse::<u64>("signup-free-disk-mib")?.saturating_mul(1 << 20),
                    free_memory: values.parse::<u64>("signup-free-memory-mib")?.saturating_mul(1 << 20),
                    queues: f64::from(values.count::<u8>("signup-queue-percent")?) / 100.0,
                    data_dir: data_dir.clone(),
                },
            },
            public_url,
        })
    }
}

/// The push service of a test: on this machine, and only where tests are allowed.
fn test_peer(text: &str, test_mode: bool) -> Result<SocketAddr, ConfigError> {
    let bad = |what: &str| ConfigError::Value { name: "push-test-peer", what: what.to_owned() };
    let address = text.strip_prefix("http://").and_then(|address| address.parse().ok());
    let address: SocketAddr = address.ok_or_else(|| bad("no http://ADDRESS:PORT"))?;
    match (test_mode, address.ip().is_loopback()) {
        (false, _) => Err(bad("only with test-mode")),
        (true, false) => Err(bad("only on a loopback address")),
        (true, true) => Ok(address),
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
