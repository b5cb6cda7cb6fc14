//! On which day each session was last used. A request costs nothing but a look at what is noted: what is new is written at
//! once for many sessions, so that a session is written at most once a day by each node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use be8_events::{Day, Hash32, Timestamp};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::ledger::SessionDays;

/// How many sessions are remembered as noted. One that is forgotten is noted once more.
const REMEMBERED: u64 = 200_000;
/// How many may wait to be written; what is beyond is noted by a later request.
const MOST: usize = 100_000;

/// Notes which sessions are used on which day.
#[derive(Debug, Clone)]
pub struct SeenSessions {
    noted: Cache<Hash32, Day>,
    waiting: Arc<Mutex<HashMap<Hash32, Day>>>,
}

impl Default for SeenSessions {
    fn default() -> Self {
        Self { noted: Cache::new(REMEMBERED), waiting: Arc::default() }
    }
}

impl SeenSessions {
    /// Notes that a session, which exists, was used.
    pub fn note(&self, session: Hash32, now: Timestamp) {
        let day = now.day();
        if self.noted.get(&session) == Some(day) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST {
            waiting.insert(session, day);
            self.noted.insert(session, day);
        }
    }

    /// When each of these sessions was last used: as it is noted here, or else written.
    pub fn newest(&self, session: &Hash32, written: Option<Day>) -> Option<Day> {
        self.noted.get(session).max(written)
    }

    /// Writes what was noted after each pause, until `stop`.
    pub async fn keep(self, days: SessionDays, pause: Duration, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            self.write(&days).await;
        }
    }

    async fn write(&self, days: &SessionDays) {
        let noted = std::mem::take(&mut *self.waiting.lock());
        if noted.is_empty() {
            return;
        }
        if let Err(error) = days.write(&noted).await {
            tracing::warn!(%error, sessions = noted.len(), "the days on which sessions were used are not written yet");
            let mut waiting = self.waiting.lock();
            for (session, day) in noted {
                let newest = waiting.entry(session).or_insert(day);
                *newest = day.max(*newest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_session_waits_to_be_written_once_a_day() {
        let seen = SeenSessions::default();
        let (one, other) = (Hash32([1; 32]), Hash32([2; 32]));
        let taken = || {
            let mut taken: Vec<_> = std::mem::take(&mut *seen.waiting.lock()).into_iter().collect();
            taken.sort();
            taken.into_iter().map(|(session, day)| (session.0[0], day.to_string())).collect::<Vec<_>>()
        };
        for second in 0..3 {
            seen.note(one, at(&format!("2026-12-01T00:00:0{second}Z")));
        }
        seen.note(other, at("2026-12-01T23:59:59Z"));
        let first = "2026-12-01".to_owned();
        assert_eq!(taken(), [(1, first.clone()), (2, first)]);
        seen.note(one, at("2026-12-01T12:00:00Z"));
        assert_eq!(taken(), []);
        seen.note(one, at("2026-12-02T00:00:00Z"));
        assert_eq!(taken(), [(1, "2026-12-02".to_owned())]);
        let newest = |session, written: Option<&str>| seen.newest(&session, written.map(|day| day.parse().unwrap()));
        assert_eq!(newest(one, None).unwrap().to_string(), "2026-12-02");
        assert_eq!(newest(other, Some("2026-12-03")).unwrap().to_string(), "2026-12-03");
        assert_eq!(newest(Hash32([3; 32]), None), None);
    }
}
