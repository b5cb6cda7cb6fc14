//! What a family of events is: the kinds of one subject, each with its newest schema version, and how older versions are
//! brought up to it.

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

/// Declares a family beside the payloads of its kinds. Each line is a payload's struct (its name is the kind), its newest schema
/// version, and optionally `older` versions, each with a function from the stored bytes to the newest struct (the upcaster).
macro_rules! family {
    (
        $(#[$about:meta])* $events:ident {
            $($(#[$doc:meta])* $kind:ident = $newest:literal $(older { $($old:literal => $upcast:path),+ })?,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $events {
            $($(#[$doc])* $kind($kind),)+
        }

        $(impl From<$kind> for $crate::Event {
            fn from(payload: $kind) -> Self {
                Self::from($events::$kind(payload))
            }
        })+

        impl $events {
            /// Its kinds, each with its newest schema version.
            pub(crate) const KINDS: &'static [(&'static str, u16)] = &[$((stringify!($kind), $newest)),+];

            /// The name of the kind, as the log stores it.
            pub(crate) fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)+ }
            }

            /// The newest schema version of the kind.
            pub(crate) fn schema(&self) -> u16 {
                match self { $(Self::$kind(_) => $newest,)+ }
            }

            /// The public payload as it is stored and hashed.
            pub(crate) fn payload(&self) -> serde_json::Result<Vec<u8>> {
                match self { $(Self::$kind(payload) => serde_json::to_vec(payload),)+ }
            }

            /// Reads a stored payload; none if the kind is of another family, or its version unknown.
            pub(crate) fn decode(kind: &str, schema: u16, payload: &[u8]) -> Option<Result<Self, $crate::DecodeError>> {
                let (kind, read) = match (kind, schema) {
                    $(
                        (stringify!($kind), $newest) => (stringify!($kind), serde_json::from_slice(payload).map(Self::$kind)),
                        $($((stringify!($kind), $old) => (stringify!($kind), $upcast(payload).map(Self::$kind)),)+)?
                    )+
                    _ => return None,
                };
                Some(read.map_err(|cause| $crate::DecodeError::Malformed { kind, schema, cause }))
            }

            /// The JSON Schema of every newest payload, for the test that guards the shapes.
            #[cfg(test)]
            pub(crate) fn shapes() -> Vec<(&'static str, u16, schemars::Schema)> {
                vec![$((stringify!($kind), $newest, schemars::schema_for!($kind))),+]
            }
        }
    };
}

pub(crate) use family;
