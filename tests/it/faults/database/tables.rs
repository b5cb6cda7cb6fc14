//! What logical replication and change data capture need of the tables.

use sqlx::PgPool;

use crate::client::two_people;
use crate::cluster::fresh_database;
use crate::server::Setup;

#[tokio::test]
async fn every_table_has_a_primary_key() {
    let database = fresh_database().await;
    let server = Setup::on(&database).start().await;
    two_people(&server).await;
    let pool = PgPool::connect(&database.url).await.unwrap();
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and n.nspname !~ '^(pg_|information_schema)'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(tables > 40, "only {tables} tables, partitions included");
    let without: Vec<String> = sqlx::query_scalar(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and n.nspname !~ '^(pg_|information_schema)'
           and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(without, Vec::<String>::new());
}
