//! What a request carries: its body, its session, its address, its idempotency key.

pub mod address;
pub mod addressing;
pub mod body;
pub mod cookie;
mod form;
mod forwarded;
pub mod json;
pub mod lenient;
pub mod once;
pub mod operator;
pub(in crate::http) mod room;
pub mod session;
