//! What can be read in be8: the read models, each with its table, its fold and its queries.
//!
//! A read model is a fold over the log and nothing else: no clock, no key, no decision. Its rows
//! hold positions; what is sealed stays beside the events and is joined when reading. The same
//! fold feeds the append (a batch at a time, in the statement that writes the events) and the
//! rebuild (a page at a time), so that live and rebuilt tables are equal row by row.
//!
//! ```
//! use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName, session::*};
//! use be8_projections::{Changes, Generation, Statement};
//!
//! let event: Event = SessionOpened { account: AccId::new(10001).unwrap(), how: Opening::Created }.into();
//! let session = StreamName::Session(Hash32([7; 32]));
//! let mut changes = Changes::default();
//! changes.apply(&Recorded {
//!     position: Position(1), stream: session, version: 1, time: "2026-11-23T10:00:00Z".parse().unwrap(),
//!     actor: None, salt: Hash32([0; 32]), schema: 1, payload: event.payload(), sealed: None, event,
//! });
//! // The part of the append statement that writes the read models of the first generation.
//! let mut statement = Statement::new(Generation::FIRST);
//! changes.add_to(&mut statement);
//! assert!(statement.finish().unwrap().0.contains("insert into read_1.session"));
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

mod account;
mod columns;
pub mod compare;
mod copy;
mod credential;
mod derived;
mod device;
mod ends;
mod generation;
mod group;
mod image;
mod insight;
mod keyholder;
mod message;
mod model;
mod queries;
mod read_mark;
mod read_models;
mod rows;
mod session;
mod statement;
mod stored;
mod thread;
mod thread_key;
mod token;
mod view;

pub use account::{AccountView, PublicKeys};
pub use credential::{Codes, Credential};
pub use device::DevicesOf;
pub use ends::{End, OpenRelations};
pub use generation::Generation;
pub use group::{GroupKeys, GroupMember, GroupMembers, GroupStanding};
pub use image::{Image, ImageAnswer};
pub use insight::Counters;
pub use message::{MessagesAnswer, ThreadMessage, ThreadMessages};
pub use model::{Model, Table};
pub use queries::{ReadError, ReadModels};
pub use read_mark::Ranges;
pub use read_models::{Changes, MODELS, shapes, with_needed};
pub use session::{OpenSessions, SessionRow};
pub use statement::{Rows, Statement};
pub use stored::{Stored, StoredSealed};
pub use thread::{Counterpart, Partner, ThreadGroup, ThreadList, ThreadSummary};
pub use thread_key::ThreadKey;
pub use token::TokenView;
pub use view::{AccountRow, At, GroupRow, NewestRow, ThreadRow};
