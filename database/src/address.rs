//! What a database URL means: hosts, who connects, TLS, and what kind of server is wanted. Each parameter is understood or
//! refused by its name; nothing is ignored. No error carries the URL, which may hold a password.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::environment::variable;
use crate::parameters::{self, Known, PARAMETERS};
use crate::session::BASE;

/// How long an attempt to connect may take, unless the URL says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(String);

impl BadAddress {
    pub(crate) fn standby() -> Self {
        Self(
            "its target_session_attrs asks for a standby, and this has to write: write read-write, or leave it out"
                .to_owned(),
        )
    }
}

/// Which server is wanted (`target_session_attrs`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// For writing one that takes writes; for reading any.
    #[default]
    Any,
    /// One that takes writes.
    Writable,
    /// A standby, or one that is set to read-only.
    ReadOnly,
    /// A standby.
    Standby,
    /// A standby if there is one.
    PreferStandby,
}

/// A database, as a URL names it.
#[derive(Clone)]
pub struct Address {
    /// How to connect to each host, in order.
    pub(crate) hosts: Vec<PgConnectOptions>,
    /// Which kind of server is wanted.
    pub(crate) target: Target,
    /// How long an attempt to connect may take.
    pub(crate) connect_timeout: Duration,
    /// Settings of the session that the URL asks for.
    pub(crate) settings: Vec<(String, String)>,
    /// Only reached through a socket that is this program's own.
    pub(crate) private: bool,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("is", &self.describe()).finish_non_exhaustive()
    }
}

impl Address {
    /// Reads a URL, and what it leaves out from libpq's variables in the environment (and the password from a passfile).
    ///
    /// # Errors
    /// [`BadAddress`] names what cannot be used.
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        Given::read(url)?.address()
    }

    /// A server that only this program and its commands reach.
    pub fn private(options: PgConnectOptions) -> Self {
        Self {
            hosts: vec![options],
            target: Target::Any,
            connect_timeout: CONNECT_TIMEOUT,
            settings: Vec::new(),
            private: true,
        }
    }

    /// The database and where it is, without who connects.
    pub fn describe(&self) -> String {
        let database = self.hosts.first().and_then(|host| host.get_database()).unwrap_or("postgres");
        let hosts: Vec<_> = self.hosts.iter().map(place).collect();
        format!("{database} at {}", hosts.join(", "))
    }
}

/// Where a server is.
pub(crate) fn place(host: &PgConnectOptions) -> String {
    match host.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if host.get_host().contains(':') => format!("[{}]:{}", host.get_host(), host.get_port()),
        None => format!("{}:{}", host.get_host(), host.get_port()),
    }
}

impl From<PgConnectOptions> for Address {
    /// A server as sqlx names it.
    fn from(options: PgConnectOptions) -> Self {
        Self { private: false, ..Self::private(options) }
    }
}

/// The parameters that are given, by their names in the table.
struct Given(Vec<(String, String)>);

fn bad<T>(what: impl Into<String>) -> Result<T, BadAddress> {
    Err(BadAddress(what.into()))
}

fn decoded(text: &str, what: &str) -> Result<String, BadAddress> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => bad(format!("{what} is not UTF-8")),
    }
}

impl Given {
    fn read(url: &str) -> Result<Self, BadAddress> {
        let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) else {
            return bad("it does not begin with postgres:// or postgresql://");
        };
        let (front, query) = rest.split_once('?').map_or((rest, None), |(front, query)| (front, Some(query)));
        let (authority, path) = front.split_once('/').map_or((front, ""), |(authority, path)| (authority, path));
        let (who, hosts) = authority.rsplit_once('@').map_or((None, authority), |(who, hosts)| (Some(who), hosts));
        let mut given = Self(Vec::new());
        if let Some(who) = who {
            let (user, password) = who.split_once(':').map_or((who, None), |(user, password)| (user, Some(password)));
            given.take("user", decoded(user, "the user")?)?;
            if let Some(password) = password {
                given.take("password", decoded(password, "the password")?)?;
            }
        }
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            let (name, port) = split_port(host)?;
            names.push(decoded(name, "a host")?);
            ports.push(port.to_owned());
        }
        if names.iter().any(|name| !name.is_empty()) {
            given.take("host", names.join(","))?;
        }
        if ports.iter().any(|port| !port.is_empty()) {
            given.take("port", ports.join(","))?;
        }
        given.take("dbname", decoded(path, "the name of the database")?)?;
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return bad("a parameter has no value: parameters are written name=value, joined by &");
            };
            let name = decoded(name, "the name of a parameter")?;
            // libpq leaves a plus sign what it is; drivers read it as a space, which only `options` can mean.
            let value = if name == "options" { value.replace('+', " ") } else { value.to_owned() };
            let value = decoded(&value, &format!("the parameter {name}"))?;
            match name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
                Some(setting) => given.0.push(("options".into(), format!("-c {setting}={}", escaped(&value)))),
                None => given.take(parameters::canonical(&name), value)?,
            }
        }
        for (name, known) in PARAMETERS {
            if let Known::Understood(Some(environment)) = known
                && given.get(name).is_none()
                && let Some(value) = variable(environment)
            {
                given.take(name, value)?;
            }
        }
        Ok(given)
    }

    /// Takes a parameter, if it is one that can be had. An empty value is none, as for libpq.
    fn take(&mut self, name: &str, value: String) -> Result<(), BadAddress> {
        match parameters::known(name) {
            None => {
                return bad(format!(
                    "there is no parameter {name:?} (docs/operations.md lists those that are understood)"
                ));
            }
            Some(Known::Refused(why)) => return bad(format!("the parameter {name} is not supported: {why}")),
            Some(Known::Only(values)) if !values.contains(&&*value) => {
                return bad(format!("{name}={value} is not supported: it can only be {}", values.join(" or ")));
            }
            Some(Known::Only(_) | Known::Understood(_)) => {}
        }
        if value.is_empty() {
            return Ok(());
        }
        if name != "options" {
            // The last one counts, as for libpq.
            self.0.retain(|(taken, _)| taken != name);
        }
        self.0.push((name.to_owned(), value));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(taken, _)| taken == name).map(|(_, value)| &**value)
    }

    fn address(&self) -> Result<Address, BadAddress> {
        let target = match self.get("target_session_attrs") {
            None | Some("any") => Target::Any,
            Some("read-write" | "primary") => Target::Writable,
            Some("read-only") => Target::ReadOnly,
            Some("standby") => Target::Standby,
            Some("prefer-standby") => Target::PreferStandby,
            Some(other) => {
                return bad(format!(
                    "target_session_attrs={other} is not supported: it can be any, read-write, primary, and for commands that \
                     only read read-only, standby or prefer-standby"
                ));
            }
        };
        let connect_timeout = match self.get("connect_timeout").map(str::parse::<i64>) {
            None => CONNECT_TIMEOUT,
            // For libpq these mean to wait forever.
            Some(Ok(..=0)) => CONNECT_TIMEOUT,
            Some(Ok(seconds)) if seconds <= 3600 => Duration::from_secs(seconds.unsigned_abs()),
            Some(_) => return bad("connect_timeout is not a number of seconds up to 3600"),
        };
        Ok(Address { hosts: self.hosts()?, target, connect_timeout, settings: self.settings()?, private: false })
    }

    fn hosts(&self) -> Result<Vec<PgConnectOptions>, BadAddress> {
        if self.get("host").is_some() && self.get("hostaddr").is_some() {
            return bad("host and hostaddr together are not supported: name one of them");
        }
        let list = self.get("hostaddr").or_else(|| self.get("host"));
        let names: Vec<&str> = list.map_or_else(|| vec![""], |list| list.split(',').collect());
        let ports: Vec<&str> = self.get("port").map_or_else(|| vec![""], |list| list.split(',').collect());
        if ports.len() != 1 && ports.len() != names.len() {
            return bad(format!("there are {} ports for {} hosts", ports.len(), names.len()));
        }
        let one = |(index, name): (usize, &&str)| {
            let port = match ports.get(index).or_else(|| ports.first()).copied().unwrap_or_default() {
                "" => 5432,
                text => match text.parse() {
                    Ok(port) if port != 0 => port,
                    _ => return bad(format!("{text:?} is no port")),
                },
            };
            self.options(name, port)
        };
        names.iter().enumerate().map(one).collect()
    }

    /// How to connect to one host.
    fn options(&self, host: &str, port: u16) -> Result<PgConnectOptions, BadAddress> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match host {
            // Where libpq looks, too: the socket of this machine.
            "" => default_socket(port).unwrap_or("localhost"),
            name => name,
        };
        let user = match self.get("user") {
            Some(user) => user.to_owned(),
            None => PgConnectOptions::new_without_pgpass().get_username().to_owned(),
        };
        let database = self.get("dbname").unwrap_or(&user);
        let mut options = match self.get("password") {
            Some(password) => {
                let options = PgConnectOptions::new_without_pgpass().port(port).username(&user).database(database);
                let options =
                    if host.starts_with('/') { options.host("localhost").socket(host) } else { options.host(host) };
                options.password(password)
            }
            // sqlx looks a password up in the passfile for what a URL names, and not otherwise.
            None => {
                let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let (host, user, database) = (encoded(host), encoded(&user), encoded(database));
                let url = format!("postgres://localhost:{port}/?host={host}&user={user}&dbname={database}");
                url.parse().map_err(|error: sqlx::Error| BadAddress(error.to_string()))?
            }
        };
        let name = self.get("application_name").or_else(|| self.get("fallback_application_name"));
        options = options.application_name(name.unwrap_or("be8"));
        if let Some(capacity) = self.get("statement-cache-capacity") {
            options = match capacity.parse() {
                Ok(capacity) => options.statement_cache_capacity(capacity),
                Err(_) => return bad("statement-cache-capacity is not a number"),
            };
        }
        self.tls(options)
    }

    fn tls(&self, mut options: PgConnectOptions) -> Result<PgConnectOptions, BadAddress> {
        let root = self.get("sslrootcert");
        let default = if root == Some("system") { "verify-full" } else { "prefer" };
        let mode = self.get("sslmode").unwrap_or(default);
        options = options.ssl_mode(match mode {
            "disable" => PgSslMode::Disable,
            "prefer" => PgSslMode::Prefer,
            "require" => PgSslMode::Require,
            "verify-full" => PgSslMode::VerifyFull,
            "allow" => return bad("sslmode=allow is not supported: write prefer, or disable"),
            "verify-ca" => {
                return bad(
                    "sslmode=verify-ca is not supported: with it a certificate of any public authority for any name would do. \
                     Write verify-full",
                );
            }
            other => return bad(format!("sslmode={other} is not supported: it can be disable, prefer, require or verify-full")),
        });
        match root {
            None => {}
            Some("system") if mode == "verify-full" => {}
            Some("system") => return bad(format!("sslrootcert=system goes with sslmode=verify-full, not with {mode}")),
            Some(_) if mode != "verify-full" => {
                return bad(format!("sslrootcert is only looked at with sslmode=verify-full, and this is {mode}"));
            }
            Some(file) => {
                readable("sslrootcert", file)?;
                options = options.ssl_root_cert(file);
            }
        }
        match (self.get("sslcert"), self.get("sslkey")) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                readable("sslcert", cert)?;
                readable("sslkey", key)?;
                options = options.ssl_client_cert(cert).ssl_client_key(key);
            }
            _ => return bad("sslcert and sslkey go together"),
        }
        Ok(options)
    }

    /// The settings in `options`, as `-c name=value` or `--name=value`.
    fn settings(&self) -> Result<Vec<(String, String)>, BadAddress> {
        let mut settings = Vec::new();
        for options in self.0.iter().filter(|(name, _)| name == "options").map(|(_, value)| value) {
            let mut words = words(options).into_iter();
            while let Some(word) = words.next() {
                let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
                    (Some(long), _) => long.to_owned(),
                    (_, Some("")) => words.next().unwrap_or_default(),
                    (_, Some(short)) => short.to_owned(),
                    _ => return bad(format!("options: {word:?} is not supported: only -c name=value is")),
                };
                let Some((name, value)) = setting.split_once('=') else {
                    return bad(format!("options: {setting:?} is not name=value"));
                };
                let name = name.replace('-', "_").to_ascii_lowercase();
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
                    return bad(format!("options: {name:?} is no name of a setting"));
                }
                if BASE.iter().any(|(ours, _)| *ours == name) || name == "session_replication_role" {
                    return bad(format!("options: {name} is set by be8 itself"));
                }
                settings.push((name, value.to_owned()));
            }
        }
        Ok(settings)
    }
}

/// The host and the port of `host:port`, where either may be missing and a host may be `[2001:db8::1]`.
fn split_port(host: &str) -> Result<(&str, &str), BadAddress> {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((name, rest)) = rest.split_once(']') else { return bad("a host has [ but no ]") };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((name, port)),
            None if rest.is_empty() => Ok((name, "")),
            None => bad("after the ] of a host comes neither a port nor the end"),
        };
    }
    Ok(host.split_once(':').unwrap_or((host, "")))
}

/// A file that can be read, and holds something in PEM.
fn readable(parameter: &str, file: &str) -> Result<(), BadAddress> {
    match std::fs::read_to_string(Path::new(file)) {
        Ok(text) if text.contains("-----BEGIN ") => Ok(()),
        Ok(_) => bad(format!("{parameter}: {file} holds nothing in PEM (-----BEGIN ...)")),
        Err(error) => bad(format!("{parameter}: {file}: {error}")),
    }
}

/// The directory of a socket of PostgreSQL on this machine.
fn default_socket(port: u16) -> Option<&'static str> {
    ["/var/run/postgresql", "/tmp"].into_iter().find(|dir| Path::new(&format!("{dir}/.s.PGSQL.{port}")).exists())
}

/// A value in `options`: spaces and backslashes are escaped by a backslash.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// The words of `options`: separated by spaces, of which a backslash makes a plain character.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                word.extend(chars.next());
                begun = true;
            }
            char if char.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            char => {
                word.push(char);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
