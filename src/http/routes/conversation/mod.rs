//! Conversations, their messages and images, and the stream of changes.

pub mod conversations;
pub mod events;
mod image_upload;
pub mod images;
pub mod messages;

super::list::routes! {
    conversations::Conversations,
    events::Events,
    images::Images,
    messages::Messages,
}
