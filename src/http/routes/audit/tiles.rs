//! The tiles of the transparency log (C2SP tlog-tiles).

use std::collections::HashMap;

use be8_events::Hash32;
use poem::endpoint::BoxEndpoint;
use poem::http::{Method, StatusCode};
use poem::{EndpointExt as _, Request, Response};
use poem_openapi::registry::{
    MetaApi, MetaOperation, MetaOperationParam, MetaParamIn, MetaPath, MetaResponses, MetaSchema, Registry,
};
use poem_openapi::{ApiResponse as _, OpenApi, Tags as _};

use super::transparency::{answer, inline, open, served};
use crate::app::Handle;
use crate::audit::tree::{TilePath, WIDTH};
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::When;
use crate::http::document::tag::Tag;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The tiles. Their paths have parts that are no parameters of their own, which the macro cannot
/// say; so what it would make stands here by hand.
pub struct Tiles(pub Handle);

/// What never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The media type, by the specification.
const BYTES: &str = "application/octet-stream";

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own(
        "getLogTile",
        &[When(
            Code::NotFound,
            "where the operator has closed the log, for a tile that is not full yet, and for what is no path \
                 of a tile",
        )],
    )
    .answers_head(),
    Operation::own(
        "getLogTilePart",
        &[When(
            Code::NotFound,
            "where the operator has closed the log, for hashes that are not there yet, and for what is no \
                 path of a tile",
        )],
    )
    .answers_head(),
    Operation::own("getLogTileFrom1000", &[When(Code::NotFound, "as for `getLogTile`")]).answers_head(),
    Operation::own("getLogTilePartFrom1000", &[When(Code::NotFound, "as for `getLogTilePart`")]).answers_head(),
];

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
                      is not full and has a path of its own, with its width; so have tiles from number 1000 on.",
    },
    Shape {
        path: "/audit/log/tile/{level}/{number}.p/{width}",
        id: "getLogTilePart",
        summary: "Read the beginning of a tile of the log",
        description: "The first hashes of a tile, 32 bytes each, one after the other \
                      ([tlog-tiles](https://c2sp.org/tlog-tiles), a partial tile). How many there are follows from the \
                      size of the checkpoint: of the newest tile of level `L`, the size divided by 256 to the power of \
                      `L`, modulo 256. Narrower ones stay, for readers of older checkpoints.",
    },
    Shape {
        path: "/audit/log/tile/{level}/x{thousands}/{number}",
        id: "getLogTileFrom1000",
        summary: "Read a tile of a large log",
        description: "As `getLogTile`, for the tiles from number 1000 on: there are some once the log has more than \
                      256,000 events. Tile 1067 is `x001/067`. From number 1,000,000 on there are more such groups of \
                      digits, each with its `x`: tile 1,234,067 is `x001/x234/067`. These are served likewise; they \
                      are only not described, since each number of groups would be an operation of its own.",
    },
    Shape {
        path: "/audit/log/tile/{level}/x{thousands}/{number}.p/{width}",
        id: "getLogTilePartFrom1000",
        summary: "Read the beginning of a tile of a large log",
        description: "As `getLogTilePart`, for the tiles from number 1000 on: the first 5 hashes of tile 1067 are \
                      `x001/067.p/5`.",
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
