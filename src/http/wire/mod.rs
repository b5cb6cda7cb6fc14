//! What the server says: codes, errors, the types of answers, and how events are shown in them.

pub mod answer;
pub mod codes;
pub mod error;
pub mod event_stream;
pub mod failures;
pub mod js_date;
pub(in crate::http) mod present;
pub mod problem;
pub mod shown;
pub mod text;
pub(in crate::http) mod thread_pieces;
