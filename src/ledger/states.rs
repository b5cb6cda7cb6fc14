//! The states that decisions look at: cached by stream, loaded from a snapshot and the rest of
//! the stream. Dropping cache and snapshots changes nothing but the time it takes.

use std::collections::{HashMap, HashSet};

use be8_database::Pool;
use be8_events::{Position, Recorded, StreamName, Subject};
use lru::LruCache;
use sqlx::Row;

use super::LogError;
use super::head::Head;
use super::log::{recorded, select};
use crate::domain::{Occurred, State};
use crate::vault::{DataKey, Vault};

/// A stream as a decision sees it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The id in the dictionary of streams; none while the stream has no event.
    pub(super) id: Option<i64>,
    /// How many events it has.
    pub(super) version: i64,
    pub(super) state: State,
}

impl Entry {
    fn new(stream: &StreamName) -> Self {
        Self { id: None, version: 0, state: State::new(stream) }
    }

    /// Folds the next event of the stream in.
    pub(super) fn evolve(&mut self, recorded: &Recorded) {
        self.version = recorded.version;
        self.state.evolve(Occurred { position: recorded.position, event: &recorded.event });
    }
}

/// What is known of a subject's data key.
#[derive(Debug, Clone)]
pub(super) enum KeyState {
    /// It has none yet.
    None,
    /// It has this one.
    Live(DataKey),
    /// It had one, which is erased: it never gets another.
    Erased,
}

/// States and keys in memory, all of one position of the log. While a batch is decided the cache
/// takes in whatever that needs; [`Cache::trim`] bounds it again.
#[derive(Debug)]
pub(super) struct Cache {
    size: usize,
    streams: LruCache<StreamName, Entry>,
    keys: LruCache<Subject, KeyState>,
}

/// A format number that no snapshot has.
const NO_FORMAT: i32 = -1;

impl Cache {
    /// A cache of at most `size` streams, and twice as many keys, between batches: a conversation
    /// has one stream, and a key for each of its members' stays.
    pub(super) fn new(size: usize) -> Self {
        Self { size, streams: LruCache::unbounded(), keys: LruCache::unbounded() }
    }

    /// Drops what was not used for the longest time, until the cache has its size. Of keys what was
    /// loaded first: to mark each use of one would cost more than to load it again.
    pub(super) fn trim(&mut self) {
        while self.streams.len() > self.size {
            self.streams.pop_lru();
        }
        while self.keys.len() > self.size.saturating_mul(2) {
            self.keys.pop_lru();
        }
    }

    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.keys.clear();
    }

    pub(super) fn stream(&self, stream: &StreamName) -> Option<&Entry> {
        self.streams.peek(stream)
    }

    pub(super) fn key(&self, subject: &Subject) -> Option<&KeyState> {
        self.keys.peek(subject)
    }

    /// Marks a stream as used.
    pub(super) fn touch(&mut self, stream: &StreamName) {
        self.streams.promote(stream);
    }

    pub(super) fn put_stream(&mut self, stream: StreamName, entry: Entry) {
        self.streams.put(stream, entry);
    }

    pub(super) fn put_key(&mut self, subject: Subject, state: KeyState) {
        self.keys.put(subject, state);
    }

    /// Takes in events that another node appended.
    pub(super) fn catch_up(&mut self, batch: &[Recorded], vault: &Vault) {
        for recorded in batch {
            if let Some(entry) = self.streams.peek_mut(&recorded.stream) {
                if entry.version + 1 == recorded.version && entry.id.is_some() {
                    entry.evolve(recorded);
                } else {
                    // Loaded as empty: its id in the dictionary is not known here.
                    self.streams.pop(&recorded.stream);
                }
            }
            if let Some(deleted) = recorded.event.deleted_keys() {
                vault.forget(&deleted.keys.iter().map(|key| key.id).collect::<Vec<_>>());
                for key in &deleted.keys {
                    self.keys.put(key.subject, KeyState::Erased);
                }
            }
        }
        // The other node may have made keys for subjects that had none.
        let none: Vec<Subject> =
            self.keys.iter().filter(|(_, state)| matches!(state, KeyState::None)).map(|(s, _)| *s).collect();
        for subject in none {
            self.keys.pop(&subject);
        }
    }
}

/// Loads the states of these streams as they are at this head, with one query; with a second one
/// for those whose snapshot cannot be read.
pub(super) async fn load(
    pool: Pool,
    streams: HashSet<StreamName>,
    head: Head,
) -> Result<HashMap<StreamName, Entry>, LogError> {
    let (mut loaded, unreadable) = load_from(&pool, &streams, head, State::SNAPSHOT_FORMAT).await?;
    for stream in &unreadable {
        tracing::warn!(%stream, "a snapshot cannot be read: the stream is folded from its start");
    }
    loaded.extend(load_from(&pool, &unreadable, head, NO_FORMAT).await?.0);
    Ok(loaded)
}

const LOAD: &str = select!(
    with "s.id, n.state, n.version as snapshot, seen.salt as seen",
    "from (select (select salt from events where position = $2) as salt) seen
    left join unnest($1::text[]) u(name) on true left join streams s on s.name = u.name
    left join snapshots n on n.stream = s.id and n.format = $3 and n.position <= $2
    left join events e on e.stream = s.id and e.position <= $2 and e.version > coalesce(n.version, 0)
    order by s.id, e.version"
);

/// Loads from snapshots of this format and the rest of the streams; answers also which of the
/// snapshots cannot be read.
async fn load_from(
    pool: &Pool,
    streams: &HashSet<StreamName>,
    head: Head,
    format: i32,
) -> Result<(HashMap<StreamName, Entry>, HashSet<StreamName>), LogError> {
    let mut unreadable = HashSet::new();
    if streams.is_empty() {
        return Ok((HashMap::new(), unreadable));
    }
    let names: Vec<String> = streams.iter().map(StreamName::to_string).collect();
    let rows = sqlx::query(LOAD).bind(names).bind(head.position.0).bind(format).fetch_all(pool).await?;
    // During a failover the readers may still be connected to another database than the loop.
    let seen = rows.first().map(|row| row.try_get::<Option<&[u8]>, _>("seen")).transpose()?.flatten();
    if seen != head.salt.as_ref().map(|salt| &salt.0[..]) {
        return Err(LogError::OtherDatabase);
    }
    let mut loaded: HashMap<StreamName, Entry> = streams.iter().map(|stream| (*stream, Entry::new(stream))).collect();
    for row in &rows {
        let Some(name) = row.try_get::<Option<&str>, _>("name")? else { continue };
        let name: StreamName = name.parse().map_err(|_| LogError::Stored("unknown stream name"))?;
        let Some(entry) = loaded.get_mut(&name) else { continue };
        if unreadable.contains(&name) {
            continue;
        }
        if entry.version == 0
            && let Some(bytes) = row.try_get::<Option<&[u8]>, _>("state")?
        {
            let Ok(state) = serde_json::from_slice(bytes) else {
                unreadable.insert(name);
                continue;
            };
            entry.state = state;
            entry.version = row.try_get("snapshot")?;
        }
        if row.try_get::<Option<i64>, _>("position")?.is_some() {
            entry.id = Some(row.try_get("id")?);
            entry.evolve(&recorded(row)?);
        } else if entry.version > 0 {
            entry.id = Some(row.try_get("id")?);
        }
    }
    loaded.retain(|stream, _| !unreadable.contains(stream));
    Ok((loaded, unreadable))
}

/// A state worth keeping, so that a later load need not fold the stream from its start.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) stream: i64,
    pub(super) version: i64,
    pub(super) position: Position,
    pub(super) state: State,
}

/// After how many events of a stream its state is stored again.
pub(super) const SNAPSHOT_EVERY: i64 = 128;

/// Stores snapshots; a newer one stays.
pub(super) async fn store_snapshots(pool: &Pool, snapshots: Vec<Snapshot>) -> Result<(), LogError> {
    let mut ids = Vec::with_capacity(snapshots.len());
    let mut versions = Vec::with_capacity(snapshots.len());
    let mut positions = Vec::with_capacity(snapshots.len());
    let mut states = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let Ok(state) = serde_json::to_vec(&snapshot.state) else { continue };
        ids.push(snapshot.stream);
        versions.push(snapshot.version);
        positions.push(snapshot.position.0);
        states.push(state);
    }
    sqlx::query(
        "insert into snapshots as s (stream, version, position, format, state)
         select u.stream, u.version, u.position, $5, u.state
         from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) u(stream, version, position, state)
         on conflict (stream) do update set version = excluded.version, position = excluded.position,
             format = excluded.format, state = excluded.state
         where s.version < excluded.version or s.format <> excluded.format",
    )
    .bind(ids)
    .bind(versions)
    .bind(positions)
    .bind(states)
    .bind(State::SNAPSHOT_FORMAT)
    .execute(pool)
    .await?;
    Ok(())
}
