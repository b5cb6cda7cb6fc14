//! The tags of the document, in their order for a reader.

use poem_openapi::Tags;

/// Defines [`Tag`] as one table: documentation, name, text in the document.
macro_rules! tags {
    ($(#[doc = $doc:literal] $name:ident $text:literal;)*) => {
        /// The tags of the document.
        #[derive(Tags)]
        pub enum Tag {
            $(#[doc = $doc] #[oai(rename = $text)] $name,)*
        }

        /// Their order.
        pub(in crate::http) const ORDER: &[&str] = &[$($text,)*];
    };
}

tags! {
    /// Making an account, its sessions, and what it says of itself.
    Accounts "Accounts";
    /// The two codes that lock the client.
    Codes "Lock codes";
    /// What makes accounts live longer.
    Tokens "Tokens";
    /// The public keys of accounts.
    Keys "Keys";
    /// Conversations of two, and the list of threads.
    Conversations "Conversations";
    /// Writing and reading messages.
    Messages "Messages";
    /// Posting images, and fetching their content.
    Images "Images";
    /// Groups and who is in them.
    Groups "Groups";
    /// The versions of a group's key, and the wrapped keys of its members.
    GroupKeys "Group keys";
    /// Changes as server-sent events.
    Events "Events";
    /// Notifications of messages by Web Push while no stream is open.
    Devices "Devices";
    /// The counters of the server.
    Insights "Insights";
    /// The history of groups: who was in them, and which keys they had.
    Audit "Audit";
    /// For those who run the server.
    Operations "Operations";
}
