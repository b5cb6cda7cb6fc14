//! Connections: accepting, bounding and ending them, and what is on its way over them.

pub(in crate::http) mod connection;
pub mod connections;
pub(in crate::http) mod outgoing;
pub mod tls;
mod unread;
