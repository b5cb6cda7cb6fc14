//! The envelope around an event: where and when it stands in the log, and the canonical bytes
//! that are hashed (`docs/log-format.md`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::field::{put_field, take_field};
use crate::{AccId, DecodeError, Event, GroupId, Hash32, ParseError, SecretPayload, ThreadId, Timestamp};

/// The version of the canonical bytes and of the associated data of sealed payloads.
pub const CANONICAL_VERSION: u8 = 1;

/// The global, gapless number of an event in the log, from 1. 0 stands before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transparent))]
pub struct Position(pub i64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position behind this one.
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
    /// `devices-10001`: where an account is told of messages.
    Devices(AccId),
    /// `media-10001-H`: what an account's name for an image stands for; H = HMAC of that name.
    Media(AccId, Hash32),
    /// `token-H`: a token that extends lives; H = its HMAC.
    Token(Hash32),
    /// `invites`: how often invite links were sent and used.
    Invites,
    /// `clock`: the hours.
    Clock,
    /// `dialog-10001-10002`: the conversation of two accounts, the smaller id first, so that a
    /// pair has one stream whoever began.
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
            "group" => Self::Group(rest.parse()?),
            "chat" => Self::Chat(rest.parse()?),
            "reads" => Self::Reads(rest.parse()?),
            "erasure" if text == "erasure" => Self::Erasure,
            _ => return Err(bad()),
        })
    }
}

/// An event that a decider wants appended.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// To which stream.
    pub stream: StreamName,
    /// The account that acted; none for the system and the operator.
    pub actor: Option<AccId>,
    /// What happened.
    pub event: Event,
    /// The secret part, which the ledger seals.
    pub secret: Option<SecretPayload>,
}

/// Bytes that are not the canonical bytes of an event.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Their form is wrong.
    #[error("not the canonical bytes of an event")]
    Form,
    /// The event in them cannot be read by this build.
    #[error(transparent)]
    Event(#[from] DecodeError),
}

/// An event of the log.
///
/// ```
/// use be8_events::session::{Opening, SessionOpened};
/// use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName};
///
/// let account = AccId::new(10_001).unwrap();
/// let event = Event::from(SessionOpened { account, how: Opening::Login });
/// let recorded = Recorded {
///     position: Position(7),
///     stream: StreamName::Session(Hash32::sha256(b"a token")),
///     version: 1,
///     time: "2026-11-23T12:00:00.000000Z".parse().unwrap(),
///     actor: Some(account),
///     salt: Hash32([7; 32]),
///     schema: event.schema(),
///     payload: event.payload(),
///     sealed: None,
///     event,
/// };
/// let bytes = recorded.canonical();
/// assert_eq!(Recorded::from_canonical(&bytes).unwrap(), recorded);
/// assert_eq!(recorded.hash(), Hash32::sha256(&bytes));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The global number, gapless from 1.
    pub position: Position,
    /// The stream.
    pub stream: StreamName,
    /// The number in the stream, gapless from 1.
    pub version: i64,
    /// When; never before the event at the position before.
    pub time: Timestamp,
    /// The account that acted; none for the system and the operator.
    pub actor: Option<AccId>,
    /// Random bytes that keep the hash of a guessable payload from being guessed.
    pub salt: Hash32,
    /// The schema version under which the payload was written.
    pub schema: u16,
    /// The public payload as written: the bytes that are hashed.
    pub payload: Vec<u8>,
    /// The commitment to the sealed payload, if there is one.
    pub sealed: Option<Hash32>,
    /// What happened, decoded and brought to the newest shape.
    pub event: Event,
}

impl Recorded {
    /// The canonical bytes (`docs/log-format.md`): the version byte, then each field prefixed by
    /// its length in 4 bytes, big-endian; numbers in 8 bytes, big-endian; absent fields are empty.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(224 + self.payload.len());
        out.push(CANONICAL_VERSION);
        put_field(&mut out, &self.position.0.to_be_bytes());
        put_field(&mut out, self.stream.to_string().as_bytes());
        put_field(&mut out, &self.version.to_be_bytes());
        put_field(&mut out, self.event.kind().as_bytes());
        put_field(&mut out, &i64::from(self.schema).to_be_bytes());
        put_field(&mut out, &self.time.micros().to_be_bytes());
        match self.actor {
            Some(actor) => put_field(&mut out, &actor.number().to_be_bytes()),
            None => put_field(&mut out, &[]),
        }
        put_field(&mut out, &self.salt.0);
        put_field(&mut out, &self.payload);
        match &self.sealed {
            Some(hash) => put_field(&mut out, &hash.0),
            None => put_field(&mut out, &[]),
        }
        out
    }

    /// Reads canonical bytes: exactly those that [`Recorded::canonical`] writes.
    ///
    /// # Errors
    /// [`CanonicalError`]
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let mut rest = bytes.strip_prefix(&[CANONICAL_VERSION]).ok_or(CanonicalError::Form)?;
        let mut field = || take_field(&mut rest).ok_or(CanonicalError::Form);
        let number = |field: &[u8]| field.try_into().map(i64::from_be_bytes).map_err(|_| CanonicalError::Form);
        let text = |field| std::str::from_utf8(field).map_err(|_| CanonicalError::Form);
        let hash = |field: &[u8]| field.try_into().map(Hash32).map_err(|_| CanonicalError::Form);
        let position = Position(number(field()?)?);
        let stream = text(field()?)?.parse().map_err(|_| CanonicalError::Form)?;
        let version = number(field()?)?;
        let kind = text(field()?)?;
        let schema = u16::try_from(number(field()?)?).map_err(|_| CanonicalError::Form)?;
        let time = Timestamp::from_micros(number(field()?)?);
        let actor = match field()? {
            [] => None,
            actor => Some(AccId::new(number(actor)?).ok_or(CanonicalError::Form)?),
        };
        let salt = hash(field()?)?;
        let payload = field()?.to_vec();
        let sealed = match field()? {
            [] => None,
            sealed => Some(hash(sealed)?),
        };
        let event = Event::decode(kind, schema, &payload)?;
        let own = Self { position, stream, version, time, actor, salt, schema, payload, sealed, event };
        // What is read leniently, such as the number of an account, has one way to be written.
        if own.canonical() == bytes { Ok(own) } else { Err(CanonicalError::Form) }
    }

    /// SHA-256 of the canonical bytes: the entry of the transparency log.
    pub fn hash(&self) -> Hash32 {
        Hash32::sha256(&self.canonical())
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
