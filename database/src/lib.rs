//! Connecting to PostgreSQL, for all of be8: what a database URL means ([`Address`]), connections whose session settings are
//! set by statement and verified ([`Connector`]), bounds on every statement ([`Pool`], [`with_deadline`]), and what an error means.

mod address;
mod connector;
mod deadline;
mod environment;
mod error;
mod parameters;
mod pool;
mod pooler;
mod session;
mod watch;

pub use address::{Address, BadAddress, Target};
pub use connector::Connector;
pub use deadline::{Deadline, is_timeout, with_deadline};
pub use environment::{capture, of_libpq};
pub use error::{ConnectError, Reason, is_passing, reason};
pub use pool::{Held, Pool};
pub use pooler::check_sessions;
