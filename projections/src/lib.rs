//! What can be read in be8: the read models, each with its table, its fold and its queries.
//!
//! A read model is a fold over the log and nothing else: no clock, no key, no decision. Its rows
//! hold positions; what is sealed stays beside the events and is joined when reading. The same
//! fold feeds the append (a batch at a time, in the statement that writes the events) and the
//! rebuild (a page at a time), so that live and rebuilt tables are equal row by row.
//!
//! ```
//! use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName, session::*};
//! use be8_projections::{Changes, Generation};
//!
//! let event: Event = SessionOpened { account: AccId::new(10001).unwrap(), how: Opening::Created }.into();
//! let session = StreamName::Session(Hash32([7; 32]));
//! let mut changes = Changes::default();
//! changes.apply(&Recorded {
//!     position: Position(1), stream: session, version: 1, time: "2026-11-23T10:00:00Z".parse().unwrap(),
//!     actor: None, salt: Hash32([0; 32]), schema: 1, payload: event.payload(), sealed: None, event,
//! });
//! // The part of the append statement that writes the read models of the first generation.
//! let sql = changes.sql(Generation::FIRST, &mut be8_projections::Parameters::after(0));
//! assert!(sql.contains("insert into read_1.session"));
//! ```

mod account;
mod changes;
pub mod compare;
mod copy;
mod credential;
mod device;
mod ends;
pub mod generation;
mod group;
mod image;
mod insight;
mod keyholder;
mod message;
mod queries;
mod read_mark;
pub mod registry;
mod session;
mod sql;
mod stored;
mod thread;
mod token;

pub use account::{AccountView, PublicKeys};
pub use changes::Changes;
pub use credential::{Codes, Credential};
pub use device::DevicesOf;
pub use ends::{End, Ties};
pub use generation::Generation;
pub use group::{GroupKeys, GroupMember, GroupMembers, GroupStanding};
pub use image::{Image, ImageAnswer};
pub use insight::Counters;
pub use message::{MessagesAnswer, ThreadMessage, ThreadMessages};
pub use queries::{ReadError, ReadModels};
pub use read_mark::Ranges;
pub use sql::Parameters;
pub use stored::{Stored, StoredSealed};
pub use thread::{Counterpart, Partner, ThreadGroup, ThreadList, ThreadSummary};
pub use token::TokenView;
