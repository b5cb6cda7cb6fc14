//! The append: one prepared statement that moves the head row and, only if the log ends with the event that this
//! node saw last, writes the events, what is sealed of them, new keys and the read models.

use std::time::Instant;

use be8_events::{AccountEvent, Event};
use be8_projections::Statement;
use chrono::TimeDelta;
use sqlx::{AssertSqlSafe, PgConnection};

use super::batch::Draft;
use super::head::Head;

/// The channel on which nodes notify each other of a batch; the payload is the newest position.
pub(super) const CHANNEL: &str = "be8_log";

/// The statement for one draft. It names only the tables that the draft touches: PostgreSQL
/// prepares for all that a statement names, which for a small batch costs more than its rows.
/// There are few shapes of batches, and each stays prepared on the connection.
fn statement(before: &Head, draft: &Draft, allowance: TimeDelta) -> Statement {
    let mut to = Statement::new(before.generation);
    let after = &draft.head;
    let position = to.bind(after.position.0);
    let time = to.bind(after.time.to_utc());
    let (accounts, groups) = (to.bind(after.accounts), to.bind(after.groups));
    let (streams, keys) = (to.bind(after.streams), to.bind(after.keys));
    let last = to.bind(before.position.0);
    let (generation, fence) = (to.bind(before.generation.0), to.bind(before.fence));
    // A node that moves the head's time forwards must agree with PostgreSQL's clock; a head that is ahead may stay where it is.
    let agreement = to.bind(allowance);
    // A log that was exchanged for another one of the same length is another log.
    let salt = to.bind(before.salt.map(|salt| salt.0.to_vec()));
    to.push(&format!(
        "with head as (
    update log_head set position = {position}, time = {time}, accounts = {accounts}, groups = {groups},
        streams = {streams}, keys = {keys}
    where position = {last} and generation = {generation} and fence = {fence}
      and ({salt} is null or exists (select from events where position = {last} and salt = {salt}))
      and ({time} = time or {time} <= clock_timestamp() + {agreement})
    returning position)"
    ));
    let events = || draft.events.iter();
    to.rows()
        .column("stream", draft.stream_ids.iter().copied())
        .column("version", events().map(|e| e.version))
        .column("kind", events().map(|e| e.event.kind()))
        .column("schema", events().map(|e| e.schema.cast_signed()))
        .column("actor", events().map(|e| e.actor.map(|actor| actor.number())))
        .column("salt", events().map(|e| &e.salt.0[..]))
        .column("payload", events().map(|e| &e.payload[..]))
        .column("sealed", events().map(|e| e.sealed.as_ref().map(|hash| &hash.0[..])))
        .write(
            "ev",
            &format!(
                "
    insert into events (position, time, {{columns}})
    select {last} + u.nth, {time}, u.stream, u.version, u.kind, u.schema, u.actor, u.salt, u.payload, u.sealed
    from head, {{rows}} with ordinality u({{columns}}, nth)"
            ),
        );
    to.rows()
        .column("id", draft.new_streams.iter().map(|(id, _)| *id))
        .column("name", draft.new_streams.iter().map(|(_, name)| name.to_string()))
        .insert("st", "streams", "");
    write_sealed(&mut to, draft, &time);
    write_keys(&mut to, draft);
    let answers = || draft.answers.iter();
    to.rows()
        .column("account", answers().map(|row| row.account.number()))
        .column("key", answers().map(|row| &row.key.0[..]))
        .column("request", answers().map(|row| &row.request.0[..]))
        .column("status", answers().map(|row| row.answered.status.cast_signed()))
        .column("body", answers().map(|row| &row.answered.body[..]))
        .write("id", &format!("insert into idempotency (time, {{columns}}) select {time}, u.* from head, {{rows}} u"));
    to.rows().column("account", removed(draft)).insert("io", "idempotency_over", " on conflict do nothing");
    draft.devices.write(&mut to);
    draft.changes.add_to(&mut to);
    to.push(&format!("\nselect pg_notify('{CHANNEL}', position::text) from head"));
    to
}

/// What is sealed of the events: of messages apart, by their day.
fn write_sealed(to: &mut Statement, draft: &Draft, time: &str) {
    let position = |index: usize| draft.events[index].position.0;
    to.rows()
        .column("position", draft.lasting().map(|(index, _)| position(*index)))
        .column("key", draft.lasting().map(|(_, sealed)| sealed.keys[0]))
        .column("nonce", draft.lasting().map(|(_, sealed)| &sealed.nonce[..]))
        .column("bytes", draft.lasting().map(|(_, sealed)| &sealed.bytes[..]))
        .insert("se", "sealed", "");
    to.rows()
        .column("position", draft.messages().map(|(index, _)| position(*index)))
        .column("account_key", draft.messages().map(|(_, sealed)| sealed.keys[0]))
        .column("stay_key", draft.messages().map(|(_, sealed)| sealed.keys[1]))
        .column("day_key", draft.messages().map(|(_, sealed)| sealed.keys[2]))
        .column("nonce", draft.messages().map(|(_, sealed)| &sealed.nonce[..]))
        .column("bytes", draft.messages().map(|(_, sealed)| &sealed.bytes[..]))
        .write(
            "sm",
            &format!(
                "
    insert into sealed_message (day, {{columns}})
    select ({time} at time zone 'UTC')::date, u.* from head, {{rows}} u"
            ),
        );
}

/// New data keys, and those that are deleted.
fn write_keys(to: &mut Statement, draft: &Draft) {
    let keys = || draft.fresh_keys.iter().map(|fresh| &fresh.row);
    // A key that is made and deleted in one batch: parts of a statement do not see each other's rows.
    let lives = |id: &i64| !draft.deleted_keys.contains(id);
    to.rows()
        .column("id", keys().map(|key| key.id))
        .column("subject", keys().map(|key| key.subject.clone()))
        .column("wrapped", keys().map(|key| lives(&key.id).then_some(&key.wrapped[..])))
        .column("master", keys().map(|key| lives(&key.id).then_some(key.master)))
        .insert("ke", "vault.key", "");
    to.rows().column("id", draft.deleted_keys.iter().copied()).write(
        "kd",
        "update vault.key k set wrapped = null, master = null from head, {rows} u({columns}) where k.id = u.id",
    );
}

/// The accounts that are removed.
fn removed(draft: &Draft) -> impl Iterator<Item = i64> {
    draft.events.iter().filter_map(|recorded| match &recorded.event {
        Event::Account(AccountEvent::AccountRemoved(removed)) => Some(removed.account.number()),
        _ => None,
    })
}

/// Runs the statement. `false`: the head stood elsewhere (or the clock is ahead) and nothing was
/// written.
pub(super) async fn execute(
    connection: &mut PgConnection,
    before: &Head,
    draft: &Draft,
    allowance: TimeDelta,
) -> Result<bool, sqlx::Error> {
    let (text, arguments) = statement(before, draft, allowance).finish()?;
    let begun = Instant::now();
    let row = sqlx::query_with(AssertSqlSafe(text), arguments).fetch_optional(connection).await?;
    if row.is_some() {
        metrics::histogram!("be8_ledger_append_seconds").record(begun.elapsed().as_secs_f64());
    }
    Ok(row.is_some())
}
