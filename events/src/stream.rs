//! Where an event stands: its position in the log, and the stream that it belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccId, GroupId, Hash32, ParseError, ThreadId};

/// The global, gapless number of an event in the log, from 1. 0 stands before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transparent))]
pub struct Position(pub i64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A stream of events: one consistency boundary of the log, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamName {
    /// `account-10001`: the life of an account.
    Account(AccId),
    /// `session-H`: one session; H = SHA-256 of its token.
    Session(Hash32),
    /// `devices-10001`: the devices to which messages for an account are pushed.
    Devices(AccId),
    /// `media-10001-H`: what an account's name for an image stands for; H = HMAC of that name.
    Media(AccId, Hash32),
    /// `token-H`: a token that extends lives; H = its HMAC.
    Token(Hash32),
    /// `invites`: how often invite links were sent and used.
    Invites,
    /// `clock`: the hours.
    Clock,
    /// `histories`: how far each history goes, committed to at every checkpoint.
    Histories,
    /// `dialog-10001-10002`: the conversation of two accounts, the smaller id first, so that a
    /// pair has one stream whichever of them began.
    Dialog(AccId, AccId),
    /// `group-g10001`: who is in a group, and its keys.
    Group(GroupId),
    /// `chat-g10001`: what is written in a group.
    Chat(GroupId),
    /// `reads-10001:10002`: who has read which messages of a thread. Its own stream, since these
    /// outnumber the messages.
    Reads(ThreadId),
    /// `erasure`: the data keys that were deleted.
    Erasure,
}

impl StreamName {
    /// The stream of the conversation between two accounts, in whatever order they are named.
    pub fn dialog(a: AccId, b: AccId) -> Self {
        Self::Dialog(a.min(b), a.max(b))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "account-{account}"),
            Self::Session(hash) => write!(f, "session-{hash}"),
            Self::Devices(account) => write!(f, "devices-{account}"),
            Self::Media(account, name) => write!(f, "media-{account}-{name}"),
            Self::Token(token) => write!(f, "token-{token}"),
            Self::Invites => f.write_str("invites"),
            Self::Clock => f.write_str("clock"),
            Self::Histories => f.write_str("histories"),
            Self::Dialog(low, high) => write!(f, "dialog-{low}-{high}"),
            Self::Group(group) => write!(f, "group-{group}"),
            Self::Chat(group) => write!(f, "chat-{group}"),
            Self::Reads(thread) => write!(f, "reads-{thread}"),
            Self::Erasure => f.write_str("erasure"),
        }
    }
}

impl FromStr for StreamName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseError::new("a stream name", text);
        let (family, rest) = text.split_once('-').unwrap_or((text, ""));
        Ok(match family {
            "account" => Self::Account(rest.parse()?),
            "session" => Self::Session(rest.parse()?),
            "dialog" => {
                let (low, high) = rest.split_once('-').ok_or_else(bad)?;
                let (low, high) = (low.parse()?, high.parse()?);
                if low >= high {
                    return Err(bad());
                }
                Self::Dialog(low, high)
            }
            "devices" => Self::Devices(rest.parse()?),
            "media" => {
                let (account, name) = rest.split_once('-').ok_or_else(bad)?;
                Self::Media(account.parse()?, name.parse()?)
            }
            "token" => Self::Token(rest.parse()?),
            "invites" if text == "invites" => Self::Invites,
            "clock" if text == "clock" => Self::Clock,
            "histories" if text == "histories" => Self::Histories,
            "group" => Self::Group(rest.parse()?),
            "chat" => Self::Chat(rest.parse()?),
            "reads" => Self::Reads(rest.parse()?),
            "erasure" if text == "erasure" => Self::Erasure,
            _ => return Err(bad()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_read_as_written() {
        let acc = |n| AccId::new(n).unwrap();
        for stream in [
            StreamName::Account(acc(10001)),
            StreamName::Session(Hash32([7; 32])),
            StreamName::dialog(acc(10002), acc(10001)),
            StreamName::Reads(ThreadId::Dialog { initiator: acc(10002), receiver: acc(10001) }),
            StreamName::Group(GroupId::new(10001).unwrap()),
            StreamName::Chat(GroupId::new(10001).unwrap()),
            StreamName::Reads(ThreadId::System(acc(10001))),
            StreamName::Devices(acc(10001)),
            StreamName::Media(acc(10001), Hash32([7; 32])),
            StreamName::Token(Hash32([7; 32])),
            StreamName::Invites,
            StreamName::Clock,
            StreamName::Histories,
            StreamName::Erasure,
        ] {
            assert_eq!(stream.to_string().parse::<StreamName>().unwrap(), stream);
        }
        for bad in [
            "",
            "account",
            "account-",
            "dialog-2-1",
            "dialog-1",
            "erasure-",
            "clock-",
            "invites-1",
            "media-1",
            "session-ab",
        ] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }
}
