//! The routes of the tag "Images": posting one and fetching its content.

use std::time::Duration;

use be8_events::message::ImageSecret;
use be8_events::{AccId, Event, MessageEvent};
use be8_projections::ImageAnswer;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use crate::app::Handle;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::addressing::{address, named_thread, named_version};
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::session::Session;
use crate::http::serve::outgoing::Outgoing;
use crate::http::wire::answer::{Answer, False, Refusals, Refused, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::present;
use crate::http::wire::shown::MessageType;
use crate::media::{BlobKey, BlobMark, MediaError};

use super::image_upload::{NAME, Upload, account_key, is_name, post};

/// Images.
pub struct Images(pub Handle);

/// How long a reader waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// An image to post. What the client encrypted stands in `content`.
#[derive(Debug, Default, Object)]
#[oai(rename = "ImageUploadInput", rename_all = "camelCase", example)]
pub struct ImageUploadInput {
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
    /// The sender's name for the image. It stands for one content forever.
    #[oai(rename = "contentID", validator(min_length = 1, max_length = 128))]
    pub content_id: Lenient<String>,
    /// The ciphertext.
    pub content: Lenient<String>,
    /// Echoed to readers, at most 1024 bytes.
    pub content_type: Lenient<Option<String>>,
    /// Echoed to readers as a string, of at most 1024 bytes.
    pub img_height: Lenient<Option<u32>>,
    /// Echoed to readers as a string, of at most 1024 bytes.
    pub img_width: Lenient<Option<u32>>,
    /// Echoed to readers as a string, of at most 1024 bytes.
    pub is_group: Lenient<Option<bool>>,
    /// Not looked at: it is an image.
    pub message_type: Lenient<Option<String>>,
    /// Not looked at: the name shown is the account's.
    pub nickname: Lenient<Option<String>>,
    /// The initialisation vector of the ciphertext, kept as it is: at most 1024 bytes.
    pub iv: Lenient<Option<String>>,
    /// Echoed to readers of the thread, at most 1024 bytes.
    #[oai(rename = "type")]
    pub kind: Lenient<Option<String>>,
    /// Echoed to readers as a string, of at most 1024 bytes.
    pub endless: Lenient<Option<bool>>,
    /// Which version of a group's key encrypted it: `<groupID>:<version>`. Not in dialogs.
    pub group_version_key: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for ImageUploadInput {
    fn example() -> Self {
        let text = |text: &str| json!(text).into();
        Self {
            receiver: text("10001"),
            sender: text("10002"),
            thread_id: text("10002:10001"),
            content_id: text("Q2xpZW50cyBjaG9vc2UgdGhlc2UhPz8x"),
            content: text("QW4gaW1hZ2UsIG9wYXF1ZSB0byB0aGUgc2VydmVyLg=="),
            content_type: json!("image").into(),
            img_height: json!(480).into(),
            img_width: json!(640).into(),
            is_group: json!(false).into(),
            iv: json!("6f0d6c1e-0b57-4a0e-8d8a-2f6a4f0e9c11").into(),
            kind: json!("user").into(),
            ..Self::default()
        }
    }
}

/// Which image is wanted.
#[derive(Debug, Default, Object)]
#[oai(rename = "ImageInput", rename_all = "camelCase", example)]
pub struct ImageInput {
    /// The sender's name for it.
    #[oai(rename = "contentID")]
    pub content_id: Lenient<String>,
    /// Who posted it.
    pub sender: Lenient<String>,
    /// Where it is given: only if it is in this thread.
    #[oai(rename = "threadID")]
    pub thread_id: Lenient<Option<String>>,
    /// Where it is given: only if it is this message.
    #[oai(rename = "messageID")]
    pub message_id: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for ImageInput {
    fn example() -> Self {
        Self {
            content_id: json!("Q2xpZW50cyBjaG9vc2UgdGhlc2UhPz8x").into(),
            sender: json!("10002").into(),
            ..Self::default()
        }
    }
}

/// An image and its message.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "ImageFound", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct ImageFound {
    /// Always true.
    pub valid: True,
    /// The number of the message in the thread.
    #[oai(rename = "messageID")]
    #[serde(rename = "messageID")]
    pub message_id: String,
    /// When it was sent, as JavaScript's `Date.toString()` in UTC.
    pub ts: String,
    /// Who posted it.
    pub sender: String,
    /// To whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The thread.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
    /// The sender's nickname when it was posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// What the message is.
    pub message_type: MessageType,
    /// Always `image`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The sender's name for it.
    #[oai(rename = "contentID")]
    #[serde(rename = "contentID")]
    pub content_id: String,
    /// The ciphertext, as it was sent.
    pub content: String,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_height: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_width: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_group: Option<String>,
    /// The initialisation vector, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv: Option<String>,
    /// As it was sent, as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endless: Option<String>,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID", skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// The version of the group's key that encrypted it: `<groupID>:<version>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_version_key: Option<String>,
}

/// There is no such image for this reader.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "UnknownImage", read_only_all, skip_serializing_if_is_none)]
pub struct UnknownImage {
    /// Always false.
    pub valid: False,
    /// As it was asked for.
    #[oai(rename = "contentID")]
    #[serde(rename = "contentID", skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

impl Refusals for UnknownImage {
    fn schemas() -> Vec<MetaSchemaRef> {
        vec![<Self as poem_openapi::types::Type>::schema_ref()]
    }

    fn register(registry: &mut Registry) {
        <Self as poem_openapi::types::Type>::register(registry);
    }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "uploadImage",
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
            When(Code::InvalidContentId, "for a name that is no string of 1 to 128 printable characters"),
            When(
                Code::InvalidMessageType,
                "for a content that is no string, and for a `groupVersionKey` in a conversation of two or one \
                 that is not an existing version of this group",
            ),
            When(Code::TooLarge, "for an echoed field, the `iv` included, of more than 1024 bytes"),
            When(Code::ContentExists, "for a name that stands for other content of this sender"),
            When(Code::Unavailable, "for too many at once"),
        ],
    )
    .large_bodies(),
    Operation::contract("getImage", &[Always(Code::NotAuth)]),
];

#[OpenApi]
impl Images {
    /// Post an image
    ///
    /// The content is stored apart from the messages. The message appears on the streams of both
    /// sides as `newMessage`, and in the thread as an image without its content. Posting the same
    /// content under the same name again is valid and changes nothing.
    #[oai(path = "/imageupload", method = "post", operation_id = "uploadImage", tag = "Tag::Images")]
    async fn upload(
        &self,
        session: Session,
        body: Body<ImageUploadInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let app = self.0.get()?;
        let body = body.into_inner();
        let upload = Upload {
            address: address(session, &body.receiver_id, &body.receiver, &body.sender, &body.thread_id),
            version: named_version(&body.group_version_key),
            name: body.content_id.into_string(),
            content: body.content.into_string(),
            most: usize::MAX,
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
        };
        post(app, upload).await?;
        Ok(Answer::new(&Success { valid: True }))
    }

    /// Fetch an image
    ///
    /// It is found by its sender and its name. Anyone who takes part in its thread gets it, in groups
    /// if it was posted while the reader was a member; to all others, and once its message is removed,
    /// there is no such image.
    #[oai(path = "/imageget", method = "post", operation_id = "getImage", tag = "Tag::Images")]
    async fn get(
        &self,
        session: Session,
        outgoing: Outgoing,
        body: Body<ImageInput>,
    ) -> Result<Answer<ImageFound, UnknownImage>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let now = app.now();
        let missing = || Answer::refused(&UnknownImage { valid: False, content_id: body.content_id.echo() });
        let name = body.content_id.str().filter(|name| is_name(name));
        let sender: Option<AccId> = body.sender.str().and_then(|sender| sender.parse().ok());
        let image = match (sender, name) {
            (Some(sender), Some(name)) => {
                let key = account_key(app, sender).await?;
                key.map(|key| (sender, key.mac(NAME, name.as_bytes())))
            }
            _ => None,
        };
        let found = match app.read.image(session, now, image).await? {
            ImageAnswer::NoSession => return Err(Code::NotAuth.into()),
            ImageAnswer::NoImage => return Ok(missing()),
            ImageAnswer::Image(found) => *found,
        };
        let thread = body.thread_id.str().map(|thread| named_thread(thread).map(|named| named.thread));
        let number = body.message_id.str_or_number();
        if thread.is_some_and(|thread| thread != Some(found.thread))
            || number.is_some_and(|number| number != found.id.to_string())
        {
            return Ok(missing());
        }
        let Event::Message(MessageEvent::ImagePosted(posted)) = &found.event.stored.event else {
            return Err(Code::Internal.into());
        };
        let mark = BlobMark { name: posted.blob, size: posted.size, sha256: posted.sha256 };
        let opener = app.vault.opener(&found.live).await?;
        let Some((message, key)) = present::image(&found, &opener, now, app.settings.message_lifetime)? else {
            return Ok(missing());
        };
        let key = BlobKey::from_base64(&key).ok_or(WireError::from(Code::Internal))?;
        let me = app.signed_in(session).await?;
        let _turn = app.image_reads.turn(me.id, PATIENCE).await.ok_or(Code::Unavailable)?;
        // Contents in memory at once are bounded for readers, too: while they are read, and until they are taken.
        outgoing.wait(usize::try_from(mark.size).unwrap_or(usize::MAX), PATIENCE).await?;
        let content = match app.media.get(mark, key).await {
            Ok(Some(content)) => content,
            Ok(None) => {
                tracing::error!(blob = %mark.name, "the content of an image is not in the store");
                return Ok(missing());
            }
            Err(error @ MediaError::Damaged(_)) => {
                tracing::error!(%error, "an image cannot be shown");
                return Ok(missing());
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Answer::new(&ImageFound {
            valid: True,
            message_id: message.message_id,
            ts: message.ts,
            sender: message.sender,
            receiver: message.receiver,
            thread_id: message.thread_id,
            nickname: message.nickname,
            message_type: message.message_type,
            kind: "image",
            content_id: message.content_id.unwrap_or_default(),
            content,
            content_type: message.content_type,
            img_height: message.img_height,
            img_width: message.img_width,
            is_group: message.is_group,
            iv: message.iv,
            endless: message.endless,
            group_id: message.group_id,
            group_version_key: message.group_version_key,
        }))
    }
}
