//! Changes the rotating key of the vault on its schedule, and soon after keys were erased; and has PostgreSQL clean the
//! table of keys after each erasure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use be8_events::{Position, StreamName, Timestamp};
use chrono::TimeDelta;
use parking_lot::Mutex;

use super::sweep::deletions;
use super::{Process, ProcessError};
use crate::ledger::{Lead, Log};
use crate::settings::{hours, minutes, settings, unless_off};
use crate::support::clock::Clock;
use crate::vault::{Begin, RotationLock, RotationState, RotationStep, Vault, VaultError};

/// How often the process looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// The pause between two steps of a rotation, which leaves the database to others.
const PAUSE: Duration = Duration::from_millis(50);
/// How long after a failed cleaning, or one that an old transaction kept from its end, the next one follows; doubled up to
/// a minute.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// How long servers may take to read a new key before the log says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the log says that a rotation waits, or cannot go on.
const REPEAT: Duration = Duration::from_secs(600);

/// The clocks of servers agree as far.
const AGREEMENT: TimeDelta = TimeDelta::minutes(1);

settings! {
    /// When the rotating key is changed.
    #[derive(Debug, Clone, Copy)]
    pub struct RotationSettings {
        every: Option<TimeDelta> = unless_off(hours), "vault-rotation-hours", "HOURS|off", "24", "How often that key is changed; off: never, and a new vault gets none: copies of erased keys then open with the master key";
        after_erasure: TimeDelta = minutes, "vault-erasure-minutes", "MINUTES", "60", "After an erasure that key is changed within this time, so that older copies of the erased keys open nothing";
        grace: TimeDelta = minutes, "vault-grace-minutes", "MINUTES", "60", "How long the key before it is kept, for a database that is restored without its last minutes, before it is overwritten";
    }
}

/// The process. Its checkpoint is the newest erasure after which the table was cleaned.
pub struct Rotation {
    vault: Arc<Vault>,
    log: Log,
    clock: Arc<dyn Clock>,
    trusted: Arc<dyn Clock>,
    settings: RotationSettings,
    memory: Mutex<Memory>,
}

/// What is remembered between ticks.
#[derive(Default)]
struct Memory {
    /// The first erasure after a position.
    uncovered: Option<(i64, Timestamp)>,
    /// The newest erasure that was seen.
    seen: Position,
    retry: Option<(Instant, Duration)>,
    /// When to say that a rotation waits.
    warn_at: Option<Instant>,
    /// When the log said last that it cannot go on.
    said: Option<Instant>,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rotation").field(&self.settings).finish()
    }
}

impl Rotation {
    /// The process for a vault that was opened with files. What destroys goes by `trusted`, which does not follow a clock
    /// that jumps.
    pub fn new(
        vault: Arc<Vault>,
        log: Log,
        clock: Arc<dyn Clock>,
        trusted: Arc<dyn Clock>,
        settings: RotationSettings,
    ) -> Self {
        Self { vault, log, clock, trusted, settings, memory: Mutex::default() }
    }

    fn memory(&self) -> parking_lot::MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    /// Cleans the table once per erasure, and again while old versions of rows are kept for an old transaction.
    async fn clean(&self, lead: &mut Lead) -> Result<(), ProcessError> {
        if self.memory().retry.is_some_and(|(next, _)| Instant::now() < next) {
            return Ok(());
        }
        let cleaned_to = Position(lead.checkpoint().await?);
        let mut reached = cleaned_to.max(self.memory().seen);
        while let Some((position, _)) = deletions(&self.log, reached).await?.last() {
            reached = *position;
        }
        self.memory().seen = reached;
        if reached == cleaned_to {
            return Ok(());
        }
        let cleaned = self.vault.vacuum().await;
        if let Ok(true) = cleaned {
            self.memory().retry = None;
            lead.save_position(reached).await?;
            return Ok(());
        }
        if let Err(error) = cleaned {
            tracing::warn!(%error, "the table of keys was not cleaned after an erasure; trying again");
        }
        let pause = self.memory().retry.map_or(FIRST_RETRY, |(_, pause)| (pause * 2).min(LAST_RETRY));
        self.memory().retry = Some((Instant::now() + pause, pause));
        Ok(())
    }

    /// Whether it is time for another key.
    async fn is_due(&self, state: &RotationState, now: Timestamp) -> Result<bool, ProcessError> {
        let Some(every) = self.settings.every else { return Ok(false) };
        // It gets its first one by the command: until then, backups without the file are whole.
        if self.vault.is_without_rotating_key() {
            return Ok(false);
        }
        let age = now.to_utc() - state.made_at;
        // A clock that ran ahead when it was made must not put the next one off.
        if age >= every || age < -AGREEMENT {
            return Ok(true);
        }
        let known = self.memory().uncovered.filter(|(after, _)| *after == state.position);
        let first = match known {
            Some((_, first)) => Some(first),
            None => {
                let (after, newest) = (Position(state.position), self.log.newest().await?);
                let page = self.log.read_streams(&[StreamName::Erasure], after, newest, 1).await?;
                let first = page.first().map(|recorded| recorded.time);
                self.memory().uncovered = first.map(|first| (state.position, first));
                first
            }
        };
        Ok(first.is_some_and(|first| now.to_utc() - first.to_utc() >= self.settings.after_erasure))
    }
}

#[async_trait]
impl Process for Rotation {
    fn name(&self) -> &'static str {
        "vault"
    }

    async fn begin(&self, _: &mut Lead) -> Result<(), ProcessError> {
        if self.settings.every.is_some() && self.vault.is_without_rotating_key() {
            tracing::warn!(
                "this vault has no rotating key: copies of erased keys open with the master key; `be8 vault rotate` makes \
                 one, which is then part of every backup"
            );
        }
        Ok(())
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        self.clean(lead).await?;
        match self.rotate().await {
            // Nobody else can do it better, and it is not said every second.
            Err(ProcessError::Vault(error)) if !matches!(error, VaultError::Database(_)) => {
                let mut memory = self.memory();
                if memory.said.is_none_or(|said| said.elapsed() >= REPEAT) {
                    memory.said = Some(Instant::now());
                    tracing::error!(%error, "the rotating key of the vault cannot be changed");
                }
                Ok(LOOK)
            }
            rotated => rotated,
        }
    }
}

impl Rotation {
    /// Does what is to be done of a rotation, for a second at most.
    async fn rotate(&self) -> Result<Duration, ProcessError> {
        let Some(state) = self.vault.rotation_state().await? else { return Ok(LOOK) };
        let (now, position) = (self.clock.now(), self.log.newest().await?);
        let wanted = self.is_due(&state, now).await?;
        if !wanted && !self.vault.has_rotation_to_do(&state)? {
            return Ok(LOOK);
        }
        let Some(mut lock) = self.vault.take_rotation_lock().await? else { return Ok(LOOK) };
        let (trusted, grace) = (self.trusted.now(), self.settings.grace);
        let begin = Begin { position: position.0, now, trusted, wanted, grace, serving: true };
        let step = self.vault.rotation_step(&mut lock, begin).await;
        let pause = self.report(step, &mut lock, begin).await;
        lock.release().await;
        pause
    }

    /// Goes on while there is something to do, for a second at most, and says what came of it.
    async fn report(
        &self,
        mut step: Result<RotationStep, VaultError>,
        lock: &mut RotationLock,
        begin: Begin,
    ) -> Result<Duration, ProcessError> {
        let began = Instant::now();
        loop {
            match step? {
                RotationStep::Working if began.elapsed() < LOOK => tokio::time::sleep(PAUSE).await,
                RotationStep::Working => return Ok(PAUSE),
                RotationStep::Idle => return Ok(LOOK),
                RotationStep::Waiting { servers, ready } => {
                    let mut memory = self.memory();
                    // It takes a moment to read a file.
                    let due = *memory.warn_at.get_or_insert(Instant::now() + PATIENCE);
                    if Instant::now() >= due {
                        memory.warn_at = Some(Instant::now() + REPEAT);
                        tracing::warn!(
                            servers,
                            ready,
                            "the rotating key of the vault is changed once all servers have read the new one; \
                             --rotating-key-file must name one file for all of them"
                        );
                    }
                    return Ok(LOOK);
                }
                RotationStep::Wrapped(generation) => {
                    self.memory().warn_at = None;
                    tracing::info!(generation, "all data keys are wrapped under the next rotating key");
                    return Ok(LOOK);
                }
                RotationStep::Destroyed => {
                    tracing::info!(
                        "the older rotating keys are destroyed: no copy of what was erased before opens any more"
                    );
                    return Ok(LOOK);
                }
            }
            step = self.vault.rotation_step(lock, Begin { wanted: false, ..begin }).await;
        }
    }
}
