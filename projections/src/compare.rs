//! Comparing generations: whole tables by count and sum, and row by row.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{Generation, MODELS, Model};

/// A table as a whole: equal tables have equal ones, in whatever order their rows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The table.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: i64,
    /// The sum of the hashes of its rows.
    pub sum: String,
}

/// A table that two generations disagree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// How many rows only the live one has.
    pub only_live: i64,
    /// How many rows only the replayed one has.
    pub only_replayed: i64,
    /// The first row of the live one that the other lacks, as JSON.
    pub first_live: Option<String>,
    /// The first row of the replayed one that the other lacks, as JSON.
    pub first_replayed: Option<String>,
}

/// Counts and sums the tables of these read models, as this connection sees them.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn tally(
    connection: &mut PgConnection,
    generation: Generation,
    models: &[&Model],
) -> Result<Vec<Tally>, sqlx::Error> {
    let mut tallies = Vec::new();
    for table in models.iter().flat_map(|model| model.tables()) {
        let sql = format!(
            "select count(*), coalesce(sum(hash_record_extended(t, 0)::numeric), 0)::text from {generation}.{table} t"
        );
        let (rows, sum) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
        tallies.push(Tally { table, rows, sum });
    }
    Ok(tallies)
}

/// Compares every table of two generations row by row, as this connection sees them.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn differences(
    connection: &mut PgConnection,
    live: Generation,
    replayed: Generation,
) -> Result<Vec<Difference>, sqlx::Error> {
    let mut found = Vec::new();
    for table in MODELS.iter().flat_map(Model::tables) {
        let only = |one: Generation, other: Generation| {
            format!(
                "select count(*), (array_agg(d.json order by d.json::text))[1]::text
                 from (select row_to_json(r) as json from (
                     table {one}.{table} except all table {other}.{table}) r) d"
            )
        };
        let (only_live, first_live): (i64, Option<String>) =
            sqlx::query_as(AssertSqlSafe(only(live, replayed))).fetch_one(&mut *connection).await?;
        let (only_replayed, first_replayed): (i64, Option<String>) =
            sqlx::query_as(AssertSqlSafe(only(replayed, live))).fetch_one(&mut *connection).await?;
        if only_live + only_replayed > 0 {
            found.push(Difference { table, only_live, only_replayed, first_live, first_replayed });
        }
    }
    Ok(found)
}

/// The tables of a generation's schema that no read model has.
///
/// # Errors
/// What PostgreSQL answers.
pub async fn unknown_tables(connection: &mut PgConnection, generation: Generation) -> Result<Vec<String>, sqlx::Error> {
    let known: Vec<&str> = MODELS.iter().flat_map(Model::tables).collect();
    sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm') and c.relname <> all ($2) order by 1",
    )
    .bind(generation.to_string())
    .bind(known)
    .fetch_all(connection)
    .await
}
