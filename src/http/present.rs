//! How threads and messages are shown: what follows from an event for its readers.

use std::collections::HashMap;

use be8_events::message::MessageSecret;
use be8_events::{AccId, Event, MessageNo, Position, ThreadId, Timestamp};
use be8_projections::{StoredSealed, ThreadMessages, ThreadSummary, Threads};
use chrono::TimeDelta;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use super::error::WireError;
use super::js_date::js_date;
use super::names::{EXPIRED_USER, open, open_nickname};
use super::wire::True;
use crate::vault::Opener;

/// The system as a sender and partner.
const SYSTEM: &str = "s1";
/// The nickname of the system.
const SYSTEM_NAME: &str = "be8";
/// Until when the thread of the system lives: a constant of the contract.
const SYSTEM_EXPIRE: &str = "2286-11-20T17:46:40.000Z";

/// What stands on the other side of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ThreadKind {
    /// Another account.
    #[default]
    User,
    /// A group.
    Group,
    /// The system, which welcomes and informs.
    System,
}

/// What a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// A text that a client encrypted.
    #[default]
    Text,
    /// An image that a client encrypted.
    Image,
    /// A notice of the system: its text is a code.
    System,
    /// A message whose content is gone.
    Removed,
}

/// Whether the newest message of a thread was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ReadStatus {
    /// Read, or one's own.
    Read,
    /// Not read.
    #[default]
    Unread,
}

/// A thread as one of its participants sees it in the list.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Thread", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// The partner's nickname; `be8` for the system.
    pub nickname: String,
    /// What the partner is.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: ThreadKind,
    /// The partner's account id, or `s1`.
    pub id: String,
    /// Until when the partner lives.
    pub expire: String,
    /// The partner's status text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    /// Whether the partner is endless.
    pub endless: bool,
    /// Always false: nobody learns whether others have lock codes.
    pub codes: bool,
    /// The thread.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
    /// The partner's account id, or `s1`.
    pub partner: String,
    /// The time of the newest message.
    pub ts: String,
    /// The text of the newest message, or the code of a system message.
    pub text: String,
    /// Who sent it.
    pub sender: String,
    /// What the newest message is.
    pub message_type: MessageType,
    /// To whom it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The initialisation vector of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// Whether the newest message was read.
    pub status: ReadStatus,
}

/// A message as it is shown.
#[derive(Debug, Clone, Default, Object, Serialize)]
#[oai(rename = "Message", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The number in the thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID")]
    pub message_id: String,
    /// When it was sent, as JavaScript's `Date.toString()` in UTC.
    pub ts: String,
    /// Who sent it: an account id, or `s1`.
    pub sender: String,
    /// To whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The thread.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
    /// The sender's nickname when it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The ciphertext, the code of a system message, or empty where it was removed.
    pub text: String,
    /// What it is.
    pub message_type: MessageType,
    /// As it was sent.
    #[oai(rename = "type")]
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The initialisation vector, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endless: Option<String>,
    /// The accounts that have read it, its sender aside.
    pub status: Vec<String>,
    /// Always true.
    pub valid: True,
}

/// A page of messages, ready to be sent.
pub(super) struct Page {
    pub(super) thread: ThreadId,
    pub(super) messages: Vec<Message>,
    /// Whether the reader sees something of others for the first time.
    pub(super) unread: bool,
    /// What is shown, each with its sender if that is an account.
    pub(super) shown: Vec<(MessageNo, Option<AccId>)>,
}

/// What a message says, before names and marks.
struct Said {
    message_type: MessageType,
    text: String,
    sender: Option<AccId>,
    receiver: Option<AccId>,
    content: Option<MessageSecret>,
}

/// What an event says in a thread; none for kinds that never are a message there.
fn said(event: &StoredSealed, thread: ThreadId, opener: &Opener) -> Result<Option<Said>, WireError> {
    let system = |code: &str, receiver| Said {
        message_type: MessageType::System,
        text: code.to_owned(),
        sender: None,
        receiver,
        content: None,
    };
    Ok(match &event.stored.event {
        Event::AccountCreated(e) => Some(system("WELCOME", Some(e.account))),
        Event::ConversationStarted(_) => Some(system("STARTCONVERSATION", None)),
        Event::MessageWritten(e) => {
            let content = open::<MessageSecret>(opener, event)?.map(be8_events::Secret::into_inner);
            Some(Said {
                message_type: if content.is_some() { MessageType::Text } else { MessageType::Removed },
                text: content.as_ref().map(|content| content.text.clone()).unwrap_or_default(),
                sender: Some(e.sender),
                receiver: thread.partner_of(e.sender),
                content,
            })
        }
        Event::PublicKeySet(_)
        | Event::SessionOpened(_)
        | Event::SessionEnded(_)
        | Event::MessagesRead(_)
        | Event::KeysDeleted(_) => None,
    })
}

/// Whether a message is no longer shown. The welcome lives as long as the account (D16).
fn expired(event: &StoredSealed, now: Timestamp, lifetime: TimeDelta) -> bool {
    !matches!(event.stored.event, Event::AccountCreated(_)) && event.stored.time.plus(lifetime) <= now
}

/// The messages of a thread, as the reader of this answer sees them: what it is shown here counts
/// as read.
pub(super) fn messages(
    found: ThreadMessages,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Page, WireError> {
    let ThreadMessages { reader, thread, messages, names, read_marks, .. } = found;
    let names: HashMap<Position, String> = names
        .iter()
        .map(|name| Ok((name.stored.position, open_nickname(opener, name)?)))
        .collect::<Result<_, WireError>>()?;
    let thread_name = thread.to_string();
    let mut page = Page { thread, messages: Vec::with_capacity(messages.len()), unread: false, shown: Vec::new() };
    for message in messages {
        if expired(&message.event, now, lifetime) {
            continue;
        }
        let Some(said) = said(&message.event, thread, opener)? else { continue };
        let mut readers: Vec<AccId> =
            read_marks.iter().filter(|(_, marks)| marks.contains(&message.id)).map(|(reader, _)| *reader).collect();
        if said.sender != Some(reader) && !readers.contains(&reader) {
            readers.push(reader);
            page.unread = true;
        }
        readers.retain(|reader| said.sender != Some(*reader));
        readers.sort_unstable();
        let nickname = match &message.event.stored.event {
            Event::MessageWritten(e) => {
                Some(names.get(&e.nickname).cloned().unwrap_or_else(|| EXPIRED_USER.to_owned()))
            }
            _ => None,
        };
        page.shown.push((message.id, said.sender));
        let content = said.content;
        let (iv, kind, endless) =
            content.map_or((None, None, None), |content| (content.iv, content.kind, content.endless));
        page.messages.push(Message {
            message_id: message.id.to_string(),
            ts: js_date(message.event.stored.time),
            sender: sender_name(said.sender),
            receiver: said.receiver.map(|receiver| receiver.to_string()),
            thread_id: thread_name.clone(),
            nickname,
            text: said.text,
            message_type: said.message_type,
            kind,
            iv,
            endless,
            status: readers.iter().map(AccId::to_string).collect(),
            valid: True,
        });
    }
    Ok(page)
}

fn sender_name(sender: Option<AccId>) -> String {
    sender.map_or_else(|| SYSTEM.to_owned(), |sender| sender.to_string())
}

/// The threads of an account, the newest first; of one second, conversations before the system.
pub(super) fn threads(
    list: Threads,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Vec<Thread>, WireError> {
    let Threads { reader, mut threads, .. } = list;
    threads.sort_by_cached_key(|thread| {
        let at = thread.last.stored.time;
        let second = at.micros().div_euclid(1_000_000);
        let system = matches!(thread.thread, ThreadId::System(_));
        std::cmp::Reverse((second, !system, thread.last.stored.position))
    });
    threads.iter().filter_map(|thread| summary(thread, reader, opener, now, lifetime).transpose()).collect()
}

fn summary(
    summary: &ThreadSummary,
    reader: AccId,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<Thread>, WireError> {
    let Some(mut said) = said(&summary.last, summary.thread, opener)? else { return Ok(None) };
    if expired(&summary.last, now, lifetime) {
        // A thread without a message that is shown still needs a title that the client knows.
        said = Said {
            message_type: MessageType::System,
            text: "STARTCONVERSATION".to_owned(),
            sender: None,
            receiver: None,
            content: None,
        };
    }
    let read = said.sender == Some(reader) || summary.marked_read;
    let (nickname, kind, id, expire, user_status) = match &summary.partner {
        Some(partner) => (
            open_nickname(opener, &partner.nickname)?,
            ThreadKind::User,
            partner.id.to_string(),
            js_date(partner.until),
            Some(String::new()),
        ),
        None => (SYSTEM_NAME.to_owned(), ThreadKind::System, SYSTEM.to_owned(), SYSTEM_EXPIRE.to_owned(), None),
    };
    Ok(Some(Thread {
        nickname,
        kind,
        partner: id.clone(),
        id,
        expire,
        user_status,
        endless: false,
        codes: false,
        thread_id: summary.thread.to_string(),
        ts: js_date(summary.last.stored.time),
        text: said.text,
        sender: sender_name(said.sender),
        message_type: said.message_type,
        receiver: said.receiver.map(|receiver| receiver.to_string()),
        iv: said.content.and_then(|content| content.iv),
        status: if read { ReadStatus::Read } else { ReadStatus::Unread },
    }))
}
