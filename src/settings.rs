//! The table of settings: each is a flag, a variable and a key of the file.

use clap::{Arg, ArgAction, Command};

use crate::push::hosts;

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

impl Setting {
    /// Whether it has several values, separated by commas.
    pub fn is_list(&self) -> bool {
        self.value.ends_with(",...")
    }
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
        "The address that clients use, if it is not where the server listens; when it is https the session cookie is Secure and its name __Host-be8",
    ),
    setting(
        "trusted-proxy",
        "NETWORK,...",
        "",
        "Trusted reverse proxies, by address or network (10.0.0.0/8): their statements about the client, its scheme and host are honoured",
    ),
    setting(
        "forwarded-header",
        "x-forwarded-for|forwarded",
        "x-forwarded-for",
        "The header in which those proxies name the client; with the first, X-Forwarded-Proto and X-Forwarded-Host are read, too",
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
        "database-read-seconds",
        "N",
        "10",
        "How long a statement that reads may take before its request is answered by 503",
    ),
    setting(
        "views",
        "on|off",
        "on",
        "Answers reads from memory, exact at the position of the log that a read asks for; off: from PostgreSQL",
    ),
    setting("view-memory-mib", "MIB", "", "Memory for that; a sixteenth of the machine's, from 32 to 2048"),
    setting(
        "pg-bin",
        "DIR",
        "",
        "Where the programs of PostgreSQL are, for the private one (also PG_BIN); searched in the usual places",
    ),
    setting(
        "postgres-buffers-mib",
        "MIB",
        "",
        "Memory in which the private PostgreSQL keeps its tables (shared_buffers); a quarter of the machine's, from 128 to 8192",
    ),
    setting(
        "master-key-file",
        "FILE",
        "",
        "The key that opens the vault; made on the first start as master.key in the data directory",
    ),
    setting(
        "rotating-key-file",
        "FILE",
        "",
        "A second key that the vault needs, changed on a schedule; made as rotating.key beside the master key; servers on one database share the file",
    ),
    setting(
        "vault-rotation-hours",
        "HOURS|off",
        "24",
        "How often that key is changed; off: never, and a new vault gets none: copies of erased keys then open with the master key",
    ),
    setting(
        "vault-erasure-minutes",
        "MINUTES",
        "60",
        "After an erasure that key is changed within this time, so that older copies of the erased keys open nothing",
    ),
    setting(
        "vault-grace-minutes",
        "MINUTES",
        "60",
        "How long the key before it is kept, for a database that is restored without its last minutes, before it is overwritten",
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
        "A certificate chain in PEM: the server then speaks https, and reloads it on SIGHUP",
    ),
    setting("tls-key", "FILE", "", "The private key of the certificate, in PEM"),
    setting(
        "client-dir",
        "DIR",
        "",
        "A built web client to serve at /; without it / is a page of be8; reloaded on SIGHUP",
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
    setting("media-s3-prefix", "PATH", "", "The prefix of all names in the bucket"),
    setting("media-s3-endpoint", "URL", "", "A store that speaks S3; without it Amazon's"),
    setting("media-s3-region", "NAME", "us-east-1", "The region of the bucket"),
    setting(
        "media-s3-cloud-credentials",
        "BOOL",
        "false",
        "Ask the metadata service of the cloud for credentials if the environment has none",
    ),
    setting("media-s3-connect-seconds", "SECONDS", "5", "How long connecting to the store may take"),
    setting("media-s3-attempt-seconds", "SECONDS", "15", "How long one attempt of a request to the store may take"),
    setting("media-s3-total-seconds", "SECONDS", "30", "How long a request to the store may take with its repetitions"),
    setting(
        "media-bodies",
        "N",
        "16",
        "Images that are uploaded or downloaded at once; others wait; one account takes a quarter of the turns",
    ),
    setting(
        "media-waiting",
        "N",
        "64",
        "Images that may wait to be uploaded, a quarter of them of one account; one more is refused as UNAVAILABLE",
    ),
    setting("media-orphan-hours", "HOURS", "24", "How long the content of an image may exist without a message"),
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
        "The name (origin) of the transparency log when its key is made; public-url without scheme, and /audit/log",
    ),
    setting("public-audit-log", "on|off", "on", "Whether anybody may read checkpoints and hashes under /audit/log/"),
    setting("checkpoint-interval", "SECONDS", "60", "Pause between signed checkpoints, while there is something new"),
    setting(
        "checkpoint-request-interval",
        "SECONDS",
        "10",
        "How old the last checkpoint must be before a proof that needs a newer one has it signed at once",
    ),
    setting(
        "witness-key",
        "FILE",
        "",
        "The key with which checkpoints of other logs are cosigned; the file is made on the first start",
    ),
    setting("witness-logs", "KEY,...", "", "The public keys of the logs that are cosigned"),
    setting(
        "witnesses",
        "URL#KEY,...",
        "",
        "Witnesses that are asked to cosign checkpoints: addresses with their public keys",
    ),
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
    setting("limit-account", "N/SECONDS|off", "12000/60", "Requests of one account, by all of its sessions"),
    setting("limit-streams", "N/SECONDS|off", "600/60", "Event streams that one account opens"),
    setting(
        "connections",
        "N",
        "",
        "Connections of clients at once; one more is closed; three quarters of the files that the process may open, at most 20000",
    ),
    setting(
        "connections-per-address",
        "N",
        "1000",
        "Of those, from one address (IPv6: from one /64); trusted proxies have no such limit",
    ),
    setting(
        "request-head-seconds",
        "SECONDS",
        "60",
        "How long a connection without a request under way stays open, and the longest wait for a request's whole head",
    ),
    setting("account-lifetime-days", "DAYS", "30", "How long an account lives unless its life is extended"),
    setting("message-lifetime-days", "DAYS", "30", "How long a message is shown"),
    setting("message-max-bytes", "BYTES", "262144", "The longest text of a message"),
    setting(
        "group-key-max-bytes",
        "BYTES",
        "8192",
        "The longest wrapped key of a group; those of the web client have some 400 bytes",
    ),
    setting("group-max-members", "N", "1000", "The most members that a group may be created for"),
    setting("body-max-bytes", "BYTES", "5242880", "The largest body of a request"),
    setting("body-stall-seconds", "SECONDS", "30", "The longest silence in the middle of a body"),
    setting("body-total-seconds", "SECONDS", "300", "The longest time that a body may take"),
    setting(
        "body-memory-mib",
        "MIB",
        "256",
        "Memory for bodies that come in; beyond it what exceeds 64 KiB on a connection is refused as UNAVAILABLE",
    ),
    setting(
        "connection-dead-seconds",
        "SECONDS",
        "30",
        "After how long without an acknowledgement or an answer to a probe a connection is closed",
    ),
    setting(
        "answer-stall-seconds",
        "SECONDS",
        "60",
        "The longest time in which a client may read nothing of its answer; a large answer may take longer, at 8 KiB a second",
    ),
    setting(
        "answer-memory-mib",
        "MIB",
        "256",
        "Memory for answers on their way; beyond it those over 64 KiB wait or are refused as UNAVAILABLE",
    ),
    setting("hash-memory-kib", "KIB", "19456", "Memory of one password hash (argon2id)"),
    setting("hash-passes", "N", "2", "Passes of one password hash"),
    setting("hash-workers", "N", "", "Password hashes at once; as many as there are cores"),
    setting(
        "hash-queue",
        "N",
        "2048",
        "Password hashes that may wait, a quarter of them for one address or account; one more is refused as UNAVAILABLE",
    ),
    setting(
        "login-queue",
        "N",
        "1024",
        "Logins that may wait for the check of their password, a quarter of them for one address or account; one more is \
         refused as RATELIMITED",
    ),
    setting("sessions-per-account", "N", "32", "Sessions that an account may have open; one more ends the oldest"),
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
        "events-refused-seconds",
        "SECONDS",
        "3",
        "How long a refused event stream is held open before it ends, for clients that come back at once",
    ),
    setting("events-refused", "N", "1000", "Refused event streams that are held open at a time; more end at once"),
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
        "The contact that push services get (mailto: or https:); needed with a key pair",
    ),
    setting("push-hosts", "HOST,...", hosts::BROWSERS, "Where pushes may be sent; *.NAME means all hosts below it"),
    setting(
        "push-timeout-seconds",
        "SECONDS",
        "10",
        "How long connecting to a push service may take, and then its answer",
    ),
    setting("push-at-once", "N", "16", "Pushes under way to one push service at a time"),
    setting("push-queue", "N", "10000", "Pushes that may wait for one push service; more are dropped"),
    setting(
        "push-refusals",
        "N",
        "10",
        "A device is dropped when its push service refused so many pushes to it in a row and accepted none",
    ),
    setting("push-lifetime-seconds", "SECONDS", "86400", "For how long after it was written a message is pushed"),
    setting(
        "test-mode",
        "true|false",
        "false",
        "Allows settings that are too weak for production, for tests; refused unless the server listens on loopback",
    ),
    setting(
        "test-clock-file",
        "FILE",
        "",
        "Moves the server's clock by the seconds in the file (a second number: how many seconds have passed besides), for tests; refused without test-mode",
    ),
    setting(
        "test-views",
        "BYTES,EVENTS,MILLISECONDS",
        "",
        "Views of so many bytes, which keep so many of the newest events and follow the log so much later, for tests; refused without test-mode",
    ),
    setting(
        "push-test-peer",
        "http://ADDRESS:PORT",
        "",
        "Sends all pushes to a push service of a test on this machine instead; refused without test-mode",
    ),
];

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
        if setting.is_list() {
            arg = arg.action(ArgAction::Append);
        }
        if !setting.default.is_empty() {
            arg = arg.default_value(setting.default);
        }
        command.arg(arg)
    })
}

/// The table of settings as `docs/settings.md` shows it.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Settings\n\nEach setting is a flag (`--listen`), a variable (`BE8_LISTEN`) or a key of the TOML file that \
         `--config` or\n`BE8_CONFIG` names (`listen = \"...\"`). A flag beats the variable, that beats the file, and \
         that beats `DATABASE_URL` and\n`PG_BIN`. A list is one text with commas (`\"10.0.0.1,10.0.0.2\"`), or \
         several flags, or an array in the file. They are checked at start,\nand all commands take the same, so that \
         one file serves the server and the commands beside it (`be8 openapi` and\n`be8 verify-bundle` need none).\n\nThis page is made from the table in `src/settings.rs`; a test compares them.\n\n\
         | setting | value | default | what it does |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let value = setting.value.replace('|', "\\|");
        out.push_str(&format!("| `--{}` | {value} | {default} | {} |\n", setting.name, setting.help));
    }
    out
}
