//! The routes of the tag "Messages": writing and reading them.

use be8_events::Secret;
use be8_events::message::{ImageSecret, MessageSecret};
use be8_projections::MessagesAnswer;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use super::image_upload::{self, Upload};
use crate::app::Handle;
use crate::domain::Rejection;
use crate::domain::message::{Address, NamedVersion, WriteMessage};
use crate::domain::read_marks::MarkRead;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads::{self, Page, Unread};
use crate::http::request::addressing::{address, named_thread, named_version};
use crate::http::request::body::Body;
use crate::http::request::lenient::{LONGEST_ECHO, Lenient};
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Refused, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::present;
use crate::http::wire::shown::{Message, MessageWritten};

/// Messages.
pub struct Messages(pub Handle);

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum SentType {
    /// A text that the client encrypted.
    Text,
    /// An image that the client encrypted.
    Image,
}

/// A message to write. What the client encrypted stands in `text`.
#[derive(Debug, Default, Object)]
#[oai(rename = "MessageInput", rename_all = "camelCase", example)]
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
    /// `text` or `image`. Absent, `type` may say `textMessage` or `imageMessage`.
    pub message_type: Lenient<SentType>,
    /// The ciphertext.
    pub text: Lenient<String>,
    /// Not looked at: the name shown is the account's.
    pub nickname: Lenient<Option<String>>,
    /// The initialisation vector of the ciphertext, kept as it is: at most 1024 bytes.
    pub iv: Lenient<Option<String>>,
    /// Echoed to readers, at most 1024 bytes.
    #[oai(rename = "type")]
    pub kind: Lenient<Option<String>>,
    /// Echoed to readers as a string, of at most 1024 bytes.
    pub endless: Lenient<Option<bool>>,
    /// Which version of a group's key encrypted the text: `<groupID>:<version>`. Not in dialogs.
    pub group_version_key: Lenient<Option<String>>,
    /// Of an image: the sender's name for it, as for `/imageupload`; absent, one is made.
    #[oai(rename = "contentID")]
    pub content_id: Lenient<Option<String>>,
    /// Of an image: the ciphertext; absent, it is `text`.
    pub content: Lenient<Option<String>>,
    /// Of an image: echoed to readers, at most 1024 bytes.
    pub content_type: Lenient<Option<String>>,
    /// Of an image: echoed to readers as a string, of at most 1024 bytes.
    pub img_height: Lenient<Option<u32>>,
    /// Of an image: echoed to readers as a string, of at most 1024 bytes.
    pub img_width: Lenient<Option<u32>>,
    /// Of an image: echoed to readers as a string, of at most 1024 bytes.
    pub is_group: Lenient<Option<bool>>,
}

impl poem_openapi::types::Example for WriteMessageInput {
    fn example() -> Self {
        let text = |text: &str| json!(text).into();
        Self {
            receiver: text("10001"),
            sender: text("10002"),
            thread_id: text("10002:10001"),
            message_type: json!("text").into(),
            text: json!("T3BhcXVlIHRvIHRoZSBzZXJ2ZXI=").into(),
            iv: json!("2d1a8a7e-7f1c-4a4e-9a8a-3a6f8a1b2c3d").into(),
            kind: json!("user").into(),
            endless: json!(false).into(),
            ..Self::default()
        }
    }
}

/// Which thread to read.
#[derive(Debug, Default, Object)]
#[oai(rename = "MessagesInput", example)]
pub struct MessagesInput {
    /// The thread.
    #[oai(rename = "threadID")]
    pub thread_id: Lenient<String>,
}

impl poem_openapi::types::Example for MessagesInput {
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

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "writeMessage",
        &[
            Always(Code::NotAuth),
            When(
                Code::AccNotExists,
                "for a receiver that does not exist, then for a sender that is not the session's account",
            ),
            When(
                Code::InvalidThreadId,
                "for a thread that is not the conversation of the two, or not the group's, or not one's own",
            ),
            When(Code::InvalidContentId, "of an image, for a name that is no string of 1 to 128 printable characters"),
            When(
                Code::InvalidMessageType,
                "for anything but `text` and `image`, for a text that is no string, and for a `groupVersionKey` \
                 in a conversation of two or one that is not an existing version of this group",
            ),
            When(
                Code::TooLarge,
                "for a text beyond the limit (262,144 bytes by default) and for an echoed field, the `iv` \
                 included, of more than 1024 bytes",
            ),
            When(Code::ContentExists, "of an image, for a name that stands for other content of this sender"),
        ],
    ),
    Operation::contract("listMessages", &[Always(Code::NotAuth), Always(Code::InvalidThreadId)]),
];

#[OpenApi]
impl Messages {
    /// Write a message
    ///
    /// The message appears on the streams of both sides as `newMessage`. An image whose ciphertext is
    /// no longer than a text may be written like one; `/imageupload` takes larger ones.
    #[oai(path = "/writemessage", method = "post", operation_id = "writeMessage", tag = "Tag::Messages")]
    async fn write(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<WriteMessageInput>,
    ) -> Result<Answer<MessageWritten, Refused>, WireError> {
        let app = self.0.get()?;
        let once = key.with(&body);
        let body = body.into_inner();
        let address = address(session, &body.receiver_id, &body.receiver, &body.sender, &body.thread_id);
        let version = named_version(&body.group_version_key);
        if is_image(&body) {
            return image_upload::write(app, once, upload(address, version, body, app.settings.message_bytes)).await;
        }
        let Address { session, receiver, sender, thread } = address;
        let content = content(body, app.settings.message_bytes);
        let command = WriteMessage { session, receiver, sender, thread, version, content };
        app.execute(once, command, MessageWritten::of).await
    }

    /// Read a thread
    ///
    /// The newest 100 messages. Those of others count as read from here on: they show the reader
    /// in `status`, and their senders' streams receive `messageRead`.
    #[oai(path = "/getmessages", method = "post", operation_id = "listMessages", tag = "Tag::Messages")]
    async fn read(&self, session: Session, body: Body<MessagesInput>) -> Result<Answer<MessageList>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let now = app.now();
        let named = body.thread_id.str().and_then(named_thread);
        let lifetime = app.settings.message_lifetime;
        if let Some(found) = reads::messages(&app.views, session, named, now, lifetime).await? {
            let Page { body, unread } = found?;
            if let Some(Unread { thread, shown }) = unread {
                app.ledger.execute(MarkRead { session, thread, shown }).await?;
            }
            return Ok(Answer::written(body));
        }
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
        let page = present::messages(found, &opener, now, lifetime)?;
        if page.unread {
            let command = MarkRead { session, thread: page.thread, shown: page.shown };
            app.ledger.execute(command).await?;
        }
        Ok(Answer::new(&MessageList { valid: True, messages: page.messages }))
    }
}

/// Whether what is written is an image.
fn is_image(body: &WriteMessageInput) -> bool {
    match body.message_type.value() {
        Some(_) => body.message_type.str() == Some("image"),
        None => body.kind.str() == Some("imageMessage"),
    }
}

/// An image that is written like a text.
fn upload(address: Address, version: NamedVersion, body: WriteMessageInput, most: usize) -> Upload {
    let named = body.content_id.value().is_some_and(|name| !name.is_null());
    let name = if named { body.content_id.into_string() } else { Some(image_upload::random_name()) };
    let content = if body.content.value().is_some() { body.content.into_string() } else { body.text.into_string() };
    Upload {
        address,
        version,
        name,
        content,
        most,
        secret: ImageSecret {
            blob_key: String::new(),
            content_id: String::new(),
            content_type: body.content_type.echo(),
            height: body.img_height.echo(),
            width: body.img_width.echo(),
            is_group: body.is_group.echo(),
            iv: body.iv.echo(),
            kind: body.kind.echo(),
            endless: body.endless.echo(),
        },
    }
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
    if text.len() > most || [&iv, &kind, &endless].into_iter().flatten().any(|field| field.len() > LONGEST_ECHO) {
        return Err(Rejection::MessageTooLarge);
    }
    Ok(Secret::new(MessageSecret { text, iv, kind, endless }))
}
