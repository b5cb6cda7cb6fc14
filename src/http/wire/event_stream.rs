//! How a stream of changes looks on the wire: server-sent events (HTML standard, section 9.2) in a form that clients in use
//! read alike.
//!
//! Some parsers dispatch an event without data at each empty line, so an empty line ends an event and nothing else: neither
//! `retry:` nor a comment. `data` comes before `id`, since some take the id of an event over before the event is whole: cut in
//! between, the event would be lost. Each event is one write and, over HTTP/1.1, one chunk. Its data is ASCII: some clients decode
//! each piece of the stream alone, or as Latin-1, and end lines at U+0085, U+2028 and U+2029.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use poem::http::header;
use poem::{Body, Response};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

/// What a silent stream sends: a comment.
const HEARTBEAT: &[u8] = b":\n";

/// How long a client waits before it comes back.
pub(in crate::http) fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n", after.as_millis()).into()
}

/// The same JSON in ASCII: outside of strings it is that already, in them any character can be escaped by its UTF-16 units.
pub(in crate::http) fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// An event. Its data is one line.
pub(in crate::http) fn event(data: &str, id: &str) -> Bytes {
    format!("data: {data}\nid: {id}\n\n").into()
}

/// The answer that sends these pieces, and a comment after each `heartbeat` without one.
pub(in crate::http) fn response(pieces: impl Stream<Item = Bytes> + Send + 'static, heartbeat: Duration) -> Response {
    let mut pieces = pieces.boxed();
    let mut silence = interval_at(Instant::now() + heartbeat, heartbeat);
    let with_heartbeats = stream::poll_fn(move |context| {
        if let Poll::Ready(piece) = pieces.poll_next_unpin(context) {
            silence.reset();
            return Poll::Ready(piece.map(Ok::<_, std::io::Error>));
        }
        silence.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(HEARTBEAT))))
    });
    Response::builder()
        .content_type("text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache, no-transform")
        .header("x-accel-buffering", "no")
        .body(Body::from_bytes_stream(with_heartbeats))
}

/// Streams that are refused: status 200, `retry:` and the end of the body, since a browser comes back after no other
/// status. Some clients ignore `retry:` and come back at once, so the end is held back for a while.
#[derive(Debug, Clone)]
pub struct RefusedStreams {
    hold: Duration,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl RefusedStreams {
    /// Holds at most `most` answers open at a time, each for `hold` or until `stop`; more are ended at once.
    pub fn new(hold: Duration, most: usize, stop: CancellationToken) -> Self {
        Self { hold, places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), stop }
    }

    /// The answer that asks a client to come back after this time.
    pub(in crate::http) fn come_back(&self, after: Duration) -> Response {
        let (hold, stop) = (self.hold, self.stop.clone());
        let place = self.places.clone().try_acquire_owned().ok();
        let held = stream::once(async move {
            if place.is_some() {
                tokio::select! { () = sleep(hold) => {}, () = stop.cancelled() => {} }
            }
            None
        });
        let pieces = stream::iter([Some(retry(after))]).chain(held).filter_map(std::future::ready);
        response(pieces, Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::ascii;

    proptest::proptest! {
        #[test]
        fn json_in_ascii_is_the_same_json(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let escaped = ascii(&json);
            proptest::prop_assert!(escaped.is_ascii());
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
    }
}
