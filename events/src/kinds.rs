//! Every kind of event, its newest schema version, and how older versions are brought up to it.

use crate::{account, device, dialog, erasure, group, image, message, reads, server, session, token};

/// A stored payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A kind or schema version that this build does not know; it was written by a newer one.
    #[error("unknown event {kind} version {schema}")]
    Unknown {
        /// The kind as stored.
        kind: String,
        /// The schema version as stored.
        schema: u16,
    },
    /// The bytes are not the shape that kind and version promise.
    #[error("malformed payload of {kind} version {schema}: {cause}")]
    Malformed {
        /// The kind as stored.
        kind: &'static str,
        /// The schema version as stored.
        schema: u16,
        /// What the JSON reader says.
        cause: serde_json::Error,
    },
}

/// Declares the kinds, by family. A family is declared by its variant of [`Event`], its own enum and the module of its payloads;
/// each line of it by the payload struct (its name is the kind), its newest schema version, and optionally `older` versions,
/// each with a function from the stored bytes to the newest struct (the upcaster).
macro_rules! kinds {
    ($(
        $(#[$about:meta])* $family:ident($events:ident) in $module:ident {
            $($(#[$doc:meta])* $kind:ident = $newest:literal $(older { $($old:literal => $upcast:path),+ })?,)+
        }
    )+) => {
        /// What happened: the public part of an event, by the family of its kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$about])* $family($events),)+
        }

        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq)]
            pub enum $events {
                $($(#[$doc])* $kind($module::$kind),)+
            }

            impl From<$events> for Event {
                fn from(event: $events) -> Self {
                    Self::$family(event)
                }
            }

            $(impl From<$module::$kind> for Event {
                fn from(payload: $module::$kind) -> Self {
                    Self::$family($events::$kind(payload))
                }
            })+
        )+

        impl Event {
            /// Every kind with its newest schema version.
            pub const KINDS: &'static [(&'static str, u16)] = &[$($((stringify!($kind), $newest)),+),+];

            /// The name of the kind, as the log stores it.
            pub fn kind(&self) -> &'static str {
                match self { $($(Self::$family($events::$kind(_)) => stringify!($kind),)+)+ }
            }

            /// The newest schema version of the kind: the one that is written.
            pub fn schema(&self) -> u16 {
                match self { $($(Self::$family($events::$kind(_)) => $newest,)+)+ }
            }

            /// The public payload as it is stored and hashed: compact JSON, members in the order
            /// of the struct.
            pub fn payload(&self) -> Vec<u8> {
                let json = match self {
                    $($(Self::$family($events::$kind(payload)) => serde_json::to_vec(payload),)+)+
                };
                json.expect("payloads hold numbers, strings and lists under string names")
            }

            /// Reads a stored payload of any version ever written.
            ///
            /// # Errors
            /// [`DecodeError`] for a kind or version that this build does not know, and for
            /// bytes that are not of its shape.
            pub fn decode(kind: &str, schema: u16, payload: &[u8]) -> Result<Self, DecodeError> {
                match (kind, schema) {
                    $($(
                        (stringify!($kind), $newest) => serde_json::from_slice::<$module::$kind>(payload)
                            .map(Self::from)
                            .map_err(|cause| DecodeError::Malformed { kind: stringify!($kind), schema, cause }),
                        $($((stringify!($kind), $old) => $upcast(payload)
                            .map(Self::from)
                            .map_err(|cause| DecodeError::Malformed { kind: stringify!($kind), schema, cause }),)+)?
                    )+)+
                    _ => Err(DecodeError::Unknown { kind: kind.to_owned(), schema }),
                }
            }

            /// The JSON Schema of every newest payload, for the test that guards the shapes.
            #[cfg(test)]
            pub(crate) fn shapes() -> Vec<(&'static str, u16, schemars::Schema)> {
                vec![$($((stringify!($kind), $newest, schemars::schema_for!($module::$kind))),+),+]
            }
        }
    };
}

kinds! {
    /// Accounts: what they set, and how long they live.
    Account(AccountEvent) in account {
        /// An account came into being.
        AccountCreated = 1,
        /// An account took another nickname.
        NicknameChanged = 1,
        /// An account set its status text.
        StatusSet = 1,
        /// An account set its public key.
        PublicKeySet = 1,
        /// An account set its lock codes.
        CodesSet = 1,
        /// An account changed a lock code.
        CodeChanged = 1,
        /// A token extended the life of an account.
        LifetimeExtended = 1,
        /// An account was removed.
        AccountRemoved = 1,
    }
    /// Sessions.
    Session(SessionEvent) in session {
        /// A session was opened for an account.
        SessionOpened = 1,
        /// A session ended.
        SessionEnded = 1,
    }
    /// Devices that receive pushes.
    Device(DeviceEvent) in device {
        /// A device subscribed to pushes.
        DeviceSubscribed = 2 older { 1 => device::DeviceSubscribed::from_v1 },
        /// A device is no longer pushed to.
        DeviceDropped = 2 older { 1 => device::DeviceDropped::from_v1 },
    }
    /// Conversations of two accounts.
    Dialog(DialogEvent) in dialog {
        /// Two accounts began to talk.
        ConversationStarted = 1,
        /// A conversation ended.
        ConversationEnded = 1,
    }
    /// Groups, their members and keys.
    Group(GroupEvent) in group {
        /// A group came into being.
        GroupCreated = 1,
        /// Somebody joined a group.
        MemberJoined = 1,
        /// A member added somebody to a group.
        MemberAdded = 1,
        /// A member left a group.
        MemberLeft = 1,
        /// The admin removed a member from a group.
        MemberKicked = 1,
        /// A member took the next version of a group's key.
        VersionAllocated = 1,
        /// A wrapped group key was stored for a member.
        GroupKeyStored = 1,
        /// A group was destroyed.
        GroupDestroyed = 1,
        /// A member asked all members to look at a group again.
        GroupUpdateSignalled = 1,
    }
    /// Messages, of conversations and groups.
    Message(MessageEvent) in message {
        /// Somebody wrote a message.
        MessageWritten = 1,
        /// Somebody posted an image.
        ImagePosted = 1,
    }
    /// Senders' names for images.
    Media(MediaEvent) in image {
        /// A sender's name for an image is known from here on.
        MediaStored = 1,
    }
    /// Read marks.
    Reads(ReadsEvent) in reads {
        /// Somebody read messages of others.
        MessagesRead = 1,
    }
    /// Tokens that extend the life of accounts.
    Token(TokenEvent) in token {
        /// A token was issued.
        TokenIssued = 1,
        /// An account took an endless token.
        TokenTaken = 1,
        /// An endless token can be taken again.
        TokenFreed = 1,
        /// A promo token was used up.
        TokenConsumed = 1,
        /// A token was revoked.
        TokenRevoked = 1,
    }
    /// The server itself.
    Server(ServerEvent) in server {
        /// An invite link was sent or used.
        LinkCounted = 1,
        /// An hour began.
        HourStruck = 1,
    }
    /// Erasures.
    Erasure(ErasureEvent) in erasure {
        /// Data keys were deleted: what they sealed can never be read again.
        KeysDeleted = 1,
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
