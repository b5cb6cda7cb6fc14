//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that comes again under
//! the same key happens once, and is answered the same.

use be8_events::Hash32;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::Serialize;

use super::body::Body;
use super::idempotency_key::{MOST, SentKey};
use super::resolved::Resolved;
use crate::app::App;
use crate::domain::{Command, Rejection};
use crate::http::wire::answer::{Answer, json};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::ledger::{Answered, Idempotency, LedgerError};

/// The key of a request, if it carries one together with a session: the parameter of operations
/// that can be sent again.
#[derive(Debug)]
pub struct IdempotencyKey(Option<Sent>);

/// A key as it was sent.
#[derive(Debug)]
struct Sent {
    session: Hash32,
    /// SHA-256 of the key; none for what can be none.
    key: Option<Hash32>,
    route: String,
}

/// Whether and how a command is to happen once.
#[derive(Debug, Clone)]
pub enum Once {
    /// The request carries no key, or no session that it could be a key of.
    NotAsked,
    /// Under this key.
    Under(Idempotency),
    /// The key is malformed.
    BadKey {
        /// Whose request it is: a missing session is reported first.
        session: Hash32,
    },
    /// The body of a request with a key was read without its digest, so it cannot be distinguished from another body: a fault.
    NoDigest,
}

impl Once {
    /// Whether it was asked that the command happens once.
    pub const fn is_asked(&self) -> bool {
        !matches!(self, Self::NotAsked)
    }
}

impl IdempotencyKey {
    /// The key of a request with this body.
    pub fn with<T>(self, body: &Body<T>) -> Once {
        let Some(Sent { session, key, route }) = self.0 else { return Once::NotAsked };
        let Some(key) = key else { return Once::BadKey { session } };
        let Some(digest) = body.digest() else { return Once::NoDigest };
        let request = Hash32::sha256(&[route.as_bytes(), &[0], &digest.0].concat());
        Once::Under(Idempotency { session, key, request })
    }
}

impl App {
    /// Has a command decided, once if the request carries an `Idempotency-Key`, and answers.
    ///
    /// # Errors
    /// What the command is refused with; [`Code::InFlight`], [`Code::IdempotencyKeyReused`], and
    /// [`Code::InvalidInput`] for what can be no key.
    pub async fn execute<C: Command, T: Serialize, R, const STATUS: u16>(
        &self,
        once: Once,
        command: C,
        answer: impl Fn(C::Reply) -> T + Send + 'static,
    ) -> Result<Answer<T, R, STATUS>, WireError> {
        self.execute_or(once, command, answer, |rejection| Err(rejection.into())).await
    }

    /// The same where a refusal may have a shape of its own.
    ///
    /// # Errors
    /// Those of [`App::execute`], and of `refused`.
    pub async fn execute_or<C: Command, T: Serialize, R, const STATUS: u16>(
        &self,
        once: Once,
        command: C,
        answer: impl Fn(C::Reply) -> T + Send + 'static,
        refused: impl FnOnce(Rejection) -> Result<Answer<T, R, STATUS>, WireError>,
    ) -> Result<Answer<T, R, STATUS>, WireError> {
        match self.answered(once, command, move |reply| Answered { status: STATUS, body: json(&answer(reply)) }).await?
        {
            Ok(answered) => Ok(Answer::stored(answered)),
            Err(LedgerError::Rejected(rejection)) => refused(rejection),
            Err(error) => Err(error.into()),
        }
    }

    /// The same where it must be known why the ledger failed.
    ///
    /// # Errors
    /// [`Code::InvalidInput`] if the key of the request is malformed.
    pub(in crate::http) async fn answered<C: Command>(
        &self,
        once: Once,
        command: C,
        encode: impl Fn(C::Reply) -> Answered + Send + 'static,
    ) -> Result<Result<Answered, LedgerError>, WireError> {
        match once {
            Once::NotAsked => Ok(self.ledger.execute(command).await.map(encode)),
            Once::Under(once) => Ok(self.ledger.execute_once(command, once, encode).await),
            Once::NoDigest => {
                tracing::error!("a body with an idempotency key has no digest");
                Err(Code::Internal.into())
            }
            Once::BadKey { session } => {
                self.signed_in(session).await?;
                Err(Code::InvalidInput.into())
            }
        }
    }
}

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = Option<String>;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let schema = MetaSchema { min_length: Some(1), max_length: Some(MOST), ..MetaSchema::new("string") };
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let resolved = Resolved::of(request);
        let key = match resolved.key {
            SentKey::Absent => return Ok(Self(None)),
            SentKey::Malformed => None,
            SentKey::Hash(key) => Some(key),
        };
        // Without a session there is no account that it could be a key of.
        let sent = resolved.session.map(|session| Sent { session, key, route: request.uri().path().to_owned() });
        Ok(Self(sent))
    }
}
