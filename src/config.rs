//! The settings: one table, read from flags, the environment and a file, checked at start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::audit::AuditSettings;
use crate::feed::HubSettings;
use crate::http::AppSettings;
use crate::http::address::Proxies;
use crate::http::admission::AdmissionSettings;
use crate::http::body::BodyLimits;
use crate::http::limits::{Limit, LimitSettings};
use crate::http::removal::origin_of;
use crate::ledger::LedgerSettings;
use crate::password::HashSettings;
use crate::push::{PushSettings, hosts};

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
    setting(
        "trusted-proxy",
        "ADDRESS,...",
        "",
        "Proxies that are believed about whom they speak for; none unless named",
    ),
    setting(
        "forwarded-header",
        "x-forwarded-for|forwarded",
        "x-forwarded-for",
        "The header in which those proxies name the client",
    ),
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
        "tokens-file",
        "FILE",
        "",
        "A TOML file with tokens that extend the life of accounts; those that were never issued are issued at the start",
    ),
    setting(
        "audit-key-file",
        "FILE",
        "",
        "The key that signs the transparency log; made on the first start as audit.key beside the master key",
    ),
    setting(
        "audit-name",
        "NAME",
        "",
        "The name (origin) of the transparency log, for who makes its key; public-url without scheme, and /audit/log",
    ),
    setting("public-audit-log", "on|off", "on", "Whether anybody may read checkpoints and hashes under /audit/log/"),
    setting("checkpoint-interval", "SECONDS", "10", "Pause between signed checkpoints, while there is something new"),
    setting(
        "witness-key",
        "FILE",
        "",
        "Cosign checkpoints of other logs with the key in this file, which is made on the first start",
    ),
    setting("witness-logs", "KEY,...", "", "The public keys of the logs that are cosigned"),
    setting("witnesses", "URL#KEY,...", "", "Who is asked to cosign our checkpoints: addresses with their public keys"),
    setting("log", "FILTER", "info", "What is logged: error, warn, info, debug, trace, or a filter by module"),
    setting("log-format", "text|json", "text", "How it is logged"),
    setting(
        "registration",
        "open|closed",
        "open",
        "Whether new accounts are made; `be8 registration` can close it, too",
    ),
    setting(
        "signup-free-disk-mib",
        "MIB",
        "512",
        "New accounts are refused below this free space of the data directory; 0: never",
    ),
    setting("signup-free-memory-mib", "MIB", "128", "New accounts are refused below this free memory; 0: never"),
    setting(
        "signup-queue-percent",
        "PERCENT",
        "80",
        "New accounts are refused while the queue of commands or of password hashes is fuller than this",
    ),
    setting("limit-signups", "N/SECONDS|off", "1000/60", "New accounts from one address (IPv6: from one /64)"),
    setting("limit-address", "N/SECONDS|off", "30000/60", "Requests from one address that show no session"),
    setting("limit-session", "N/SECONDS|off", "12000/60", "Requests of one session"),
    setting("limit-streams", "N/SECONDS|off", "600/60", "Event streams that one session opens"),
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
    setting("devices-per-account", "N", "20", "Devices that an account may push to; one more displaces the oldest"),
    setting(
        "vapid-key-file",
        "FILE",
        "",
        "The key pair that signs pushes (`be8 vapid` makes it); vapid.key in the data directory if it is there; without one nothing is pushed",
    ),
    setting(
        "vapid-subject",
        "URL",
        "",
        "The contact that push services are told (mailto: or https:); needed with a key pair",
    ),
    setting("push-hosts", "HOST,...", hosts::BROWSERS, "Where pushes may be sent; *.NAME means all hosts below it"),
    setting(
        "push-timeout-seconds",
        "SECONDS",
        "10",
        "How long connecting to a push service may take, and then its answer",
    ),
    setting("push-at-once", "N", "16", "Pushes under way to one push service at a time"),
    setting("push-queue", "N", "10000", "Pushes that may wait for one push service; what is beyond is left out"),
    setting("push-lifetime-seconds", "SECONDS", "86400", "For how long after it was written a message is pushed"),
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
    setting(
        "push-test-peer",
        "http://ADDRESS:PORT",
        "",
        "Sends all pushes to a push service of a test on this machine instead; refused without test-mode",
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
    /// Limits on requests, and the proxies that are believed about where they come from.
    pub limits: LimitSettings,
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
    /// A file with tokens to issue.
    pub tokens_file: Option<PathBuf>,
    /// The transparency log.
    pub audit: AuditSettings,
    /// Moves the clock, in tests.
    pub test_clock_file: Option<PathBuf>,
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
    /// Web Push.
    pub push: PushSettings,
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

    /// A limit, or none.
    fn limit(&self, name: &'static str) -> Result<Option<Limit>, ConfigError> {
        if self.text(name) == Some("off") { Ok(None) } else { self.parse(name).map(Some) }
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
        let public_url = match values.text("public-url") {
            None => format!("http://{listen}"),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                url.trim_end_matches('/').to_owned()
            }
            Some(url) => {
                let what = format!("{url:?} begins with neither https:// nor http://");
                return Err(ConfigError::Value { name: "public-url", what });
            }
        };
        let trusted = values
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
            // A count of seconds in 32 bits is a span of time.
            lifetime: TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::MAX),
            test_peer,
        };
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
        let master_key_file = values.text("master-key-file").map_or_else(|| data_dir.join("master.key"), PathBuf::from);
        Ok(Self {
            audit: AuditSettings::new(
                |name| values.text(name),
                values.seconds("checkpoint-interval")?,
                &public_url,
                &master_key_file,
            )
            .map_err(|(name, what)| ConfigError::Value { name, what })?,
            listen,
            limits: LimitSettings {
                signups: values.limit("limit-signups")?,
                address: values.limit("limit-address")?,
                session: values.limit("limit-session")?,
                streams: values.limit("limit-streams")?,
                proxies: Proxies { trusted, header: values.parse("forwarded-header")? },
            },
            database_url: values.text("database-url").map(str::to_owned).or_else(|| environment("DATABASE_URL")),
            database_connections: values.count("database-connections")?,
            pg_bin: values.text("pg-bin").map(str::to_owned).or_else(|| environment("PG_BIN")).map(PathBuf::from),
            master_key_file,
            operator_token_file: values.text("operator-token-file").map(PathBuf::from),
            tokens_file: values.text("tokens-file").map(PathBuf::from),
            data_dir: data_dir.clone(),
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
            push,
            app: AppSettings {
                https: public_url.starts_with("https://"),
                origin: origin_of(&public_url),
                account_lifetime: values.days("account-lifetime-days")?,
                message_lifetime: values.days("message-lifetime-days")?,
                group_members: values.count("group-max-members")?,
                message_bytes: values.count("message-max-bytes")?,
                devices: values.count("devices-per-account")?,
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
