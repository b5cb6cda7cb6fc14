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
mod images;
mod ledger;
mod library;
mod operations;
mod pages;
mod patience;
mod postgres;
mod replay;
mod rig;
mod server;
mod site;
mod sse;
mod states;
mod storm;
mod subscription;
mod tls;
mod vault;
