//! Loading what is missing, one load for each entry at a time: all that wait for it share it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use be8_events::{AccId, GroupId, KeyId, Position, ThreadId};
use be8_projections::{At, Generation, GroupRow, NewestRow, ReadError, StoredSealed, ThreadRow};
use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::facts::{Account, Fact, Group, Key, Newest, Thread};
use super::presenter::Unshown;
use super::state::{Loaded, Taken};
use crate::vault::VaultError;

/// Why something was not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("it cannot be shown")]
    Unshown,
}

impl From<Unshown> for LoadError {
    fn from(_: Unshown) -> Self {
        Self::Unshown
    }
}

/// What one statement found.
struct Found {
    position: Position,
    generation: Generation,
    entries: Vec<(Key, Option<Loaded>)>,
}

/// Says that a load is over, however it ended.
struct Under {
    inner: Arc<Inner>,
    keys: Vec<Key>,
    over: CancellationToken,
}

impl Drop for Under {
    fn drop(&mut self) {
        let mut state = self.inner.state.write();
        for key in &self.keys {
            state.loading.remove(key);
        }
        drop(state);
        self.over.cancel();
    }
}

/// Loads entries, or waits for those who do. Adds what is not there to `absent`, with the position at which it was not.
pub(super) async fn load(inner: &Arc<Inner>, keys: Vec<Key>, absent: &mut HashMap<Key, Position>) {
    let over = CancellationToken::new();
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    {
        let mut state = inner.state.write();
        for key in keys {
            match state.loading.get(&key) {
                Some(other) => theirs.push(other.clone()),
                None => {
                    state.loading.insert(key, over.clone());
                    mine.push(key);
                }
            }
        }
    }
    if !mine.is_empty() {
        let under = Under { inner: inner.clone(), keys: mine, over };
        // Others may wait for it when the one who asked first is gone.
        let loading = tokio::spawn(async move { load_now(&under).await });
        absent.extend(loading.await.unwrap_or_default());
    }
    for other in theirs {
        other.cancelled().await;
    }
}

async fn load_now(under: &Under) -> HashMap<Key, Position> {
    let inner = &under.inner;
    let mut absent = HashMap::new();
    for found in join_all(inner.statements(&under.keys)).await {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "a view was not loaded");
                continue;
            }
        };
        let mut state = inner.state.write();
        for (key, loaded) in found.entries {
            if state.take(key, loaded, found.position, found.generation) == Taken::Absent {
                absent.insert(key, found.position);
            }
        }
        inner.measure(&mut state);
    }
    absent
}

impl Inner {
    /// The statements that load these entries: one for all entries of a kind where there is such a one.
    fn statements<'a>(&'a self, keys: &[Key]) -> Vec<BoxFuture<'a, Result<Found, LoadError>>> {
        let (mut accounts, mut groups, mut newest) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut statements: Vec<BoxFuture<'a, _>> = Vec::new();
        for &key in keys {
            match key {
                Key::Account(account) => _ = accounts.insert(account),
                Key::Group(group) => _ = groups.insert(group),
                Key::Newest(thread) => _ = newest.insert(thread),
                Key::Session(session) => statements.push(Box::pin(async move {
                    let at = self.read.session_at(session).await?;
                    let account = at.found.map(|account| (Fact::Session(account), Vec::new()));
                    Ok(Found::of(&at, vec![(key, account)]))
                })),
                Key::List(account) => statements.push(Box::pin(async move {
                    let at = self.read.list_at(account).await?;
                    let list: BTreeMap<i64, ThreadId> = at.found.iter().map(|thread| (thread.key(), *thread)).collect();
                    // An account has the thread of the system at least.
                    let list = (!list.is_empty()).then(|| (Fact::List(Arc::new(list)), Vec::new()));
                    Ok(Found::of(&at, vec![(key, list)]))
                })),
                Key::Thread(thread) => statements.push(Box::pin(self.thread(key, thread))),
                Key::GroupKeys(group, account) => statements.push(Box::pin(async move {
                    let at = self.read.group_keys_at(group, account).await?;
                    let opener = self.vault.opener(&at.live).await?;
                    let shown = self.presenter.group_keys(&opener, &at.found)?;
                    let keys = Some((Fact::GroupKeys(shown.into()), sealers(&at.found)));
                    Ok(Found::of(&at, vec![(key, keys)]))
                })),
                Key::Insights => statements.push(Box::pin(async move {
                    let at = self.read.insights_at().await?;
                    Ok(Found::of(&at, vec![(key, Some((Fact::Insights(at.found), Vec::new())))]))
                })),
            }
        }
        if !accounts.is_empty() {
            statements.push(Box::pin(self.accounts(accounts)));
        }
        if !groups.is_empty() {
            statements.push(Box::pin(self.groups(groups)));
        }
        if !newest.is_empty() {
            statements.push(Box::pin(self.newest(newest)));
        }
        statements
    }

    async fn accounts(&self, of: BTreeSet<AccId>) -> Result<Found, LoadError> {
        let ids: Vec<AccId> = of.iter().copied().collect();
        let at = self.read.accounts_at(&ids).await?;
        let opener = self.vault.opener(&at.live).await?;
        let mut found = HashMap::new();
        for row in &at.found {
            let events = [Some(&row.nickname), row.status.as_ref(), row.public_key.as_ref()];
            let shown = self.presenter.account(&opener, row)?;
            let account = Account { until: row.until, codes: row.codes, shown };
            let loaded = (Fact::Account(Arc::new(account)), sealers(events.into_iter().flatten()));
            found.insert(Key::Account(row.id), loaded);
        }
        Ok(Found::of(&at, each(of.into_iter().map(Key::Account), found)))
    }

    async fn groups(&self, of: BTreeSet<GroupId>) -> Result<Found, LoadError> {
        let ids: Vec<GroupId> = of.iter().copied().collect();
        let at = self.read.groups_at(&ids).await?;
        let opener = self.vault.opener(&at.live).await?;
        let mut found = HashMap::new();
        for row in &at.found {
            let shown = self.presenter.group(&opener, row)?;
            let GroupRow { admin, version, destroyed, .. } = *row;
            let members = row.members.iter().map(|&(account, stay, first)| (account, (stay, first))).collect();
            let group = Group { admin, version, destroyed, members, shown };
            found.insert(Key::Group(row.id), (Fact::Group(Arc::new(group)), sealers([&row.name])));
        }
        Ok(Found::of(&at, each(of.into_iter().map(Key::Group), found)))
    }

    async fn newest(&self, of: BTreeSet<i64>) -> Result<Found, LoadError> {
        let keys: Vec<i64> = of.iter().copied().collect();
        let at = self.read.newest_at(&keys).await?;
        let opener = self.vault.opener(&at.live).await?;
        let mut found = HashMap::new();
        for NewestRow { thread, message, marked, ahead } in &at.found {
            let line = self.presenter.line(&opener, *thread, message)?;
            let newest = Newest {
                thread: *thread,
                name: thread.to_string().into(),
                id: message.id,
                position: message.event.stored.position,
                time: message.event.stored.time,
                line,
                marked: marked.iter().copied().collect(),
                ahead: *ahead,
            };
            let loaded = (Fact::Newest(Arc::new(newest)), sealers([&message.event]));
            found.insert(Key::Newest(thread.key()), loaded);
        }
        Ok(Found::of(&at, each(of.into_iter().map(Key::Newest), found)))
    }

    async fn thread(&self, key: Key, thread: i64) -> Result<Found, LoadError> {
        let At { position, generation, found, live } = self.read.thread_at(thread).await?;
        let Some(ThreadRow { thread, messages, names, read_marks }) = found else {
            return Ok(Found { position, generation, entries: vec![(key, None)] });
        };
        let opener = self.vault.opener(&live).await?;
        let sealers = sealers(messages.iter().map(|message| &message.event).chain(&names));
        let names = self.presenter.names(&opener, &names)?;
        let shown = self.presenter.messages(&opener, thread, &messages, &names)?;
        let gapless = shown.windows(2).all(|pair| pair[0].id + 1 == pair[1].id);
        if shown.len() != messages.len() || !gapless {
            return Err(LoadError::Unshown);
        }
        let fact = Thread { thread, messages: shown.into(), names, marks: read_marks.into_iter().collect() };
        let loaded = (Fact::Thread(Arc::new(fact)), sealers);
        Ok(Found { position, generation, entries: vec![(key, Some(loaded))] })
    }
}

impl Found {
    fn of<T>(at: &At<T>, entries: Vec<(Key, Option<Loaded>)>) -> Self {
        Self { position: at.position, generation: at.generation, entries }
    }
}

/// Each key with what was found under it.
fn each(keys: impl Iterator<Item = Key>, mut found: HashMap<Key, Loaded>) -> Vec<(Key, Option<Loaded>)> {
    keys.map(|key| (key, found.remove(&key))).collect()
}

/// The data keys that sealed these events.
fn sealers<'a>(events: impl IntoIterator<Item = &'a StoredSealed>) -> Vec<KeyId> {
    events
        .into_iter()
        .filter_map(|event| event.sealed.as_ref())
        .flat_map(|sealed| sealed.keys.iter().copied())
        .collect()
}
