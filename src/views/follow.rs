//! Following the log: each batch, own or foreign, is folded into what is kept, in the order of positions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use be8_events::{Event, KeyId, MessageHeader, Position, Recorded, Sealed};
use be8_projections::{Stored, StoredSealed, ThreadMessage};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::facts::Key;
use super::fold::Content;
use crate::ledger::Subscription;
use crate::vault::Opener;

/// How soon the log is tried again when it could not be read.
const RETRY: Duration = Duration::from_millis(100);

/// A message that is to be folded into something that is kept.
struct Wanted<'a> {
    recorded: &'a Recorded,
    header: MessageHeader,
    nickname: Nickname,
}

/// The nickname that is shown with a message.
enum Nickname {
    /// Only the list of threads is kept, which does not show it.
    Unneeded,
    /// The thread shows it already; the data key that sealed it is among those of the thread.
    Kept(Arc<str>),
    /// The thread is kept, and does not show it yet.
    New,
}

/// Follows the log until the server stops.
pub(super) async fn follow(inner: Arc<Inner>, mut log: Subscription, stop: CancellationToken) {
    loop {
        let next = tokio::select! { () = stop.cancelled() => break, next = log.next() => next };
        let batch = match next {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "the log holds what cannot be followed: reads are answered from PostgreSQL");
                break;
            }
            Err(_) => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if !inner.delay.is_zero() {
            tokio::time::sleep(inner.delay).await;
        }
        let contents = contents(&inner, &batch).await;
        let mut state = inner.state.write();
        state.fold(&batch, &contents);
        inner.measure(&mut state);
        let position = state.position;
        drop(state);
        inner.position.send_replace(position);
    }
    let mut state = inner.state.write();
    state.broken = true;
    state.clear();
}

/// The contents of the messages of a batch that are wanted, as far as they are to be had.
async fn contents(inner: &Inner, batch: &[Recorded]) -> HashMap<Position, Content> {
    let wanted = wanted(inner, batch);
    if wanted.is_empty() {
        return HashMap::new();
    }
    let sealed = sealed(inner, &wanted).await;
    let mut contents = HashMap::with_capacity(wanted.len());
    // One for the whole batch: its messages share keys.
    let keys: Vec<KeyId> = sealed.values().flat_map(|sealed| sealed.keys.iter().copied()).collect();
    let Ok(opener) = inner.vault.opener(&keys).await else { return contents };
    for (wanted, sealed) in wanted.iter().filter_map(|wanted| Some((wanted, sealed.get(&wanted.recorded.position)?))) {
        if let Some(content) = content(inner, &opener, wanted, sealed).await {
            contents.insert(wanted.recorded.position, content);
        }
    }
    contents
}

/// The messages of a batch whose threads are kept.
fn wanted<'a>(inner: &Inner, batch: &'a [Recorded]) -> Vec<Wanted<'a>> {
    let state = inner.state.read();
    let wanted = |recorded: &'a Recorded| {
        let Event::Message(event) = &recorded.event else { return None };
        let header = event.header();
        let nickname = match state.thread(header.thread.key()) {
            Some(kept) => kept.names.get(&header.nickname).map_or(Nickname::New, |name| Nickname::Kept(name.clone())),
            None if state.holds(Key::Newest(header.thread.key())) => Nickname::Unneeded,
            None => return None,
        };
        Some(Wanted { recorded, header, nickname })
    };
    batch.iter().filter_map(wanted).collect()
}

/// What was sealed of these messages: this node has just sealed its own, those of others are read.
async fn sealed(inner: &Inner, wanted: &[Wanted<'_>]) -> HashMap<Position, Sealed> {
    let mut sealed = HashMap::with_capacity(wanted.len());
    let mut foreign = Vec::new();
    for Wanted { recorded, .. } in wanted {
        match inner.recent_payloads.get(recorded.position) {
            Some(own) => _ = sealed.insert(recorded.position, own),
            None => foreign.push((recorded.position, recorded.time)),
        }
    }
    if !foreign.is_empty() {
        sealed.extend(inner.read.sealed_messages(&foreign).await.unwrap_or_default());
    }
    sealed
}

async fn content(inner: &Inner, opener: &Opener, wanted: &Wanted<'_>, sealed: &Sealed) -> Option<Content> {
    let Wanted { recorded: Recorded { position, time, schema, salt, event, .. }, header, nickname } = wanted;
    let mut sealers = sealed.keys.clone();
    let (nickname, new_nickname) = match nickname {
        Nickname::Unneeded => (None, None),
        Nickname::Kept(name) => (Some(name.clone()), None),
        Nickname::New => {
            let (name, keys) = load_nickname(inner, header.nickname).await?;
            sealers.extend(keys);
            (Some(name.clone()), Some(name))
        }
    };
    let stored = Stored { position: *position, time: *time, schema: *schema, salt: *salt, event: event.clone() };
    let message = ThreadMessage { id: header.id, event: StoredSealed { stored, sealed: Some(sealed.clone()) } };
    let (line, shown) = inner.presenter.written(opener, header.thread, &message, nickname.as_deref()).ok()?;
    Some(Content { line, shown, new_nickname, sealers })
}

/// The nickname that an event set, and the data keys that sealed it; none once it is erased.
async fn load_nickname(inner: &Inner, at: Position) -> Option<(Arc<str>, Vec<KeyId>)> {
    let (event, live) = inner.read.sealed_event(at).await.ok()?;
    let event = event?;
    let opener = inner.vault.opener(&live).await.ok()?;
    event.sealed.as_ref().filter(|sealed| opener.has_keys_of(sealed))?;
    let name = inner.presenter.names(&opener, std::slice::from_ref(&event)).ok()?.remove(&at)?;
    Some((name, live))
}
