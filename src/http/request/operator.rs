//! The operator's access, and what an auditor shows instead: a session.

use std::fmt;

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::resolved::Resolved;
use super::session::{SCHEME as SESSION, Session};
use crate::app::OperatorToken;
use crate::http::wire::error::WireError;
use crate::support::occasional::Occasional;

/// The name of the scheme in the document.
const SCHEME: &str = "operator";

/// The operator, by a bearer token (RFC 6750).
#[derive(Debug, Clone)]
pub struct Operator(Option<BearerToken>);

impl Operator {
    /// Whether it is the operator; `what` is asked for, for the log.
    ///
    /// # Errors
    /// 401 [`NOTAUTH`](crate::http::wire::codes::Code::NotAuth)
    pub fn check(&self, token: Option<&OperatorToken>, what: &str) -> Result<(), WireError> {
        if self.0.as_ref().is_some_and(|sent| sent.is_operator(token)) {
            tracing::info!(what, "operator access");
            return Ok(());
        }
        if self.0.is_some() {
            warn_of_wrong_token(what);
        }
        Err(WireError::not_operator())
    }
}

/// Logs that a wrong bearer token was sent: once a minute, since anybody can send one.
pub(in crate::http) fn warn_of_wrong_token(what: &str) {
    static REFUSED: Occasional = Occasional::new();
    if let Some(count) = REFUSED.count() {
        tracing::warn!(what, count, "wrong operator tokens were refused");
    }
}

impl<'a> ApiExtractor<'a> for Operator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Auditor as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(bearer(request)))
    }
}

/// The bearer token of a request. The operator's may be any bytes, while `headers::Authorization` takes ASCII alone.
fn bearer(request: &Request) -> Option<BearerToken> {
    let sent = request.headers().get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = sent.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| BearerToken(token.trim_ascii().to_vec()))
}

/// Who asks for a group's history: the operator by a bearer token (RFC 6750), or a member by its
/// session.
#[derive(Debug, Clone)]
pub enum Auditor {
    /// What was sent as a bearer token. Whether it is the operator's is for the route to ask.
    Bearer(BearerToken),
    /// A session, or nothing.
    Session(Session),
}

/// A bearer token that was sent.
#[derive(Clone)]
pub struct BearerToken(Vec<u8>);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl BearerToken {
    /// Whether it is the operator's. Without a token file nobody is.
    pub fn is_operator(&self, token: Option<&OperatorToken>) -> bool {
        token.is_some_and(|token| token.is(&self.0))
    }
}

impl<'a> ApiExtractor<'a> for Auditor {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Session::register(registry);
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some("The operator's token, from the file that `operator-token-file` names."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SESSION, SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(match bearer(request) {
            Some(token) => Self::Bearer(token),
            None => Self::Session(Session(Resolved::of(request).session)),
        })
    }
}
