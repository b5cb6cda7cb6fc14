//! The feed: the changes that accounts receive about an event, live and after a gap.
//!
//! The changes of an event follow from it and the membership at its position; the [`Hub`] hands them to the open
//! streams of the accounts that they concern, in the order of the log. Nothing here is stored and
//! nothing is unsealed: the code that writes to the client resolves names.

#![deny(clippy::wildcard_enum_match_arm)]

mod change;
mod delivery;
mod hub;
mod resume;
mod roster;
mod written;

pub use change::Change;
pub use delivery::{ChangeId, Delivery, Shared};
pub use hub::{Beginning, Hub, HubSettings, Overcrowded, Subscriber};
pub use resume::{Scope, missed};
pub use roster::Rosters;
