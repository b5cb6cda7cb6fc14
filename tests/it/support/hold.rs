//! Holding appends up: in their middle, or before they begin.

use sqlx::{Connection as _, PgConnection};

use crate::patience::eventually;

/// A transaction that does not end, and for which appends wait. Readers pass. It ends with this value.
pub struct Hold {
    connection: PgConnection,
    watcher: PgConnection,
}

impl Hold {
    /// Holds up the next append in its middle: it has moved the head row and finds that another transaction is inserting
    /// an event at the same position. All other appends wait for the head row.
    pub async fn next_append(database_url: &str) -> Self {
        let insert = "insert into events select position + 1, -1, 1, 'Hold', 1, now(), null, '', '' from log_head";
        Self::begin(database_url, insert).await
    }

    /// Holds up all appends before they begin: the table of events is locked, and that is looked at first.
    pub async fn all_appends(database_url: &str) -> Self {
        Self::begin(database_url, "lock table events in share mode").await
    }

    async fn begin(database_url: &str, statement: &'static str) -> Self {
        let mut connection = PgConnection::connect(database_url).await.expect("a connection");
        let watcher = PgConnection::connect(database_url).await.expect("a connection");
        sqlx::raw_sql("begin").execute(&mut connection).await.expect("a transaction");
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("what appends wait for");
        Self { connection, watcher }
    }

    /// Waits until an append is held up; answers its connection's process.
    pub async fn caught(&mut self) -> i32 {
        self.waits("with head as%", 1).await[0]
    }

    /// Waits until this many statements like this are held up; answers their connections' processes.
    pub async fn waits(&mut self, statement: &str, count: usize) -> Vec<i32> {
        let mut caught = Vec::new();
        eventually("statements are held up", async || {
            caught = self.waiting(statement).await;
            caught.len() >= count
        })
        .await;
        caught
    }

    async fn waiting(&mut self, statement: &str) -> Vec<i32> {
        sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like $1",
        )
        .bind(statement)
        .fetch_all(&mut self.watcher)
        .await
        .expect("the activity of the database")
    }

    /// Lets them go on.
    pub async fn release(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await.expect("the end of the transaction");
    }
}
