//! be8: an event-sourced backend for an end-to-end-encrypted messenger.
//!
//! `docs/architecture.md` describes the house. In short: a request becomes a command, a decider
//! ([`domain`]) turns it into events or a rejection, the [`ledger`] seals and appends them to the
//! PostgreSQL log together with the read models, and the feed sends changes after the commit.

pub mod app;
pub mod audit;
pub mod cli;
mod client;
pub mod config;
pub mod domain;
pub mod feed;
pub mod histories;
pub mod http;
pub mod json;
pub mod ledger;
pub mod measurements;
pub mod media;
pub mod node;
pub mod password;
pub mod process;
pub mod push;
pub mod settings;
pub mod support;
pub mod vault;
pub mod views;

pub use be8_postgres as postgres;
