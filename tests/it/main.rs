//! Black-box tests: the real program on a real PostgreSQL.

mod cluster;
mod ledger;
mod postgres;
mod replay;
mod rig;
mod states;
mod subscription;
mod vault;
