//! What is left of a request's body when its answer is ready: it is taken and thrown away, within bounds.
//!
//! A client that is cut off while it writes seldom reads why. Over HTTP/1.1 the connection would be closed under it; over
//! HTTP/2 its stream would be reset after the answer, which Debian 12's curl takes for a failure.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use poem::Request;
use poem::http::header;
use tokio::time::timeout;

/// How long the rest is taken.
const TIME: Duration = Duration::from_secs(10);
/// Most bytes of it.
const BYTES: u64 = 64 * 1024 * 1024;

/// The body of a request, as poem holds it.
type Boxed = BoxBody<Bytes, std::io::Error>;

/// What will be left of the body of a request, once nobody reads it any more.
#[derive(Debug)]
pub(in crate::http) struct Unread {
    rest: Arc<Mutex<Option<Boxed>>>,
}

/// A body that is given back when it is dropped before its end.
struct Lent {
    body: Boxed,
    rest: Arc<Mutex<Option<Boxed>>>,
    /// Nothing is to be given back: it has ended, or its client waits to be asked for it.
    over: bool,
}

impl Unread {
    /// Watches the body of a request.
    pub(in crate::http) fn of(request: &mut Request) -> Self {
        let rest = Arc::default();
        // Who waits for "100 Continue" (RFC 9110, section 10.1.1) has sent nothing yet; asking for the first piece would
        // send it.
        let over = request.headers().contains_key(header::EXPECT);
        let body = Boxed::from(request.take_body());
        let lent = Lent { body, rest: Arc::clone(&rest), over };
        request.set_body(poem::Body::from(Boxed::new(lent)));
        Self { rest }
    }

    /// Throws away what is left. Whatever ends it, the answer follows.
    pub(in crate::http) async fn discard(self) {
        self.discard_within(TIME).await;
    }

    async fn discard_within(self, time: Duration) {
        let rest = self.rest.lock().take();
        if let Some(rest) = rest.filter(|rest| rest.size_hint().lower() <= BYTES) {
            let _ = timeout(time, discard(rest, BYTES)).await;
        }
    }
}

async fn discard(body: Boxed, most: u64) {
    let (mut body, mut left) = (pin!(body), most);
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { break };
        left = rest;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Once it is asked for, it comes.
        self.over = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.over && !self.body.is_end_stream() {
            let body = std::mem::replace(&mut self.body, Empty::new().map_err(|never| match never {}).boxed());
            *self.rest.lock() = Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt as _, stream};

    use super::*;

    /// A request whose body is `count` pieces of 64 KiB, and how many of them were taken.
    fn request(count: usize, expects: bool) -> (Request, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let pieces = stream::repeat_with(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(vec![0_u8; 65_536])
        });
        let mut request = Request::builder();
        if expects {
            request = request.header(header::EXPECT, "100-continue");
        }
        (request.body(poem::Body::from_bytes_stream(pieces.take(count))), taken)
    }

    #[tokio::test]
    async fn what_was_not_read_is_thrown_away_within_bounds() {
        for (count, expects, read, taken) in [
            (3, false, 0, 3),
            (3, false, 2, 3),
            (3, false, 9, 3),
            (100_000, false, 0, 1025),
            // Nothing is asked of who waits to be asked, until it was.
            (3, true, 0, 0),
            (3, true, 1, 3),
        ] {
            let (mut request, counted) = request(count, expects);
            let unread = Unread::of(&mut request);
            let mut body = request.take_body().into_bytes_stream();
            for _ in 0..read {
                let _ = body.next().await;
            }
            drop((body, request));
            unread.discard().await;
            assert_eq!(counted.load(Ordering::SeqCst), taken, "{count} {expects} {read}");
        }
    }

    #[tokio::test]
    async fn who_sends_nothing_more_is_not_waited_for_long() {
        let silent = stream::pending::<std::io::Result<Vec<u8>>>();
        let mut request = Request::builder().body(poem::Body::from_bytes_stream(silent));
        let unread = Unread::of(&mut request);
        drop(request);
        let begun = std::time::Instant::now();
        unread.discard_within(Duration::from_millis(100)).await;
        assert!((Duration::from_millis(100)..Duration::from_secs(5)).contains(&begun.elapsed()));
    }
}
