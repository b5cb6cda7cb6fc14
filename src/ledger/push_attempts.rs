//! Deliveries by Web Push that are not over, in a table outside of the log: only the holder of the
//! lead writes it, on the connection that holds the lock.

use std::collections::HashMap;

use be8_events::{AccId, Hash32, Position, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::Row;

use super::{Lead, LogError};
use crate::domain::device::DeviceName;

/// A device that is to be notified of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whose device.
    pub account: AccId,
    /// The fingerprint of its endpoint.
    pub device: Hash32,
    /// The entry of the list of allowed hosts that its endpoint is at.
    pub service: String,
    /// The key of the thread ([`be8_events::ThreadId::key`]).
    pub thread: i64,
    /// The position of the message.
    pub message: Position,
    /// Who wrote it.
    pub sender: AccId,
    /// The position of the event that set the sender's nickname.
    pub nickname: Position,
    /// When it was written.
    pub written: Timestamp,
}

/// A delivery that is recorded as sent and has to be sent now.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number.
    pub id: i64,
    /// How many attempts there were, this one included.
    pub tries: u32,
    /// What to deliver.
    pub delivery: Delivery,
}

/// An attempt that was answered: it was not accepted, and is due again.
#[derive(Debug, Clone, Copy)]
pub struct Again {
    /// Which.
    pub id: i64,
    /// When.
    pub due: Timestamp,
}

impl Lead {
    /// Forgets the attempts that were recorded as sent and whose answer nobody waits for any more:
    /// they may have arrived, so they count as sent. `known` are those that somebody waits for.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn forget_sent(&mut self, known: &[i64]) -> Result<u64, LogError> {
        let forgotten = sqlx::query("delete from push_attempts where sent and not id = any ($1)")
            .bind(known)
            .execute(self.connection())
            .await?;
        Ok(forgotten.rows_affected())
    }

    /// How many deliveries are not over, by service.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn backlog(&mut self) -> Result<HashMap<String, i64>, LogError> {
        let rows: Vec<(String, i64)> = sqlx::query_as("select service, count(*) from push_attempts group by service")
            .fetch_all(self.connection())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Stores deliveries that are due at once, and in the same statement that the process has come
    /// as far as `reached`: so each message is taken up exactly once. A device that still waits to
    /// be notified of an older message in the same thread is notified of the newer one instead. Nothing is stored if the log of
    /// the database ends before `reached` ([`Lead::save_position`]). Answers by how many the deliveries of each service grew. No two of `deliveries` may be for the same
    /// device and thread.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn enqueue(
        &mut self,
        deliveries: &[Delivery],
        due: Timestamp,
        reached: Position,
    ) -> Result<Vec<(String, i64)>, LogError> {
        let of = |field: fn(&Delivery) -> i64| deliveries.iter().map(field).collect::<Vec<_>>();
        let grown = sqlx::query_as(ENQUEUE)
            .bind(of(|delivery| delivery.account.number()))
            .bind(deliveries.iter().map(|delivery| &delivery.device.0[..]).collect::<Vec<_>>())
            .bind(deliveries.iter().map(|delivery| &*delivery.service).collect::<Vec<_>>())
            .bind(of(|delivery| delivery.thread))
            .bind(of(|delivery| delivery.message.0))
            .bind(of(|delivery| delivery.sender.number()))
            .bind(of(|delivery| delivery.nickname.0))
            .bind(deliveries.iter().map(|delivery| delivery.written.to_utc()).collect::<Vec<_>>())
            .bind(due.to_utc())
            .bind(self.name)
            .bind(reached.0)
            .fetch_all(self.connection())
            .await?;
        // Whether it was stored is the database's to say.
        self.checkpoint = None;
        Ok(grown)
    }

    /// Takes what is due, at most this many of each service, and records them as sent: once this
    /// returns they may be sent. What is due after `latest` was put back by a clock that was ahead, and is due, too.
    ///
    /// # Errors
    /// [`LogError`]
    pub async fn take(
        &mut self,
        free: &[(String, i64)],
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Vec<Attempt>, LogError> {
        let rows = sqlx::query(TAKE)
            .bind(free.iter().map(|(service, _)| &**service).collect::<Vec<_>>())
            .bind(free.iter().map(|(_, free)| *free).collect::<Vec<_>>())
            .bind(now.to_utc())
            .bind(latest.to_utc())
            .fetch_all(self.connection())
            .await?;
        let damaged = LogError::Stored;
        rows.iter()
            .map(|row| {
                let account = |column| AccId::new(row.try_get(column)?).ok_or(damaged("an account of a delivery"));
                let device: &[u8] = row.try_get("device")?;
                Ok(Attempt {
                    id: row.try_get("id")?,
                    tries: row.try_get::<i32, _>("tries")?.cast_unsigned(),
                    delivery: Delivery {
                        account: account("account")?,
                        device: Hash32(device.try_into().map_err(|_| damaged("a device of a delivery"))?),
                        service: row.try_get("service")?,
                        thread: row.try_get("thread")?,
                        message: Position(row.try_get("message")?),
                        sender: account("sender")?,
                        nickname: Position(row.try_get("nickname")?),
                        written: row.try_get::<DateTime<Utc>, _>("written")?.into(),
                    },
                })
            })
            .collect()
    }

    /// Ends the attempts `over`, and puts back those that were not accepted. Where a newer message
    /// waits for the same device and thread meanwhile, that one is what waits, no earlier.
    /// Returns the attempts of `again` that were superseded so. What was refused to the devices `accepted` before does
    /// not count any more.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn finish_attempts(
        &mut self,
        over: &[i64],
        again: &[Again],
        accepted: &[DeviceName],
    ) -> Result<Vec<i64>, LogError> {
        let gave_way = sqlx::query_scalar(SETTLE)
            .bind(over)
            .bind(again.iter().map(|again| again.id).collect::<Vec<_>>())
            .bind(again.iter().map(|again| again.due.to_utc()).collect::<Vec<_>>())
            .bind(accepted.iter().map(|(account, _)| account.number()).collect::<Vec<_>>())
            .bind(accepted.iter().map(|(_, device)| &device.0[..]).collect::<Vec<_>>())
            .fetch_all(self.connection())
            .await?;
        Ok(gave_way)
    }

    /// Counts a push that was refused to a device; answers how many that are in a row.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn count_refusal(&mut self, (account, device): DeviceName) -> Result<u32, LogError> {
        let count: i32 = sqlx::query_scalar(
            "insert into push_refusals as p (account, device, refusals) values ($1, $2, 1)
             on conflict (account, device) do update set refusals = least(p.refusals, 1000000000) + 1
             returning refusals",
        )
        .bind(account.number())
        .bind(&device.0[..])
        .fetch_one(self.connection())
        .await?;
        Ok(count.cast_unsigned())
    }
}

const ENQUEUE: &str = "
with reached as (
    insert into checkpoints (process, reached) select $10, $11 where $11 <= (select position from log_head)
    on conflict (process) do update set reached = excluded.reached
    returning 1),
queued as (
    insert into push_attempts (account, device, service, thread, message, sender, nickname, written, due)
    select u.*, $9 from unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::timestamptz[]) u
    where exists (select from reached)
    on conflict (account, device, thread) where not sent do update
        set message = excluded.message, sender = excluded.sender, nickname = excluded.nickname,
            written = excluded.written
    returning service, xmax = 0 as fresh)
select service, count(*) from queued where fresh group by service";

const TAKE: &str = "
update push_attempts p set sent = true, tries = p.tries + 1
from unnest($1::text[], $2::bigint[]) f(service, free)
join lateral (
    select id from push_attempts w
    where w.service = f.service and not w.sent and (w.due <= $3 or w.due > $4) and not exists (
        select from push_attempts s
        where s.sent and s.account = w.account and s.device = w.device and s.thread = w.thread)
    order by w.due limit f.free) d on true
where p.id = d.id
returning p.*";

const SETTLE: &str = "
with over as (delete from push_attempts where id = any ($1)),
accepted as (
    delete from push_refusals p using unnest($4::bigint[], $5::bytea[]) u(account, device)
    where p.account = u.account and p.device = u.device),
again as (
    select p.*, u.due as next from unnest($2::bigint[], $3::timestamptz[]) u(id, due)
    join push_attempts p on p.id = u.id),
newer as (
    update push_attempts w set tries = a.tries, due = a.next from again a
    where not w.sent and w.account = a.account and w.device = a.device and w.thread = a.thread
    returning a.id),
gave_way as (delete from push_attempts where id in (select id from newer)),
back as (
    update push_attempts p set sent = false, due = a.next from again a
    where p.id = a.id and a.id not in (select id from newer))
select id from newer";
