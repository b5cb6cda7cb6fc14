//! Media: posting an image, and what an account's own name for one stands for.

#[cfg(test)]
mod tests;

use be8_events::image::MediaStored;
use be8_events::message::{ImagePosted, ImageSecret};
use be8_events::{Hash32, MediaEvent, MessageNo, NewEvent, Sealing, Secret, SecretPayload, StreamName, ThreadId};
use serde::{Deserialize, Serialize};

use super::message::{Address, Destination, NamedVersion};
use super::{Command, Decision, Rejection, Stop, View};

/// The state of a `media-ACC-HMAC` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    stored: Option<MediaStored>,
}

impl Media {
    /// What the name stands for.
    pub const fn stored(&self) -> Option<&MediaStored> {
        self.stored.as_ref()
    }

    pub(super) fn evolve(&mut self, event: &MediaEvent) {
        match event {
            MediaEvent::MediaStored(e) => self.stored = Some(e.clone()),
        }
    }
}

/// Posts an image. It is decided twice: without a blob, to learn whether storing one is worth it,
/// and with the blob that was stored.
#[derive(Debug, Clone)]
pub struct PostImage {
    /// Whose it is and where it is to go.
    pub address: Address,
    /// The version of the group's key that encrypted it (docs/protocol.md, "The key version of a message").
    pub version: NamedVersion,
    /// The image, or why it cannot be sent.
    pub image: Result<Fingerprints, Rejection>,
    /// The stored content; none: only ask.
    pub blob: Option<StoredBlob>,
}

/// How an image is known, by HMACs under a key of the sender's account.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprints {
    /// Of the name that the sender gave it (`contentID`).
    pub name: Hash32,
    /// Of its content.
    pub content: Hash32,
}

/// The content of an image, once it is stored.
#[derive(Debug, Clone)]
pub struct StoredBlob {
    /// Its random name.
    pub blob: Hash32,
    /// The bytes of it as it is stored.
    pub size: u64,
    /// SHA-256 of it as it is stored.
    pub sha256: Hash32,
    /// What is sealed with the event, the blob's key among it.
    pub secret: Secret<ImageSecret>,
}

/// What came of posting an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It may come: nothing speaks against it.
    Welcome,
    /// It was there already, with the same content (docs/protocol.md, "Names of images").
    Known(ThreadId, MessageNo),
    /// It is there now.
    New(ThreadId, MessageNo),
}

impl Posted {
    /// The message that it stands in; none: it was only asked for.
    pub const fn message(self) -> Option<(ThreadId, MessageNo)> {
        match self {
            Self::Welcome => None,
            Self::Known(thread, id) | Self::New(thread, id) => Some((thread, id)),
        }
    }
}

impl Command for PostImage {
    type Reply = Posted;

    fn streams(&self) -> Vec<StreamName> {
        let mut streams = self.address.streams();
        if let (Some(sender), Ok(image)) = (self.address.sender, &self.image) {
            streams.push(StreamName::Media(sender, image.name));
        }
        streams
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Posted>, Stop> {
        let destination = self.address.find(view)?;
        if let Err(rejection @ (Rejection::InvalidContentId | Rejection::InvalidMessageType)) = self.image {
            return Err(rejection.into());
        }
        let version = destination.version(self.version)?;
        let Fingerprints { name, content } = self.image?;
        let Destination { me, stream, thread, id, stay, .. } = destination;
        if let Some(known) = view.media(me, name)?.stored() {
            return match known.content == content {
                true => Ok(Decision::nothing(Posted::Known(known.thread, known.id))),
                false => Err(Rejection::ContentExists.into()),
            };
        }
        let Some(StoredBlob { blob, size, sha256, secret }) = &self.blob else {
            return Ok(Decision::nothing(Posted::Welcome));
        };
        let (blob, size, sha256) = (*blob, *size, *sha256);
        let nickname = view.account(me)?.nickname();
        let posted = ImagePosted { thread, id, sender: me, nickname, stay, version, blob, size, sha256, content: name };
        let events = vec![
            NewEvent {
                stream,
                actor: Some(me),
                event: posted.into(),
                secret: Some(SecretPayload::new(Sealing::Message { author: me, thread, stay }, secret)),
            },
            NewEvent {
                stream: StreamName::Media(me, name),
                actor: Some(me),
                event: MediaStored { thread, id, content }.into(),
                secret: None,
            },
        ];
        Ok(Decision::events(events, Posted::New(thread, id)))
    }
}
