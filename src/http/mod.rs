//! The face of the server: HTTP in, commands and queries out, and the only room besides processes
//! and the command line that unseals.
//!
//! One file per tag of the OpenAPI document holds its routes; the rest is what they share.

pub mod accounts;
pub mod address;
pub mod admission;
pub mod app;
pub mod audit;
pub mod body;
pub mod codes;
mod compress;
mod connection;
pub mod connections;
pub mod conversations;
pub mod cookie;
pub mod cryptojs;
pub mod devices;
pub mod document;
pub mod edge;
pub mod error;
pub mod event_stream;
pub mod events;
mod form;
mod forwarded;
pub mod group_keys;
pub mod groups;
mod guard;
mod home;
pub mod images;
pub mod insights;
pub mod js_date;
pub mod json;
pub mod jwk;
pub mod keys;
pub mod lenient;
pub mod limits;
pub mod logins;
mod measure;
pub mod messages;
pub mod names;
mod occasional;
pub mod once;
pub mod operations;
pub mod operator;
pub mod operator_accounts;
mod outgoing;
mod present;
pub mod profile;
pub mod proofs;
pub mod registration;
pub mod removal;
mod room;
pub mod server;
pub mod session;
pub mod shown;
pub mod site;
pub mod stream_id;
pub mod text;
pub mod tls;
pub mod tokens;
mod transparency;
pub mod turnstile;
mod unread;
pub mod wire;

pub use app::{App, AppSettings, Handle};
pub use server::{Server, Serving, listen, openapi};
