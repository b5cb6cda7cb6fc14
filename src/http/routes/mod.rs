//! The operations.

pub mod account;
pub mod audit;
pub mod conversation;
pub mod group;
pub mod server;
pub mod shape;
