//! What the routes share: the ledger, the read models, the vault, the feed and the settings.

#![deny(clippy::wildcard_enum_match_arm)]

mod admission;
mod image_reads;
mod login_attempts;
pub mod names;
mod operator_token;
mod seen_sessions;
mod settings;
mod stream_ids;
pub mod tokens;

use std::sync::{Arc, OnceLock};

use be8_events::Timestamp;
use be8_projections::ReadModels;
use tokio_util::sync::CancellationToken;

use crate::audit::{Transparency, Witness};
use crate::feed::Hub;
use crate::ledger::{CodeAttempts, Ledger};
use crate::media::Blobs;
use crate::password::PasswordHasher;
use crate::support::clock::Clock;
use crate::vault::Vault;
use crate::views::Views;

pub use admission::NotAdmitted;
pub use image_reads::ImageReads;
pub use login_attempts::LoginAttempts;
pub use names::Names;
pub use operator_token::{BadOperatorToken, OperatorToken};
pub use seen_sessions::SeenSessions;
pub use settings::{AdmissionSettings, AppSettings};
pub use stream_ids::{IdCipher, NoCipher, StreamIds};

/// What the routes share.
#[derive(Debug)]
pub struct App {
    /// The way to write.
    pub ledger: Ledger,
    /// The way to read.
    pub read: ReadModels,
    /// What reads are answered from, where it can.
    pub views: Views,
    /// Opens what is sealed.
    pub vault: Arc<Vault>,
    /// The ids of events in streams.
    pub stream_ids: StreamIds,
    /// The open event streams.
    pub hub: Arc<Hub>,
    /// The contents of images.
    pub media: Blobs,
    /// Turns of those who fetch an image.
    pub image_reads: ImageReads,
    /// Hashes passwords.
    pub passwords: PasswordHasher,
    /// Checks the passwords of logins, in a queue of its own.
    pub logins: PasswordHasher,
    /// Hashes and checks lock codes, in a queue of its own.
    pub codes: PasswordHasher,
    /// Who tried to log in, and how often.
    pub login_attempts: LoginAttempts,
    /// Which sessions were used on which day.
    pub seen: SeenSessions,
    /// Attempts at lock codes.
    pub code_attempts: CodeAttempts,
    /// Nicknames by the event that set them.
    pub names: Names,
    /// The transparency log.
    pub transparency: Arc<Transparency>,
    /// Whether its hashes are public.
    pub public_log: bool,
    /// Cosigns foreign logs; none: this server is no witness.
    pub witness: Option<Witness>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The operator's token; none: operator access does not exist.
    pub operator: Option<OperatorToken>,
    /// The settings.
    pub settings: AppSettings,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
}

/// The server still starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server still starts")]
pub struct NotReady;

/// The routes' way to the [`App`]: empty while the server still starts, so that it can listen and
/// say so from its first moment, and so that the document of the routes needs no database.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<OnceLock<Arc<App>>>);

impl Handle {
    /// Makes the server ready. Only the first call counts.
    pub fn set(&self, app: Arc<App>) {
        // A second call cannot come: a process makes one app.
        let _ = self.0.set(app);
    }

    /// What the routes share.
    ///
    /// # Errors
    /// [`NotReady`] while the server starts.
    pub fn get(&self) -> Result<&Arc<App>, NotReady> {
        self.0.get().ok_or(NotReady)
    }
}

impl App {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
