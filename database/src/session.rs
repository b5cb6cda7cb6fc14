//! The settings of a session: set by statement, since poolers drop what comes with the start of a connection, and read back.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::error::ConnectError;

/// What every session of be8 sets; the guarded append and the readers rely on it.
pub(crate) const BASE: &[(&str, &str)] = &[
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("jit", "off"),
    // "already exists, skipping" at every start is no news.
    ("client_min_messages", "warning"),
];

/// What a new session is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// It takes no writes: the server is a standby, or sessions are read-only by default.
    pub(crate) read_only: bool,
    /// The server is a standby.
    pub(crate) standby: bool,
}

/// Sets the settings of a session, in their order, and verifies those that keep data safe.
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    settings: &[(String, String)],
    private: bool,
) -> Result<Seen, ConnectError> {
    // One message, and by the simple protocol: nothing of it is prepared.
    sqlx::raw_sql(AssertSqlSafe(statement(settings))).execute(&mut *connection).await?;
    let row = sqlx::raw_sql(
        "select pg_is_in_recovery() as standby,
            current_setting('transaction_read_only') as read_only,
            current_setting('synchronous_commit') as commit,
            current_setting('default_transaction_isolation') as isolation,
            current_setting('session_replication_role') as role,
            current_setting('fsync') as fsync,
            current_setting('full_page_writes') as pages",
    )
    .fetch_one(connection)
    .await?;
    let text = |column| row.try_get::<&str, _>(column);
    let wanted = wanted(settings, "synchronous_commit");
    let (commit, isolation, role) = (text("commit")?, text("isolation")?, text("role")?);
    let broken = |name: &str, is: &str, must: &str| {
        ConnectError::Unsafe(format!(
            "{name} is {is:?} in a session of be8, although it was set to {must}: a pooler or a proxy drops settings, or \
             PostgreSQL does not let this role set them. be8 does not work without it"
        ))
    };
    if commit != wanted && !(wanted == "on" && commit == "remote_apply") {
        return Err(broken("synchronous_commit", commit, wanted));
    }
    if isolation != "read committed" {
        return Err(broken("default_transaction_isolation", isolation, "read committed"));
    }
    if role != "origin" {
        let what =
            format!("session_replication_role is {role:?}: with it the triggers that protect the log do not run");
        return Err(ConnectError::Unsafe(what));
    }
    for (name, is) in [("fsync", text("fsync")?), ("full_page_writes", text("pages")?)] {
        if private && is != "on" {
            let what =
                format!("{name} is {is:?} in the private PostgreSQL: a crash would destroy it. Remove that setting");
            return Err(ConnectError::Unsafe(what));
        }
        if is != "on" {
            warn_once(name);
        }
    }
    let standby: bool = row.try_get("standby")?;
    Ok(Seen { read_only: standby || text("read_only")? == "on", standby })
}

/// Says once that a server which the operator runs does not write durably.
fn warn_once(name: &'static str) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        tracing::warn!("{name} is off on this PostgreSQL: when its machine crashes, what was acknowledged may be lost")
    });
}

/// The last value that a setting is given.
fn wanted<'a>(settings: &'a [(String, String)], name: &str) -> &'a str {
    settings.iter().rfind(|(set, _)| set == name).map_or("", |(_, value)| value)
}

/// One statement that sets everything.
fn statement(settings: &[(String, String)]) -> String {
    let set = |(name, value): &(String, String)| {
        let (name, value) = (literal(name), literal(value));
        // A server on which each commit waits until a standby shows it must not wait for less.
        if name == "'synchronous_commit'" && value == "'on'" {
            return format!(
                "set_config({name}, case current_setting({name}) when 'remote_apply' then 'remote_apply' else 'on' end, false)"
            );
        }
        format!("set_config({name}, {value}, false)")
    };
    // Row by row, so that a later one of the same name wins.
    settings.iter().map(|setting| format!("select {};", set(setting))).collect()
}

/// A text as SQL has it, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted() {
        let of = |name: &str, value: &str| statement(&[(name.to_owned(), value.to_owned())]);
        assert_eq!(of("work_mem", "4MB"), "select set_config('work_mem', '4MB', false);");
        assert_eq!(of("a.b", "it's"), "select set_config('a.b', 'it''s', false);");
        assert_eq!(of("a.b", r"\'"), r"select set_config('a.b', E'\\''', false);");
        assert_eq!(of("synchronous_commit", "off"), "select set_config('synchronous_commit', 'off', false);");
        assert!(of("synchronous_commit", "on").contains("remote_apply"));
    }
}
