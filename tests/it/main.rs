//! Black-box tests: the real program on a real PostgreSQL.

mod client;
mod cluster;
mod contract;
mod crypto;
mod document;
mod faults;
mod hold;
mod library;
mod operations;
mod patience;
mod postgres;
mod server;
mod sse;
mod vault;
