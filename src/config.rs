//! The settings: one table, read from flags, the environment and a file, checked at start.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::feed::HubSettings;
use crate::http::AppSettings;
use crate::http::body::BodyLimits;
use crate::http::site::SiteSettings;
use crate::http::tls::TlsFiles;
use crate::http::turnstile::TurnSettings;
use crate::ledger::LedgerSettings;
use crate::media::{MediaSettings, S3Settings};
use crate::password::HashSettings;

/// One setting: `--name`, `BE8_NAME` in the environment, or `name` in the file.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name, as the flag has it.
    pub name: &'static str,
    /// What the value is called in the help.
    pub value: &'static str,
    /// What holds if it is not set; empty: see the help.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn setting(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, value, default, help }
}

/// All settings. `docs/settings.md` is made from this table.
pub const SETTINGS: &[Setting] = &[
    setting("listen", "ADDRESS:PORT", "127.0.0.1:3000", "Where to listen"),
    setting(
        "public-url",
        "URL",
        "",
        "The address that clients use, if it is not where the server listens; the session cookie is Secure when it is https",
    ),
    setting("trusted-proxy", "ADDRESS,...", "", "Proxies whose X-Forwarded-For is believed; none unless named"),
    setting("data-dir", "DIR", "", "Where the server keeps its files: /var/lib/be8 for root, ./.be8 for others"),
    setting(
        "database-url",
        "URL",
        "",
        "A PostgreSQL to use (also DATABASE_URL); without it a private one is run in the data directory",
    ),
    setting("database-connections", "N", "16", "Connections for reading"),
    setting(
        "pg-bin",
        "DIR",
        "",
        "Where the programs of PostgreSQL are, for the private one (also PG_BIN); found by itself if possible",
    ),
    setting(
        "master-key-file",
        "FILE",
        "",
        "The key that opens the vault; made on the first start as master.key in the data directory",
    ),
    setting(
        "operator-token-file",
        "FILE",
        "",
        "A file with the operator's token (at least 32 random bytes); without it there is no operator access",
    ),
    setting(
        "tls-cert",
        "FILE",
        "",
        "A certificate chain in PEM: the server then speaks https, and reads it anew on SIGHUP",
    ),
    setting("tls-key", "FILE", "", "The private key of the certificate, in PEM"),
    setting(
        "client-dir",
        "DIR",
        "",
        "A built web client to serve at /; without it / says what runs here; read anew on SIGHUP",
    ),
    setting("insights-dir", "DIR", "", "A built page of statistics to serve at /be8insights"),
    setting(
        "media-dir",
        "DIR",
        "",
        "Where images are kept; media in the data directory; nodes of one database share it",
    ),
    setting(
        "media-s3-bucket",
        "NAME",
        "",
        "A bucket to keep images in instead; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open it",
    ),
    setting("media-s3-prefix", "PATH", "", "What stands in front of all names in the bucket"),
    setting("media-s3-endpoint", "URL", "", "A store that speaks S3; without it Amazon's"),
    setting("media-s3-region", "NAME", "us-east-1", "The region of the bucket"),
    setting("media-bodies", "N", "16", "Images that are taken in, or handed out, at once; others wait"),
    setting("media-waiting", "N", "64", "Images that may wait to be taken in; one more is refused as UNAVAILABLE"),
    setting("media-orphan-hours", "HOURS", "24", "How long the content of an image may lie there without a message"),
    setting("log", "FILTER", "info", "What is logged: error, warn, info, debug, trace, or a filter by module"),
    setting("log-format", "text|json", "text", "How it is logged"),
    setting("account-lifetime-days", "DAYS", "30", "How long an account lives unless its life is extended"),
    setting("message-lifetime-days", "DAYS", "30", "How long a message is shown"),
    setting("message-max-bytes", "BYTES", "262144", "The longest text of a message"),
    setting("group-max-members", "N", "1000", "The most members that a group may be created for"),
    setting("body-max-bytes", "BYTES", "5242880", "The largest body of a request"),
    setting("body-stall-seconds", "SECONDS", "30", "The longest silence in the middle of a body"),
    setting("body-total-seconds", "SECONDS", "300", "The longest time that a body may take"),
    setting("hash-memory-kib", "KIB", "19456", "Memory of one password hash (argon2id)"),
    setting("hash-passes", "N", "2", "Passes of one password hash"),
    setting("hash-workers", "N", "", "Password hashes at once; as many as there are cores"),
    setting("hash-queue", "N", "1024", "Password hashes that may wait; one more is refused as UNAVAILABLE"),
    setting("ledger-queue", "N", "8192", "Commands that may wait for the log; one more is refused as UNAVAILABLE"),
    setting("ledger-batch-commands", "N", "512", "The most commands that are written at once"),
    setting("ledger-batch-bytes", "BYTES", "8388608", "The most bytes of content that are written at once"),
    setting("ledger-cached-streams", "N", "100000", "States of streams that are kept in memory"),
    setting(
        "ledger-patience-seconds",
        "SECONDS",
        "5",
        "How long a command waits for a database that is away before it is refused as UNAVAILABLE",
    ),
    setting(
        "ledger-outcome-seconds",
        "SECONDS",
        "30",
        "How long a command waits to learn whether it was written before it is answered OUTCOMEUNKNOWN",
    ),
    setting("events-queue", "N", "256", "Changes that may wait for a slow reader before its stream ends"),
    setting("events-per-account", "N", "64", "Event streams that an account may have open"),
    setting("events-heartbeat-seconds", "SECONDS", "15", "Pause between comment lines on a silent event stream"),
    setting(
        "test-mode",
        "true|false",
        "false",
        "Allows settings that are too weak for the world, for tests; refused unless the server listens on loopback",
    ),
    setting(
        "test-clock-file",
        "FILE",
        "",
        "Moves the server's clock by the seconds that the file says, for tests; refused without test-mode",
    ),
];

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
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where the server keeps its files.
    pub data_dir: PathBuf,
    /// A PostgreSQL to use; none: a private one.
    pub database_url: Option<String>,
    /// Connections for reading.
    pub database_connections: u32,
    /// Where the programs of PostgreSQL are.
    pub pg_bin: Option<PathBuf>,
    /// The key that opens the vault.
    pub master_key_file: PathBuf,
    /// A file with the operator's token.
    pub operator_token_file: Option<PathBuf>,
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
    /// As JSON lines.
    pub log_json: bool,
    /// Password hashing.
    pub hash: HashSettings,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// The feed.
    pub hub: HubSettings,
    /// Request bodies.
    pub body: BodyLimits,
    /// The routes.
    pub app: AppSettings,
}

/// Adds the flags of the table to a command.
pub fn flags(command: Command) -> Command {
    let command = command
        .arg(Arg::new("config").long("config").value_name("FILE").env("BE8_CONFIG").help("A TOML file with settings"));
    SETTINGS.iter().fold(command, |command, setting| {
        let mut arg = Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.value)
            .env(format!("BE8_{}", setting.name.to_ascii_uppercase().replace('-', "_")))
            .hide_env_values(true)
            .help(setting.help);
        if !setting.default.is_empty() {
            arg = arg.default_value(setting.default);
        }
        command.arg(arg)
    })
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
            let given = matches.get_one::<String>(setting.name).cloned();
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

    fn days(&self, name: &'static str) -> Result<TimeDelta, ConfigError> {
        Ok(TimeDelta::days(i64::from(self.count::<u16>(name)?)))
    }
}

fn read_file(path: &Path) -> Result<HashMap<String, String>, ConfigError> {
    let bad = |what: String| ConfigError::File { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.message().to_owned()))?;
    let mut values = HashMap::new();
    for (name, value) in table {
        if SETTINGS.iter().all(|setting| setting.name != name) {
            return Err(ConfigError::Unknown { path: path.to_owned(), name });
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            _ => return Err(bad(format!("{name} is neither text, number nor boolean"))),
        };
        values.insert(name, text);
    }
    Ok(values)
}

impl Config {
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
        let trusted_proxies = values
            .text("trusted-proxy")
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(|address| {
                let what = |error| format!("{address:?}: {error}");
                address.trim().parse().map_err(|error| ConfigError::Value { name: "trusted-proxy", what: what(error) })
            })
            .collect::<Result<_, _>>()?;
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
        // The least that OWASP names for argon2id with one lane.
        if !test_mode && (hash.memory_kib < 19_456 || hash.passes < 2) {
            let what = "less than 19456 KiB or 2 passes makes passwords guessable".to_owned();
            return Err(ConfigError::Value { name: "hash-memory-kib", what });
        }
        let log_json = match values.text("log-format") {
            Some("json") => true,
            Some("text") | None => false,
            Some(other) => {
                let what = format!("{other:?} is neither text nor json");
                return Err(ConfigError::Value { name: "log-format", what });
            }
        };
        Ok(Self {
            listen,
            trusted_proxies,
            database_url: values.text("database-url").map(str::to_owned).or_else(|| environment("DATABASE_URL")),
            database_connections: values.count("database-connections")?,
            pg_bin: values.text("pg-bin").map(str::to_owned).or_else(|| environment("PG_BIN")).map(PathBuf::from),
            master_key_file: values.text("master-key-file").map_or_else(|| data_dir.join("master.key"), PathBuf::from),
            tls,
            site: SiteSettings {
                client: values.text("client-dir").map(PathBuf::from),
                insights: values.text("insights-dir").map(PathBuf::from),
            },
            media: MediaSettings {
                folder: values.text("media-dir").map_or_else(|| data_dir.join("media"), PathBuf::from),
                s3: values.text("media-s3-bucket").map(|bucket| S3Settings {
                    bucket: bucket.to_owned(),
                    prefix: values.text("media-s3-prefix").unwrap_or_default().to_owned(),
                    endpoint: values.text("media-s3-endpoint").map(str::to_owned),
                    region: values.text("media-s3-region").unwrap_or_default().to_owned(),
                }),
            },
            media_grace: TimeDelta::hours(i64::from(values.count::<u16>("media-orphan-hours")?)),
            turns: TurnSettings {
                bodies: values.count("media-bodies")?,
                waiting: values.count("media-waiting")?,
                ..TurnSettings::default()
            },
            operator_token_file: values.text("operator-token-file").map(PathBuf::from),
            data_dir,
            log: values.text("log").unwrap_or("info").to_owned(),
            log_json,
            hash,
            ledger: LedgerSettings {
                queue: values.count("ledger-queue")?,
                batch_commands: values.count("ledger-batch-commands")?,
                batch_bytes: values.count("ledger-batch-bytes")?,
                cached_streams: values.count("ledger-cached-streams")?,
                patience: values.seconds("ledger-patience-seconds")?,
                outcome_patience: values.seconds("ledger-outcome-seconds")?,
                // A clock that a test moves is far from PostgreSQL's.
                any_clock: test_clock_file.is_some(),
            },
            test_clock_file,
            hub: HubSettings {
                queue: values.count("events-queue")?,
                streams_per_account: values.count("events-per-account")?,
            },
            body: BodyLimits {
                bytes: values.count("body-max-bytes")?,
                stall: values.seconds("body-stall-seconds")?,
                total: values.seconds("body-total-seconds")?,
                ..BodyLimits::default()
            },
            app: AppSettings {
                https: public_url.starts_with("https://"),
                account_lifetime: values.days("account-lifetime-days")?,
                message_lifetime: values.days("message-lifetime-days")?,
                group_members: values.count("group-max-members")?,
                message_bytes: values.count("message-max-bytes")?,
                heartbeat: values.seconds("events-heartbeat-seconds")?,
            },
            public_url,
        })
    }
}

/// Root's directory must be one that PostgreSQL's own user can enter.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() { "/var/lib/be8".into() } else { ".be8".into() }
}

/// The table of settings as `docs/settings.md` shows it.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Settings\n\nEach setting is a flag (`--listen`), a variable (`BE8_LISTEN`) or a key of the TOML file that \
         `--config` or\n`BE8_CONFIG` names (`listen = \"...\"`). A flag beats the variable, that beats the file. They \
         are checked at start.\n\nThis page is made from the table in `src/config.rs`; a test compares them.\n\n\
         | setting | value | default | what it does |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let value = setting.value.replace('|', "\\|");
        out.push_str(&format!("| `--{}` | {value} | {default} | {} |\n", setting.name, setting.help));
    }
    out
}
