//! Groups and their keys.

pub mod group_keys;
pub mod groups;
