//! Answers that say yes, and the union that an operation answers with status 200.

use std::borrow::Cow;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use serde_json::Value;

use super::codes::Code;
use crate::ledger::Answered;

/// A boolean that has one value only: `valid` distinguishes accepted from refused.
macro_rules! constant {
    ($(#[$doc:meta])* $name:ident = $value:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_bool($value)
            }
        }

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                concat!("boolean_", stringify!($value)).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    enum_items: vec![Value::Bool($value)],
                    ..MetaSchema::new("boolean")
                }))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::Bool($value)) => Ok(Self),
                    other => Err(ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(Value::Bool($value))
            }
        }
    };
}

constant!(
    /// `true`.
    True = true
);
constant!(
    /// `false`.
    False = false
);

/// Accepted; there is nothing else to say.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Success", read_only_all)]
pub struct Success {
    /// Always true.
    pub valid: True,
}

/// Refused, with the reason.
#[derive(Debug, Object)]
pub struct Refused {
    /// Always false.
    pub valid: False,
    /// Why.
    pub reason: Code,
}

/// Refused, with a warning: only `/newacc`.
#[derive(Debug, Object)]
pub struct RefusedWithWarning {
    /// Always false.
    pub valid: False,
    /// Why.
    pub warning: Code,
}

/// An answer with status 200, or another of success: a `T`, or where the operation knows them, refusals `R` beside it,
/// which [`WireError`](super::error::WireError) says.
#[derive(Debug)]
pub struct Answer<T, R = (), const STATUS: u16 = 200> {
    status: StatusCode,
    body: Vec<u8>,
    cookie: Option<HeaderValue>,
    documented: std::marker::PhantomData<fn() -> (T, R)>,
}

/// The body of an answer. The JSON is made once, without an intermediate tree.
pub(in crate::http) fn json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers hold strings, numbers and lists under string names")
}

impl<T: Serialize, R, const STATUS: u16> Answer<T, R, STATUS> {
    /// Writes the answer.
    pub fn new(answer: &T) -> Self {
        Self::stored(Answered { status: STATUS, body: json(answer) })
    }

    /// An answer whose body is put together already.
    pub(in crate::http) fn written(body: Vec<u8>) -> Self {
        Self::stored(Answered { status: STATUS, body })
    }

    /// An answer that was given before.
    pub fn stored(Answered { status, body }: Answered) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Self { status, body, cookie: None, documented: std::marker::PhantomData }
    }

    /// Writes one of the refusals that have a shape of their own.
    pub fn refused(refusal: &impl Serialize) -> Self {
        Self::stored(Answered { status: 200, body: json(refusal) })
    }

    /// With a `Set-Cookie` line.
    #[must_use]
    pub fn with_cookie(self, line: HeaderValue) -> Self {
        Self { cookie: Some(line), ..self }
    }
}

impl<T: Send, R: Send, const STATUS: u16> IntoResponse for Answer<T, R, STATUS> {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(self.status)
            .content_type("application/json; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-store")
            .body(self.body);
        if let Some(cookie) = self.cookie {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// What may stand beside success in a 200.
pub trait Refusals: Send {
    /// The schemas.
    fn schemas() -> Vec<MetaSchemaRef>;
    /// Registers them.
    fn register(registry: &mut Registry);
}

impl Refusals for () {
    fn schemas() -> Vec<MetaSchemaRef> {
        Vec::new()
    }

    fn register(_: &mut Registry) {}
}

impl Refusals for Refused {
    fn schemas() -> Vec<MetaSchemaRef> {
        vec![<Self as Type>::schema_ref()]
    }

    fn register(registry: &mut Registry) {
        <Self as Type>::register(registry);
    }
}

impl Refusals for RefusedWithWarning {
    fn schemas() -> Vec<MetaSchemaRef> {
        vec![<Self as Type>::schema_ref()]
    }

    fn register(registry: &mut Registry) {
        <Self as Type>::register(registry);
    }
}

impl<T: Type, R: Refusals, const STATUS: u16> ApiResponse for Answer<T, R, STATUS> {
    fn meta() -> MetaResponses {
        let refusals = R::schemas();
        let description = if refusals.is_empty() { "Accepted." } else { "Accepted, or refused." };
        let schema = if refusals.is_empty() {
            T::schema_ref()
        } else {
            let one_of = std::iter::once(T::schema_ref()).chain(refusals).collect();
            MetaSchemaRef::Inline(Box::new(MetaSchema { one_of, ..MetaSchema::ANY }))
        };
        let content = vec![MetaMediaType { content_type: "application/json; charset=utf-8", schema }];
        let answer = MetaResponse { description, status: Some(STATUS), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![answer] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
        R::register(registry);
    }
}
