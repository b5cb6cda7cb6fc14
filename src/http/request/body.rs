//! Reading request bodies: JSON or a urlencoded form, bounded in size, shape and time.

use std::ops::Deref;
use std::pin::pin;

use be8_events::Hash32;
use futures_util::{Stream, StreamExt as _};
use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::ParseFromJSON;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use crate::http::request::idempotency_key::SentKey;
use crate::http::request::resolved::Resolved;
use crate::http::request::{form, json};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use held::Held;
pub use held::{BodyMemory, Claimed, FreeShare};
pub use limits::BodyLimits;

mod held;
mod limits;

/// The limits of the body of a request.
pub(in crate::http) fn limits(request: &Request) -> BodyLimits {
    Resolved::of(request).common.as_ref().map(|common| common.bodies).unwrap_or_default()
}

/// A request body as an object of type `T`, from JSON or from a urlencoded form.
///
/// | body | becomes |
/// |---|---|
/// | JSON object | its fields; the last of equal names wins, unknown names are ignored |
/// | JSON array, nothing at all, another content type | an object without fields |
/// | other JSON, no JSON, no UTF-8 | 400 INVALIDJSON |
/// | form | its fields, all strings; `a[b]`, `a[]` and `a[0]` nest, at most five levels |
/// | more than [`BodyLimits`] allow | 413 TOOLARGE |
/// | too slow | 408 TIMEOUT |
/// | compressed | 415 UNSUPPORTEDENCODING |
/// | large, while many large ones come in (see [`BodyMemory`]) | 503 UNAVAILABLE |
///
/// A `T` whose fields are all [`Lenient`](super::lenient::Lenient) takes every object; another
/// one that does not is answered 400 INVALIDINPUT.
#[derive(Debug)]
pub struct Body<T> {
    /// The fields.
    fields: T,
    /// SHA-256 of the bytes as sent, if the request carries an `Idempotency-Key`.
    digest: Option<Hash32>,
    /// Of the memory for bodies, until it is dropped. A route that waits for long takes what it needs, and drops the rest.
    _claimed: Claimed,
}

impl<T> Body<T> {
    /// The fields, to be taken apart.
    pub fn into_inner(self) -> T {
        self.fields
    }

    /// SHA-256 of the bytes as they were sent. Only there if the request carries an
    /// `Idempotency-Key`, whose uses it distinguishes.
    pub const fn digest(&self) -> Option<Hash32> {
        self.digest
    }
}

impl<T> Deref for Body<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fields
    }
}

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        // Forms are understood, but not documented with each operation: generators of clients want
        // one media type, and JSON says more.
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: T::IS_REQUIRED })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let limits = limits(request);
        let (bytes, claimed) =
            read(request.headers(), body.take()?.into_bytes_stream(), limits, BodyMemory::of(request)).await?;
        let digest = (Resolved::of(request).key != SentKey::Absent).then(|| Hash32::sha256(&bytes));
        let fields = match essence(request.content_type()) {
            "application/json" => from_json(&bytes, limits)?,
            "application/x-www-form-urlencoded" => {
                form::fields(&bytes, limits.parameters).ok_or(WireError::from(Code::TooLarge))?
            }
            _ => Map::new(),
        };
        let fields =
            T::parse_from_json(Some(Value::Object(fields))).map_err(|_| WireError::from(Code::InvalidInput))?;
        Ok(Self { fields, digest, _claimed: claimed })
    }
}

/// A media type without its parameters (RFC 9110, section 8.3.1), in the case of the match arms
/// above if it is one of them.
fn essence(content_type: Option<&str>) -> &str {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/json", "application/x-www-form-urlencoded"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(essence))
        .unwrap_or_default()
}

/// Reads a body to its end, within the limits.
pub(in crate::http) async fn read<B: AsRef<[u8]>, E>(
    headers: &HeaderMap,
    pieces: impl Stream<Item = Result<B, E>>,
    limits: BodyLimits,
    memory: Option<BodyMemory>,
) -> Result<(Vec<u8>, Claimed), WireError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encodings = encodings.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    if !encodings.all(|encoding| encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(Code::UnsupportedEncoding.into());
    }
    // What is declared may be a lie: believed only when it says "too large".
    let declared: Option<usize> =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length| length > limits.bytes) {
        return Err(Code::TooLarge.into());
    }
    let mut pieces = pin!(pieces);
    let mut held = Held::new(limits.bytes, memory);
    let begin = Instant::now();
    loop {
        let left = limits.total.saturating_sub(begin.elapsed());
        match timeout(limits.stall.min(left), pieces.next()).await {
            Err(_) => return Err(Code::Timeout.into()),
            Ok(None) => return Ok(held.into_parts()),
            // The client went away or broke the framing: what came is not the JSON it meant.
            Ok(Some(Err(_))) => return Err(Code::InvalidJson.into()),
            Ok(Some(Ok(piece))) => {
                let fits = piece.as_ref().len() <= limits.bytes - held.len();
                if !fits {
                    return Err(Code::TooLarge.into());
                }
                held.push(piece.as_ref())?;
            }
        }
    }
}

/// The fields of a JSON body.
fn from_json(bytes: &[u8], limits: BodyLimits) -> Result<Map<String, Value>, WireError> {
    // A parser may ignore a byte order mark (RFC 8259, section 8.1); some clients send one.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if most_values(bytes) > limits.values {
        return Err(Code::TooLarge.into());
    }
    match std::str::from_utf8(bytes).ok().and_then(json::read) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(Value::Array(_)) => Ok(Map::new()),
        _ => Err(Code::InvalidJson.into()),
    }
}

/// How many values a JSON text can have, known before any memory is taken for them: but for the
/// outermost, each comes first in an array or object or after a comma.
fn most_values(json: &[u8]) -> usize {
    let mut count = 1;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'[' | b'{' => count += 1,
            b'"' => loop {
                match bytes.next() {
                    None | Some(b'"') => break,
                    Some(b'\\') => _ = bytes.next(),
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests;
