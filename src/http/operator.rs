//! The operator's access, and what an auditor shows instead: a session.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use be8_events::Hash32;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use subtle::ConstantTimeEq;

use super::cookie::SessionToken;
use super::error::WireError;
use super::session::{SCHEME as SESSION, Session};
use crate::secret_file::{self, Refused};

/// The name of the scheme in the document.
const SCHEME: &str = "operator";
/// The fewest bytes of a token.
const LEAST: usize = 32;

/// The operator's token, as its hash: what is compared has one length, whatever was sent.
#[derive(Clone)]
pub struct OperatorToken(Hash32);

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadOperatorToken {
    /// The file cannot be read.
    #[error("operator token file {0}: {1}")]
    Unreadable(String, std::io::Error),
    /// Others than the owner have rights on the file.
    #[error(
        "operator token file {0}: its mode is {1:04o}, but nobody except its owner may have rights on it: chmod 600"
    )]
    Mode(String, u32),
    /// The token is too short to be unguessable.
    #[error("operator token file {0}: fewer than {LEAST} bytes")]
    Short(String),
}

impl OperatorToken {
    /// Reads the token of a file; white space around it does not count.
    ///
    /// # Errors
    /// [`BadOperatorToken`]
    pub fn load(path: &Path) -> Result<Self, BadOperatorToken> {
        let name = || path.display().to_string();
        let unreadable = |error| BadOperatorToken::Unreadable(name(), error);
        let mut file = secret_file::open(path).map_err(|refused| match refused {
            Refused::Unreadable(error) => unreadable(error),
            Refused::Mode(mode) => BadOperatorToken::Mode(name(), mode),
        })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(unreadable)?;
        let token = text.trim_ascii();
        if token.len() < LEAST {
            return Err(BadOperatorToken::Short(name()));
        }
        Ok(Self(Hash32::sha256(token)))
    }

    /// Whether this is the token, in constant time.
    fn is(&self, token: &[u8]) -> bool {
        self.0.0.ct_eq(&Hash32::sha256(token).0).into()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The operator, by a bearer token (RFC 6750).
#[derive(Debug, Clone)]
pub struct Operator(Option<BearerToken>);

impl Operator {
    /// Whether it is the operator; `what` is asked for, for the log.
    ///
    /// # Errors
    /// 401 [`NOTAUTH`](super::error::Code::NotAuth)
    pub fn check(&self, token: Option<&OperatorToken>, what: &str) -> Result<(), WireError> {
        let sent = self.0.as_ref().ok_or_else(WireError::not_operator)?;
        sent.check(token)?;
        tracing::info!(what, "operator access");
        Ok(())
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

/// The bearer token of a request.
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
    /// Whether it is the operator's. Without a token file no token is. A wrong one is counted, and logged within bounds.
    ///
    /// # Errors
    /// 401 [`NOTAUTH`](super::error::Code::NotAuth)
    pub fn check(&self, token: Option<&OperatorToken>) -> Result<(), WireError> {
        if token.is_some_and(|token| token.is(&self.0)) {
            return Ok(());
        }
        metrics::counter!("be8_operator_refused_total").increment(1);
        WRONG.add(|count| tracing::warn!(count, "wrong operator tokens were refused"));
        Err(WireError::not_operator())
    }
}

/// The wrong tokens that this process was sent.
static WRONG: Refusals = Refusals(Mutex::new(None));
/// How often they are logged at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// Counts refusals, and reports their number at most once in an [`INTERVAL`]: the first one at once, those of the
/// following interval at its end. A client that guesses must not fill the log.
struct Refusals(
    /// Those that are not reported yet, in an interval that began with a report.
    Mutex<Option<u64>>,
);

impl Refusals {
    /// Counts one, and reports it or leaves it for the end of the interval.
    fn add(&'static self, report: impl Fn(u64) + Send + 'static) {
        if !self.begins_interval() {
            return;
        }
        report(1);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                match self.end_interval() {
                    Some(count) => report(count),
                    None => break,
                }
            }
        });
    }

    /// Counts one, unless it is to be reported at once because an interval begins with it.
    fn begins_interval(&self) -> bool {
        let mut unreported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = unreported.is_none();
        *unreported = Some(unreported.map_or(0, |count| count + 1));
        begins
    }

    /// How many came in the interval that ends; another one begins unless there were none.
    fn end_interval(&self) -> Option<u64> {
        let mut unreported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unreported.take().filter(|count| *count > 0);
        *unreported = count.map(|_| 0);
        count
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
            None => Self::Session(Session(SessionToken::of(request.headers()).map(|token| token.hash()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_reported_once_in_an_interval_with_their_number() {
        // Given no refusals before, when three come, then the first one is reported at once
        let refusals = Refusals(Mutex::new(None));
        let refuse = |times: usize| (0..times).filter(|_| refusals.begins_interval()).count();
        assert_eq!(refuse(3), 1);
        // and the others at the end of the interval, with which another one begins.
        assert_eq!(refusals.end_interval(), Some(2));
        assert_eq!(refuse(4), 0);
        assert_eq!(refusals.end_interval(), Some(4));
        // After an interval without any nothing is reported, and the next one is reported at once.
        assert_eq!(refusals.end_interval(), None);
        assert_eq!(refuse(1), 1);
        assert_eq!(refusals.end_interval(), None);
    }
}
