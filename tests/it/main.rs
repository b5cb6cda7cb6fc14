//! Black-box tests: the real program on a real PostgreSQL.

mod cluster;
mod document;
mod postgres;
mod vault;
