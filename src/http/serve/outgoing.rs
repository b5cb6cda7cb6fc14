//! The memory that answers take until their clients have taken them: clients decide how long that is.
//!
//! A little is free for each connection. What is beyond is reserved in a budget that all connections share, from
//! before the answer is made, where its size is known, until the last of its bytes is written; and its client must take
//! it at some speed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use parking_lot::{Mutex, MutexGuard};
use poem::{Body, Request, RequestBody, Response};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::request::byte_budget::{ByteBudget, Reservation};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// This many bytes in flight on one connection are free: a client that wants little is served however many want much.
const FREE: usize = 64 * 1024;
/// The slowest that a client may take a large answer, in bytes a second.
const SPEED: u64 = 8 * 1024;
/// The type of the bodies of poem.
type Boxed = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// What is on its way over one connection.
#[derive(Debug)]
pub(in crate::http) struct Way {
    free: ByteBudget,
    budget: ByteBudget,
    patience: Duration,
    broken: CancellationToken,
}

/// The answer to one request, with its reservation once it has one. Without it as the data of a request there is no bound.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Outgoing(Option<Arc<Answering>>);

#[derive(Debug)]
struct Reserved {
    reservation: Reservation,
    /// And not only of what is free.
    shared: bool,
}

#[derive(Debug)]
struct Answering {
    way: Arc<Way>,
    reserved: Mutex<Option<Reserved>>,
}

impl Way {
    /// Over a connection that is broken by `broken` when its client takes a large answer too slowly: nothing of it for
    /// `patience`. Answers beyond a little are reserved in `budget`.
    pub(in crate::http) fn new(budget: &ByteBudget, patience: Duration, broken: CancellationToken) -> Arc<Self> {
        Arc::new(Self { free: ByteBudget::new(FREE, None), budget: budget.clone(), patience, broken })
    }
}

impl<'a> poem::FromRequest<'a> for Outgoing {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data().cloned().unwrap_or_default())
    }
}

impl Outgoing {
    /// The answer to a request that came over this connection.
    pub(in crate::http) fn over(way: &Arc<Way>) -> Self {
        Self(Some(Arc::new(Answering { way: way.clone(), reserved: Mutex::default() })))
    }

    fn reservation(&self) -> Option<(&Arc<Way>, MutexGuard<'_, Option<Reserved>>)> {
        let Answering { way, reserved } = &**self.0.as_ref()?;
        Some((way, reserved.lock()))
    }

    /// Reserves this many bytes, unless some are reserved already.
    ///
    /// # Errors
    /// [`Code::Unavailable`] while there are not so many.
    fn claim(&self, bytes: usize) -> Result<(), WireError> {
        let Some((way, mut reservation)) = self.reservation() else { return Ok(()) };
        if bytes == 0 || reservation.is_some() {
            return Ok(());
        }
        let bytes = way.budget.at_most(bytes);
        *reservation = Some(match way.free.claim(bytes) {
            Some(free) => Reserved { reservation: free, shared: false },
            None => Reserved { reservation: way.budget.claim(bytes).ok_or(Code::Unavailable)?, shared: true },
        });
        Ok(())
    }

    /// Reserves the bytes of an answer that is there as a whole, unless it has some already.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if there are not so many.
    pub(in crate::http) fn claim_for(&self, answer: &mut Response) -> Result<(), WireError> {
        let body: Boxed = answer.take_body().into();
        let size = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        answer.set_body(Body::from(body));
        self.claim(size.unwrap_or(0))
    }

    /// Reserves the bytes of a large answer before it is made, waiting in line.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the patience has run out.
    pub(in crate::http) async fn wait(&self, bytes: usize, patience: Duration) -> Result<(), WireError> {
        let Some(Answering { way, .. }) = self.0.as_deref().filter(|_| bytes > FREE) else { return self.claim(bytes) };
        let reservation = way.budget.wait(way.budget.at_most(bytes), patience).await.ok_or(Code::Unavailable)?;
        if let Some((_, mut reserved)) = self.reservation() {
            *reserved = Some(Reserved { reservation, shared: true });
        }
        Ok(())
    }

    /// Lets the body of the answer hold its reservation, if it has one. The connection is broken unless a large one is taken
    /// in time.
    pub(in crate::http) async fn hold(self, mut answer: Response) -> Response {
        let Some((way, Some(reserved))) = self.reservation().map(|(way, mut reservation)| (way, reservation.take()))
        else {
            return answer;
        };
        match answer.take_body().into_bytes().await {
            Ok(bytes) => {
                let watch = reserved.shared.then(|| watch(way, bytes.len()));
                answer.set_body(Bytes::from_owner(Held { bytes, _reservation: reserved.reservation, _watch: watch }));
            }
            // Only a stream can fail, and none has a reservation.
            Err(error) => tracing::error!(%error, "the body of an answer is lost"),
        }
        answer
    }
}

/// Breaks a connection on which this many bytes are not taken in time. The watch ends when the guard is dropped.
fn watch(way: &Way, bytes: usize) -> DropGuard {
    let taken = CancellationToken::new();
    let guard = taken.clone().drop_guard();
    let (broken, time) = (way.broken.clone(), way.patience + Duration::from_secs(bytes as u64 / SPEED));
    tokio::spawn(async move {
        tokio::select! { () = taken.cancelled() => {}, () = sleep(time) => broken.cancel() }
    });
    guard
}

/// Bytes with their reservation: it is given back when nobody holds them any more, what is being written included.
struct Held {
    bytes: Bytes,
    _reservation: Reservation,
    _watch: Option<DropGuard>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(outgoing: Outgoing, bytes: usize) -> Result<Bytes, WireError> {
        outgoing.claim(bytes)?;
        Ok(outgoing.hold(Response::builder().body(vec![0; bytes])).await.take_body().into_bytes().await.unwrap())
    }

    #[tokio::test]
    async fn bytes_hold_their_reservation_until_the_last_of_them_is_gone() {
        let budget = ByteBudget::new(3 * FREE, None);
        let left = || budget.left();
        let connection = || Way::new(&budget, Duration::from_secs(60), CancellationToken::new());
        let (one, other) = (connection(), connection());
        let small = body(Outgoing::over(&one), FREE).await.unwrap();
        assert_eq!((left(), small.len()), (3 * FREE, FREE), "little is free");
        let more = body(Outgoing::over(&one), 1000).await.unwrap();
        assert_eq!(left(), 3 * FREE - 1000, "but not twice over one connection");
        let mut large = body(Outgoing::over(&other), 2 * FREE).await.unwrap();
        assert_eq!(left(), FREE - 1000);
        assert_eq!(body(Outgoing::over(&other), 2 * FREE).await, Err(Code::Unavailable.into()));
        assert_eq!(body(Outgoing::over(&other), FREE).await.unwrap().len(), FREE, "little is served nevertheless");
        let rest = large.split_off(large.len() - 1);
        drop(large);
        assert_eq!(left(), FREE - 1000, "the last byte is still to be written");
        drop(rest);
        drop((small, more));
        assert_eq!(left(), 3 * FREE);
        // What is larger than the budget waits for all of it, and is waited for.
        let outgoing = Outgoing::over(&one);
        outgoing.wait(100 * FREE, Duration::ZERO).await.unwrap();
        assert_eq!(left(), 0);
        assert_eq!(Outgoing::over(&other).wait(2 * FREE, Duration::ZERO).await, Err(Code::Unavailable.into()));
        drop(outgoing);
        assert_eq!(left(), 3 * FREE);
        assert_eq!(body(Outgoing::default(), 100 * FREE).await.unwrap().len(), 100 * FREE, "there is no bound");
    }

    #[tokio::test]
    async fn who_takes_an_answer_of_the_shared_budget_too_slowly_is_given_up() {
        let budget = ByteBudget::new(FREE, None);
        let broken = CancellationToken::new();
        let way = Way::new(&budget, Duration::ZERO, broken.clone());
        let free = body(Outgoing::over(&way), FREE).await.unwrap();
        tokio::task::yield_now().await;
        assert!(!broken.is_cancelled(), "what is free may stay");
        let _bytes = body(Outgoing::over(&way), 1).await.unwrap();
        broken.cancelled().await;
        drop(free);
    }
}
