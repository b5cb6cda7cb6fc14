//! The public side of the transparency log (C2SP tlog-tiles) and the witness (C2SP tlog-witness):
//! static texts and bytes, described in `docs/audit.md` and not in the OpenAPI document.

use be8_events::Hash32;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response, Route};

use super::app::Handle;
use super::edge::{Manner, Rule};
use super::error::{Code, WireError};
use crate::audit::TransparencyError;
use crate::audit::tree::{TilePath, WIDTH};
use crate::audit::witness::NotCosigned;

/// The newest checkpoint.
const CHECKPOINT: &str = "/audit/log/checkpoint";
/// The key that signs it.
const KEY: &str = "/audit/log/key";
/// Where the tiles are.
const TILES: &str = "/audit/log/tile/";
/// The key of the witness.
const WITNESS_KEY: &str = "/audit/witness/key";
/// Where checkpoints are brought to be cosigned.
const ADD_CHECKPOINT: &str = "/audit/witness/add-checkpoint";

/// The longest request for a cosignature: a proof, and a checkpoint with some signatures.
const MOST: usize = 64 << 10;
/// A checkpoint is asked for again and again: a cache may keep it for a moment.
const SHORTLY: &str = "public, max-age=5";
/// What never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The media types, by the specifications.
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
const SIZE: &str = "text/x.tlog.size";

/// Adds the routes.
pub(super) fn routes(app: &Handle, routes: Route) -> Route {
    let public = |what| poem::get(Public { app: app.clone(), what });
    routes
        .at(CHECKPOINT, public(What::Checkpoint))
        .at(KEY, public(What::Key))
        .at(format!("{TILES}*path"), public(What::Tile))
        .at(WITNESS_KEY, public(What::WitnessKey))
        .at(ADD_CHECKPOINT, poem::post(AddCheckpoint(app.clone())))
}

/// What the edge has to know of them. The tiles have no rule: their paths are longer or shorter.
pub(super) fn rules() -> Vec<Rule> {
    let read = [CHECKPOINT, KEY, WITNESS_KEY].map(|path| (path, Method::GET, true));
    let rules = read.into_iter().chain([(ADD_CHECKPOINT, Method::POST, false)]);
    rules
        .map(|(path, method, head)| Rule { path, methods: vec![method], head, session: false, manner: Manner::Own })
        .collect()
}

/// What is read.
enum What {
    Checkpoint,
    Key,
    Tile,
    WitnessKey,
}

/// What anybody may read, unless the log is closed.
struct Public {
    app: Handle,
    what: What,
}

impl Endpoint for Public {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let app = self.app.get()?;
        let missing = || WireError::from(Code::NotFound);
        if let What::WitnessKey = self.what {
            let witness = app.witness.as_ref().ok_or_else(missing)?;
            return Ok(answer(TEXT, SHORTLY, format!("{}\n", witness.key())));
        }
        if !app.public_log {
            return Err(missing().into());
        }
        let log = &app.transparency;
        match self.what {
            What::Key | What::WitnessKey => Ok(answer(TEXT, SHORTLY, format!("{}\n", log.key().public()))),
            What::Checkpoint => {
                let head = log.tables().newest_head().await.map_err(WireError::from)?;
                Ok(answer(TEXT, SHORTLY, head.ok_or(WireError::from(Code::NotCoveredYet))?.checkpoint()))
            }
            What::Tile => {
                let path = request.uri().path().strip_prefix(TILES).unwrap_or_default();
                let tile: TilePath = path.parse().map_err(|_| missing())?;
                let bytes = log.tile(tile.id, tile.width).await.map_err(WireError::from)?.ok_or_else(missing)?;
                debug_assert!(bytes.len() == tile.width * size_of::<Hash32>() && tile.width <= WIDTH);
                Ok(answer(BYTES, FOR_EVER, bytes))
            }
        }
    }
}

fn answer(media_type: &str, cache: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(media_type)
        .header(header::CACHE_CONTROL, HeaderValue::from_static(cache))
        .body(body)
}

/// Cosigns what other logs bring.
struct AddCheckpoint(Handle);

impl Endpoint for AddCheckpoint {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let app = self.0.get()?;
        let witness = app.witness.as_ref().ok_or(WireError::from(Code::NotFound))?;
        let bytes = request.into_body().into_bytes_limit(MOST).await?;
        let said = match std::str::from_utf8(&bytes) {
            Ok(body) => witness.add_checkpoint(body, app.now()).await,
            Err(_) => Err(NotCosigned::Malformed),
        };
        let (status, media_type, text) = match said {
            Ok(line) => (StatusCode::OK, TEXT, line),
            Err(NotCosigned::OtherSize(size)) => (StatusCode::CONFLICT, SIZE, format!("{size}\n")),
            Err(NotCosigned::Log(error)) => return Err(WireError::from(error).into()),
            Err(refused) => {
                let status = match refused {
                    NotCosigned::UnknownLog => StatusCode::NOT_FOUND,
                    NotCosigned::NotSigned => StatusCode::FORBIDDEN,
                    NotCosigned::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
                    NotCosigned::Malformed | NotCosigned::OtherSize(_) | NotCosigned::Log(_) => StatusCode::BAD_REQUEST,
                };
                (status, TEXT, format!("{refused}\n"))
            }
        };
        let outcome = if status == StatusCode::OK { "cosigned" } else { "refused" };
        metrics::counter!("be8_audit_witnessed_total", "outcome" => outcome).increment(1);
        let mut response = answer(media_type, "no-store", text);
        response.set_status(status);
        Ok(response)
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
