//! Where large bodies take turns: so many are in memory at once, some wait, the rest are refused.

use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, IntoResponse, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::app::Handle;
use super::body::{self, BodyLimits, Room};
use super::cookie::SessionToken;
use super::error::{Code, WireError};

/// The route whose bodies are large.
const PATH: &str = "/imageupload";

/// How many bodies there may be.
#[derive(Debug, Clone, Copy)]
pub struct TurnSettings {
    /// In memory at once.
    pub bodies: usize,
    /// Waiting for their turn, unread.
    pub waiting: usize,
    /// The longest that one waits.
    pub patience: Duration,
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self { bodies: 16, waiting: 64, patience: Duration::from_secs(30) }
    }
}

/// Lets requests with large bodies through one by one. Only who has a session of a living account
/// is let in: strangers must not keep others waiting.
pub struct Turnstile<E> {
    inside: E,
    app: Handle,
    bodies: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    patience: Duration,
}

impl<E> Turnstile<E> {
    /// In front of this service.
    pub fn new(inside: E, app: Handle, settings: TurnSettings) -> Self {
        let (bodies, waiting) = (Arc::new(Semaphore::new(settings.bodies)), Arc::new(Semaphore::new(settings.waiting)));
        Self { inside, app, bodies, waiting, patience: settings.patience }
    }

    async fn admit(&self, request: &Request) -> Result<OwnedSemaphorePermit, WireError> {
        let app = self.app.get()?;
        let session = SessionToken::of(request.headers()).ok_or(WireError::from(Code::NotAuth))?.hash();
        app.read.account(session, app.now()).await?.ok_or(WireError::from(Code::NotAuth))?;
        if let Ok(turn) = self.bodies.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(Code::Unavailable.into()) };
        let _counted = Counted::new("be8_image_uploads_waiting");
        match timeout(self.patience, self.bodies.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => Err(Code::Unavailable.into()),
        }
    }
}

impl<E: Endpoint> Endpoint for Turnstile<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        if request.uri().path() != PATH {
            return self.inside.call(request).await.map(IntoResponse::into_response);
        }
        match self.admit(&request).await {
            Ok(_turn) => {
                // There are few of them, and nobody else's bodies shall keep them out.
                request.extensions_mut().remove::<Room>();
                let _counted = Counted::new("be8_image_uploads");
                self.inside.call(request).await.map(IntoResponse::into_response)
            }
            Err(refusal) => {
                let limits = request.data::<BodyLimits>().copied().unwrap_or_default();
                body::throw_away(&mut request, limits).await;
                Err(refusal.into())
            }
        }
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
