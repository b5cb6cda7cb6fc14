//! What is sealed of events, beside them: read in slices, and under which subjects it must be.

use std::collections::{BTreeSet, HashMap};

use be8_events::{Event, Recorded, Sealed, Sealing, StreamName, Subject, Timestamp};
use chrono::NaiveDate;
use sqlx::PgConnection;

use super::LogError;
use super::pages::Raw;

/// How many payloads are read at once: events are small, but what is sealed of one may be large.
const SLICE: i64 = 500;

/// A page in slices, each with the positions that it is of: behind the first one, up to the second.
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
    let message = |author, thread, stay| Some(Sealing::Message { author, thread, stay });
    let sealing = match (&recorded.event, recorded.stream) {
        (Event::AccountCreated(e), _) => Some(Sealing::Lasting(Subject::Account(e.account))),
        (
            Event::NicknameChanged(_) | Event::StatusSet(_) | Event::CodesSet(_) | Event::CodeChanged(_),
            StreamName::Account(account),
        )
        | (Event::DeviceSubscribed(_), StreamName::Devices(account)) => {
            Some(Sealing::Lasting(Subject::Account(account)))
        }
        (Event::PublicKeySet(_), StreamName::Account(account)) => Some(Sealing::Lasting(Subject::PublicKey(account))),
        (Event::GroupCreated(e), _) => Some(Sealing::Lasting(Subject::GroupName(e.group))),
        (Event::GroupKeyStored(_), StreamName::Group(group)) => Some(Sealing::Lasting(Subject::GroupKeys(group))),
        (Event::MessageWritten(e), _) => message(e.sender, e.thread, e.stay),
        (Event::ImagePosted(e), _) => message(e.sender, e.thread, e.stay),
        _ => None,
    };
    sealing.map_or_else(Vec::new, |sealing| sealing.subjects(recorded.time.day()))
}

/// The subjects that say whose sealed bytes lie in the partitions of messages.
pub(super) const fn is_message(sealed: &Sealed) -> bool {
    sealed.keys.len() == 3
}

#[cfg(test)]
mod tests {
    use be8_events::{AccId, Hash32, Position, ThreadId, message::MessageWritten};

    use super::*;

    #[test]
    fn a_message_is_sealed_under_author_stay_and_day() {
        let sender = AccId::new(10_001).unwrap();
        let thread = ThreadId::Dialog { initiator: sender, receiver: AccId::new(10_002).unwrap() };
        let event: Event =
            MessageWritten { thread, id: 2, sender, nickname: Position(1), stay: 1, version: None }.into();
        let recorded = Recorded {
            position: Position(7),
            stream: StreamName::dialog(sender, AccId::new(10_002).unwrap()),
            version: 2,
            time: "2026-11-23T10:00:00Z".parse().unwrap(),
            actor: None,
            salt: Hash32([0; 32]),
            schema: 1,
            payload: event.payload(),
            sealed: None,
            event,
        };
        let names: Vec<String> = subjects(&recorded).iter().map(Subject::to_string).collect();
        assert_eq!(names, ["account/10001", "stay/10001:10002/10001/1", "day/2026-11-23"]);
    }
}
