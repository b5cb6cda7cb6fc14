//! Black-box tests: the real program on a real PostgreSQL.

mod audit;
mod client;
mod cluster;
mod contract;
mod crypto;
mod document;
mod faults;
mod groups;
mod hold;
mod ledger;
mod library;
mod operations;
mod pages;
mod patience;
mod postgres;
mod push;
mod removal;
mod replay;
mod rig;
mod server;
mod sse;
mod states;
mod storm;
mod subscription;
mod vault;
