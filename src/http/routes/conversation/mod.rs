//! Conversations, their messages and images, and the stream of changes.

pub mod conversations;
pub mod events;
pub mod images;
pub mod messages;
mod posting;

super::list::routes! {
    conversations::Conversations,
    events::Events,
    images::Images,
    messages::Messages,
}
