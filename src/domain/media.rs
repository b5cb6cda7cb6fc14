//! Media: what an account's own name for an image stands for.

use be8_events::Event;
use be8_events::message::MediaStored;
use serde::{Deserialize, Serialize};

use super::Occurred;

/// The state of a `media-ACC-HMAC` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    stored: Option<MediaStored>,
}

impl Media {
    /// What the name stands for.
    pub const fn stored(&self) -> Option<&MediaStored> {
        self.stored.as_ref()
    }

    pub(super) fn evolve(&mut self, occurred: Occurred<'_>) {
        if let Event::MediaStored(e) = occurred.event {
            self.stored = Some(e.clone());
        }
    }
}
