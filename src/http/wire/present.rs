//! How threads and messages are shown: what follows from an event for its readers.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;

use be8_events::message::{ImageSecret, MessageSecret};
use be8_events::{
    AccId, AccountEvent, DialogEvent, Event, GroupEvent, GroupVersion, MessageEvent, MessageNo, Position, ThreadId,
    Timestamp,
};
use be8_projections::{Counterpart, Image, StoredSealed, ThreadList, ThreadMessages, ThreadSummary};
use chrono::TimeDelta;

use super::answer::True;
use super::error::WireError;
use super::js_date::js_date;
use super::shown::{ListedThread, Message, MessageType, ReadStatus, ThreadKind};
use super::text::escape_html;
use crate::app::names::{EXPIRED_USER, open, open_name, open_status};
use crate::vault::Opener;

/// The system as a sender and partner, and its nickname.
const SYSTEM: &str = "s1";
const SYSTEM_NAME: &str = "be8";
/// Until when the thread of the system lives: a constant of the contract.
const SYSTEM_EXPIRE: &str = "2286-11-20T17:46:40.000Z";

/// A page of messages, ready to be sent.
pub(in crate::http) struct Page {
    pub(in crate::http) thread: ThreadId,
    pub(in crate::http) messages: Vec<Message>,
    /// Whether the reader sees something of others for the first time.
    pub(in crate::http) unread: bool,
    /// What is shown, each with its sender if that is an account.
    pub(in crate::http) shown: Vec<(MessageNo, Option<AccId>)>,
}

/// What a message says, before names and marks.
struct Said {
    message_type: MessageType,
    text: String,
    /// The account that wrote it; none for the system.
    sender: Option<AccId>,
    sender_text: String,
    receiver: Option<String>,
    version: Option<GroupVersion>,
    content: Option<Echo>,
    extras: [Option<Extra>; 3],
}

/// What the sender's client said besides a text: none once it is erased.
#[derive(Default)]
struct Echo {
    iv: Option<String>,
    kind: Option<String>,
    endless: Option<String>,
    image: Option<ImageSecret>,
}

/// What a system message is about.
enum Extra {
    Id(String),
    /// The name that this event set.
    Name(Position),
}

/// What an account said: `removed` once its content is erased.
fn written(
    message_type: MessageType,
    thread: ThreadId,
    sender: AccId,
    version: Option<GroupVersion>,
    text: String,
    content: Option<Echo>,
) -> Said {
    Said {
        message_type: if content.is_some() { message_type } else { MessageType::Removed },
        text,
        sender: Some(sender),
        sender_text: sender.to_string(),
        receiver: match thread {
            ThreadId::Group(group) => Some(group.to_string()),
            ThreadId::Dialog { .. } | ThreadId::System(_) => {
                thread.partner_of(sender).map(|partner| partner.to_string())
            }
        },
        version,
        content,
        extras: [None, None, None],
    }
}

/// What an event says in a thread; none for kinds that never are a message there.
fn said(event: &StoredSealed, thread: ThreadId, opener: &Opener) -> Result<Option<Said>, WireError> {
    let in_group = matches!(thread, ThreadId::Group(_));
    let sender_text = if in_group { thread.to_string() } else { SYSTEM.to_owned() };
    let system = |code: &str, receiver: Option<AccId>, extras: [Option<Extra>; 3]| Said {
        message_type: MessageType::System,
        text: code.to_owned(),
        sender: None,
        sender_text: sender_text.clone(),
        receiver: receiver.map(|receiver| receiver.to_string()),
        version: None,
        content: None,
        extras,
    };
    let id = |id: &dyn std::fmt::Display| Some(Extra::Id(id.to_string()));
    let name = |position: Position| Some(Extra::Name(position));
    Ok(match &event.stored.event {
        Event::Account(AccountEvent::AccountCreated(e)) => Some(system("WELCOME", Some(e.account), [None, None, None])),
        Event::Dialog(DialogEvent::ConversationStarted(_)) => {
            Some(system("STARTCONVERSATION", None, [None, None, None]))
        }
        Event::Message(MessageEvent::MessageWritten(e)) => {
            let content = open::<MessageSecret>(opener, event)?.map(be8_events::Secret::into_inner);
            let (text, content) = match content {
                Some(MessageSecret { text, iv, kind, endless }) => {
                    (text, Some(Echo { iv, kind, endless, image: None }))
                }
                None => (String::new(), None),
            };
            Some(written(MessageType::Text, thread, e.sender, e.version, text, content))
        }
        Event::Message(MessageEvent::ImagePosted(e)) => {
            let content = open::<ImageSecret>(opener, event)?.map(be8_events::Secret::into_inner).map(|mut image| {
                let (iv, kind, endless) = (image.iv.take(), image.kind.take(), image.endless.take());
                Echo { iv, kind, endless, image: Some(image) }
            });
            Some(written(MessageType::Image, thread, e.sender, e.version, String::new(), content))
        }
        Event::Group(GroupEvent::GroupCreated(e)) => {
            let extras = [id(&e.group), name(event.stored.position), None];
            Some(system("CREATEDGROUP", Some(e.admin), extras))
        }
        Event::Group(GroupEvent::MemberJoined(e)) => {
            Some(system("ACCJOINEDGROUP", None, [id(&e.account), name(e.nickname), None]))
        }
        Event::Group(GroupEvent::MemberAdded(e)) if in_group => {
            Some(system("ACCADDEDTOGROUP", None, [name(e.nickname), id(&e.account), None]))
        }
        Event::Group(GroupEvent::MemberAdded(e)) => {
            let extras = [id(&e.by), name(e.group_name), name(e.by_nickname)];
            Some(system("ADDEDTOGROUP", Some(e.account), extras))
        }
        Event::Group(GroupEvent::MemberLeft(e)) if in_group => {
            Some(system("ACCLEFTGROUP", None, [id(&e.account), name(e.nickname), None]))
        }
        Event::Group(GroupEvent::MemberLeft(e)) => {
            Some(system("LEFTGROUP", Some(e.account), [id(&e.group), name(e.group_name), None]))
        }
        Event::Group(GroupEvent::MemberKicked(e)) if in_group => {
            Some(system("ACCKICKEDFROMGROUP", None, [id(&e.account), name(e.nickname), None]))
        }
        Event::Group(GroupEvent::MemberKicked(e)) => {
            Some(system("KICKEDFROMGROUP", Some(e.account), [id(&e.group), name(e.group_name), None]))
        }
        Event::Group(GroupEvent::GroupDestroyed(e)) => {
            let receiver = match thread {
                ThreadId::System(owner) => Some(owner),
                ThreadId::Dialog { .. } | ThreadId::Group(_) => None,
            };
            Some(system("GROUPDELETED", receiver, [id(&e.group), name(e.group_name), None]))
        }
        Event::Dialog(DialogEvent::ConversationEnded(e)) => {
            let left = e.thread.partner_of(e.gone);
            Some(system("ACCDELETED", left, [id(&e.gone), None, None]))
        }
        Event::Account(AccountEvent::NicknameChanged(_))
        | Event::Account(AccountEvent::StatusSet(_))
        | Event::Account(AccountEvent::PublicKeySet(_))
        | Event::Account(AccountEvent::CodesSet(_))
        | Event::Account(AccountEvent::CodeChanged(_))
        | Event::Account(AccountEvent::LifetimeExtended(_))
        | Event::Account(AccountEvent::AccountRemoved(_))
        | Event::Group(GroupEvent::VersionAllocated(_))
        | Event::Group(GroupEvent::GroupKeyStored(_))
        | Event::Group(GroupEvent::GroupUpdateSignalled(_))
        | Event::Session(_)
        | Event::Device(_)
        | Event::Media(_)
        | Event::Reads(_)
        | Event::Token(_)
        | Event::Server(_)
        | Event::Erasure(_) => None,
    })
}

/// Whether a message is shown for as long as the account lives: what was said to a new one, and to the creator of a group
/// (docs/protocol.md, "How long messages are kept").
pub(in crate::http) fn is_lasting(event: &StoredSealed) -> bool {
    matches!(
        event.stored.event,
        Event::Account(AccountEvent::AccountCreated(_)) | Event::Group(GroupEvent::GroupCreated(_))
    )
}

/// Whether a message is no longer shown.
fn expired(event: &StoredSealed, now: Timestamp, lifetime: TimeDelta) -> bool {
    !is_lasting(event) && event.stored.time.plus(lifetime) <= now
}

/// The messages of a thread, as the reader of this answer sees them: what is shown here counts as read.
pub(in crate::http) fn messages(
    found: ThreadMessages,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Page, WireError> {
    let ThreadMessages { reader, thread, messages, names, read_marks, .. } = found;
    let names: HashMap<Position, String> = names
        .iter()
        .map(|name| Ok((name.stored.position, open_name(opener, name)?)))
        .collect::<Result<_, WireError>>()?;
    let thread_name = thread.to_string();
    let group = match thread {
        ThreadId::Group(group) => Some(group),
        ThreadId::Dialog { .. } | ThreadId::System(_) => None,
    };
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
        let nickname = if let Event::Message(written) = &message.event.stored.event {
            Some(names.get(&written.header().nickname).cloned().unwrap_or_else(|| EXPIRED_USER.to_owned()))
        } else {
            None
        };
        // Nobody hears of who read what was removed.
        let told = said.sender.filter(|sender| *sender == reader || said.content.is_some());
        page.shown.push((message.id, told));
        let [extra1, extra2, extra3] = said.extras.map(|extra| {
            extra.map(|extra| match extra {
                Extra::Id(id) => id,
                Extra::Name(position) => escape_html(names.get(&position).map_or(EXPIRED_USER, String::as_str)),
            })
        });
        let Echo { iv, kind, endless, image } = said.content.unwrap_or_default();
        let is_image = image.is_some();
        let (content_id, content_type, img_height, img_width, is_group) = match image {
            Some(ImageSecret { content_id, content_type, height, width, is_group, .. }) => {
                (Some(content_id), content_type, height, width, is_group)
            }
            None => (None, None, None, None, None),
        };
        page.messages.push(Message {
            message_id: message.id.to_string(),
            ts: js_date(message.event.stored.time),
            sender: said.sender_text,
            receiver: said.receiver,
            thread_id: thread_name.clone(),
            nickname,
            group_id: group.map(|group| group.to_string()),
            group_version_key: said.version.zip(group).map(|(version, group)| format!("{group}:{version}")),
            extra1,
            extra2,
            extra3,
            text: (!is_image).then_some(said.text),
            message_type: said.message_type,
            content_id,
            content_type,
            img_height,
            img_width,
            is_group,
            kind,
            iv,
            endless,
            status: readers.iter().map(AccId::to_string).collect(),
            valid: True,
        });
    }
    Ok(page)
}

/// The message of one image, as it is shown with its content; none once it is over or erased. Also its
/// key in the store.
pub(in crate::http) fn image(
    found: Image,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Option<(Message, String)>, WireError> {
    let nickname = open_name(opener, &found.nickname)?;
    if expired(&found.event, now, lifetime) {
        return Ok(None);
    }
    let said = said(&found.event, found.thread, opener)?;
    let Some(Said { sender_text, receiver, version, content: Some(echo), .. }) = said else { return Ok(None) };
    let Echo { iv, kind, endless, image: Some(image) } = echo else { return Ok(None) };
    let group = match found.thread {
        ThreadId::Group(group) => Some(group),
        ThreadId::Dialog { .. } | ThreadId::System(_) => None,
    };
    let message = Message {
        message_id: found.id.to_string(),
        ts: js_date(found.event.stored.time),
        sender: sender_text,
        receiver,
        thread_id: found.thread.to_string(),
        nickname: Some(nickname),
        message_type: MessageType::Image,
        group_id: group.map(|group| group.to_string()),
        group_version_key: version.zip(group).map(|(version, group)| format!("{group}:{version}")),
        content_id: Some(image.content_id),
        content_type: image.content_type,
        img_height: image.height,
        img_width: image.width,
        is_group: image.is_group,
        kind,
        iv,
        endless,
        ..Message::default()
    };
    Ok(Some((message, image.blob_key)))
}

/// The threads of an account, the newest first; of one second, conversations before the system.
pub(in crate::http) fn threads(
    list: ThreadList,
    opener: &Opener,
    now: Timestamp,
    lifetime: TimeDelta,
) -> Result<Vec<ListedThread>, WireError> {
    let ThreadList { reader, mut threads, .. } = list;
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
) -> Result<Option<ListedThread>, WireError> {
    let Some(mut said) = said(&summary.last, summary.thread, opener)? else { return Ok(None) };
    if expired(&summary.last, now, lifetime) {
        // A thread without a message that is shown still needs a title that the client knows.
        let (text, sender_text) = match summary.thread {
            ThreadId::Group(group) => ("ACCJOINEDGROUP", group.to_string()),
            ThreadId::Dialog { .. } | ThreadId::System(_) => ("STARTCONVERSATION", SYSTEM.to_owned()),
        };
        said = Said {
            message_type: MessageType::System,
            text: text.to_owned(),
            sender: None,
            sender_text,
            receiver: None,
            version: None,
            content: None,
            extras: [None, None, None],
        };
    }
    if said.message_type == MessageType::Image {
        // The list says that one came, in the words of the system.
        said.message_type = MessageType::System;
        said.text = if said.sender == Some(reader) { "SENTIMAGE" } else { "RECEIVEDIMAGE" }.to_owned();
    }
    let read = said.sender == Some(reader) || summary.marked_read;
    let mut thread = ListedThread {
        thread_id: summary.thread.to_string(),
        ts: js_date(summary.last.stored.time),
        text: said.text,
        sender: said.sender_text,
        message_type: said.message_type,
        receiver: said.receiver,
        iv: said.content.and_then(|content| content.iv),
        group_version_key: said.version.map(|version| format!("{}:{version}", summary.thread)),
        status: if read { ReadStatus::Read } else { ReadStatus::Unread },
        ..ListedThread::default()
    };
    beside(&mut thread, &summary.counterpart, opener)?;
    Ok(Some(thread))
}

/// Shows what stands on the other side of a thread, whose id is set.
pub(in crate::http) fn beside(
    thread: &mut ListedThread,
    counterpart: &Counterpart,
    opener: &Opener,
) -> Result<(), WireError> {
    match counterpart {
        Counterpart::Partner(partner) => {
            thread.kind = ThreadKind::User;
            thread.nickname = open_name(opener, &partner.nickname)?;
            thread.partner = partner.id.to_string();
            thread.id = Some(partner.id.to_string());
            thread.expire = Some(js_date(partner.until));
            thread.user_status = Some(open_status(opener, partner.status.as_ref())?);
            thread.endless = partner.endless;
        }
        Counterpart::Group(group) => {
            thread.kind = ThreadKind::Group;
            thread.nickname = open_name(opener, &group.name)?;
            thread.partner.clone_from(&thread.thread_id);
            thread.group_id = Some(thread.thread_id.clone());
            thread.group_type = Some(group.access.into());
            thread.admin = Some(group.admin.to_string());
            thread.max_members = Some(group.capacity.to_string());
        }
        Counterpart::System => beside_system(thread),
    }
    Ok(())
}

/// Shows the system on the other side of a thread.
pub(in crate::http) fn beside_system(thread: &mut ListedThread) {
    thread.kind = ThreadKind::System;
    thread.nickname = SYSTEM_NAME.to_owned();
    thread.partner = SYSTEM.to_owned();
    thread.id = Some(SYSTEM.to_owned());
    thread.expire = Some(SYSTEM_EXPIRE.to_owned());
}
