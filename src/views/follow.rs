//! Following the log: each batch, own or foreign, is folded into what is kept, in the order of positions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use be8_events::message::MessageHeader;
use be8_events::{Event, MessageNo, Position, Recorded, Sealed, ThreadId};
use be8_projections::{Stored, StoredSealed, ThreadMessage};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::facts::Key;
use super::fold::Content;
use super::load::{opener, sealers};
use crate::ledger::Subscription;

/// How soon the log is tried again when it could not be read.
const RETRY: Duration = Duration::from_millis(100);

/// A message that is to be folded into something that is kept.
struct Wanted {
    recorded: Recorded,
    thread: ThreadId,
    id: MessageNo,
    nickname: Position,
    /// Whether its thread is kept, and not only what is newest in it.
    whole: bool,
    /// The event that set the nickname, if the thread shows that name already.
    name: Option<Arc<StoredSealed>>,
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
        let mut state = inner.state();
        state.fold(&batch, &contents);
        inner.measure(&mut state);
        let position = state.position;
        drop(state);
        inner.position.send_replace(position);
    }
    let mut state = inner.state();
    state.broken = true;
    state.clear();
}

/// The contents of the messages of a batch that are wanted, as far as they are to be had.
async fn contents(inner: &Inner, batch: &[Recorded]) -> HashMap<Position, Content> {
    let wanted = wanted(inner, batch);
    let mut contents = HashMap::with_capacity(wanted.len());
    let mut sealed: HashMap<Position, Sealed> = HashMap::with_capacity(wanted.len());
    let mut foreign = Vec::new();
    for Wanted { recorded, .. } in &wanted {
        match inner.fresh.get(recorded.position) {
            Some(own) => _ = sealed.insert(recorded.position, own),
            None => foreign.push((recorded.position, recorded.time)),
        }
    }
    if !foreign.is_empty() {
        sealed.extend(inner.read.sealed_messages(&foreign).await.unwrap_or_default());
    }
    for wanted in wanted {
        let position = wanted.recorded.position;
        let Some(sealed) = sealed.remove(&position) else { continue };
        if let Some(content) = content(inner, wanted, sealed).await {
            contents.insert(position, content);
        }
    }
    contents
}

/// The messages of a batch whose threads are kept.
fn wanted(inner: &Inner, batch: &[Recorded]) -> Vec<Wanted> {
    let state = inner.state();
    let wanted = |recorded: &Recorded| {
        let Event::Message(event) = &recorded.event else { return None };
        let MessageHeader { thread, id, nickname, .. } = event.header();
        let kept = state.thread(thread.key());
        if kept.is_none() && !state.holds(Key::Newest(thread.key())) {
            return None;
        }
        let whole = kept.is_some();
        let name = kept.and_then(|kept| kept.names.get(&nickname).cloned());
        Some(Wanted { recorded: recorded.clone(), thread, id, nickname, whole, name })
    };
    batch.iter().filter_map(wanted).collect()
}

async fn content(inner: &Inner, wanted: Wanted, sealed: Sealed) -> Option<Content> {
    let Wanted { recorded, thread, id, nickname, whole, name } = wanted;
    let Recorded { position, time, schema, salt, event, .. } = recorded;
    let name = match name {
        None if whole => inner.read.sealed_event(nickname).await.ok()?.0.map(Arc::new),
        name => name,
    };
    let event = StoredSealed { stored: Stored { position, time, schema, salt, event }, sealed: Some(sealed) };
    let keys = sealers(std::iter::once(&event).chain(name.as_deref()));
    let opener = opener(inner, &keys).await?;
    // What was erased meanwhile is not what it was when it was written.
    let opens = |event: &StoredSealed| {
        let opened = event.sealed.as_ref().map(|sealed| opener.open(sealed, event.stored.context()));
        matches!(opened, Some(Ok(Some(_))))
    };
    if !opens(&event) || name.as_deref().is_some_and(|name| !opens(name)) {
        return None;
    }
    let message = ThreadMessage { id, event };
    let line = inner.shape.line(&opener, thread, &message).ok()?;
    let shown = match name {
        None => None,
        Some(name) => {
            let shown = inner.shape.messages(&opener, thread, vec![message], std::slice::from_ref(&*name)).ok()?;
            shown.into_iter().next().map(|shown| (shown, name))
        }
    };
    Some(Content { shown, line, sealers: keys })
}
