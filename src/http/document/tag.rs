//! The tags of the document.

use poem_openapi::Tags;

/// The tags of the document; each has its file of routes.
#[derive(Tags)]
pub enum Tag {
    /// Making an account, its sessions, and what it says of itself.
    Accounts,
    /// The two codes that lock the client.
    #[oai(rename = "Lock codes")]
    Codes,
    /// The public keys of accounts.
    Keys,
    /// Conversations of two, and the list of threads.
    Conversations,
    /// Writing and reading messages.
    Messages,
    /// Posting images, and fetching their content.
    Images,
    /// Groups and who is in them.
    Groups,
    /// The versions of a group's key, and the wrapped keys of its members.
    #[oai(rename = "Group keys")]
    GroupKeys,
    /// The history of groups: who was in them, and which keys they had.
    Audit,
    /// What makes accounts live longer.
    Tokens,
    /// The counters of the server.
    Insights,
    /// Changes as server-sent events.
    Events,
    /// Being told of messages by Web Push while no stream is open.
    Devices,
    /// For those who run the server.
    Operations,
}
