//! How a request names the receiver, the thread and the key version of a message.

use std::borrow::Cow;

use be8_events::{AccId, ThreadId};

use super::lenient::Lenient;
use super::session::Session;
use crate::domain::message::{Address, NamedVersion, Receiver};

/// The id that `receiverID`, or else `receiver`, names; a JSON number means its decimal.
pub(in crate::http) fn receiver<'a, T, U>(id: &'a Lenient<T>, otherwise: &'a Lenient<U>) -> Option<Cow<'a, str>> {
    if id.is_truthy() { id.str_or_number() } else { otherwise.str_or_number() }
}

/// Whose a message is and where it is to go, as a request says.
pub(in crate::http) fn address(
    session: Session,
    receiver_id: &Lenient<Option<String>>,
    or_receiver: &Lenient<String>,
    sender: &Lenient<String>,
    thread: &Lenient<String>,
) -> Address {
    let sender: Option<AccId> = sender.str().and_then(|sender| sender.parse().ok());
    let thread = thread.str().and_then(named_thread).filter(|named| named.is_of(sender));
    Address {
        session: session.0,
        receiver: receiver(receiver_id, or_receiver).and_then(|id| match id.parse() {
            Ok(account) => Some(Receiver::Account(account)),
            Err(_) => id.parse().ok().map(Receiver::Group),
        }),
        sender,
        thread: thread.map(|named| named.thread),
    }
}

/// A thread as a request names it: by its id, or a group's also as `<own account>:<group>`.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct NamedThread {
    pub(in crate::http) thread: ThreadId,
    /// The account in front of the group.
    own: Option<AccId>,
}

impl NamedThread {
    /// Whether the name is one that this account may use.
    pub(in crate::http) fn is_of(&self, account: Option<AccId>) -> bool {
        self.own.is_none() || self.own == account
    }
}

pub(in crate::http) fn named_thread(text: &str) -> Option<NamedThread> {
    if let Ok(thread) = text.parse() {
        return Some(NamedThread { thread, own: None });
    }
    let (own, group) = text.split_once(':')?;
    Some(NamedThread { thread: ThreadId::Group(group.parse().ok()?), own: Some(own.parse().ok()?) })
}

/// The version of a group's key that a message names: `<groupID>:<version>`.
pub(in crate::http) fn named_version(key: &Lenient<Option<String>>) -> NamedVersion {
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
