//! The rules: what a command does to the state, as pure functions.
//!
//! A state is a fold over the events of one stream ([`State::evolve`]). A [`Command`] is decided
//! against the states that it asks its [`View`] for: the answer is events or a [`Rejection`]. Time
//! comes in with the view; nothing here does I/O or draws random numbers.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod codes;
pub mod device;
pub mod dialog;
pub mod erasure;
pub mod group;
pub mod group_keys;
pub mod histories;
pub mod hours;
pub mod image;
pub mod invites;
mod key_versions;
pub mod message;
pub mod operator;
pub mod password;
pub mod profile;
pub mod read_marks;
pub mod removal;
pub mod session;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test panics at what it does not expect")]
pub(crate) mod testing;
pub mod throttle;
pub mod token;

use be8_events::account::Life;
use be8_events::group::Membership;
use be8_events::{AccId, Event, GroupId, Hash32, NewEvent, Position, StreamName, Subject, Timestamp};
use serde::{Deserialize, Serialize};

/// Why a command was refused. The wire's codes and their shapes are `crate::http`'s business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No session, or its account was removed.
    #[error("no session of a living account")]
    NotAuthenticated,
    /// The named account does not exist.
    #[error("no such account")]
    AccountNotExisting,
    /// A conversation with oneself.
    #[error("a conversation needs two different accounts")]
    CircularConversation,
    /// No such thread for this account.
    #[error("no such thread")]
    InvalidThread,
    /// A message type that cannot be sent.
    #[error("no such message type")]
    InvalidMessageType,
    /// A name that cannot be one.
    #[error("no valid name")]
    InvalidNickname,
    /// No such kind of group.
    #[error("no such kind of group")]
    InvalidGroupType,
    /// No such living group.
    #[error("no such group")]
    GroupNotExisting,
    /// No such account to add, or to store a key for.
    #[error("no such account as a member")]
    MemberNotExisting,
    /// No such account as the one that wrapped a key.
    #[error("no such account as keyholder")]
    KeyholderNotExisting,
    /// Not a member of the group.
    #[error("not a member of the group")]
    NoGroupMember,
    /// Only the group's admin may do that.
    #[error("not the admin of the group")]
    NotAdmin,
    /// A member of the group already.
    #[error("a member of the group already")]
    AlreadyMember,
    /// The group has as many members as it may.
    #[error("the group is full")]
    GroupFull,
    /// An admin cannot kick itself.
    #[error("an admin cannot kick itself")]
    CircularKick,
    /// A wrapped key that cannot be one, or that is not the one stored by somebody else.
    #[error("no such group key can be stored")]
    InvalidGroupKey,
    /// No such update to signal.
    #[error("no such update")]
    InvalidUpdateType,
    /// A name for an image that cannot be one.
    #[error("no valid name for an image")]
    InvalidContentId,
    /// The sender has named other content like this.
    #[error("the sender's name for the image stands for other content")]
    ContentExists,
    /// A message text beyond the configured limit.
    #[error("the text of the message is too large")]
    MessageTooLarge,
    /// A text that can be no token.
    #[error("a text that can be no token")]
    InvalidToken,
    /// No such token: never issued, used up or revoked.
    #[error("no such token")]
    TokenNotExisting,
    /// An endless token that another account has.
    #[error("another account has the token")]
    TokenInUse,
    /// No such kind of invite link.
    #[error("no such kind of invite link")]
    InvalidLinkType,
    /// An invite link that was neither sent nor used.
    #[error("an invite link is counted as sent or as used")]
    NotUsedOrSentLink,
    /// Lock codes are set already.
    #[error("lock codes are set already")]
    CodesAlreadySet,
    /// The stream is not at the version that was expected.
    #[error("the stream is not at the expected version")]
    WrongExpectedVersion,
    /// The numbers for new accounts, or those for new groups, are used up.
    #[error("no number is left for a new account or group")]
    NumbersExhausted,
    /// What was checked before the command is not what holds any more: check again.
    #[error("what was checked has changed since")]
    Outdated,
}

impl Rejection {
    /// Why nothing can be sealed for a subject whose data key is erased: what it is of is gone, even
    /// where the events do not say so, as when the operator erased the key alone. None for what no
    /// command can mean.
    pub const fn of_erased(subject: &Subject) -> Option<Self> {
        match subject {
            Subject::Account(_) | Subject::PublicKey(_) => Some(Self::NotAuthenticated),
            Subject::GroupName(_) | Subject::GroupKeys(_) => Some(Self::GroupNotExisting),
            Subject::Stay { .. } => Some(Self::InvalidThread),
            Subject::Server | Subject::Day(_) => None,
        }
    }
}

/// Why a decision could not be finished.
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// The rules refuse the command.
    Rejected(Rejection),
    /// The state of this stream is needed and not loaded yet.
    Need(StreamName),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What a command leads to.
#[derive(Debug)]
pub struct Decision<R> {
    /// The events to append, in order. None: valid without effect.
    pub events: Vec<NewEvent>,
    /// Subjects whose data keys die in the same append, each with the cause.
    pub erase: Vec<(Subject, be8_events::erasure::Cause)>,
    /// What the caller is answered once the events are durable.
    pub reply: R,
}

impl<R> Decision<R> {
    /// Valid, and nothing happens.
    pub fn nothing(reply: R) -> Self {
        Self { events: Vec::new(), erase: Vec::new(), reply }
    }

    /// These events happen.
    pub fn events(events: Vec<NewEvent>, reply: R) -> Self {
        Self { events, erase: Vec::new(), reply }
    }
}

/// Something that somebody wants to happen.
pub trait Command: Send + Sync + 'static {
    /// What the caller is answered.
    type Reply: Send + 'static;

    /// The streams that are known to be needed before anything is loaded: a hint that saves
    /// round trips, not a promise.
    fn streams(&self) -> Vec<StreamName>;

    /// Subjects that have a data key from the first append of such a command on, whether its
    /// events seal anything under it or not: for keys that only fingerprints need.
    fn keys(&self) -> Vec<Subject> {
        Vec::new()
    }

    /// The fingerprint of an endpoint of Web Push that is the same for all accounts, and the device that has it from the
    /// append of such a command on. It is kept beside the log.
    fn endpoint(&self) -> Option<(Hash32, device::DeviceName)> {
        None
    }

    /// How many bytes of content the command holds, for the bound of a batch. What is always small, as
    /// ids, does not count.
    fn size(&self) -> usize {
        0
    }

    /// Decides. Pure: it may be asked several times, against newer states.
    ///
    /// # Errors
    /// [`Stop`]
    fn decide(&self, view: &View<'_>) -> Result<Decision<Self::Reply>, Stop>;
}

/// The states of streams, as far as they are loaded.
pub trait States {
    /// The state of a stream and its version (0: no event yet); none if it is not loaded.
    fn get(&self, stream: &StreamName) -> Option<(&State, i64)>;
}

/// What a decision sees: the time, the counters and the states.
pub struct View<'a> {
    /// The time of the events to come: what begins now lasts from here. Not before the newest event's.
    pub now: Timestamp,
    /// What the node's clock shows: it decides what has expired. It may be before the newest event, of a clock that was ahead.
    pub clock: Timestamp,
    /// The number that the next account gets.
    pub next_account: i64,
    /// The number that the next group gets.
    pub next_group: i64,
    /// The states.
    pub states: &'a dyn States,
}

/// Declares how the view hands out the state of one stream family.
macro_rules! view_of {
    ($($(#[$doc:meta])* $fn:ident($($arg:ident: $type:ty),*) -> $variant:ident($state:ty), $stream:expr;)+) => {
        impl<'a> View<'a> {
            $($(#[$doc])*
            ///
            /// # Errors
            /// [`Stop::Need`] when it is not loaded.
            pub fn $fn(&self $(, $arg: $type)*) -> Result<&'a $state, Stop> {
                let stream = $stream;
                match self.states.get(&stream) {
                    Some((State::$variant(state), _)) => Ok(state),
                    _ => Err(Stop::Need(stream)),
                }
            })+
        }
    };
}

view_of! {
    /// The state of an account.
    account(id: AccId) -> Account(account::Account), StreamName::Account(id);
    /// The state of a session.
    session(hash: Hash32) -> Session(session::Session), StreamName::Session(hash);
    /// The devices of an account.
    devices(id: AccId) -> Devices(device::Devices), StreamName::Devices(id);
    /// What an account's name for an image, by its HMAC, stands for.
    media(id: AccId, name: Hash32) -> Media(image::Media), StreamName::Media(id, name);
    /// The state of a token, by its HMAC.
    token(hmac: Hash32) -> Token(token::Token), StreamName::Token(hmac);
    /// The hours that struck.
    hours() -> Hours(hours::Hours), StreamName::Clock;
    /// How far the histories were committed to.
    histories() -> Histories(histories::Histories), StreamName::Histories;
    /// The state of the conversation of two accounts.
    dialog(a: AccId, b: AccId) -> Dialog(dialog::Dialog), StreamName::dialog(a, b);
    /// The state of a group.
    group(id: GroupId) -> Group(group::Group), StreamName::Group(id);
    /// The state of what is written in a group.
    chat(id: GroupId) -> Chat(message::GroupMessages), StreamName::Chat(id);
    /// The read marks of a thread.
    reads(thread: be8_events::ThreadId) -> Reads(read_marks::Reads), StreamName::Reads(thread);
}

impl View<'_> {
    /// The version of a stream: how many events it has.
    ///
    /// # Errors
    /// [`Stop::Need`] when it is not loaded.
    pub fn version(&self, stream: StreamName) -> Result<i64, Stop> {
        self.states.get(&stream).map(|(_, version)| version).ok_or(Stop::Need(stream))
    }

    /// Whether an account exists and lives now.
    ///
    /// # Errors
    /// [`Stop::Need`] when it is not loaded.
    pub fn lives(&self, account: AccId) -> Result<bool, Stop> {
        Ok(self.account(account)?.lives_at(self.clock))
    }

    /// The living account that a session speaks for: the check `acc` of every route.
    ///
    /// # Errors
    /// [`Rejection::NotAuthenticated`]; [`Stop::Need`] when a state is not loaded.
    pub fn authenticate(&self, session: Option<Hash32>) -> Result<AccId, Stop> {
        let session = session.ok_or(Rejection::NotAuthenticated)?;
        let account = self.session(session)?.account().ok_or(Rejection::NotAuthenticated)?;
        if self.lives(account)? { Ok(account) } else { Err(Rejection::NotAuthenticated.into()) }
    }
}

/// Raises the counters of accounts and groups to the number that an event gave out.
pub(crate) fn count_numbers(event: &Event, accounts: &mut i64, groups: &mut i64) {
    match event.life() {
        Some(Life::Created(e)) => *accounts = e.account.number().max(*accounts),
        Some(Life::Extended(_) | Life::Removed(_)) | None => {}
    }
    let Event::Group(event) = event else { return };
    match event.membership() {
        Some(Membership::Created(e)) => *groups = e.group.number().max(*groups),
        Some(
            Membership::Joined(_)
            | Membership::Added(_)
            | Membership::Left(_)
            | Membership::Kicked(_)
            | Membership::Destroyed(_),
        )
        | None => {}
    }
}

/// An event together with what of its envelope a fold may look at.
#[derive(Debug, Clone, Copy)]
pub struct Occurred<'a> {
    /// Where it stands in the log.
    pub position: Position,
    /// What happened.
    pub event: &'a Event,
}

/// The state of one stream: a fold over its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Of `account-N`.
    Account(account::Account),
    /// Of `session-H`.
    Session(session::Session),
    /// Of `dialog-LO-HI`.
    Dialog(dialog::Dialog),
    /// Of `group-gN`.
    Group(group::Group),
    /// Of `chat-gN`.
    Chat(message::GroupMessages),
    /// Of `reads-THREAD`.
    Reads(read_marks::Reads),
    /// Of `devices-N`.
    Devices(device::Devices),
    /// Of `media-ACC-HMAC`.
    Media(image::Media),
    /// Of `token-HMAC`.
    Token(token::Token),
    /// Of `clock`.
    Hours(hours::Hours),
    /// Of `histories`.
    Histories(histories::Histories),
    /// Of `invites`: the stream is written to, never decided on.
    Invites,
    /// Of `erasure`: the stream is written to, never decided on.
    Erasure,
}

impl State {
    /// The format of a stored snapshot: raised whenever a state changes its shape, so that older
    /// snapshots are passed over.
    pub const SNAPSHOT_FORMAT: i32 = 6;

    /// The state of a stream without events.
    pub fn new(stream: &StreamName) -> Self {
        match stream {
            StreamName::Account(_) => Self::Account(account::Account::default()),
            StreamName::Session(_) => Self::Session(session::Session::default()),
            StreamName::Dialog(..) => Self::Dialog(dialog::Dialog::default()),
            StreamName::Group(_) => Self::Group(group::Group::default()),
            StreamName::Chat(_) => Self::Chat(message::GroupMessages::default()),
            StreamName::Reads(_) => Self::Reads(read_marks::Reads::default()),
            StreamName::Devices(_) => Self::Devices(device::Devices::default()),
            StreamName::Media(..) => Self::Media(image::Media::default()),
            StreamName::Token(_) => Self::Token(token::Token::default()),
            StreamName::Clock => Self::Hours(hours::Hours::default()),
            StreamName::Histories => Self::Histories(histories::Histories::default()),
            StreamName::Invites => Self::Invites,
            StreamName::Erasure => Self::Erasure,
        }
    }

    /// Folds one event of the stream in. A stream has events of its own family alone, that of a dialog also those of messages.
    pub fn evolve(&mut self, Occurred { position, event }: Occurred<'_>) {
        match (self, event) {
            (Self::Account(state), Event::Account(event)) => state.evolve(position, event),
            (Self::Session(state), Event::Session(event)) => state.evolve(position, event),
            (Self::Dialog(state), Event::Dialog(event)) => state.evolve(event),
            (Self::Dialog(state), Event::Message(event)) => state.written(event),
            (Self::Group(state), Event::Group(event)) => state.evolve(position, event),
            (Self::Chat(state), Event::Message(event)) => state.evolve(event),
            (Self::Reads(state), Event::Reads(event)) => state.evolve(event),
            (Self::Devices(state), Event::Device(event)) => state.evolve(event),
            (Self::Media(state), Event::Media(event)) => state.evolve(event),
            (Self::Token(state), Event::Token(event)) => state.evolve(event),
            (Self::Hours(state), Event::Server(event)) => state.evolve(event),
            (Self::Histories(state), Event::Server(event)) => state.evolve(event),
            (
                _,
                Event::Account(_)
                | Event::Session(_)
                | Event::Device(_)
                | Event::Dialog(_)
                | Event::Group(_)
                | Event::Message(_)
                | Event::Media(_)
                | Event::Reads(_)
                | Event::Token(_)
                | Event::Server(_)
                | Event::Erasure(_),
            ) => {}
        }
    }
}
