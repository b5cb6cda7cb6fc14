//! Where large bodies take turns: a limited number is in memory at once, some wait, the rest are refused.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use be8_events::{AccId, Hash32};
use parking_lot::Mutex;
use poem::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::app::Handle;
use crate::http::request::resolved::Resolved;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::settings::{count, settings};

settings! {
    /// How many bodies there may be.
    #[derive(Debug, Clone, Copy)]
    pub struct LargeBodySettings {
        bodies: usize = count, "media-bodies", "N", "16", "Images that are uploaded or downloaded at once; others wait; one account takes a quarter of the turns";
        waiting: usize = count, "media-waiting", "N", "64", "Images that may wait to be uploaded, a quarter of them of one account; one more is refused as UNAVAILABLE";
    }
    fixed {
        /// The longest that one waits.
        patience: Duration = Duration::from_secs(30),
    }
}

/// Lets requests with large bodies through one by one. Only who has a session of a living account
/// is let in: strangers must not keep others waiting. Nor must one account: it has a quarter of the turns and of the
/// places to wait.
pub struct LargeBodies {
    app: Handle,
    bodies: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    shares: Mutex<HashMap<AccId, Weak<Share>>>,
    settings: LargeBodySettings,
}

/// What one account may take of it. Only of accounts whose bodies are on their way.
struct Share {
    bodies: Arc<Semaphore>,
    waiting: Semaphore,
}

/// That a request may have its large body in memory, until it is dropped.
pub(in crate::http) struct Permit {
    _counted: Counted,
    _share: Arc<Share>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl LargeBodies {
    /// With places for so many.
    pub fn new(app: Handle, settings: LargeBodySettings) -> Self {
        let (bodies, waiting) = (Arc::new(Semaphore::new(settings.bodies)), Arc::new(Semaphore::new(settings.waiting)));
        Self { app, bodies, waiting, shares: Mutex::default(), settings }
    }

    fn share(&self, account: AccId) -> Arc<Share> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&account).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let quarter = |count: usize| count.div_ceil(4);
        let bodies = Arc::new(Semaphore::new(quarter(self.settings.bodies)));
        let share = Arc::new(Share { bodies, waiting: Semaphore::new(quarter(self.settings.waiting)) });
        shares.insert(account, Arc::downgrade(&share));
        share
    }

    /// The permit of a request, if it needs one: that of an operation with large bodies.
    ///
    /// # Errors
    /// [`Code::NotAuth`] without a session of a living account, and [`Code::Unavailable`] if none is free in time.
    pub(in crate::http) async fn permit(&self, request: &Request) -> Result<Option<Permit>, WireError> {
        let Resolved { rule, session, .. } = *Resolved::of(request);
        if !rule.is_some_and(|rule| rule.large_bodies) {
            return Ok(None);
        }
        // Few requests wait: so this future is not part of all others.
        Box::pin(self.admit(session)).await.map(Some)
    }

    async fn admit(&self, session: Option<Hash32>) -> Result<Permit, WireError> {
        let app = self.app.get()?;
        let session = session.ok_or(Code::NotAuth)?;
        let me = app.signed_in(session).await?;
        let share = self.share(me.id);
        if let (Ok(own), Ok(body)) = (share.bodies.clone().try_acquire_owned(), self.bodies.clone().try_acquire_owned())
        {
            return Ok(Permit::new(share, [own, body]));
        }
        let permits = {
            let (Ok(_own), Ok(_place)) = (share.waiting.try_acquire(), self.waiting.try_acquire()) else {
                return Err(Code::Unavailable.into());
            };
            let _counted = Counted::new("be8_image_uploads_waiting");
            let permits = async {
                Ok::<_, tokio::sync::AcquireError>([
                    share.bodies.clone().acquire_owned().await?,
                    self.bodies.clone().acquire_owned().await?,
                ])
            };
            match timeout(self.settings.patience, permits).await {
                Ok(Ok(permits)) => permits,
                // Nobody closes the semaphores.
                Ok(Err(_)) | Err(_) => return Err(Code::Unavailable.into()),
            }
        };
        Ok(Permit::new(share, permits))
    }
}

impl Permit {
    fn new(share: Arc<Share>, permits: [OwnedSemaphorePermit; 2]) -> Self {
        Self { _counted: Counted::new("be8_image_uploads"), _share: share, _permits: permits }
    }
}

/// One in a gauge, as long as it lives.
struct Counted(metrics::Gauge);

impl Counted {
    fn new(name: &'static str) -> Self {
        let gauge = metrics::gauge!(name);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
