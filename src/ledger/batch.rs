//! Deciding a batch: each command in order against the newest state, earlier commands of the
//! batch included, without touching anything but the draft.

use std::collections::{HashMap, HashSet};

use be8_events::erasure::{Cause, DeletedKey, KeysDeleted};
use be8_events::{
    AccId, Hash32, KeyId, NewEvent, Position, Recorded, Sealed, SealedContext, Sealing, SecretPayload, StreamName,
    Subject, Timestamp,
};
use be8_projections::Changes;

use super::head::Head;
use super::idempotency::{Answered, Claim, Idempotency, Known, Row};
use super::push_endpoints::DeviceRows;
use super::states::{Cache, Entry, KeyState, SNAPSHOT_EVERY, Snapshot};
use super::{Job, LedgerError};
use crate::domain::{Rejection, State, States, Stop, View, count_numbers};
use crate::vault::{DataKey, FreshKey, KeySet, Vault};

/// What a pass lacked. It is loaded, and the pass starts again.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) streams: HashSet<StreamName>,
    pub(super) subjects: HashSet<Subject>,
    /// Idempotency keys of which it is not known what is stored under them.
    pub(super) claims: HashSet<Claim>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.subjects.is_empty() && self.claims.is_empty()
    }
}

/// A decided batch that is ready to be appended.
#[derive(Debug)]
pub(super) struct Draft {
    /// The head as it will be.
    pub(super) head: Head,
    pub(super) events: Vec<Recorded>,
    /// The sealed payloads, each with the index of its event.
    pub(super) sealed: Vec<(usize, Sealed)>,
    /// The ids of the streams of the events, in their order.
    pub(super) stream_ids: Vec<i64>,
    pub(super) new_streams: Vec<(i64, StreamName)>,
    pub(super) fresh_keys: Vec<FreshKey>,
    pub(super) deleted_keys: Vec<KeyId>,
    pub(super) changes: Changes,
    /// Answers to store under idempotency keys.
    pub(super) answers: Vec<Row>,
    /// What changes beside the log for devices.
    pub(super) devices: DeviceRows,
    /// The states after the batch.
    streams: HashMap<StreamName, Entry>,
    keys: HashMap<Subject, KeyState>,
    /// One verdict for each command.
    pub(super) verdicts: Vec<Result<(), LedgerError>>,
}

impl Draft {
    /// What is sealed under one key, each with the index of its event.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &(usize, Sealed)> {
        self.sealed.iter().filter(|(_, sealed)| !sealed.is_message())
    }

    /// What is sealed under the three keys of a message, each with the index of its event.
    pub(super) fn messages(&self) -> impl Iterator<Item = &(usize, Sealed)> {
        self.sealed.iter().filter(|(_, sealed)| sealed.is_message())
    }

    /// Takes out what is sealed of messages, each with the position of its event.
    pub(super) fn take_messages(&mut self) -> Vec<(Position, Sealed)> {
        let sealed = std::mem::take(&mut self.sealed).into_iter().filter(|(_, sealed)| sealed.is_message());
        sealed.filter_map(|(nth, sealed)| Some((self.events.get(nth)?.position, sealed))).collect()
    }

    /// Takes the states and keys over, once the batch is durable.
    pub(super) fn commit(
        self,
        cache: &mut Cache,
        vault: &Vault,
    ) -> (Vec<Recorded>, Vec<Snapshot>, Vec<Result<(), LedgerError>>) {
        let mut snapshots = Vec::new();
        let position = self.head.position;
        for (stream, entry) in self.streams {
            let before = cache.stream(&stream).map_or(0, |old| old.version);
            if let Some(id) = entry.id
                && before / SNAPSHOT_EVERY != entry.version / SNAPSHOT_EVERY
            {
                snapshots.push(Snapshot { stream: id, version: entry.version, position, state: entry.state.clone() });
            }
            cache.put_stream(stream, entry);
        }
        vault.remember(&self.fresh_keys.iter().map(|fresh| fresh.key.clone()).collect::<Vec<_>>());
        vault.forget(&self.deleted_keys);
        for (subject, key) in self.keys {
            cache.put_key(subject, key);
        }
        (self.events, snapshots, self.verdicts)
    }
}

/// A pass over the commands of a batch.
pub(super) struct Pass<'a> {
    cache: &'a Cache,
    vault: &'a Vault,
    now: Timestamp,
    clock: Timestamp,
    head: Head,
    streams: HashMap<StreamName, Entry>,
    keys: HashMap<Subject, KeyState>,
    events: Vec<(Recorded, Option<(KeySet, SecretPayload)>)>,
    new_streams: Vec<(i64, StreamName)>,
    stream_ids: Vec<i64>,
    fresh_keys: Vec<FreshKey>,
    deleted_keys: Vec<KeyId>,
    known: &'a Known,
    /// The idempotency keys of earlier commands of the batch.
    claimed: HashSet<Claim>,
    answers: Vec<Row>,
    devices: DeviceRows,
    missing: Missing,
}

/// What is to be done with a command under an idempotency key.
enum Standing {
    /// Nobody is authenticated: the command says so itself.
    Nobody,
    /// Something has to be loaded first.
    Unknown,
    /// It is the first one.
    First(AccId),
    /// An earlier command of the batch has the key.
    InFlight,
    /// It came before, and this was the answer; none: it was another request.
    Again(Option<Answered>),
}

impl States for Pass<'_> {
    fn get(&self, stream: &StreamName) -> Option<(&State, i64)> {
        let entry = self.streams.get(stream).or_else(|| self.cache.stream(stream))?;
        Some((&entry.state, entry.version))
    }
}

impl<'a> Pass<'a> {
    /// Decides all commands. `clock` is what this node's clock shows. The time of events never falls: while the clock is behind
    /// the head, they have the head's.
    ///
    /// # Errors
    /// [`Missing`]: what has to be loaded first.
    pub(super) fn run(
        cache: &'a Cache,
        vault: &'a Vault,
        known: &'a Known,
        head: Head,
        clock: Timestamp,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<Draft, Box<Missing>> {
        let mut pass = Self {
            cache,
            vault,
            now: clock.max(head.time),
            clock,
            head,
            streams: HashMap::new(),
            keys: HashMap::new(),
            events: Vec::with_capacity(jobs.len()),
            new_streams: Vec::new(),
            stream_ids: Vec::with_capacity(jobs.len()),
            fresh_keys: Vec::new(),
            deleted_keys: Vec::new(),
            known,
            claimed: HashSet::new(),
            answers: Vec::new(),
            devices: DeviceRows::default(),
            missing: Missing::default(),
        };
        for job in jobs.iter() {
            for stream in job.streams() {
                if pass.cache.stream(&stream).is_none() {
                    pass.missing.streams.insert(stream);
                }
            }
        }
        // What is stored under the keys of the batch, before anything is decided for nothing.
        for once in jobs.iter().filter_map(|job| job.once()) {
            pass.standing(once);
        }
        if !pass.missing.claims.is_empty() {
            return Err(Box::new(pass.missing));
        }
        let verdicts = jobs.iter_mut().map(|job| pass.decide(job.as_mut())).collect();
        if pass.missing.is_empty() { Ok(pass.draft(verdicts)) } else { Err(Box::new(pass.missing)) }
    }

    fn view(&self) -> View<'_> {
        let (next_account, next_group) = (self.head.accounts + 1, self.head.groups + 1);
        View { now: self.now, clock: self.clock, next_account, next_group, states: self }
    }

    /// How a command under an idempotency key stands.
    fn standing(&mut self, once: &Idempotency) -> Standing {
        let account = match self.view().authenticate(Some(once.session)) {
            Ok(account) => account,
            Err(Stop::Rejected(_)) => return Standing::Nobody,
            Err(Stop::Need(stream)) => {
                self.missing.streams.insert(stream);
                return Standing::Unknown;
            }
        };
        let claim = (account, once.key);
        if self.claimed.contains(&claim) {
            return Standing::InFlight;
        }
        let Some(key) = self.key_state(&Subject::Server) else {
            self.missing.subjects.insert(Subject::Server);
            return Standing::Unknown;
        };
        match (self.known.get(&claim), key) {
            (Some(Some(stored)), KeyState::Live(key)) => Standing::Again(stored.answer_to(key, once)),
            (Some(_), _) => Standing::First(account),
            (None, _) => {
                self.missing.claims.insert(claim);
                Standing::Unknown
            }
        }
    }

    fn decide(&mut self, job: &mut dyn Job) -> Result<(), LedgerError> {
        let first = match job.once().map(|once| self.standing(once)) {
            None | Some(Standing::Nobody) => None,
            Some(Standing::First(account)) => Some(account),
            Some(Standing::Unknown) => return Ok(()),
            Some(Standing::InFlight) => return Err(LedgerError::InFlight),
            Some(Standing::Again(None)) => return Err(LedgerError::KeyReused),
            Some(Standing::Again(Some(answered))) => {
                job.replay(answered);
                return Ok(());
            }
        };
        let decision = match job.decide(&self.view()) {
            Ok(decision) => decision,
            Err(Stop::Rejected(rejection)) => return Err(rejection.into()),
            Err(Stop::Need(stream)) => {
                self.missing.streams.insert(stream);
                return Ok(());
            }
        };
        // A command is written whole or not at all: no key is made for one that lacks another.
        for secret in decision.events.iter().filter_map(|event| event.secret.as_ref()) {
            for subject in secret.sealing.subjects(self.now.day()) {
                if let Some(KeyState::Erased) = self.key_state(&subject) {
                    return Err(match Rejection::of_erased(&subject) {
                        Some(rejection) => rejection.into(),
                        None => {
                            tracing::error!(%subject, "a command wants to seal under an erased key");
                            LedgerError::Internal
                        }
                    });
                }
            }
        }
        if !decision.events.is_empty() {
            for subject in job.keys() {
                self.data_key(subject);
            }
        }
        // Valid without effect is not stored: it may be asked again.
        if let Some(account) = first
            && !(decision.events.is_empty() && decision.erase.is_empty())
            && let Some(key) = self.data_key(Subject::Server)
            && let (Some(once), Some(answered)) = (job.once(), job.answered())
        {
            self.claimed.insert((account, once.key));
            self.answers.push(Row::new(&key, account, once, answered));
        }
        let endpoint = job.endpoint().filter(|_| !decision.events.is_empty());
        let mut prepared = Vec::with_capacity(decision.events.len());
        for event in decision.events {
            let keys = match &event.secret {
                None => None,
                Some(secret) => self.key_set(secret.sealing),
            };
            prepared.push((event, keys));
        }
        for (event, keys) in prepared {
            self.append(event, keys);
        }
        if let Some((endpoint, device)) = endpoint {
            self.devices.claimed(endpoint, device);
        }
        self.erase(&decision.erase);
        Ok(())
    }

    /// The keys to seal under; none when one has to be loaded first.
    fn key_set(&mut self, sealing: Sealing) -> Option<KeySet> {
        let keys: Vec<_> = sealing.subjects(self.now.day()).into_iter().map(|subject| self.data_key(subject)).collect();
        let mut keys = keys.into_iter();
        let mut next = || keys.next().flatten();
        match sealing {
            Sealing::Lasting(_) => next().map(KeySet::Lasting),
            Sealing::Message { .. } => match (next(), next(), next()) {
                (Some(account), Some(stay), Some(day)) => Some(KeySet::Message { account, stay, day }),
                _ => None,
            },
        }
    }

    /// What is known of a subject's key, earlier commands of the batch included.
    fn key_state(&self, subject: &Subject) -> Option<&KeyState> {
        self.keys.get(subject).or_else(|| self.cache.key(subject))
    }

    /// The live key of a subject: a new one if it has none; nothing if it must be loaded.
    fn data_key(&mut self, subject: Subject) -> Option<DataKey> {
        match self.key_state(&subject) {
            Some(KeyState::Live(key)) => Some(key.clone()),
            Some(KeyState::Erased) => None, // such a command came to no event
            Some(KeyState::None) => {
                self.head.keys += 1;
                let fresh = self.vault.fresh_key(self.head.keys, subject);
                let key = fresh.key.clone();
                self.keys.insert(subject, KeyState::Live(key.clone()));
                self.fresh_keys.push(fresh);
                Some(key)
            }
            None => {
                self.missing.subjects.insert(subject);
                None
            }
        }
    }

    /// Gives an event its place and folds it into the state of its stream.
    fn append(&mut self, event: NewEvent, keys: Option<KeySet>) {
        let NewEvent { stream, actor, event, secret } = event;
        let entry = match self.streams.entry(stream) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => match self.cache.stream(&stream) {
                Some(cached) => vacant.insert(cached.clone()),
                None => {
                    self.missing.streams.insert(stream);
                    return;
                }
            },
        };
        let id = *entry.id.get_or_insert_with(|| {
            self.head.streams += 1;
            self.new_streams.push((self.head.streams, stream));
            self.head.streams
        });
        self.head.position = self.head.position.next();
        self.head.time = self.now;
        count_numbers(&event, &mut self.head.accounts, &mut self.head.groups);
        let recorded = Recorded {
            position: self.head.position,
            stream,
            version: entry.version + 1,
            time: self.now,
            actor,
            salt: Hash32([0; 32]),
            schema: event.schema(),
            payload: event.payload(),
            sealed: None,
            event,
        };
        entry.evolve(&recorded);
        self.devices.apply(&recorded);
        self.stream_ids.push(id);
        self.events.push((recorded, keys.zip(secret)));
    }

    /// Deletes the keys of subjects that have a living one, and says so in an event.
    fn erase(&mut self, subjects: &[(Subject, Cause)]) {
        let mut by_cause: Vec<(Cause, Vec<DeletedKey>)> = Vec::new();
        for &(subject, cause) in subjects {
            match self.key_state(&subject) {
                None => {
                    self.missing.subjects.insert(subject);
                }
                Some(KeyState::None | KeyState::Erased) => {}
                Some(KeyState::Live(key)) => {
                    let id = key.id();
                    let deleted = DeletedKey { id, subject };
                    match by_cause.iter_mut().find(|(known, _)| *known == cause) {
                        Some((_, keys)) => keys.push(deleted),
                        None => by_cause.push((cause, vec![deleted])),
                    }
                    self.deleted_keys.push(id);
                    self.keys.insert(subject, KeyState::Erased);
                }
            }
        }
        for (cause, keys) in by_cause {
            let event = KeysDeleted { keys, cause }.into();
            self.append(NewEvent { stream: StreamName::Erasure, actor: None::<AccId>, event, secret: None }, None);
        }
    }

    /// Salts and seals the events, and folds them into the read models.
    fn draft(self, verdicts: Vec<Result<(), LedgerError>>) -> Draft {
        let mut changes = Changes::default();
        let mut events = Vec::with_capacity(self.events.len());
        let mut sealed = Vec::new();
        for (mut recorded, secret) in self.events {
            recorded.salt = Hash32(rand::random());
            if let Some((keys, secret)) = secret {
                let context =
                    SealedContext { kind: recorded.event.kind(), schema: recorded.schema, salt: &recorded.salt };
                let payload = self.vault.seal(&keys, context, secret.plain.expose());
                recorded.sealed = Some(payload.commitment());
                sealed.push((events.len(), payload));
            }
            changes.apply(&recorded);
            events.push(recorded);
        }
        let salt = events.last().map_or(self.head.salt, |newest| Some(newest.salt));
        Draft {
            head: Head { salt, ..self.head },
            events,
            sealed,
            stream_ids: self.stream_ids,
            new_streams: self.new_streams,
            fresh_keys: self.fresh_keys,
            deleted_keys: self.deleted_keys,
            changes,
            answers: self.answers,
            devices: self.devices,
            streams: self.streams,
            keys: self.keys,
            verdicts,
        }
    }
}
