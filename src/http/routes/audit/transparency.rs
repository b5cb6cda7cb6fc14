//! The public routes of the tag "Audit": the checkpoint and the keys of the transparency log, and the witness
//! (C2SP tlog-witness). Texts and bytes, as the specifications have them.

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};

use crate::app::{App, Handle};
use crate::audit::TransparencyError;
use crate::audit::witness::NotCosigned;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::When;
use crate::http::document::tag::Tag;
use crate::http::request::body::{self, BodyLimits, BodyMemory, Claimed};
use crate::http::wire::codes::Code;
use crate::http::wire::error::{WireError, answer_of};

/// The checkpoint and the keys.
pub struct Public(pub Handle);

/// The longest request for a cosignature: a proof, and a checkpoint with some signatures.
const MOST: usize = 64 << 10;
/// A checkpoint is asked for again and again: a cache may keep it for a moment.
const SHORTLY: &str = "public, max-age=5";
/// What is of one moment.
const NEVER: &str = "no-store";

/// The media types, by the specifications.
const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";

/// The log, for everybody; nothing if its operator closed it.
pub(super) fn open(app: &Handle) -> Result<&App, WireError> {
    let app = app.get()?;
    if app.public_log { Ok(app) } else { Err(Code::NotFound.into()) }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own(
        "getLogCheckpoint",
        &[
            When(Code::NotFound, "where the operator has closed the log"),
            When(Code::NotCoveredYet, "before the first checkpoint"),
        ],
    )
    .answers_head(),
    Operation::own("getLogKey", &[When(Code::NotFound, "where the operator has closed the log")]).answers_head(),
    Operation::own("getWitnessKey", &[When(Code::NotFound, "where the server is no witness")]).answers_head(),
    Operation::own(
        "addCheckpoint",
        &[When(Code::TooLarge, "for more than 65,536 bytes"), When(Code::NotFound, "where the server is no witness")],
    ),
];

#[OpenApi]
impl Public {
    /// Read the newest checkpoint
    ///
    /// How many events there are, and the one hash that stands for all of them: a checkpoint by C2SP
    /// [tlog-checkpoint](https://c2sp.org/tlog-checkpoint) as a
    /// [signed note](https://c2sp.org/signed-note). Its signatures are that of the log, by the key of
    /// `/audit/log/key`, and those of the witnesses that have cosigned it by now
    /// ([tlog-cosignature](https://c2sp.org/tlog-cosignature)). The paths of the log are those of
    /// [tlog-tiles](https://c2sp.org/tlog-tiles) under the prefix `/audit/log`; entries are not
    /// served. `docs/audit.md` says what an entry is, and what all this proves.
    #[oai(path = "/audit/log/checkpoint", method = "get", operation_id = "getLogCheckpoint", tag = "Tag::Audit")]
    async fn checkpoint(&self) -> Result<Text, WireError> {
        let head = open(&self.0)?.transparency.tables().newest_head().await?;
        Ok(Text(head.ok_or(WireError::from(Code::NotCoveredYet))?.checkpoint()))
    }

    /// Read the key of the log
    ///
    /// The public key that signs the checkpoints, as `name+id+base64`
    /// ([signed-note](https://c2sp.org/signed-note), a verifier key). Who checks anything by it had
    /// better have it from elsewhere, too.
    #[oai(path = "/audit/log/key", method = "get", operation_id = "getLogKey", tag = "Tag::Audit")]
    async fn key(&self) -> Result<Text, WireError> {
        Ok(Text(format!("{}\n", open(&self.0)?.transparency.key().public())))
    }

    /// Read the key of the witness
    ///
    /// The public key by which this server cosigns the checkpoints of other logs, as
    /// `name+id+base64` ([tlog-cosignature](https://c2sp.org/tlog-cosignature)).
    #[oai(path = "/audit/witness/key", method = "get", operation_id = "getWitnessKey", tag = "Tag::Audit")]
    async fn witness_key(&self) -> Result<Text, WireError> {
        let witness = self.0.get()?.witness.as_ref().ok_or(WireError::from(Code::NotFound))?;
        Ok(Text(format!("{}\n", witness.key())))
    }

    /// Have a checkpoint cosigned
    ///
    /// The call `add-checkpoint` of C2SP [tlog-witness](https://c2sp.org/tlog-witness), for logs
    /// that this server witnesses. The body is the line `old` with the size that the witness
    /// cosigned last (0 before the first time), the proof of consistency from there, a line of
    /// base64 for each hash, an empty line, and the signed checkpoint. What extends that size is
    /// answered with a signature line; what comes from another size gets that size, to begin from.
    /// What the witness refuses is answered by a line of text: 400 for a malformed request, 403 where
    /// no trusted key signed the checkpoint or a signature under one is wrong, 404 for an unknown log,
    /// 409 with the size that was cosigned last (`text/x.tlog.size`), 422 for a proof that does not
    /// hold, for another tree of the size that was cosigned last, and for an empty tree with a root
    /// that is not that of one.
    #[oai(path = "/audit/witness/add-checkpoint", method = "post", operation_id = "addCheckpoint", tag = "Tag::Audit")]
    async fn add_checkpoint(&self, brought: Brought) -> Witnessed {
        Witnessed(self.witness(&brought.0).await)
    }
}

impl Public {
    async fn witness(&self, brought: &[u8]) -> Result<Said, WireError> {
        let app = self.0.get()?;
        let witness = app.witness.as_ref().ok_or(WireError::from(Code::NotFound))?;
        let said = match std::str::from_utf8(brought) {
            Ok(body) => witness.add_checkpoint(body, app.now()).await,
            Err(_) => Err(NotCosigned::Malformed),
        };
        let said =
            said.map_or_else(Said::no, |line| Ok(Said { status: StatusCode::OK, media_type: TEXT, text: line }))?;
        let outcome = if said.status == StatusCode::OK { "cosigned" } else { "refused" };
        metrics::counter!("be8_audit_witnessed_total", "outcome" => outcome).increment(1);
        Ok(said)
    }
}

/// A text that caches may keep for a moment.
struct Text(String);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        answer(TEXT, SHORTLY, self.0)
    }
}

impl ApiResponse for Text {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![served(StatusCode::OK, "", TEXT, String::schema_ref(), SHORTLY)] }
    }

    fn register(_: &mut Registry) {}
}

pub(super) fn answer(media_type: &str, cache: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(media_type)
        .header(header::CACHE_CONTROL, HeaderValue::from_static(cache))
        .body(body)
}

/// How the document describes what [`answer`] makes.
pub(super) fn served(
    status: StatusCode,
    description: &'static str,
    content_type: &'static str,
    schema: MetaSchemaRef,
    cache: &'static str,
) -> MetaResponse {
    let cache = MetaSchema { example: Some(cache.into()), ..MetaSchema::new("string") };
    let cache = MetaHeader {
        name: "Cache-Control".to_owned(),
        description: Some("Whether caches may keep it, and how long.".to_owned()),
        required: true,
        deprecated: false,
        schema: inline(cache),
    };
    MetaResponse {
        description,
        status: Some(status.as_u16()),
        status_range: None,
        content: vec![MetaMediaType { content_type, schema }],
        headers: vec![cache],
    }
}

pub(super) fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

/// A request for a cosignature, as it came.
struct Brought(Vec<u8>, #[expect(dead_code, reason = "held until the text was read")] Claimed);

/// One that works where this log is witnessed, and nothing of it was cosigned yet.
const EXAMPLE: &str = include_str!("../../../../openapi/example-log/add-checkpoint.txt");

impl<'a> ApiExtractor<'a> for Brought {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let schema = inline(MetaSchema { example: Some(EXAMPLE.into()), ..MetaSchema::new("string") });
        // The specification names no type, and the server looks at none.
        let content = vec![MetaMediaType { content_type: "text/plain", schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let limits = BodyLimits { bytes: MOST, ..body::limits(request) };
        match body::read(request.headers(), body.take()?.into_bytes_stream(), limits, BodyMemory::of(request)).await {
            Ok((bytes, claimed)) => Ok(Self(bytes, claimed)),
            // A body that broke off is malformed, even if nobody receives the answer.
            Err(error) if error.code() == Code::InvalidJson => Ok(Self(Vec::new(), Claimed::default())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the witness says.
struct Said {
    status: StatusCode,
    media_type: &'static str,
    text: String,
}

impl Said {
    /// A refusal.
    fn no(refused: NotCosigned) -> Result<Self, WireError> {
        let status = match refused {
            NotCosigned::Log(error) => return Err(error.into()),
            NotCosigned::Malformed => StatusCode::BAD_REQUEST,
            NotCosigned::NotSigned => StatusCode::FORBIDDEN,
            NotCosigned::UnknownLog => StatusCode::NOT_FOUND,
            NotCosigned::OtherSize(size) => {
                return Ok(Self { status: StatusCode::CONFLICT, media_type: SIZE, text: format!("{size}\n") });
            }
            NotCosigned::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Ok(Self { status, media_type: TEXT, text: format!("{refused}\n") })
    }
}

/// The answer to who brings a checkpoint.
struct Witnessed(Result<Said, WireError>);

impl IntoResponse for Witnessed {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(said) => {
                let mut response = answer(said.media_type, NEVER, said.text);
                response.set_status(said.status);
                response
            }
            Err(error) => error.into_response(),
        }
    }
}

impl ApiResponse for Witnessed {
    fn meta() -> MetaResponses {
        let cosigned = served(StatusCode::OK, "The signature line.", TEXT, String::schema_ref(), NEVER);
        let refused = [
            (NotCosigned::Malformed, "The request has not the form that it should have, or asks for less than before."),
            (NotCosigned::NotSigned, "The checkpoint is not signed by the key of its log."),
            (NotCosigned::UnknownLog, "The log is none that is witnessed here, or the server is no witness."),
            (
                NotCosigned::OtherSize(30),
                "What was cosigned last has this size; the request begins from another one, or has another hash for it.",
            ),
            (
                NotCosigned::Inconsistent,
                "The proof does not lead to the checkpoint: it is not of the log that was cosigned.",
            ),
        ];
        let refused = refused.into_iter().filter_map(|(refused, description)| {
            let Said { status, media_type, text } = Said::no(refused).ok()?;
            let schema = inline(MetaSchema { example: Some(text.into()), ..MetaSchema::new("string") });
            let mut said = served(status, description, media_type, schema, NEVER);
            if status == StatusCode::NOT_FOUND {
                said.content.extend(answer_of(404).content);
            }
            Some(said)
        });
        let responses: Vec<MetaResponse> = std::iter::once(cosigned).chain(refused).collect();
        let own = |error: &MetaResponse| responses.iter().all(|said| said.status != error.status);
        let errors: Vec<MetaResponse> = WireError::meta().responses.into_iter().filter(own).collect();
        MetaResponses { responses: responses.into_iter().chain(errors).collect() }
    }

    fn register(registry: &mut Registry) {
        WireError::register(registry);
    }
}

impl From<TransparencyError> for WireError {
    fn from(error: TransparencyError) -> Self {
        if let TransparencyError::Log(error) = error {
            return error.into();
        }
        tracing::error!(%error, "the transparency log cannot be read");
        Code::Internal.into()
    }
}
