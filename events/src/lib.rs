//! What happened in be8: the events, their envelope and its canonical bytes.
//!
//! Everything in this crate is storage format. A log written today is read forever, so a shape
//! here changes only by a new schema version with an upcaster ([`Event::decode`]) and a new
//! fixture. The crate knows no clock, no randomness, no key and no I/O.
//!
//! ```
//! use be8_events::{AccId, Event, account::AccountCreated, Timestamp};
//!
//! let event = Event::from(AccountCreated {
//!     account: AccId::new(10_001).unwrap(),
//!     until: Timestamp::from_micros(1_700_000_000_000_000),
//! });
//! let payload = event.payload();
//! assert_eq!(event.kind(), "AccountCreated");
//! assert_eq!(Event::decode(event.kind(), event.schema(), &payload).unwrap(), event);
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

// The samples of the fixtures name this crate as its users do.
#[cfg(test)]
extern crate self as be8_events;

pub mod account;
pub mod device;
pub mod dialog;
mod envelope;
pub mod erasure;
mod event;
mod family;
mod field;
#[cfg(test)]
mod fixtures;
pub mod group;
mod hash;
mod ids;
pub mod image;
pub mod message;
mod message_header;
pub mod read_marks;
mod sealing;
mod secret;
pub mod server;
pub mod session;
mod stream;
mod subject;
mod time;
pub mod token;

pub use account::AccountEvent;
pub use device::DeviceEvent;
pub use dialog::DialogEvent;
pub use envelope::{CanonicalError, NewEvent, Recorded};
pub use erasure::ErasureEvent;
pub use event::Event;
pub use family::DecodeError;
pub use field::{CANONICAL_VERSION, field_length, put_field};
pub use group::GroupEvent;
pub use hash::Hash32;
pub use ids::{AccId, GroupId, GroupVersion, MessageNo, ParseError, StayNo, ThreadId};
pub use image::MediaEvent;
pub use message::MessageEvent;
pub use message_header::MessageHeader;
pub use read_marks::ReadsEvent;
pub use sealing::Sealing;
pub use secret::{Sealed, SealedContext, Secret, SecretPayload};
pub use server::ServerEvent;
pub use session::SessionEvent;
pub use stream::{Position, StreamName};
pub use subject::{KeyId, Subject};
pub use time::{Day, Timestamp};
pub use token::TokenEvent;
