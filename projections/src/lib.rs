//! What can be read in be8: the read models, each with its table, its fold and its queries.
//!
//! A read model is a fold over the log and nothing else: no clock, no key, no decision. Its rows
//! hold positions; what is sealed stays beside the events and is joined when reading. The same
//! fold feeds the append (a batch at a time, in the statement that writes the events) and the
//! rebuild (a page at a time), so that live and rebuilt tables are equal row by row.
//!
//! ```
//! use be8_projections::{Changes, Generation};
//!
//! // The part of the append statement that writes the read models of the first generation.
//! let mut parameters = be8_projections::Parameters::after(0);
//! let sql = Changes::sql(Generation::FIRST, &mut parameters);
//! assert!(sql.contains("insert into read_1.message"));
//! ```

mod account;
mod changes;
mod generation;
mod group;
mod message;
mod queries;
mod read_mark;
mod session;
mod sql;
mod stored;
mod thread;

pub use account::{AccountView, PublicKeys};
pub use changes::Changes;
pub use generation::Generation;
pub use group::{GroupKeys, GroupMember, GroupMembers, GroupStanding};
pub use message::{MessagesAnswer, ThreadMessage, ThreadMessages};
pub use queries::{ReadError, ReadModels};
pub use read_mark::Ranges;
pub use sql::Parameters;
pub use stored::{Stored, StoredSealed};
pub use thread::{Counterpart, Partner, ThreadGroup, ThreadSummary, Threads};
