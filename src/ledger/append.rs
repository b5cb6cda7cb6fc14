//! The append: one prepared statement that moves the head row and, only if the log ends with the event that this
//! node saw last, writes the events, what is sealed of them, new keys and the read models.

use std::time::Instant;

use be8_events::Event;
use be8_projections::{Generation, Parameters};
use chrono::TimeDelta;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe, PgConnection, error::BoxDynError};

use super::batch::Draft;
use super::head::Head;
use super::trusted_time::AGREEMENT;

/// The channel on which nodes tell each other about a batch; the payload is the newest position.
pub(super) const CHANNEL: &str = "be8_log";

/// The statement for one draft. It names only the tables that the draft touches: PostgreSQL
/// prepares for all that a statement names, which for a small batch costs more than its rows.
/// There are few shapes of batches, and each stays prepared on the connection.
fn sql(generation: Generation, draft: &Draft) -> String {
    let mut p = Parameters::after(11);
    let mut sql = format!(
        "with head as (
    update log_head set position = $1, time = $2, accounts = $3, groups = $4, streams = $5, keys = $6
    where position = $7 and generation = $8 and fence = $9
      and ($11 is null or exists (select from events where position = $7 and salt = $11))
      and ($2 = time or $2 <= clock_timestamp() + $10)
    returning position)
, ev as (
    insert into events (position, stream, version, kind, schema, time, actor, salt, payload, sealed)
    select $7 + u.nth, u.stream, u.version, u.kind, u.schema, $2, u.actor, u.salt, u.payload, u.sealed
    from head, unnest({}) with ordinality u(stream, version, kind, schema, actor, salt, payload, sealed, nth))",
        p.arrays(&["bigint", "bigint", "text", "smallint", "bigint", "bytea", "bytea", "bytea"]),
    );
    if !draft.new_streams.is_empty() {
        let streams = p.arrays(&["bigint", "text"]);
        sql += &format!("\n, st as (insert into streams (id, name) select u.* from head, unnest({streams}) u)");
    }
    if draft.lasting().next().is_some() {
        sql += &format!(
            "
, se as (
    insert into sealed (position, key, nonce, bytes) select u.* from head, unnest({}) u)",
            p.arrays(&["bigint", "bigint", "bytea", "bytea"]),
        );
    }
    if draft.messages().next().is_some() {
        sql += &format!(
            "
, sm as (
    insert into sealed_message (day, position, account_key, stay_key, day_key, nonce, bytes)
    select ($2 at time zone 'UTC')::date, u.* from head, unnest({}) u)",
            p.arrays(&["bigint", "bigint", "bigint", "bigint", "bytea", "bytea"]),
        );
    }
    if !draft.fresh_keys.is_empty() {
        sql += &format!(
            "
, ke as (
    insert into vault.key (id, subject, wrapped, master) select u.* from head, unnest({}) u)",
            p.arrays(&["bigint", "text", "bytea", "integer"]),
        );
    }
    if !draft.deleted_keys.is_empty() {
        sql += &format!(
            "
, kd as (
    update vault.key k set wrapped = null, master = null from head where k.id = any ({}))",
            p.arrays(&["bigint"]),
        );
    }
    if !draft.answers.is_empty() {
        sql += &format!(
            "
, id as (
    insert into idempotency (time, account, key, request, status, body) select $2, u.* from head, unnest({}) u)",
            p.arrays(&["bigint", "bytea", "bytea", "smallint", "bytea"]),
        );
    }
    if removed(draft).next().is_some() {
        let accounts = p.arrays(&["bigint"]);
        sql += &format!(
            "\n, io as (insert into idempotency_over (account) select u.* from head, unnest({accounts}) u on conflict do nothing)"
        );
    }
    sql += &draft.devices.sql(&mut p);
    sql += &draft.changes.sql(generation, &mut p);
    sql += &format!("\nselect pg_notify('{CHANNEL}', position::text) from head");
    sql
}

/// The accounts that are removed.
fn removed(draft: &Draft) -> impl Iterator<Item = i64> {
    draft.events.iter().filter_map(|recorded| match &recorded.event {
        Event::AccountRemoved(removed) => Some(removed.account.number()),
        _ => None,
    })
}

/// Runs the statement. `false`: the head stood elsewhere (or the clock is ahead) and nothing was
/// written.
pub(super) async fn execute(
    connection: &mut PgConnection,
    before: &Head,
    draft: &Draft,
    moved: TimeDelta,
) -> Result<bool, sqlx::Error> {
    let arguments = arguments(before, draft, moved).map_err(sqlx::Error::Encode)?;
    let sql = AssertSqlSafe(sql(before.generation, draft));
    let begun = Instant::now();
    let row = sqlx::query_with(sql, arguments).fetch_optional(connection).await?;
    if row.is_some() {
        metrics::histogram!("be8_ledger_append_seconds").record(begun.elapsed().as_secs_f64());
    }
    Ok(row.is_some())
}

fn arguments(before: &Head, draft: &Draft, moved: TimeDelta) -> Result<PgArguments, BoxDynError> {
    let mut to = PgArguments::default();
    let after = &draft.head;
    to.add(after.position.0)?;
    to.add(after.time.to_utc())?;
    to.add(after.accounts)?;
    to.add(after.groups)?;
    to.add(after.streams)?;
    to.add(after.keys)?;
    to.add(before.position.0)?;
    to.add(before.generation.0)?;
    to.add(before.fence)?;
    // Who moves the head's time forwards must agree with PostgreSQL's clock; a head that is ahead may stay where it is.
    to.add(AGREEMENT + moved)?;
    // A log that was exchanged for another one of the same length is another log.
    to.add(before.salt.map(|salt| salt.0.to_vec()))?;

    let events = &draft.events;
    to.add(&draft.stream_ids)?;
    to.add(events.iter().map(|e| e.version).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| e.event.kind()).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| e.schema.cast_signed()).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| e.actor.map(|actor| actor.number())).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| &e.salt.0[..]).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| &e.payload[..]).collect::<Vec<_>>())?;
    to.add(events.iter().map(|e| e.sealed.as_ref().map(|hash| &hash.0[..])).collect::<Vec<_>>())?;

    // From here on in the order and under the conditions of `sql`.
    if !draft.new_streams.is_empty() {
        to.add(draft.new_streams.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
        to.add(draft.new_streams.iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>())?;
    }
    let position = |index: usize| events[index].position.0;
    if draft.lasting().next().is_some() {
        to.add(draft.lasting().map(|(i, _)| position(*i)).collect::<Vec<_>>())?;
        to.add(draft.lasting().map(|(_, sealed)| sealed.keys[0]).collect::<Vec<_>>())?;
        to.add(draft.lasting().map(|(_, sealed)| &sealed.nonce[..]).collect::<Vec<_>>())?;
        to.add(draft.lasting().map(|(_, sealed)| &sealed.bytes[..]).collect::<Vec<_>>())?;
    }
    if draft.messages().next().is_some() {
        to.add(draft.messages().map(|(i, _)| position(*i)).collect::<Vec<_>>())?;
        for nth in 0..3 {
            to.add(draft.messages().map(|(_, sealed)| sealed.keys[nth]).collect::<Vec<_>>())?;
        }
        to.add(draft.messages().map(|(_, sealed)| &sealed.nonce[..]).collect::<Vec<_>>())?;
        to.add(draft.messages().map(|(_, sealed)| &sealed.bytes[..]).collect::<Vec<_>>())?;
    }
    let keys = &draft.fresh_keys;
    if !keys.is_empty() {
        to.add(keys.iter().map(|fresh| fresh.row.id).collect::<Vec<_>>())?;
        to.add(keys.iter().map(|fresh| fresh.row.subject.clone()).collect::<Vec<_>>())?;
        // A key that is made and deleted in one batch: parts of a statement do not see each other's rows.
        let lives = |id: &i64| !draft.deleted_keys.contains(id);
        to.add(keys.iter().map(|fresh| lives(&fresh.row.id).then_some(&fresh.row.wrapped[..])).collect::<Vec<_>>())?;
        to.add(keys.iter().map(|fresh| lives(&fresh.row.id).then_some(fresh.row.master)).collect::<Vec<_>>())?;
    }
    if !draft.deleted_keys.is_empty() {
        to.add(&draft.deleted_keys)?;
    }
    let answers = &draft.answers;
    if !answers.is_empty() {
        to.add(answers.iter().map(|row| row.account.number()).collect::<Vec<_>>())?;
        to.add(answers.iter().map(|row| &row.key.0[..]).collect::<Vec<_>>())?;
        to.add(answers.iter().map(|row| &row.request.0[..]).collect::<Vec<_>>())?;
        to.add(answers.iter().map(|row| row.answered.status.cast_signed()).collect::<Vec<_>>())?;
        to.add(answers.iter().map(|row| &row.answered.body[..]).collect::<Vec<_>>())?;
    }
    if removed(draft).next().is_some() {
        to.add(removed(draft).collect::<Vec<_>>())?;
    }
    draft.devices.bind(&mut to)?;
    draft.changes.bind(&mut to)?;
    Ok(to)
}
