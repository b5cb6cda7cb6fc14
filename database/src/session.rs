//! The settings of a session: set by statement, since poolers drop what comes with the start of a connection, and read back.
//! Before them goes what a former client of a pooler may have left in the session.

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

/// Sets the settings of a session, and verifies that they hold.
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    settings: &[(String, String)],
    private: bool,
) -> Result<Seen, ConnectError> {
    let settings = last_of_each(settings);
    // A pooler without a reset query hands sessions on as they are: statements under the names that ours will get, locks,
    // subscriptions. PostgreSQL refuses this inside a transaction, which a new connection is not in; one that is, is not used.
    sqlx::raw_sql("discard all").execute(&mut *connection).await?;
    // By the simple protocol: nothing of it is prepared.
    let set = sqlx::raw_sql(AssertSqlSafe(setting(&settings))).fetch_one(&mut *connection).await?;
    let row = sqlx::raw_sql(AssertSqlSafe(asking(&settings))).fetch_one(connection).await?;
    let text = |column| row.try_get::<&str, _>(column);
    for (index, (name, _)) in settings.iter().enumerate() {
        // As PostgreSQL writes the value that was just set, in both.
        let (was_set, holds): (&str, &str) = (set.try_get(index)?, row.try_get(index)?);
        if was_set != holds {
            return Err(ConnectError::Unsafe(format!(
                "{name} was set to {was_set:?} and is {holds:?}: {}",
                ConnectError::TransactionMode
            )));
        }
    }
    let role = text("role")?;
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

/// The settings without those that are given another value later.
fn last_of_each(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    let later = |index: usize, name: &str| settings.iter().skip(index + 1).any(|(other, _)| other == name);
    let last = settings.iter().enumerate().filter(|(index, (name, _))| !later(*index, name));
    last.map(|(_, (name, value))| (&**name, &**value)).collect()
}

/// One statement that sets everything; its columns are the values, as PostgreSQL writes them.
fn setting(settings: &[(&str, &str)]) -> String {
    let set = |(name, value): &(&str, &str)| {
        let (name, value) = (literal(name), literal(value));
        // A server on which each commit waits until a standby shows it must not wait for less.
        if name == "'synchronous_commit'" && value == "'on'" {
            return format!(
                "set_config({name}, case current_setting({name}) when 'remote_apply' then 'remote_apply' else 'on' end, false)"
            );
        }
        format!("set_config({name}, {value}, false)")
    };
    format!("select {}", settings.iter().map(set).collect::<Vec<_>>().join(", "))
}

/// One statement that asks for the same values, in the same order, and for what the server is like.
fn asking(settings: &[(&str, &str)]) -> String {
    let values = settings.iter().map(|(name, _)| format!("current_setting({}), ", literal(name)));
    format!(
        "select {}pg_is_in_recovery() as standby,
            current_setting('transaction_read_only') as read_only,
            current_setting('session_replication_role') as role,
            current_setting('fsync') as fsync,
            current_setting('full_page_writes') as pages",
        values.collect::<String>()
    )
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
        let of = |name: &str, value: &str| setting(&[(name, value)]);
        assert_eq!(of("work_mem", "4MB"), "select set_config('work_mem', '4MB', false)");
        assert_eq!(of("a.b", "it's"), "select set_config('a.b', 'it''s', false)");
        assert_eq!(of("a.b", r"\'"), r"select set_config('a.b', E'\\''', false)");
        assert_eq!(of("synchronous_commit", "off"), "select set_config('synchronous_commit', 'off', false)");
        assert!(of("synchronous_commit", "on").contains("remote_apply"));
    }

    #[test]
    fn the_last_value_of_a_setting_counts() {
        let given = [("a", "1"), ("b", "2"), ("a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(last_of_each(&given), [("b", "2"), ("a", "3")]);
        assert!(asking(&last_of_each(&given)).starts_with("select current_setting('b'), current_setting('a'), pg_is"));
    }
}
