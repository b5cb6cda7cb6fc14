//! The session of a request, as an extractor and as a security scheme of the OpenAPI document.

use be8_events::Hash32;
use be8_projections::AccountView;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::cookie::NAME;
use super::resolved::Resolved;
use crate::app::App;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The name of the scheme in the document.
pub const SCHEME: &str = "session";

/// The hash of the session token that a request carries, if it carries one. Whether such a
/// session exists is decided with the command or the query, never before it.
#[derive(Debug, Clone, Copy)]
pub struct Session(pub Option<Hash32>);

impl Session {
    /// The hash.
    ///
    /// # Errors
    /// [`Code::NotAuth`] if the request carries none.
    pub fn required(self) -> Result<Hash32, WireError> {
        self.0.ok_or_else(|| Code::NotAuth.into())
    }
}

impl App {
    /// The living account of a session.
    ///
    /// # Errors
    /// [`Code::NotAuth`] if there is none.
    pub(in crate::http) async fn signed_in(&self, session: Hash32) -> Result<AccountView, WireError> {
        self.read.account(session, self.now()).await?.ok_or_else(|| Code::NotAuth.into())
    }
}

impl<'a> ApiExtractor<'a> for Session {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some(
                    "The session cookie that `/newacc` sets. A browser keeps and sends it by itself: there is nothing to \
                     fill in. Where the server is reached over https its name is `__Host-be8`, and no other one counts.",
                ),
                name: Some(NAME),
                key_in: Some("cookie"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(Resolved::of(request).session))
    }
}

/// The session of a request to an operation that needs none.
#[derive(Debug, Clone, Copy)]
pub struct OptionalSession(pub Option<Hash32>);

impl<'a> FromRequest<'a> for OptionalSession {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Resolved::of(request).session))
    }
}
