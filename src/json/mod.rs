//! The JSON that both the routes answer and the command line prints, declared once.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod findings;
pub mod history;
pub mod sessions;
