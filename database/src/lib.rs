//! Connecting to PostgreSQL, for all of be8: what a database URL means ([`Address`]), connections whose session settings are
//! set by statement and verified ([`Connector`]), bounds on every statement ([`Pool`], [`bounded`]), and what an error means.

mod address;
mod bound;
mod connector;
mod environment;
mod error;
mod parameters;
mod pool;
mod pooler;
mod session;
mod watch;

pub use address::{Address, BadAddress, Target};
pub use bound::{Bounded, bounded, is_timeout};
pub use connector::Connector;
pub use environment::{capture, of_libpq};
pub use error::{ConnectError, Reason, is_passing, reason};
pub use pool::{Held, Pool};
pub use pooler::check_sessions;
