//! The messages of a thread.

use be8_events::message::ImageSecret;
use be8_events::{AccId, Event, MessageNo, Position, ThreadId, Timestamp};
use be8_projections::{Image, StoredSealed, ThreadMessages};
use chrono::TimeDelta;

use super::{Described, Echo, Extra, describe, expired, group_of, opened};
use crate::app::names::{EXPIRED_USER, open_name};
use crate::http::wire::answer::True;
use crate::http::wire::error::WireError;
use crate::http::wire::js_date::js_date;
use crate::http::wire::shown::Message;
use crate::http::wire::text::escape_html;
use crate::vault::Opener;

/// A page of messages, ready to be sent.
pub(in crate::http) struct Page {
    pub(in crate::http) thread: ThreadId,
    pub(in crate::http) messages: Vec<Message>,
    /// Whether the reader sees something of others for the first time.
    pub(in crate::http) unread: bool,
    /// What is shown, each with its sender if that is an account and is to know.
    pub(in crate::http) shown: Vec<(MessageNo, Option<AccId>)>,
}

/// The messages of a thread, as the reader of this answer sees them: what is shown here counts as read.
pub(in crate::http) fn messages(
    found: ThreadMessages,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Page, WireError> {
    let ThreadMessages { reader, thread, messages, names, read_marks, .. } = found;
    let names = opened(&names, opener)?;
    let mut page = Page { thread, messages: Vec::with_capacity(messages.len()), unread: false, shown: Vec::new() };
    for message in messages {
        if expired(&message.event, now, lifetime) {
            continue;
        }
        let Some(described) = describe(&message.event, thread, opener)? else { continue };
        let sender = described.sender;
        let mut readers: Vec<AccId> =
            read_marks.iter().filter(|(_, marks)| marks.contains(&message.id)).map(|(reader, _)| *reader).collect();
        if sender != Some(reader) && !readers.contains(&reader) {
            readers.push(reader);
            page.unread = true;
        }
        readers.retain(|reader| sender != Some(*reader));
        readers.sort_unstable();
        // Nobody learns who read what was removed.
        let informed = sender.filter(|sender| *sender == reader || described.has_content());
        page.shown.push((message.id, informed));
        let status = readers.iter().map(AccId::to_string).collect();
        let name = |position| names.get(&position).map(AsRef::as_ref);
        page.messages.push(Message { status, ..shown(message.id, &message.event, thread, described, name) });
    }
    Ok(page)
}

/// A message that nobody has read. `name` finds the name that the event at a position set.
pub(in crate::http) fn shown<'a>(
    id: MessageNo,
    event: &StoredSealed,
    thread: ThreadId,
    described: Described,
    name: impl Fn(Position) -> Option<&'a str>,
) -> Message {
    let name = |position| name(position).unwrap_or(EXPIRED_USER);
    let nickname = if let Event::Message(message) = &event.stored.event {
        Some(name(message.header().nickname).to_owned())
    } else {
        None
    };
    let is_image = described.is_image();
    let [extra1, extra2, extra3] = described.extras.map(|extra| {
        extra.map(|extra| match extra {
            Extra::Id(id) => id,
            Extra::Name(position) => escape_html(name(position)),
        })
    });
    let Echo { iv, kind, endless, image } = described.content.unwrap_or_default();
    let (content_id, content_type, img_height, img_width, is_group) = match image {
        Some(ImageSecret { content_id, content_type, height, width, is_group, .. }) => {
            (Some(content_id), content_type, height, width, is_group)
        }
        None => (None, None, None, None, None),
    };
    let group = group_of(thread);
    Message {
        message_id: id.to_string(),
        ts: js_date(event.stored.time),
        sender: described.sender_text,
        receiver: described.receiver,
        thread_id: thread.to_string(),
        nickname,
        group_id: group.map(|group| group.to_string()),
        group_version_key: described.version.zip(group).map(|(version, group)| format!("{group}:{version}")),
        extra1,
        extra2,
        extra3,
        text: (!is_image).then_some(described.text),
        message_type: described.message_type,
        content_id,
        content_type,
        img_height,
        img_width,
        is_group,
        kind,
        iv,
        endless,
        status: Vec::new(),
        valid: True,
    }
}

/// The message of one image, as it is shown with its content, and the data key of its blob; none once it has expired or is
/// erased.
pub(in crate::http) fn image(
    found: &Image,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<(Message, String)>, WireError> {
    let nickname = open_name(opener, &found.nickname)?;
    if expired(&found.event, now, lifetime) {
        return Ok(None);
    }
    let Some(described) = describe(&found.event, found.thread, opener)? else { return Ok(None) };
    let image = described.content.as_ref().and_then(|content| content.image.as_ref());
    let Some(key) = image.map(|image| image.blob_key.clone()) else { return Ok(None) };
    Ok(Some((shown(found.id, &found.event, found.thread, described, |_| Some(&nickname)), key)))
}
