//! How long a change of the vault's rotating key has been overdue: measured on every server, since the one that leads the
//! rotation may be the one that cannot.

use std::sync::Arc;
use std::time::Duration;

use be8_events::{Position, StreamName, Timestamp};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::ProcessError;
use super::rotation::RotationSettings;
use crate::ledger::Log;
use crate::support::clock::Clock;
use crate::vault::{RotationState, Vault};

/// How often it is measured.
const LOOK: Duration = Duration::from_secs(5);

/// What measures it.
#[derive(Debug)]
pub struct Overdue {
    /// Where the vault stands.
    pub vault: Arc<Vault>,
    /// What was erased.
    pub log: Log,
    /// The time by which keys are changed.
    pub clock: Arc<dyn Clock>,
    /// The time by which they are destroyed.
    pub trusted: Arc<dyn Clock>,
    /// When they should be.
    pub settings: RotationSettings,
}

impl Overdue {
    /// Measures it again and again until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            // Without the database nothing is known, and nothing is rotated either.
            if let Ok(overdue) = self.measure().await {
                metrics::gauge!("be8_vault_rotation_overdue_seconds").set(overdue.num_milliseconds() as f64 / 1000.0);
            }
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
        }
    }

    async fn measure(&self) -> Result<TimeDelta, ProcessError> {
        // Without a rotating key there is no schedule: the first one is made by the command.
        if self.settings.every.is_none() || self.vault.is_without_rotating_key() {
            return Ok(TimeDelta::zero());
        }
        let Some(state) = self.vault.rotation_state().await? else { return Ok(TimeDelta::zero()) };
        let newest = self.log.newest().await?;
        let erasures =
            self.log.read_streams(&[StreamName::Erasure], Position(state.oldest_position), newest, 1).await?;
        let erased = erasures.first().map(|recorded| recorded.time);
        // A file that cannot be read is in the log, and holds the next change back.
        let older = self.vault.keeps_older(&state).unwrap_or(false);
        Ok(overdue(&self.settings, &state, erased, older, (self.clock.now(), self.trusted.now())))
    }
}

/// By how much the change is overdue. `erased` is the first erasure that a key in use does not cover; `older`: an older key is
/// still in the file; the times are that of the clock and the trusted one.
fn overdue(
    settings: &RotationSettings,
    state: &RotationState,
    erased: Option<Timestamp>,
    older: bool,
    (now, trusted): (Timestamp, Timestamp),
) -> TimeDelta {
    let Some(every) = settings.every else { return TimeDelta::zero() };
    let since = |due| now.to_utc() - due;
    let change = since(state.oldest_made_at + every);
    let erasure = erased.map(|erased| since(erased.to_utc() + settings.after_erasure));
    let kept = state.wrapped_at.filter(|_| older && !state.under_way);
    let destruction = kept.map(|wrapped| trusted.to_utc() - (wrapped + settings.grace));
    [Some(change), erasure, destruction].into_iter().flatten().fold(TimeDelta::zero(), TimeDelta::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_should_have_happened_first_counts() {
        let start: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let at = |hours| start.plus(TimeDelta::hours(hours));
        let settings = RotationSettings {
            every: Some(TimeDelta::hours(24)),
            after_erasure: TimeDelta::hours(1),
            grace: TimeDelta::hours(2),
        };
        let state = RotationState {
            generation: 1,
            position: 0,
            alone_until: None,
            made_at: start.to_utc(),
            wrapped_at: None,
            under_way: false,
            oldest_made_at: start.to_utc(),
            oldest_position: 0,
        };
        let hours = |state: &RotationState, erased: Option<i64>, older, now| {
            overdue(&settings, state, erased.map(at), older, (at(now), at(now))).num_hours()
        };
        // The schedule.
        assert_eq!([20, 24, 30].map(|now| hours(&state, None, false, now)), [0, 0, 6]);
        // An erasure.
        assert_eq!([5, 6, 9].map(|now| hours(&state, Some(5), false, now)), [0, 0, 3]);
        // A change that was begun and does not end: the older key is in use.
        let begun = RotationState { generation: 2, made_at: at(24).to_utc(), under_way: true, ..state };
        assert_eq!([24, 40].map(|now| hours(&begun, None, true, now)), [0, 16]);
        // An older key that is not destroyed.
        let wrapped = at(25).to_utc();
        let done =
            RotationState { under_way: false, wrapped_at: Some(wrapped), oldest_made_at: begun.made_at, ..begun };
        assert_eq!([26, 27, 31].map(|now| hours(&done, None, true, now)), [0, 0, 4]);
        assert_eq!(hours(&done, None, false, 31), 0);
        let off = RotationSettings { every: None, ..settings };
        assert_eq!(overdue(&off, &state, Some(start), true, (at(100), at(100))), TimeDelta::zero());
    }
}
