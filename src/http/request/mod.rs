//! What a request carries: its path, its address, its session and its idempotency key, resolved once; and its body.

pub mod address;
pub mod addressing;
pub mod body;
pub(in crate::http) mod byte_budget;
pub mod common;
pub mod cookie;
mod form;
mod forwarded;
pub mod idempotency_key;
pub mod json;
pub mod lenient;
pub mod once;
pub mod operator;
pub mod paths;
pub mod resolved;
pub mod session;
