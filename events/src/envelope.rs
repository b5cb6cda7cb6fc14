//! The envelope around an event: where and when it stands in the log, and the canonical bytes
//! that are hashed (`docs/log-format.md`).

use crate::field::{CANONICAL_VERSION, put_field, take_field};
use crate::{AccId, DecodeError, Event, Hash32, Position, SecretPayload, StreamName, Timestamp};

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
