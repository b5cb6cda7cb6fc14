//! What the tests have in common: servers and nodes, clients, clocks, databases.

pub mod client;
pub mod clock;
pub mod cluster;
pub mod crypto;
pub mod hold;
pub mod library;
pub mod patience;
pub mod program;
pub mod rig;
pub mod server;
pub mod sse;
