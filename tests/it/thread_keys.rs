//! The names that statements give to a thread's key say what the thread is.

use be8_events::{AccId, ThreadId};
use be8_projections::ThreadKey;
use sqlx::AssertSqlSafe;

use crate::cluster::fresh_database;

#[tokio::test]
async fn the_key_of_a_thread_says_in_sql_what_it_is() {
    let database = fresh_database().await;
    let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
    let key = ThreadKey("t.key");
    let sql = format!(
        "select {}, {}, {}, {}, {} = t.key from (values ($1::bigint)) t(key)",
        key.is_dialog(),
        key.is_group(),
        key.group(),
        key.partner("$2::bigint"),
        ThreadKey::of_group(&format!("({})", key.group())),
    );
    const LARGEST: i64 = AccId::MAX as i64;
    let threads = [
        ("10001:10002", 10_001, (true, false, None, Some(10_002), None)),
        ("10002:10001", 10_001, (true, false, None, Some(10_002), None)),
        ("1:10001", 10_001, (true, false, None, Some(1), None)),
        ("2147483647:10001", 10_001, (true, false, None, Some(LARGEST), None)),
        ("10001:2147483647", LARGEST, (true, false, None, Some(10_001), None)),
        ("g1", 10_001, (false, true, Some(1), None, Some(true))),
        ("g2147483647", 10_001, (false, true, Some(LARGEST), None, Some(true))),
        ("10001:s1", 10_001, (false, false, None, None, None)),
        ("2147483647:s1", LARGEST, (false, false, None, None, None)),
    ];
    for (name, reader, expected) in threads {
        let thread: ThreadId = name.parse().unwrap();
        let found: (bool, bool, Option<i64>, Option<i64>, Option<bool>) =
            sqlx::query_as(AssertSqlSafe(sql.clone())).bind(thread.key()).bind(reader).fetch_one(&pool).await.unwrap();
        assert_eq!(found, expected, "{name} as {reader} sees it");
    }
}
