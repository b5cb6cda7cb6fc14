//! Black-box tests: the real program on a real PostgreSQL.

mod cluster;
mod postgres;
mod vault;
