//! The subjects whose data keys seal what is secret.

use std::fmt;
use std::str::FromStr;

use crate::{AccId, Day, GroupId, ParseError, StayNo, ThreadId};

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
