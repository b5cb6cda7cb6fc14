//! What making and verifying bundles share: their forms, and how their sections are written (`docs/audit.md`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{Hash32, Recorded};

/// The first line of a bundle.
pub const FORM: &str = "be8.live/audit-bundle@v2";
/// That of one from before the map of histories, which is still verified.
pub const FORM_WITHOUT_MAP: &str = "be8.live/audit-bundle@v1";
/// The most messages of a bundle, the newest ones: they are where, when and who, nothing of what.
pub const MOST_MESSAGES: usize = 10_000;

/// Hashes, a line each.
pub(super) fn lines(hashes: &[Hash32]) -> String {
    hashes.iter().map(|hash| STANDARD.encode(hash.0) + "\n").collect()
}

/// A section with an event and its inclusion proof.
pub(super) fn event_section(what: &str, event: &Recorded, inclusion: &[Hash32]) -> String {
    format!("\n{what} {}\n{}", STANDARD.encode(event.canonical()), lines(inclusion))
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBundle(pub(super) String);

pub(super) fn bad<T>(what: impl Into<String>) -> Result<T, BadBundle> {
    Err(BadBundle(what.into()))
}
