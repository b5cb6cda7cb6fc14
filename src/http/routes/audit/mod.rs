//! The history of groups, its proofs, and the transparency log.

pub mod history;
pub mod proofs;
pub(in crate::http) mod tiles;
pub(in crate::http) mod transparency;

super::list::routes! {
    history::Audit,
    proofs::Proofs,
    tiles::Tiles,
    transparency::Public,
}
