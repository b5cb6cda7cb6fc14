//! The JSON that both the routes answer and the command line prints, declared once.

pub mod findings;
pub mod history;
pub mod sessions;
