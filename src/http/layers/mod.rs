//! What is around all routes: the guard, the limits, the edge, measuring, compression, and the turns of large bodies.

pub(in crate::http) mod compress;
pub mod edge;
pub(in crate::http) mod guard;
pub mod limits;
pub(in crate::http) mod measure;
pub mod turnstile;
