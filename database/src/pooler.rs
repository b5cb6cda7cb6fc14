//! Detecting whether connections are sessions: a pooler in transaction mode gives each transaction another session of PostgreSQL,
//! and what be8 builds on sessions would be lost or be left on connections of others.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::connector::Connector;
use crate::deadline::with_deadline;
use crate::error::ConnectError;

/// A setting of no meaning to PostgreSQL, by which a session is known again.
const MARK: &str = "be8.session";
/// How often both connections are asked. A pooler that hands its sessions out in turn shows itself at the second time, one that
/// hands out the last one first as soon as the other connection asks.
const ROUNDS: usize = 4;
/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Makes sure that a connection is a session of its own.
///
/// Two connections mark their sessions and ask for their marks in turns, one statement at a time. Where there are sessions each
/// finds its own mark, from the same process, every time. A pooler in transaction mode has one session or several for the two:
/// with one, the second mark overwrites the first; with several, one of the connections finds another session's.
///
/// # Errors
/// [`ConnectError::TransactionMode`], or why it could not be found out.
pub async fn check_sessions(connector: &Connector) -> Result<(), ConnectError> {
    let (mut one, mut two) = (connector.connect().await?, connector.connect().await?);
    let random = RandomState::new();
    let marks = [format!("{:x}", random.hash_one("one")), format!("{:x}", random.hash_one("two"))];
    let first = mark(&mut one, &marks[0]).await?;
    let second = mark(&mut two, &marks[1]).await?;
    let mut sessions = first != second;
    for _ in 0..ROUNDS {
        for (connection, mark, process) in [(&mut one, &marks[0], first), (&mut two, &marks[1], second)] {
            let (seen, answered) = ask(connection).await?;
            sessions &= seen.as_ref() == Some(mark) && answered == process;
        }
        // Twice in a row by one alone: a pooler that hands out two sessions in turn gives it the wrong one now.
        let (seen, answered) = ask(&mut one).await?;
        sessions &= seen.as_ref() == Some(&marks[0]) && answered == first;
    }
    if !sessions {
        return Err(ConnectError::TransactionMode);
    }
    for connection in [one, two] {
        // It ends with this value, politely or not.
        let _ = with_deadline(LIMIT, connection.close()).await;
    }
    Ok(())
}

/// Marks a session; answers its process.
async fn mark(connection: &mut PgConnection, mark: &str) -> Result<i32, sqlx::Error> {
    let sql = format!("select set_config('{MARK}', '{mark}', false), pg_backend_pid() as process");
    let row = with_deadline(LIMIT, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection)).await?;
    sqlx::Row::try_get(&row, "process")
}

/// The mark of the session that answers, and its process.
async fn ask(connection: &mut PgConnection) -> Result<(Option<String>, i32), sqlx::Error> {
    let sql = format!("select current_setting('{MARK}', true) as mark, pg_backend_pid() as process");
    let row = with_deadline(LIMIT, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection)).await?;
    Ok((sqlx::Row::try_get(&row, "mark")?, sqlx::Row::try_get(&row, "process")?))
}
