//! The tables of a generation that is being built: made without the indexes that a replay does not need, and indexed after it.

use be8_projections::{Generation, MODELS, Model, shapes};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Registered, register};

/// Prepares a generation beside the others: its tables, without the indexes that replaying does
/// not need. With `rebuilt` not all of [`MODELS`], the others are taken over from the live one.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    build: &str,
    rebuilt: &[&'static Model],
) -> Result<Registered, sqlx::Error> {
    let mut tx = connection.begin().await?;
    // What is taken over is of one position.
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
    let (live, position): (i32, i64) =
        sqlx::query_as("select generation, position from log_head").fetch_one(&mut *tx).await?;
    let newest: Option<i32> =
        sqlx::query_scalar("select max(generation) from read_generations").fetch_one(&mut *tx).await?;
    let generation = Generation(newest.unwrap_or(0).max(live) + 1);
    register::drop_tables(&mut tx, generation).await?;
    generation.create(&mut tx).await?;
    let taken: Vec<_> = MODELS.iter().filter(|model| !rebuilt.contains(model)).collect();
    for table in taken.iter().flat_map(|model| model.tables()) {
        let sql = format!("insert into {generation}.{table} table {}.{table}", Generation(live));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    let indexes = drop_indexes(&mut tx, generation, rebuilt).await?;
    let row = sqlx::query(
        "insert into read_generations (generation, models, build, phase, rebuilt, taken_at, reached, indexes)
         values ($1, $2, $3, 'replay', $4, $5, 0, $6) returning *",
    )
    .bind(generation.0)
    .bind(shapes())
    .bind(build)
    .bind(rebuilt.iter().map(|model| model.name).collect::<Vec<_>>())
    .bind((!taken.is_empty()).then_some(position))
    .bind(indexes)
    .fetch_one(&mut *tx)
    .await?;
    let entry = Registered::from_row(&row)?;
    tx.commit().await?;
    Ok(entry)
}

/// Drops the indexes that replaying does not need; returns what makes them again. The fold looks
/// up by primary key, except where it only adds.
async fn drop_indexes(
    connection: &mut PgConnection,
    generation: Generation,
    rebuilt: &[&'static Model],
) -> Result<Vec<String>, sqlx::Error> {
    type Index = (String, String, bool, String, Option<String>, Option<String>);
    let indexes: Vec<Index> = sqlx::query_as(
        "select t.relname::text, i.relname::text, x.indisunique, pg_get_indexdef(i.oid),
             c.conname::text, pg_get_constraintdef(c.oid)
         from pg_index x join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
         left join pg_constraint c on c.conindid = i.oid and c.contype in ('p', 'u', 'x')
         where t.relnamespace = $1::regnamespace order by 1, 2",
    )
    .bind(generation.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let mut missing = Vec::new();
    for (table, index, unique, definition, constraint, constraint_definition) in indexes {
        let mut tables = rebuilt.iter().flat_map(|model| model.tables);
        let Some(known) = tables.find(|known| known.name == table) else { continue };
        if unique && !known.only_added {
            continue;
        }
        let drop = match (&constraint, constraint_definition) {
            (Some(name), Some(definition)) => {
                missing.push(format!("alter table {generation}.{table} add constraint {name} {definition}"));
                format!("alter table {generation}.{table} drop constraint {name}")
            }
            _ => {
                missing.push(definition);
                format!("drop index {generation}.{index}")
            }
        };
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    Ok(missing)
}

/// Collects the statistics of a generation's tables.
///
/// # Errors
/// What PostgreSQL answers.
pub(super) async fn analyze(connection: &mut PgConnection, generation: Generation) -> Result<(), sqlx::Error> {
    for table in MODELS.iter().flat_map(|model| model.tables()) {
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {generation}.{table}"))).execute(&mut *connection).await?;
    }
    Ok(())
}
