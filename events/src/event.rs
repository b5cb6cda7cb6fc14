//! All events, by the family of their kinds.

use crate::account::{AccountEvent, AccountRemoved, Life};
use crate::device::DeviceEvent;
use crate::dialog::DialogEvent;
use crate::erasure::{ErasureEvent, KeysDeleted};
use crate::family::DecodeError;
use crate::group::GroupEvent;
use crate::image::MediaEvent;
use crate::message::MessageEvent;
use crate::read_marks::ReadsEvent;
use crate::server::ServerEvent;
use crate::session::SessionEvent;
use crate::token::TokenEvent;
use crate::{MessageHeader, Sealing, StreamName};

/// Declares the families, each by its variant of [`Event`] and its enum, which `family!` makes beside its payloads.
macro_rules! families {
    ($($(#[$about:meta])* $family:ident($events:ident),)+) => {
        /// What happened: the public part of an event, by the family of its kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$about])* $family($events),)+
        }

        $(impl From<$events> for Event {
            fn from(event: $events) -> Self {
                Self::$family(event)
            }
        })+

        /// The kinds of each family.
        const FAMILIES: &[&[(&str, u16)]] = &[$($events::KINDS),+];

        impl Event {
            /// Every kind with its newest schema version.
            pub const KINDS: &'static [(&'static str, u16)] = &all::<{ count(FAMILIES) }>(FAMILIES);

            /// The name of the kind, as the log stores it.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$family(event) => event.kind(),)+ }
            }

            /// The newest schema version of the kind: the one that is written.
            pub fn schema(&self) -> u16 {
                match self { $(Self::$family(event) => event.schema(),)+ }
            }

            /// The public payload as it is stored and hashed: compact JSON, members in the order
            /// of the struct.
            pub fn payload(&self) -> Vec<u8> {
                let json = match self { $(Self::$family(event) => event.payload(),)+ };
                json.expect("payloads hold numbers, strings and lists under string names")
            }

            /// Reads a stored payload of any version ever written.
            ///
            /// # Errors
            /// [`DecodeError`] for a kind or version that this build does not know, and for
            /// bytes that are not of its shape.
            pub fn decode(kind: &str, schema: u16, payload: &[u8]) -> Result<Self, DecodeError> {
                $(if let Some(read) = $events::decode(kind, schema, payload) {
                    return read.map(Self::$family);
                })+
                Err(DecodeError::Unknown { kind: kind.to_owned(), schema })
            }

            /// The JSON Schema of every newest payload, for the test that guards the shapes.
            #[cfg(test)]
            pub(crate) fn shapes() -> Vec<(&'static str, u16, schemars::Schema)> {
                [$($events::shapes()),+].concat()
            }
        }
    };
}

families! {
    /// Accounts: what they set, and how long they live.
    Account(AccountEvent),
    /// Sessions.
    Session(SessionEvent),
    /// Devices that receive pushes.
    Device(DeviceEvent),
    /// Conversations of two accounts.
    Dialog(DialogEvent),
    /// Groups, their members and keys.
    Group(GroupEvent),
    /// Messages, of conversations and groups.
    Message(MessageEvent),
    /// Senders' names for images.
    Media(MediaEvent),
    /// Read marks.
    Reads(ReadsEvent),
    /// Tokens that extend the life of accounts.
    Token(TokenEvent),
    /// The server itself.
    Server(ServerEvent),
    /// Erasures.
    Erasure(ErasureEvent),
}

/// How many kinds there are.
const fn count(families: &[&[(&str, u16)]]) -> usize {
    let (mut kinds, mut family) = (0, 0);
    while family < families.len() {
        kinds += families[family].len();
        family += 1;
    }
    kinds
}

/// The kinds of all families, one after the other.
const fn all<const COUNT: usize>(families: &[&[(&'static str, u16)]]) -> [(&'static str, u16); COUNT] {
    let mut all = [("", 0); COUNT];
    let (mut at, mut family) = (0, 0);
    while family < families.len() {
        let mut nth = 0;
        while nth < families[family].len() {
            all[at] = families[family][nth];
            (at, nth) = (at + 1, nth + 1);
        }
        family += 1;
    }
    all
}

impl Event {
    /// How it changes the life of an account; none if it does not.
    pub const fn life(&self) -> Option<Life<'_>> {
        let Self::Account(event) = self else { return None };
        event.life()
    }

    /// Which account it removes; none if it removes none.
    pub const fn removed(&self) -> Option<&AccountRemoved> {
        match self.life() {
            Some(Life::Removed(e)) => Some(e),
            Some(Life::Created(_) | Life::Extended(_)) | None => None,
        }
    }

    /// Which data keys it deletes; none if it deletes none.
    pub const fn deleted_keys(&self) -> Option<&KeysDeleted> {
        let Self::Erasure(event) = self else { return None };
        match event {
            ErasureEvent::KeysDeleted(e) => Some(e),
        }
    }

    /// Under which keys the secret part of this event is sealed in this stream; none if events of its
    /// kind have no secret part.
    pub fn sealing(&self, stream: StreamName) -> Option<Sealing> {
        match self {
            Self::Account(event) => event.sealing(stream),
            Self::Session(event) => event.sealing(),
            Self::Device(event) => event.sealing(stream),
            Self::Group(event) => event.sealing(stream),
            Self::Message(event) => {
                let MessageHeader { sender: author, thread, stay, .. } = event.header();
                Some(Sealing::Message { author, thread, stay })
            }
            Self::Dialog(_) | Self::Media(_) | Self::Reads(_) | Self::Token(_) | Self::Server(_) | Self::Erasure(_) => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_versions_are_refused_by_name() {
        let error = Event::decode("AccountCreated", 99, b"{}").unwrap_err();
        assert_eq!(error.to_string(), "unknown event AccountCreated version 99");
        let error = Event::decode("AccountCreated", 1, b"{}").unwrap_err();
        assert!(error.to_string().starts_with("malformed payload of AccountCreated version 1"));
    }
}
