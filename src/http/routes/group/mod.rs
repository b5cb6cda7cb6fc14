//! Groups and their keys.

pub mod group_keys;
pub mod groups;

super::list::routes! {
    group_keys::GroupKeys,
    groups::Groups,
}
