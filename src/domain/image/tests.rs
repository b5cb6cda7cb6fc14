//! The rules of images: the checks of a message, then the name, and one content for a name.

use be8_events::image::MediaStored;
use be8_events::message::{ImagePosted, ImageSecret};
use be8_events::{Hash32, Position, Sealing, Secret, StreamName, ThreadId};

use super::{Fingerprints, PostImage, Posted, StoredBlob};
use crate::domain::Rejection;
use crate::domain::message::{Address, NamedVersion, Receiver};
use crate::domain::testing::{World, id, token};

fn hash(byte: u8) -> Hash32 {
    Hash32([byte; 32])
}

fn blob() -> StoredBlob {
    let secret = ImageSecret {
        blob_key: "key".to_owned(),
        content_id: "name".to_owned(),
        content_type: None,
        height: None,
        width: None,
        is_group: None,
        iv: None,
        kind: None,
        endless: None,
    };
    StoredBlob { blob: hash(7), size: 36, sha256: hash(8), secret: Secret::new(secret) }
}

/// An image of 10,001 to 10,002.
fn post(thread: ThreadId, name: u8, content: u8) -> PostImage {
    PostImage {
        address: Address {
            session: Some(token(10_001)),
            receiver: Some(Receiver::Account(id(10_002))),
            sender: Some(id(10_001)),
            thread: Some(thread),
        },
        version: NamedVersion::Absent,
        image: Ok(Fingerprints { name: hash(name), content: hash(content) }),
        blob: Some(blob()),
    }
}

fn world() -> (World, ThreadId, Position) {
    let mut world = World::new();
    let (zoe, nickname) = world.account(10_001);
    let (yan, _) = world.account(10_002);
    let thread = world.conversation(zoe, yan);
    (world, thread, nickname)
}

#[test]
fn posting_takes_a_session() {
    let (mut world, thread, _) = world();
    world.wants_a_session(10_001, |session| {
        let command = post(thread, 1, 1);
        PostImage { address: Address { session, ..command.address }, ..command }
    });
}

#[test]
fn an_image_is_a_message_and_takes_its_name() {
    let (mut world, thread, nickname) = world();
    let zoe = id(10_001);
    let command = post(thread, 1, 2);
    world.answers(&PostImage { blob: None, ..command.clone() }, Posted::Welcome, &[]);
    let posted = ImagePosted {
        thread,
        id: 2,
        sender: zoe,
        nickname,
        stay: 1,
        version: None,
        blob: hash(7),
        size: 36,
        sha256: hash(8),
        content: hash(1),
    };
    let stored = MediaStored { thread, id: 2, content: hash(2) };
    let events = [
        (StreamName::dialog(zoe, id(10_002)), Some(zoe), posted.into()),
        (StreamName::Media(zoe, hash(1)), Some(zoe), stored.into()),
    ];
    world.answers(&command, Posted::New(thread, 2), &events);
    let mut decision = world.when(&command).unwrap();
    assert_eq!(decision.events[0].secret.take().unwrap().sealing, Sealing::Message { author: zoe, thread, stay: 1 });
    assert!(decision.events[1].secret.is_none());
    world.happen(decision.events);
    // docs/protocol.md, "Names of images": whether it only asks or comes with a blob.
    for blob in [None, Some(blob())] {
        world.answers(&PostImage { blob: blob.clone(), ..command.clone() }, Posted::Known(thread, 2), &[]);
        world.refuses(&PostImage { blob, ..post(thread, 1, 3) }, Rejection::ContentExists);
    }
    assert_eq!(world.when(&post(thread, 2, 2)).unwrap().reply, Posted::New(thread, 3));
}

#[test]
fn the_name_is_checked_after_the_thread_and_before_the_rest() {
    let (mut world, thread, _) = world();
    let reversed = ThreadId::Dialog { initiator: id(10_002), receiver: id(10_001) };
    let mut command =
        PostImage { version: NamedVersion::Malformed, image: Err(Rejection::InvalidContentId), ..post(reversed, 1, 1) };
    world.refuses(&command, Rejection::InvalidThread);
    command.address.thread = Some(thread);
    world.refuses(&command, Rejection::InvalidContentId);
    command.image = Err(Rejection::MessageTooLarge);
    world.refuses(&command, Rejection::InvalidMessageType);
    command.version = NamedVersion::Absent;
    world.refuses(&command, Rejection::MessageTooLarge);
    command.address.sender = Some(id(10_002));
    world.refuses(&command, Rejection::AccountNotExisting);
}
