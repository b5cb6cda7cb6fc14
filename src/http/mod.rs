//! The face of the server: HTTP in, commands and queries out, and besides processes and the command line the only room that
//! unseals.
//!
//! From the bottom up: `wire` (codes, errors, and the types of answers), `request` (what a request carries), `serve`
//! (connections), `layers` (what is around all routes), `routes` (the operations, one file for each subject), `document`
//! (the OpenAPI document), `site` (files and pages), `server` (all of it together).

pub mod document;
pub mod layers;
pub(in crate::http) mod reads;
pub mod request;
pub mod routes;
pub mod serve;
pub mod server;
pub mod site;
pub mod wire;

pub use server::{Server, Serving, listen, openapi, taken};
