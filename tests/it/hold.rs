//! Holding appends up: a lock that an append waits for, taken in another connection.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::patience::eventually;

/// A lock on a table that every append writes. It is released with this value.
pub struct Hold {
    connection: PgConnection,
    watcher: PgConnection,
}

impl Hold {
    /// Holds up everybody who writes to this table. Readers pass.
    pub async fn on(database_url: &str, table: &str) -> Self {
        let mut connection = PgConnection::connect(database_url).await.expect("a connection");
        let watcher = PgConnection::connect(database_url).await.expect("a connection");
        let lock = format!("begin; lock table {table} in share mode");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await.expect("a lock");
        Self { connection, watcher }
    }

    /// Waits until an append waits for the lock; answers its connection's process.
    pub async fn caught(&mut self) -> i32 {
        let mut caught = None;
        eventually("an append waits for the lock", async || {
            caught = self.waiting().await;
            caught.is_some()
        })
        .await;
        caught.expect("it was found")
    }

    /// The connection whose append waits, if there is one.
    async fn waiting(&mut self) -> Option<i32> {
        sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like 'with head as%'",
        )
        .fetch_optional(&mut self.watcher)
        .await
        .expect("the activity of the database")
    }

    /// Lets them go on.
    pub async fn release(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await.expect("the end of the lock");
    }
}
