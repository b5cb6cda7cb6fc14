//! The routes of the tag "Messages": writing and reading them.

use be8_events::message::MessageSecret;
use be8_events::{AccId, Secret, ThreadId};
use be8_projections::MessagesAnswer;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use super::app::Handle;
use super::body::Body;
use super::conversations::receiver;
use super::document::Tag;
use super::error::{Code, WireError};
use super::lenient::Lenient;
use super::once::IdempotencyKey;
use super::present;
use super::session::Session;
use super::shown::Message;
use super::wire::{Answer, True};
use crate::domain::Rejection;
use crate::domain::message::{NamedVersion, Receiver, WriteMessage};
use crate::domain::reads::MarkRead;

/// Messages.
pub struct Messages(pub Handle);

/// A message to write. What the client encrypted stands in `text`.
#[derive(Debug, Default, Object)]
#[oai(rename = "WriteMessage", rename_all = "camelCase", example)]
pub struct WriteMessageInput {
    /// To whom: the partner of the conversation, or the group. A number means its decimal string.
    pub receiver: Lenient<String>,
    /// Looked at before `receiver` where it is given.
    #[oai(rename = "receiverID")]
    pub receiver_id: Lenient<Option<String>>,
    /// From whom: the session's account.
    pub sender: Lenient<String>,
    /// The thread.
    #[oai(rename = "threadID")]
    pub thread_id: Lenient<String>,
    /// `text`. Absent, `type` may say `textMessage`.
    pub message_type: Lenient<String>,
    /// The ciphertext.
    pub text: Lenient<String>,
    /// Not looked at: the name shown is the account's.
    pub nickname: Lenient<Option<String>>,
    /// The initialisation vector of the ciphertext, kept as it is.
    pub iv: Lenient<Option<String>>,
    /// Echoed to readers.
    #[oai(rename = "type")]
    pub kind: Lenient<Option<String>>,
    /// Echoed to readers, as a string.
    pub endless: Lenient<Option<bool>>,
    /// Which version of a group's key encrypted the text: `<groupID>:<version>`. Not in dialogs.
    pub group_version_key: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for WriteMessageInput {
    fn example() -> Self {
        let text = |text: &str| json!(text).into();
        Self {
            receiver: text("10001"),
            receiver_id: Lenient::default(),
            sender: text("10002"),
            thread_id: text("10002:10001"),
            message_type: text("text"),
            text: json!("T3BhcXVlIHRvIHRoZSBzZXJ2ZXI=").into(),
            nickname: Lenient::default(),
            iv: json!("2d1a8a7e-7f1c-4a4e-9a8a-3a6f8a1b2c3d").into(),
            kind: json!("user").into(),
            endless: json!(false).into(),
            group_version_key: Lenient::default(),
        }
    }
}

/// The message was written.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "MessageWritten", read_only_all)]
pub struct MessageWritten {
    /// Always true.
    pub valid: True,
    /// `message:<threadID>:<n>`, n being the number of the message in its thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID")]
    pub message_id: String,
}

/// Which thread to read.
#[derive(Debug, Default, Object)]
#[oai(rename = "GetMessages", example)]
pub struct GetMessages {
    /// The thread.
    #[oai(rename = "threadID")]
    pub thread_id: Lenient<String>,
}

impl poem_openapi::types::Example for GetMessages {
    fn example() -> Self {
        Self { thread_id: json!("10002:10001").into() }
    }
}

/// The messages of a thread.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "MessageList", read_only_all)]
pub struct MessageList {
    /// Always true.
    pub valid: True,
    /// At most 100, ascending by their numbers.
    pub messages: Vec<Message>,
}

#[OpenApi]
impl Messages {
    /// Write a message
    ///
    /// The message appears on the streams of both sides as `newMessage`.
    ///
    /// Checks in order: `NOTAUTH`; `ACCNOTEXISTS` for a receiver that does not exist, then for a
    /// sender that is not the session's account; `INVALIDTHREADID` for a thread that is not the
    /// conversation of the two, or not the group's, or not one's own; `INVALIDMESSAGETYPE` for
    /// anything but `text`, for a text that is no string, and for a `groupVersionKey` in a
    /// conversation of two or one that is not an existing version of this group; `TOOLARGE` for a
    /// text beyond the limit (262,144 bytes by default).
    #[oai(path = "/writemessage", method = "post", operation_id = "writeMessage", tag = "Tag::Messages")]
    async fn write(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<WriteMessageInput>,
    ) -> Result<Answer<MessageWritten>, WireError> {
        let app = self.0.get()?;
        let once = key.with(&body);
        let body = body.into_inner();
        let receiver = receiver(&body.receiver_id, &body.receiver);
        let sender: Option<AccId> = body.sender.str().and_then(|sender| sender.parse().ok());
        let command = WriteMessage {
            session: session.0,
            receiver: receiver.and_then(|id| match id.parse() {
                Ok(account) => Some(Receiver::Account(account)),
                Err(_) => id.parse().ok().map(Receiver::Group),
            }),
            sender,
            thread: body
                .thread_id
                .str()
                .and_then(named_thread)
                .filter(|named| named.is_of(sender))
                .map(|named| named.thread),
            version: named_version(&body),
            content: content(body, app.settings.message_bytes),
        };
        let written = |(thread, id)| MessageWritten { valid: True, message_id: format!("message:{thread}:{id}") };
        app.execute(once, command, written).await
    }

    /// Read a thread
    ///
    /// The newest 100 messages. Those of others count as read from here on: they show the reader
    /// in `status`, and their senders' streams hear `messageRead`.
    ///
    /// Checks in order: `NOTAUTH`, `INVALIDTHREADID`.
    #[oai(path = "/getmessages", method = "post", operation_id = "listMessages", tag = "Tag::Messages")]
    async fn read(&self, session: Session, body: Body<GetMessages>) -> Result<Answer<MessageList>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let now = app.now();
        let named = body.thread_id.str().and_then(named_thread);
        let found = match (app.read.messages(session, now, named.map(|named| named.thread)).await?, named) {
            (MessagesAnswer::NoSession, _) => return Err(Code::NotAuth.into()),
            (MessagesAnswer::Messages(found), Some(named))
                if found.thread == named.thread && named.is_of(Some(found.reader)) =>
            {
                *found
            }
            (MessagesAnswer::NoThread | MessagesAnswer::Messages(_), _) => return Err(Code::InvalidThreadId.into()),
        };
        let opener = app.vault.opener(&found.live).await?;
        let page = present::messages(found, &opener, now, app.settings.message_lifetime)?;
        if page.unread {
            let command = MarkRead { session, thread: page.thread, shown: page.shown };
            app.ledger.execute(command).await?;
        }
        Ok(Answer::new(&MessageList { valid: True, messages: page.messages }))
    }
}

/// A thread as a request names it: by its id, or a group's also as `<own account>:<group>`.
#[derive(Debug, Clone, Copy)]
struct NamedThread {
    thread: ThreadId,
    /// The account in front of the group.
    own: Option<AccId>,
}

impl NamedThread {
    /// Whether the name is one that this account may use.
    fn is_of(&self, account: Option<AccId>) -> bool {
        self.own.is_none() || self.own == account
    }
}

fn named_thread(text: &str) -> Option<NamedThread> {
    if let Ok(thread) = text.parse() {
        return Some(NamedThread { thread, own: None });
    }
    let (own, group) = text.split_once(':')?;
    Some(NamedThread { thread: ThreadId::Group(group.parse().ok()?), own: Some(own.parse().ok()?) })
}

/// The version of a group's key that a message names: `<groupID>:<version>`.
fn named_version(body: &WriteMessageInput) -> NamedVersion {
    let key = &body.group_version_key;
    if key.value().is_none() || key.is_null() {
        return NamedVersion::Absent;
    }
    let parse = |text: &str| {
        let (group, version) = text.split_once(':')?;
        let digits = version.bytes().all(|b| b.is_ascii_digit());
        Some((group.parse().ok()?, version.parse().ok().filter(|_| digits)?))
    };
    key.str().and_then(parse).map_or(NamedVersion::Malformed, |(group, version)| NamedVersion::Version(group, version))
}

/// What a message holds, or why it cannot be sent.
fn content(body: WriteMessageInput, most: usize) -> Result<Secret<MessageSecret>, Rejection> {
    let text_message = match body.message_type.value() {
        Some(_) => body.message_type.str() == Some("text"),
        None => body.kind.str() == Some("textMessage"),
    };
    if !text_message {
        return Err(Rejection::InvalidMessageType);
    }
    let (iv, kind, endless) = (body.iv.echo(), body.kind.echo(), body.endless.echo());
    let text = body.text.into_string().ok_or(Rejection::InvalidMessageType)?;
    if text.len() > most || [&iv, &kind, &endless].into_iter().flatten().any(|field| field.len() > 1024) {
        return Err(Rejection::MessageTooLarge);
    }
    Ok(Secret::new(MessageSecret { text, iv, kind, endless }))
}
