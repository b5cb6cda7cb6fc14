//! What is sealed of events, beside them: read in slices, and under which subjects it must be.

use std::collections::{BTreeSet, HashMap};

use be8_events::{Recorded, Sealed, Subject, Timestamp};
use chrono::NaiveDate;
use sqlx::PgConnection;

use super::LogError;
use super::pages::Raw;

/// How many payloads are read at once: events are small, but what is sealed of one may be large.
const SLICE: i64 = 500;

/// A page in slices, each with its range of positions: after the first one, up to the second.
pub(super) fn slices(page: Vec<Raw>, after: i64, until: i64) -> impl Iterator<Item = (i64, i64, Vec<Raw>)> {
    let mut rows = page.into_iter().peekable();
    (after..until).step_by(SLICE as usize).map(move |after| {
        let until = until.min(after + SLICE);
        let slice = std::iter::from_fn(|| rows.next_if(|raw| raw.position <= until)).collect();
        (after, until, slice)
    })
}

/// The sealed payloads at the positions of a slice, as this connection sees them. A nonce that is
/// none of 12 bytes becomes one of zeros: no commitment holds for it.
pub(super) async fn of_slice(
    connection: &mut PgConnection,
    after: i64,
    until: i64,
    slice: &[Raw],
) -> Result<HashMap<i64, Sealed>, LogError> {
    let nonce = |bytes: Vec<u8>| bytes.try_into().unwrap_or_default();
    let mut found = HashMap::new();
    let lasting: Vec<(i64, i64, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select position, key, nonce, bytes from sealed where position > $1 and position <= $2")
            .bind(after)
            .bind(until)
            .fetch_all(&mut *connection)
            .await?;
    found.extend(lasting.into_iter().map(|(position, key, bytes_of_nonce, bytes)| {
        (position, Sealed { keys: vec![key], nonce: nonce(bytes_of_nonce), bytes })
    }));
    let days: BTreeSet<NaiveDate> = slice.iter().map(|raw| Timestamp::from_micros(raw.time).day().0).collect();
    type Row = (i64, i64, i64, i64, Vec<u8>, Vec<u8>);
    let messages: Vec<Row> = sqlx::query_as(
        "select position, account_key, stay_key, day_key, nonce, bytes from sealed_message
         where day = any ($1) and position > $2 and position <= $3",
    )
    .bind(days.into_iter().collect::<Vec<_>>())
    .bind(after)
    .bind(until)
    .fetch_all(&mut *connection)
    .await?;
    found.extend(messages.into_iter().map(|(position, account, stay, day, bytes_of_nonce, bytes)| {
        (position, Sealed { keys: vec![account, stay, day], nonce: nonce(bytes_of_nonce), bytes })
    }));
    Ok(found)
}

/// The subjects under whose keys the secret part of an event is sealed, in their order; none if
/// events of its kind have no secret part.
pub(super) fn subjects(recorded: &Recorded) -> Vec<Subject> {
    let sealing = recorded.event.sealing(recorded.stream);
    sealing.map_or_else(Vec::new, |sealing| sealing.subjects(recorded.time.day()))
}
