//! Walking through the log: what every event must be, one after the other, and what is sealed of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use be8_events::{Hash32, KeyId, Position, Recorded, Sealed, SealedContext, Timestamp};
use be8_projections::{Changes, Generation};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::super::head::Head;
use super::super::pages::{Names, Raw};
use super::super::{LogError, sealed};
use super::histories::Histories;
use super::keys::Keys;
use super::{Problems, SealedCount};
use crate::domain::count_numbers;
use crate::vault::{Opener, Vault};

/// A walk, and what it has seen.
pub(super) struct Walk {
    keys: Keys,
    vault: Option<Arc<Vault>>,
    /// Keys whose rows are not as they must be.
    damaged_keys: HashSet<KeyId>,
    histories: Histories,
    names: Names,
    versions: HashMap<i64, i64>,
    position: i64,
    time: i64,
    accounts: i64,
    groups: i64,
    digest: Sha256,
    pub(super) sealed: SealedCount,
    pub(super) problems: Problems,
    pub(super) all_decoded: bool,
    /// Whether the events are replayed into the scratch tables.
    replays: bool,
}

impl Walk {
    pub(super) fn new(keys: Keys, vault: Option<Arc<Vault>>, histories: Histories, replays: bool) -> Self {
        Self {
            keys,
            vault,
            damaged_keys: HashSet::new(),
            histories,
            names: Names::default(),
            versions: HashMap::new(),
            position: 0,
            time: i64::MIN,
            accounts: 0,
            groups: 0,
            digest: Sha256::new(),
            sealed: SealedCount::default(),
            problems: Problems::default(),
            all_decoded: true,
            replays,
        }
    }

    pub(super) fn streams(&self) -> usize {
        self.versions.len()
    }

    pub(super) fn digest(&self) -> Hash32 {
        Hash32(self.digest.clone().finalize().into())
    }

    /// Looks at the events after `after` up to `until`, and replays them where that is possible.
    pub(super) async fn page(
        &mut self,
        tx: &mut PgConnection,
        page: Vec<Raw>,
        after: i64,
        until: i64,
    ) -> Result<(), LogError> {
        self.names.learn(tx, &page).await?;
        let mut changes = Changes::default();
        for (after, until, slice) in sealed::slices(page, after, until) {
            let sealed = sealed::of_slice(tx, after, until, &slice).await?;
            self.slice(slice, sealed, &mut changes).await?;
        }
        self.miss(until + 1);
        if self.all_decoded && self.replays {
            changes.write(tx, Generation::SCRATCH).await?;
        }
        Ok(())
    }

    async fn slice(
        &mut self,
        slice: Vec<Raw>,
        mut sealed: HashMap<i64, Sealed>,
        changes: &mut Changes,
    ) -> Result<(), LogError> {
        let mut open = Vec::new();
        for raw in slice {
            let position = raw.position;
            self.look_at_place(&raw);
            let name = self.names.get(raw.stream);
            let payload = sealed.remove(&position);
            let recorded = match raw.decode(name) {
                Ok(recorded) => recorded,
                Err(LogError::Undecodable { cause, .. }) => {
                    self.not_decoded(position, cause.to_string());
                    continue;
                }
                Err(LogError::Damaged { what, .. }) => {
                    self.not_decoded(position, what.to_owned());
                    continue;
                }
                Err(other) => return Err(other),
            };
            count_numbers(&recorded.event, &mut self.accounts, &mut self.groups);
            self.digest.update(recorded.hash().0);
            changes.apply(&recorded);
            self.histories.apply(&recorded, &mut self.problems);
            if let Some(payload) = self.look_at_sealed(&recorded, payload) {
                open.push((recorded, payload));
            }
        }
        let mut orphans: Vec<_> = sealed.into_keys().collect();
        orphans.sort_unstable();
        for position in orphans {
            self.problems.add(position, "there is something sealed, but no event");
        }
        self.open(open).await
    }

    fn not_decoded(&mut self, position: i64, what: String) {
        self.all_decoded = false;
        self.histories.give_up();
        self.problems.add(position, what);
    }

    /// Reports the positions that are missing before this one.
    fn miss(&mut self, position: i64) {
        let missing = position - self.position - 1;
        if missing == 1 {
            self.problems.add(self.position + 1, "there is no event");
        } else if missing > 1 {
            self.problems.add(self.position + 1, format!("there is no event, and none up to {}", position - 1));
        }
        if missing > 0 {
            self.all_decoded = false;
            self.histories.give_up();
        }
        self.position = position - 1;
    }

    /// Position, version and time.
    fn look_at_place(&mut self, raw: &Raw) {
        self.miss(raw.position);
        self.position = raw.position;
        let version = self.versions.entry(raw.stream).or_insert(0);
        if raw.version != *version + 1 {
            self.problems.add(raw.position, format!("version {} of its stream, after version {version}", raw.version));
        }
        *version = raw.version;
        if raw.time < self.time {
            let [time, before] = [raw.time, self.time].map(Timestamp::from_micros);
            self.problems.add(raw.position, format!("its time {time} is before {before}, that of the event before"));
        }
        self.time = raw.time;
    }

    /// The sealed payload of an event; answers it if its keys should open it.
    fn look_at_sealed(&mut self, recorded: &Recorded, payload: Option<Sealed>) -> Option<Sealed> {
        let position = recorded.position.0;
        let (commitment, payload) = match (recorded.sealed, payload) {
            (None, None) => return None,
            (None, Some(_)) => {
                self.problems.add(position, "something is sealed that the event does not commit to");
                return None;
            }
            (Some(_), None) => {
                if self.keys.covers(&sealed::subjects(recorded)) {
                    self.sealed.swept += 1;
                } else {
                    self.problems.add(position, "its sealed payload is missing, and no key of it was deleted");
                }
                return None;
            }
            (Some(commitment), Some(payload)) => (commitment, payload),
        };
        if payload.commitment() != commitment {
            self.problems.add(position, "its sealed payload is not the one that the event commits to");
            return None;
        }
        match self.keys.judge(&payload.keys, &sealed::subjects(recorded)) {
            Ok(true) => {
                self.sealed.readable += 1;
                Some(payload)
            }
            Ok(false) => {
                self.sealed.erased += 1;
                None
            }
            Err(what) => {
                self.problems.add(position, what);
                None
            }
        }
    }

    /// Opens what can be opened.
    async fn open(&mut self, payloads: Vec<(Recorded, Sealed)>) -> Result<(), LogError> {
        let Some(vault) = self.vault.clone().filter(|_| self.keys.is_known()) else { return Ok(()) };
        let opener = self.opener(&vault, &payloads).await?;
        for (recorded, payload) in payloads {
            let context = SealedContext { kind: recorded.event.kind(), schema: recorded.schema, salt: &recorded.salt };
            // One whose key was erased since the snapshot is no problem.
            if let Err(error) = opener.open(&payload, context) {
                self.problems.add(recorded.position.0, format!("its sealed payload does not open: {error}"));
            }
        }
        Ok(())
    }

    /// Opens with all intact keys of these payloads. Each damaged key is reported once.
    async fn opener(&mut self, vault: &Arc<Vault>, payloads: &[(Recorded, Sealed)]) -> Result<Opener, LogError> {
        let keys = |(recorded, sealed): &(Recorded, Sealed)| {
            let position = recorded.position.0;
            sealed.keys.iter().map(move |id| (*id, position)).collect::<Vec<_>>()
        };
        let mut ids: Vec<(KeyId, i64)> = payloads.iter().flat_map(keys).collect();
        ids.sort_unstable();
        ids.dedup_by_key(|(id, _)| *id);
        ids.retain(|(id, _)| !self.damaged_keys.contains(id));
        let all: Vec<KeyId> = ids.iter().map(|(id, _)| *id).collect();
        match vault.opener(&all).await {
            Err(error) if error.is_damage() => {}
            answer => return Ok(answer?),
        }
        let mut whole = Vec::new();
        for (id, position) in ids {
            match vault.opener(&[id]).await {
                Ok(_) => whole.push(id),
                Err(error) if error.is_damage() => {
                    self.damaged_keys.insert(id);
                    self.problems.add(position, format!("its sealed payload does not open: {error}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(vault.opener(&whole).await?)
    }

    /// What the head row says, and what lies beyond the head.
    pub(super) async fn ends(&mut self, tx: &mut PgConnection, head: &Head) -> Result<(), LogError> {
        self.histories.compare(head.position, &mut self.problems);
        self.histories.ends(tx, &mut self.problems).await?;
        for (position, key) in self.keys.live_but_deleted() {
            self.problems.add(position, format!("key {key} was deleted here, but lives in the vault"));
        }
        let beyond: Option<i64> = sqlx::query_scalar("select min(position) from events where position > $1")
            .bind(head.position.0)
            .fetch_one(&mut *tx)
            .await?;
        if let Some(position) = beyond {
            self.problems.add(position, format!("there is an event beyond the head, which is at {}", head.position));
        }
        let sealed: Option<i64> = sqlx::query_scalar(
            "select min(p) from (select min(position) from sealed where position > $1
             union all select min(position) from sealed_message where position > $1) s(p)",
        )
        .bind(head.position.0)
        .fetch_one(&mut *tx)
        .await?;
        if let Some(position) = sealed {
            self.problems.add(position, "there is something sealed, but no event");
        }
        let streams: i64 = sqlx::query_scalar("select coalesce(max(id), 0) from streams").fetch_one(&mut *tx).await?;
        if head.position > Position::START && head.time.micros() != self.time {
            let newest = Timestamp::from_micros(self.time);
            self.problems.add(None, format!("the head row says {}, the newest event {newest}", head.time));
        }
        for (what, counter, largest) in [
            ("accounts", head.accounts, self.accounts),
            ("groups", head.groups, self.groups),
            ("streams", head.streams, streams),
            ("keys", head.keys, self.keys.largest()),
        ] {
            if counter < largest {
                self.problems.add(None, format!("the head row counts {what} up to {counter}, but there is {largest}"));
            }
        }
        Ok(())
    }
}
