//! How threads and messages are shown: what follows from an event for its readers.

#![deny(clippy::wildcard_enum_match_arm)]

mod messages;
mod threads;

use be8_events::account::Life;
use be8_events::group::Membership;
use be8_events::message::{ImageSecret, MessageSecret};
use be8_events::{
    AccId, AccountEvent, DialogEvent, Event, GroupEvent, GroupId, GroupVersion, MessageEvent, Position, ThreadId,
    Timestamp,
};
use be8_projections::StoredSealed;
use chrono::TimeDelta;

pub(in crate::http) use messages::{image, messages, shown};
pub(in crate::http) use threads::{beside, beside_system, expired_line, line, threads};

use super::error::WireError;
use super::shown::MessageType;
use crate::app::names::{open, open_name};
use crate::vault::Opener;
use crate::views::Names;

/// The system as a sender and partner.
const SYSTEM: &str = "s1";

/// A message without the names that are shown with it, and without who has read it.
#[derive(Clone)]
pub(in crate::http) struct Described {
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

impl Described {
    /// A message of the system: a code, in the thread of a group or to an account.
    fn system(thread: ThreadId, code: &str, receiver: Option<AccId>, extras: [Option<Extra>; 3]) -> Self {
        Self {
            message_type: MessageType::System,
            text: code.to_owned(),
            sender: None,
            sender_text: match thread {
                ThreadId::Group(group) => group.to_string(),
                ThreadId::Dialog { .. } | ThreadId::System(_) => SYSTEM.to_owned(),
            },
            receiver: receiver.map(|receiver| receiver.to_string()),
            version: None,
            content: None,
            extras,
        }
    }

    /// Whether it holds what its sender wrote: neither a message of the system nor erased.
    pub(in crate::http) const fn has_content(&self) -> bool {
        self.content.is_some()
    }

    /// Whether it is an image.
    pub(in crate::http) fn is_image(&self) -> bool {
        self.message_type == MessageType::Image
    }
}

/// What the sender's client sent besides a text: none once it is erased.
#[derive(Clone, Default)]
struct Echo {
    iv: Option<String>,
    kind: Option<String>,
    endless: Option<String>,
    image: Option<ImageSecret>,
}

/// What a system message is about.
#[derive(Clone)]
enum Extra {
    Id(String),
    /// The name that this event set.
    Name(Position),
}

/// A message of an account: `removed` once its content is erased.
fn written(
    message_type: MessageType,
    thread: ThreadId,
    sender: AccId,
    version: Option<GroupVersion>,
    text: String,
    content: Option<Echo>,
) -> Described {
    Described {
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

/// The message that an event is in a thread; none for kinds that never are a message there.
pub(in crate::http) fn describe(
    event: &StoredSealed,
    thread: ThreadId,
    opener: &Opener,
) -> Result<Option<Described>, WireError> {
    let in_group = matches!(thread, ThreadId::Group(_));
    let system = |code: &str, receiver: Option<AccId>, extras: [Option<Extra>; 3]| {
        Described::system(thread, code, receiver, extras)
    };
    let id = |id: &dyn std::fmt::Display| Some(Extra::Id(id.to_string()));
    let name = |position: Position| Some(Extra::Name(position));
    Ok(match &event.stored.event {
        Event::Account(account) => match account.life() {
            Some(Life::Created(e)) => Some(system("WELCOME", Some(e.account), [None, None, None])),
            Some(Life::Extended(_) | Life::Removed(_)) | None => None,
        },
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
        Event::Group(group) => match group.membership() {
            Some(Membership::Created(e)) => {
                let extras = [id(&e.group), name(event.stored.position), None];
                Some(system("CREATEDGROUP", Some(e.admin), extras))
            }
            Some(Membership::Joined(e)) => {
                Some(system("ACCJOINEDGROUP", None, [id(&e.account), name(e.nickname), None]))
            }
            Some(Membership::Added(e)) if in_group => {
                Some(system("ACCADDEDTOGROUP", None, [name(e.nickname), id(&e.account), None]))
            }
            Some(Membership::Added(e)) => {
                let extras = [id(&e.by), name(e.group_name), name(e.by_nickname)];
                Some(system("ADDEDTOGROUP", Some(e.account), extras))
            }
            Some(Membership::Left(e)) if in_group => {
                Some(system("ACCLEFTGROUP", None, [id(&e.account), name(e.nickname), None]))
            }
            Some(Membership::Left(e)) => {
                Some(system("LEFTGROUP", Some(e.account), [id(&e.group), name(e.group_name), None]))
            }
            Some(Membership::Kicked(e)) if in_group => {
                Some(system("ACCKICKEDFROMGROUP", None, [id(&e.account), name(e.nickname), None]))
            }
            Some(Membership::Kicked(e)) => {
                Some(system("KICKEDFROMGROUP", Some(e.account), [id(&e.group), name(e.group_name), None]))
            }
            Some(Membership::Destroyed(e)) => {
                let receiver = match thread {
                    ThreadId::System(owner) => Some(owner),
                    ThreadId::Dialog { .. } | ThreadId::Group(_) => None,
                };
                Some(system("GROUPDELETED", receiver, [id(&e.group), name(e.group_name), None]))
            }
            None => None,
        },
        Event::Dialog(DialogEvent::ConversationEnded(e)) => {
            let left = e.thread.partner_of(e.gone);
            Some(system("ACCDELETED", left, [id(&e.gone), None, None]))
        }
        Event::Session(_)
        | Event::Device(_)
        | Event::Media(_)
        | Event::Reads(_)
        | Event::Token(_)
        | Event::Server(_)
        | Event::Erasure(_) => None,
    })
}

/// Whether a message is shown for as long as the account lives: the welcome of a new one, and the notice to the creator of a group
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

/// The names that these events set, or what stands for them once they are erased.
///
/// # Errors
/// What was sealed cannot be read.
pub(in crate::http) fn opened(names: &[StoredSealed], opener: &Opener) -> Result<Names, WireError> {
    names.iter().map(|name| Ok((name.stored.position, open_name(opener, name)?.into()))).collect()
}

/// The group that a thread is of.
const fn group_of(thread: ThreadId) -> Option<GroupId> {
    match thread {
        ThreadId::Group(group) => Some(group),
        ThreadId::Dialog { .. } | ThreadId::System(_) => None,
    }
}
