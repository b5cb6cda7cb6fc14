//! The subjects whose data keys seal what is secret, and which of them an event takes.

use std::fmt;
use std::str::FromStr;

#[cfg(doc)]
use crate::Sealed;
use crate::{
    AccId, AccountEvent, Day, DeviceEvent, Event, GroupEvent, GroupId, MessageEvent, ParseError, StayNo, StreamName,
    ThreadId,
};

/// Whose data key seals something. A subject has one key in its life; deleting the key erases
/// all that was sealed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The server itself: HMACs of tokens and idempotency bodies. Never erased.
    Server,
    /// An account's nickname, status, password hash, lock codes and devices.
    Account(AccId),
    /// An account's public key, which may outlive the account.
    PublicKey(AccId),
    /// A group's name.
    GroupName(GroupId),
    /// The wrapped keys of a group.
    GroupKeys(GroupId),
    /// What `author` wrote during its n-th stay in a thread.
    Stay {
        /// The thread; a dialog by the direction in which it was started.
        thread: ThreadId,
        /// Who wrote.
        author: AccId,
        /// Which of the author's stays.
        stay: StayNo,
    },
    /// All messages of a UTC day.
    Day(Day),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Account(account) => write!(f, "account/{account}"),
            Self::PublicKey(account) => write!(f, "public-key/{account}"),
            Self::GroupName(group) => write!(f, "group-name/{group}"),
            Self::GroupKeys(group) => write!(f, "group-keys/{group}"),
            Self::Stay { thread, author, stay } => write!(f, "stay/{thread}/{author}/{stay}"),
            Self::Day(day) => write!(f, "day/{day}"),
        }
    }
}

impl FromStr for Subject {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseError::new("a subject of a data key", text);
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts[..] {
            ["server"] => Self::Server,
            ["account", account] => Self::Account(account.parse()?),
            ["public-key", account] => Self::PublicKey(account.parse()?),
            ["group-name", group] => Self::GroupName(group.parse()?),
            ["group-keys", group] => Self::GroupKeys(group.parse()?),
            ["stay", thread, author, stay] => {
                Self::Stay { thread: thread.parse()?, author: author.parse()?, stay: stay.parse().map_err(|_| bad())? }
            }
            ["day", day] => Self::Day(day.parse()?),
            _ => return Err(bad()),
        })
    }
}

/// The number of a data key, given once in the life of a log.
pub type KeyId = i64;

/// Under which key or keys a secret payload is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Under the key of one subject; kept until that is erased.
    Lasting(Subject),
    /// Under a key derived from three: the author's account, the stay, and the day of the event.
    Message {
        /// Who wrote.
        author: AccId,
        /// The thread.
        thread: ThreadId,
        /// Which of the author's stays in it.
        stay: StayNo,
    },
}

impl Sealing {
    /// The subjects whose keys are needed, in the order in which [`Sealed::keys`] names them.
    ///
    /// ```
    /// use be8_events::{AccId, Sealing, Subject, ThreadId};
    ///
    /// let author = AccId::new(10_001).unwrap();
    /// let thread: ThreadId = "10001:10002".parse().unwrap();
    /// let today = "2026-11-23".parse().unwrap();
    /// let names = |sealing: Sealing| sealing.subjects(today).iter().map(Subject::to_string).collect::<Vec<_>>();
    /// assert_eq!(names(Sealing::Lasting(Subject::PublicKey(author))), ["public-key/10001"]);
    /// assert_eq!(
    ///     names(Sealing::Message { author, thread, stay: 1 }),
    ///     ["account/10001", "stay/10001:10002/10001/1", "day/2026-11-23"]
    /// );
    /// ```
    pub fn subjects(self, day: Day) -> Vec<Subject> {
        match self {
            Self::Lasting(subject) => vec![subject],
            Self::Message { author, thread, stay } => {
                vec![Subject::Account(author), Subject::Stay { thread, author, stay }, Subject::Day(day)]
            }
        }
    }
}

impl Event {
    /// Under which keys the secret part of this event is sealed in this stream; none if events of its
    /// kind have no secret part.
    pub fn sealing(&self, stream: StreamName) -> Option<Sealing> {
        let lasting = |subject| Some(Sealing::Lasting(subject));
        match self {
            Self::Account(event) => {
                let StreamName::Account(account) = stream else { return None };
                match event {
                    AccountEvent::AccountCreated(_)
                    | AccountEvent::NicknameChanged(_)
                    | AccountEvent::StatusSet(_)
                    | AccountEvent::CodesSet(_)
                    | AccountEvent::CodeChanged(_) => lasting(Subject::Account(account)),
                    AccountEvent::PublicKeySet(_) => lasting(Subject::PublicKey(account)),
                    AccountEvent::LifetimeExtended(_) | AccountEvent::AccountRemoved(_) => None,
                }
            }
            Self::Device(event) => match (event, stream) {
                (DeviceEvent::DeviceSubscribed(_), StreamName::Devices(account)) => lasting(Subject::Account(account)),
                (DeviceEvent::DeviceSubscribed(_) | DeviceEvent::DeviceDropped(_), _) => None,
            },
            Self::Group(event) => match event {
                GroupEvent::GroupCreated(e) => lasting(Subject::GroupName(e.group)),
                GroupEvent::GroupKeyStored(_) => {
                    let StreamName::Group(group) = stream else { return None };
                    lasting(Subject::GroupKeys(group))
                }
                GroupEvent::MemberJoined(_)
                | GroupEvent::MemberAdded(_)
                | GroupEvent::MemberLeft(_)
                | GroupEvent::MemberKicked(_)
                | GroupEvent::VersionAllocated(_)
                | GroupEvent::GroupDestroyed(_)
                | GroupEvent::GroupUpdateSignalled(_) => None,
            },
            Self::Message(event) => {
                let (author, thread, stay) = match event {
                    MessageEvent::MessageWritten(e) => (e.sender, e.thread, e.stay),
                    MessageEvent::ImagePosted(e) => (e.sender, e.thread, e.stay),
                };
                Some(Sealing::Message { author, thread, stay })
            }
            Self::Session(_)
            | Self::Dialog(_)
            | Self::Media(_)
            | Self::Reads(_)
            | Self::Token(_)
            | Self::Server(_)
            | Self::Erasure(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_written() {
        let acc = |n| AccId::new(n).unwrap();
        let thread = ThreadId::Dialog { initiator: acc(10002), receiver: acc(10001) };
        for subject in [
            Subject::Server,
            Subject::Account(acc(10001)),
            Subject::PublicKey(acc(10001)),
            Subject::GroupName(GroupId::new(10001).unwrap()),
            Subject::GroupKeys(GroupId::new(10001).unwrap()),
            Subject::Stay { thread, author: acc(10001), stay: 1 },
            Subject::Day("2026-11-23".parse().unwrap()),
        ] {
            assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
        assert!("stay/10001/1".parse::<Subject>().is_err());
        assert!("day/2026-1-2".parse::<Subject>().is_err());
    }
}
