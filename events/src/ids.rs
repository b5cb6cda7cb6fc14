//! Identifiers as types: accounts, groups, threads, message numbers and stays.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not what it should be: an id, a time, a day, a hash, the name of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {what}: {text:?}")]
pub struct ParseError {
    what: &'static str,
    text: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        // Foreign text ends up in this message: keep it short.
        let text = text.chars().take(64).collect();
        Self { what, text }
    }
}

/// A decimal of at most 31 bits without sign and leading zeros.
fn parse_number(text: &str) -> Option<u32> {
    let canonical =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    let number: u32 = if canonical { text.parse().ok()? } else { return None };
    (1..=AccId::MAX).contains(&number).then_some(number)
}

macro_rules! numbered_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $serde:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = $serde, into = $serde)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = $serde))]
        pub struct $name(u32);

        impl $name {
            /// The largest number: 31 bits, so that a pair of ids fits one PostgreSQL bigint.
            pub const MAX: u32 = i32::MAX as u32;

            /// The id with this number; none for 0 and beyond [`Self::MAX`].
            pub fn new(number: i64) -> Option<Self> {
                u32::try_from(number).ok().filter(|n| (1..=Self::MAX).contains(n)).map(Self)
            }

            /// The number of the id, as the database keeps it.
            pub const fn number(self) -> i64 {
                self.0 as i64
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .and_then(parse_number)
                    .map(Self)
                    .ok_or_else(|| ParseError::new($what, text))
            }
        }
    };
}

numbered_id!(
    /// An account: `10001`, `10002`, ... A number in event payloads.
    AccId, "an account id", "", "i64"
);
numbered_id!(
    /// A group: `g10001`, `g10002`, ... A string in event payloads.
    GroupId, "a group id", "g", "String"
);

impl TryFrom<i64> for AccId {
    type Error = ParseError;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or_else(|| ParseError::new("an account id", &number.to_string()))
    }
}

impl From<AccId> for i64 {
    fn from(id: AccId) -> Self {
        id.number()
    }
}

impl TryFrom<String> for GroupId {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GroupId> for String {
    fn from(id: GroupId) -> Self {
        id.to_string()
    }
}

/// The number of a message in its thread, from 1.
pub type MessageNo = u32;

/// The number of an account's stay in a thread, from 1: a dialog has one for each partner, a
/// group one for each time that somebody was a member.
pub type StayNo = u32;

/// The version of a group's key, from 1.
pub type GroupVersion = u32;

/// A thread of messages, by its name on the wire.
///
/// ```
/// use be8_events::{AccId, ThreadId};
///
/// let dialog: ThreadId = "10001:10002".parse().unwrap();
/// let (zoe, yan) = (AccId::new(10_001).unwrap(), AccId::new(10_002).unwrap());
/// assert_eq!(dialog, ThreadId::Dialog { initiator: zoe, receiver: yan });
/// assert_eq!(dialog.partner_of(zoe), Some(yan));
/// assert_eq!("g10001".parse::<ThreadId>().unwrap().partner_of(zoe), None);
/// // The two names of a dialog are of one thread; nobody talks to itself.
/// assert_eq!("10002:10001".parse::<ThreadId>().unwrap().key(), dialog.key());
/// assert!("10001:10001".parse::<ThreadId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub enum ThreadId {
    /// `10001:10002`: the initiator of the conversation stands first; the order never flips.
    Dialog {
        /// Who started the conversation.
        initiator: AccId,
        /// Whom it was started with.
        receiver: AccId,
    },
    /// `g10001`: the thread of a group.
    Group(GroupId),
    /// `10001:s1`: the system messages of one account.
    System(AccId),
}

impl ThreadId {
    /// The number under which read models keep the thread, made from its identity alone so that
    /// live and rebuilt tables agree: both accounts of a dialog, the smaller one first, in 31
    /// bits each; groups and system threads are negative, even and odd.
    pub const fn key(self) -> i64 {
        match self {
            Self::Dialog { initiator, receiver } => {
                let (a, b) = (initiator.number(), receiver.number());
                if a < b { a << 31 | b } else { b << 31 | a }
            }
            Self::Group(group) => -2 * group.number(),
            Self::System(account) => -2 * account.number() - 1,
        }
    }

    /// The other one of a dialog that `account` takes part in.
    pub fn partner_of(self, account: AccId) -> Option<AccId> {
        match self {
            Self::Dialog { initiator, receiver } if initiator == account => Some(receiver),
            Self::Dialog { initiator, receiver } if receiver == account => Some(initiator),
            Self::Dialog { .. } | Self::Group(_) | Self::System(_) => None,
        }
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialog { initiator, receiver } => write!(f, "{initiator}:{receiver}"),
            Self::Group(group) => write!(f, "{group}"),
            Self::System(account) => write!(f, "{account}:s1"),
        }
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ThreadId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseError::new("a thread id", text);
        match text.split_once(':') {
            None => text.parse().map(Self::Group).map_err(|_| bad()),
            Some((account, "s1")) => account.parse().map(Self::System).map_err(|_| bad()),
            Some((initiator, receiver)) => {
                let initiator: AccId = initiator.parse().map_err(|_| bad())?;
                let receiver: AccId = receiver.parse().map_err(|_| bad())?;
                if initiator == receiver {
                    return Err(bad());
                }
                Ok(Self::Dialog { initiator, receiver })
            }
        }
    }
}

impl TryFrom<String> for ThreadId {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ThreadId> for String {
    fn from(thread: ThreadId) -> Self {
        thread.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows (docs/protocol.md): Ids.
    #[test]
    fn ids_have_one_text_form() {
        for good in ["1", "10001", "2147483647"] {
            assert_eq!(good.parse::<AccId>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "01", "+1", "-1", " 1", "2147483648", "s1", "g1", "99999999999999999999"] {
            assert!(bad.parse::<AccId>().is_err(), "{bad}");
        }
        for bad in ["10001", "g", "g0", "gg1", "G1"] {
            assert!(bad.parse::<GroupId>().is_err(), "{bad}");
        }
        for good in ["10001:10002", "10002:10001", "g10001", "10001:s1"] {
            assert_eq!(good.parse::<ThreadId>().unwrap().to_string(), good);
        }
        for bad in ["10001:10001", "10001", ":", "10001:", "s1:10001", "g1:g2", "10001:g1", "1:2:3"] {
            assert!(bad.parse::<ThreadId>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn thread_keys_distinguish_threads(a in 1i64..5000, b in 1i64..5000, c in 1i64..5000, d in 1i64..5000) {
            let acc = |n| AccId::new(n).unwrap();
            let threads = [
                ThreadId::System(acc(a)),
                ThreadId::System(acc(b)),
                ThreadId::Group(GroupId::new(a).unwrap()),
                ThreadId::Group(GroupId::new(c).unwrap()),
                ThreadId::Dialog { initiator: acc(a), receiver: acc(a + 1 + b) },
                ThreadId::Dialog { initiator: acc(c), receiver: acc(c + 1 + d) },
            ];
            for x in threads {
                for y in threads {
                    assert_eq!(x.key() == y.key(), x == y);
                }
            }
        }

        #[test]
        fn a_dialog_has_one_key_in_both_directions(a in 1i64..=2147483647, b in 1i64..=2147483647) {
            proptest::prop_assume!(a != b);
            let (a, b) = (AccId::new(a).unwrap(), AccId::new(b).unwrap());
            let one = ThreadId::Dialog { initiator: a, receiver: b };
            let other = ThreadId::Dialog { initiator: b, receiver: a };
            assert_eq!(one.key(), other.key());
            assert!(one.key() > 0);
        }
    }
}
