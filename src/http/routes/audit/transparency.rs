//! The public routes of the tag "Audit": the transparency log (C2SP tlog-tiles) and the witness
//! (C2SP tlog-witness). Texts and bytes, as the specifications have them.

use std::collections::HashMap;

use be8_events::Hash32;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{EndpointExt as _, IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{
    MetaApi, MetaHeader, MetaMediaType, MetaOperation, MetaOperationParam, MetaParamIn, MetaPath, MetaRequest,
    MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi, Tags as _};

use crate::app::{App, Handle};
use crate::audit::TransparencyError;
use crate::audit::tree::{TilePath, WIDTH};
use crate::audit::witness::NotCosigned;
use crate::http::document::tag::Tag;
use crate::http::request::body::{self, BodyLimits, BodyMemory, Claimed};
use crate::http::wire::codes::Code;
use crate::http::wire::error::{WireError, answer_of};

/// The checkpoint and the keys.
pub struct Public(pub Handle);

/// The tiles. Their paths have parts that are no parameters of their own, which the macro cannot
/// say; so what it would make stands here by hand.
pub struct Tiles(pub Handle);

/// The longest request for a cosignature: a proof, and a checkpoint with some signatures.
const MOST: usize = 64 << 10;
/// A checkpoint is asked for again and again: a cache may keep it for a moment.
const SHORTLY: &str = "public, max-age=5";
/// What never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What is of one moment.
const NEVER: &str = "no-store";

/// The media types, by the specifications.
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
const SIZE: &str = "text/x.tlog.size";

/// The log, for everybody; nothing if its operator closed it.
fn open(app: &Handle) -> Result<&App, WireError> {
    let app = app.get()?;
    if app.public_log { Ok(app) } else { Err(Code::NotFound.into()) }
}

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
    ///
    /// Checks in order: `NOTFOUND` where the operator has closed the log, `NOTCOVEREDYET` before
    /// the first checkpoint.
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
    ///
    /// Checks: `NOTFOUND` where the operator has closed the log.
    #[oai(path = "/audit/log/key", method = "get", operation_id = "getLogKey", tag = "Tag::Audit")]
    async fn key(&self) -> Result<Text, WireError> {
        Ok(Text(format!("{}\n", open(&self.0)?.transparency.key().public())))
    }

    /// Read the key of the witness
    ///
    /// The public key by which this server cosigns the checkpoints of other logs, as
    /// `name+id+base64` ([tlog-cosignature](https://c2sp.org/tlog-cosignature)).
    ///
    /// Checks: `NOTFOUND` where the server is no witness.
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
    ///
    /// Checks: `TOOLARGE` for more than 65,536 bytes; `NOTFOUND` where the server is no witness.
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

fn answer(media_type: &str, cache: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(media_type)
        .header(header::CACHE_CONTROL, HeaderValue::from_static(cache))
        .body(body)
}

/// How the document describes what [`answer`] makes.
fn served(
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

fn inline(schema: MetaSchema) -> MetaSchemaRef {
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
        let limits = BodyLimits { bytes: MOST, ..request.data::<BodyLimits>().copied().unwrap_or_default() };
        match body::read(request.headers(), body.take()?.into_bytes_stream(), limits, BodyMemory::of(request)).await {
            Ok((bytes, claimed)) => Ok(Self(bytes, claimed)),
            // What broke off is malformed, whoever still hears of it.
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

/// Where the tiles are.
const TILES: &str = "/audit/log/tile/";

/// One form of the paths of tiles.
struct Shape {
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// The forms. The numbers of tiles come in groups of three digits; there is no end to the groups,
/// but a tile that has more than two comes after 256 million events.
const SHAPES: [Shape; 4] = [
    Shape {
        path: "/audit/log/tile/{level}/{number}",
        id: "getLogTile",
        summary: "Read a tile of the log",
        description: "256 hashes of a level of the tree, 32 bytes each, one after the other \
                      ([tlog-tiles](https://c2sp.org/tlog-tiles), RFC 6962): on level 0 those of the events, on each \
                      level above those of the full tiles below it. A tile never changes. The newest one of a level \
                      is not full and has a path of its own, with its width; so have tiles from number 1000 on.\n\n\
                      Checks: `NOTFOUND` where the operator has closed the log, for a tile that is not full yet, and \
                      for what is no path of a tile.",
    },
    Shape {
        path: "/audit/log/tile/{level}/{number}.p/{width}",
        id: "getLogTilePart",
        summary: "Read the beginning of a tile of the log",
        description: "The first hashes of a tile, 32 bytes each, one after the other \
                      ([tlog-tiles](https://c2sp.org/tlog-tiles), a partial tile). How many there are follows from the \
                      size of the checkpoint: of the newest tile of level `L`, the size divided by 256 to the power of \
                      `L`, modulo 256. Narrower ones stay, for readers of older checkpoints.\n\n\
                      Checks: `NOTFOUND` where the operator has closed the log, for hashes that are not there yet, and \
                      for what is no path of a tile.",
    },
    Shape {
        path: "/audit/log/tile/{level}/x{thousands}/{number}",
        id: "getLogTileFrom1000",
        summary: "Read a tile of a large log",
        description: "As `getLogTile`, for the tiles from number 1000 on: there are some once the log has more than \
                      256,000 events. Tile 1067 is `x001/067`. From number 1,000,000 on there are more such groups of \
                      digits, each with its `x`: tile 1,234,067 is `x001/x234/067`. These are served likewise; they \
                      are only not described, since each number of groups would be an operation of its own.\n\n\
                      Checks: `NOTFOUND` as for `getLogTile`.",
    },
    Shape {
        path: "/audit/log/tile/{level}/x{thousands}/{number}.p/{width}",
        id: "getLogTilePartFrom1000",
        summary: "Read the beginning of a tile of a large log",
        description: "As `getLogTilePart`, for the tiles from number 1000 on: the first 5 hashes of tile 1067 are \
                      `x001/067.p/5`.\n\n\
                      Checks: `NOTFOUND` as for `getLogTilePart`.",
    },
];

impl Shape {
    fn operation(&self) -> MetaOperation {
        let number = |example: u8, most: u8, least: u8| MetaSchema {
            format: Some("uint8"),
            example: Some(example.into()),
            minimum: Some(least.into()),
            maximum: Some(most.into()),
            ..MetaSchema::new("integer")
        };
        let digits = |example: &str| MetaSchema {
            example: Some(example.into()),
            pattern: Some("^[0-9]{3}$".to_owned()),
            ..MetaSchema::new("string")
        };
        let all = [
            ("level", "The level of the tree, counted from the events.", number(0, 63, 0)),
            ("thousands", "The number of the tile without its last three digits, with zeros in front.", digits("001")),
            ("number", "The number of the tile, or its last three digits, with zeros in front.", digits("000")),
            ("width", "How many hashes.", number(5, 255, 1)),
        ];
        let mine = all.into_iter().filter(|(name, ..)| self.path.contains(&format!("{{{name}}}")));
        let params = mine.map(|(name, description, schema)| MetaOperationParam {
            name: name.to_owned(),
            schema: inline(schema),
            in_type: MetaParamIn::Path,
            description: Some(description.to_owned()),
            required: true,
            deprecated: false,
            explode: true,
            style: None,
        });
        let bytes = MetaSchema { format: Some("binary"), ..MetaSchema::new("string") };
        let tile = served(StatusCode::OK, "The hashes.", BYTES, inline(bytes), FOR_EVER);
        MetaOperation {
            method: Method::GET,
            tags: vec![Tag::Audit.name()],
            summary: Some(self.summary),
            description: Some(self.description),
            external_docs: None,
            params: params.collect(),
            request: None,
            responses: MetaResponses { responses: std::iter::once(tile).chain(WireError::meta().responses).collect() },
            deprecated: false,
            security: vec![],
            operation_id: Some(self.id),
            code_samples: vec![],
        }
    }
}

impl OpenApi for Tiles {
    fn meta() -> Vec<MetaApi> {
        let path = |shape: &Shape| MetaPath { path: shape.path.to_owned(), operations: vec![shape.operation()] };
        vec![MetaApi { paths: SHAPES.iter().map(path).collect() }]
    }

    fn register(registry: &mut Registry) {
        WireError::register(registry);
        Tag::Audit.register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let app = self.0;
        let tile = poem::endpoint::make(move |request| {
            let app = app.clone();
            async move { tile(&app, &request).await.map_err(poem::Error::from) }
        });
        routes.entry(format!("{TILES}*path")).or_default().insert(Method::GET, tile.boxed());
    }
}

/// The tile that a path names, of whatever form.
async fn tile(app: &Handle, request: &Request) -> Result<Response, WireError> {
    let missing = || WireError::from(Code::NotFound);
    let log = &open(app)?.transparency;
    let path = request.uri().path().strip_prefix(TILES).unwrap_or_default();
    let tile: TilePath = path.parse().map_err(|_| missing())?;
    let bytes = log.tile(tile.id, tile.width).await?.ok_or_else(missing)?;
    debug_assert!(bytes.len() == tile.width * size_of::<Hash32>() && tile.width <= WIDTH);
    Ok(answer(BYTES, FOR_EVER, bytes))
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
