//! Holding appends up in their middle.

use sqlx::{Connection as _, PgConnection};

use crate::patience::eventually;

/// A transaction that has inserted an event at the next position and does not end. The next append moves the head row and
/// then waits for it; all other appends wait for the head row. Readers pass. It ends with this value.
pub struct Hold {
    connection: PgConnection,
    watcher: PgConnection,
}

impl Hold {
    /// Holds up the next append.
    pub async fn next_append(database_url: &str) -> Self {
        let mut connection = PgConnection::connect(database_url).await.expect("a connection");
        let watcher = PgConnection::connect(database_url).await.expect("a connection");
        let insert =
            "begin; insert into events select position + 1, -1, 1, 'Hold', 1, now(), null, '', '' from log_head";
        sqlx::raw_sql(insert).execute(&mut connection).await.expect("an event that never will be");
        Self { connection, watcher }
    }

    /// Waits until an append is held up; answers its connection's process.
    pub async fn caught(&mut self) -> i32 {
        self.waits("with head as%").await
    }

    /// Waits until a statement like this is held up; answers its connection's process.
    pub async fn waits(&mut self, statement: &str) -> i32 {
        let mut caught = None;
        eventually("a statement is held up", async || {
            caught = self.waiting(statement).await;
            caught.is_some()
        })
        .await;
        caught.expect("it was found")
    }

    async fn waiting(&mut self, statement: &str) -> Option<i32> {
        sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like $1",
        )
        .bind(statement)
        .fetch_optional(&mut self.watcher)
        .await
        .expect("the activity of the database")
    }

    /// Lets them go on.
    pub async fn release(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await.expect("the end of the transaction");
    }
}
