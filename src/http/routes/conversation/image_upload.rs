//! Posting an image: looking at it, storing its content, and only then having it happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use be8_events::message::ImageSecret;
use be8_events::{AccId, Hash32, MessageNo, Secret, Subject, ThreadId};
use rand::RngExt as _;

use crate::app::App;
use crate::domain::Rejection;
use crate::domain::image::{Fingerprints, PostImage, Posted, StoredBlob};
use crate::domain::message::{Address, NamedVersion};
use crate::http::request::lenient::LONGEST_ECHO;
use crate::http::request::once::Once;
use crate::http::wire::answer::{Answer, json};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::shown::MessageWritten;
use crate::http::wire::text::utf16_len;
use crate::ledger::{Answered, LedgerError};
use crate::media::{BlobMark, MediaError};
use crate::vault::{DataKey, Found};

/// The longest name of an image, in UTF-16 code units.
const LONGEST_NAME: usize = 128;

/// The purpose of the fingerprint of a sender's name for an image.
pub(super) const NAME: &str = "content-id";
/// The purpose of the fingerprint of a content.
const CONTENT: &str = "content";

/// Whether a text can be the name of an image: 1 to 128 printable characters.
pub(super) fn is_name(text: &str) -> bool {
    let printable = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    (1..=LONGEST_NAME).contains(&utf16_len(text)) && text.chars().all(printable)
}

/// A name for an image whose sender gave it none: 32 letters and digits, as clients make them.
pub(in crate::http) fn random_name() -> String {
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    letters.take(32).map(char::from).collect()
}

/// An image on its way in, unchecked.
pub(in crate::http) struct Upload {
    pub(in crate::http) address: Address,
    pub(in crate::http) version: NamedVersion,
    /// The sender's name for it, if that is a string.
    pub(in crate::http) name: Option<String>,
    /// The content, if that is a string.
    pub(in crate::http) content: Option<String>,
    /// The most bytes of it.
    pub(in crate::http) most: usize,
    /// What is echoed; key and name are filled in here.
    pub(in crate::http) secret: ImageSecret,
}

/// The data key of an account, while there is one.
pub(super) async fn account_key(app: &App, account: AccId) -> Result<Option<DataKey>, WireError> {
    let subject = Subject::Account(account);
    Ok(match app.vault.find(&[subject]).await?.remove(&subject) {
        Some(Found::Live(key)) => Some(key),
        Some(Found::Erased(_)) | None => None,
    })
}

/// An image that was looked at: the command that posts it, still without its content, and what is
/// to be stored for it unless something speaks against it already.
struct Examined {
    command: PostImage,
    sent: Option<Sent>,
}

/// What is stored for an image.
struct Sent {
    name: String,
    content: String,
    secret: ImageSecret,
}

async fn examine(app: &App, upload: Upload) -> Result<Examined, WireError> {
    let Upload { address, version, name, content, most, secret } = upload;
    let echoed = [
        &secret.content_type,
        &secret.height,
        &secret.width,
        &secret.is_group,
        &secret.iv,
        &secret.kind,
        &secret.endless,
    ];
    let too_long = echoed.into_iter().flatten().any(|field| field.len() > LONGEST_ECHO)
        || content.as_ref().is_some_and(|content| content.len() > most);
    let sent = match (name.filter(|name| is_name(name)), content) {
        (None, _) => Err(Rejection::InvalidContentId),
        (_, None) => Err(Rejection::InvalidMessageType),
        _ if too_long => Err(Rejection::MessageTooLarge),
        (Some(name), Some(content)) => Ok((name, content)),
    };
    let (image, sent) = match sent {
        Err(rejection) => (Err(rejection), None),
        Ok((name, content)) => {
            let key = match address.sender {
                Some(sender) => account_key(app, sender).await?,
                None => None,
            };
            match key {
                // Whatever else may be wrong: this sender is not the account of a living session.
                None => (Err(Rejection::AccountNotExisting), None),
                Some(key) => {
                    let work = move || {
                        let content_mac = key.mac(CONTENT, content.as_bytes());
                        (Fingerprints { name: key.mac(NAME, name.as_bytes()), content: content_mac }, name, content)
                    };
                    let (image, name, content) = tokio::task::spawn_blocking(work).await.map_err(MediaError::from)?;
                    (Ok(image), Some((name, content)))
                }
            }
        }
    };
    let sent = sent.map(|(name, content)| Sent { name, content, secret });
    Ok(Examined { command: PostImage { address, version, image, blob: None }, sent })
}

/// Stores the content of an image.
async fn store(app: &App, sent: Sent) -> Result<StoredBlob, WireError> {
    let Sent { name, content, mut secret } = sent;
    let (mark, key) = app.media.put(content).await?;
    (secret.blob_key, secret.content_id) = (key.to_base64(), name);
    let BlobMark { name: blob, size, sha256 } = mark;
    Ok(StoredBlob { blob, size, sha256, secret: Secret::new(secret) })
}

/// Removes the content of an image that did not come to be.
async fn discard(app: &App, blob: Hash32) {
    if let Err(error) = app.media.remove(blob).await {
        tracing::debug!(%error, "a blob that is not needed stays until the sweeper comes");
    }
}

/// Whether it may have happened although the ledger failed.
const fn in_doubt(error: &LedgerError) -> bool {
    matches!(error, LedgerError::OutcomeUnknown | LedgerError::Internal)
}

/// Posts an image: asks whether it may come, stores the content, and only then has it happen.
pub(super) async fn post(app: &App, upload: Upload) -> Result<(ThreadId, MessageNo), WireError> {
    let Examined { mut command, sent } = examine(app, upload).await?;
    if let Some(known) = app.ledger.execute(command.clone()).await?.message() {
        return Ok(known);
    }
    // What has no fingerprints is welcome nowhere.
    let stored = store(app, sent.ok_or(WireError::from(Code::Internal))?).await?;
    let blob = stored.blob;
    command.blob = Some(stored);
    let posted = app.ledger.execute(command).await;
    let needed = match &posted {
        Ok(posted) => matches!(posted, Posted::New(..)),
        Err(error) => in_doubt(error),
    };
    if !needed {
        discard(app, blob).await;
    }
    posted?.message().ok_or(Code::Internal.into())
}

/// Posts an image as `/writemessage` does, once if that is asked.
pub(in crate::http) async fn write<R>(
    app: &App,
    once: Once,
    upload: Upload,
) -> Result<Answer<MessageWritten, R>, WireError> {
    if !once.is_asked() {
        return Ok(Answer::new(&MessageWritten::of(post(app, upload).await?)));
    }
    // Not asked for first: what was answered under the key is answered again, whatever has become of
    // the thread since.
    let Examined { mut command, sent } = examine(app, upload).await?;
    let mut blob = None;
    if let Some(sent) = sent {
        let stored = store(app, sent).await?;
        blob = Some(stored.blob);
        command.blob = Some(stored);
    }
    let new = Arc::new(AtomicBool::new(false));
    let is_new = new.clone();
    let encode = move |posted: Posted| {
        is_new.store(matches!(posted, Posted::New(..)), Ordering::SeqCst);
        // Only a request without content is answered that it is welcome.
        Answered { status: 200, body: json(&posted.message().map(MessageWritten::of)) }
    };
    let answered = app.answered(once, command, encode).await;
    let doubt = matches!(&answered, Ok(Err(error)) if in_doubt(error));
    if let Some(blob) = blob.filter(|_| !doubt && !new.load(Ordering::SeqCst)) {
        discard(app, blob).await;
    }
    Ok(Answer::stored(answered??))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows (docs/protocol.md): Names of images.
    #[test]
    fn names_are_printable_and_of_some_length() {
        for good in ["a", "0123456789abcdefABCDEF!?", "../../etc/passwd", "ü 🦢", &"x".repeat(128), &"🦢".repeat(64)]
        {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a\0b", "line\n", "\u{7f}", "\u{2028}", &"x".repeat(129), &"🦢".repeat(65)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn made_up_names_are_like_those_of_clients() {
        let (one, two) = (random_name(), random_name());
        assert!(one.len() == 32 && one.bytes().all(|b| b.is_ascii_alphanumeric()) && one != two);
    }
}
