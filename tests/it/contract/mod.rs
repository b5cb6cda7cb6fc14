//! The wire contract, route by route, as a client meets it.

mod talk;
