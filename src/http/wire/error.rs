//! Answers that refuse: a code, and what its status needs besides.

use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, Object};

use super::codes::{Code, Shape};

/// An answer that says no: a [`Code`] and what its status needs besides.
///
/// It is a `poem::Error` by `?`, and answers `application/json; charset=utf-8` with
/// `Cache-Control: no-store`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", code.as_str())]
pub struct WireError {
    /// The code.
    code: Code,
    /// Seconds for `Retry-After` (RFC 9110, section 10.2.3).
    retry_after: Option<u64>,
    /// The methods for `Allow` (RFC 9110, section 10.2.1).
    allow: Option<HeaderValue>,
    /// What a 401 asks for (RFC 9110, section 15.5.2).
    challenge: &'static str,
}

impl WireError {
    /// The code that is answered.
    pub const fn code(&self) -> Code {
        self.code
    }

    const fn plain(code: Code) -> Self {
        Self { code, retry_after: None, allow: None, challenge: COOKIE }
    }

    /// 401 to somebody who did not come with the operator's token.
    pub fn not_operator() -> Self {
        Self { challenge: BEARER, ..Self::plain(Code::NotAuth) }
    }

    /// A code that asks to come back after a time, rounded up to whole seconds, at least one.
    pub fn retry(code: Code, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..Self::plain(code) }
    }

    /// 405 with the methods that are allowed, separated by commas.
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self { allow: Some(allow), ..Self::plain(Code::MethodNotAllowed) }
    }
}

impl From<Code> for WireError {
    /// The code as it stands; 429 RATELIMITED and 503 UNAVAILABLE, which promise a
    /// `Retry-After`, say one second.
    fn from(code: Code) -> Self {
        match code {
            Code::RateLimited | Code::Unavailable => Self::retry(code, Duration::from_secs(1)),
            _ => Self::plain(code),
        }
    }
}

impl ResponseError for WireError {
    fn status(&self) -> StatusCode {
        self.code.status()
    }

    fn as_response(&self) -> Response {
        let code = self.code.as_str();
        let body = match self.code.shape() {
            Shape::Error(_) => format!(r#"{{"error":"{code}"}}"#),
            Shape::Reason => format!(r#"{{"valid":false,"reason":"{code}"}}"#),
            Shape::Warning => format!(r#"{{"valid":false,"warning":"{code}"}}"#),
        };
        let mut response = Response::builder()
            .status(self.status())
            .content_type(JSON)
            .header(header::CACHE_CONTROL, "no-store")
            .body(body);
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = &self.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        if self.code == Code::UnsupportedEncoding {
            // RFC 9110, section 15.5.16.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.code == Code::NotAuth {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        }
        response
    }
}

impl IntoResponse for WireError {
    fn into_response(self) -> Response {
        self.as_response()
    }
}

/// The media type of all JSON answers.
const JSON: &str = "application/json; charset=utf-8";
/// Asks for the session cookie. A 401 has to name a scheme; browsers ignore this one.
const COOKIE: &str = r#"Cookie realm="be8""#;
/// Asks for the operator's token (RFC 6750, section 3).
const BEARER: &str = r#"Bearer realm="be8""#;

/// The statuses that any route may answer. 403, 409 and 422 belong to single routes:
/// [`answer_of`].
const COMMON: [u16; 8] = [400, 401, 408, 413, 415, 429, 500, 503];

impl ApiResponse for WireError {
    fn meta() -> MetaResponses {
        MetaResponses { responses: COMMON.into_iter().map(answer_of).collect() }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// The body of every answer with a status other than 200.
#[derive(Debug, Object)]
#[oai(rename = "ErrorBody")]
pub struct ErrorBody {
    /// What went wrong.
    pub error: Code,
}

/// How the OpenAPI document shows the error answers of one status.
pub fn answer_of(status: u16) -> MetaResponse {
    let header = |name: &str, description: &str, required, schema| {
        let (name, description) = (name.to_owned(), Some(description.to_owned()));
        vec![MetaHeader { name, description, required, deprecated: false, schema }]
    };
    let text = String::schema_ref;
    let (description, headers) = match status {
        400 => ("The request cannot be accepted as it is.", vec![]),
        401 => (
            "No session, or its account is gone.",
            header(
                "WWW-Authenticate",
                "Names what lets in: the session cookie, or the operator's token.",
                true,
                text(),
            ),
        ),
        403 => ("Not allowed.", vec![]),
        404 => ("There is nothing at this path.", vec![]),
        405 => ("Not with this method.", header("Allow", "The methods that are allowed.", true, text())),
        408 => ("The body did not arrive in time.", vec![]),
        409 => ("The first request with this idempotency key is still running.", vec![]),
        413 => ("The body, or a text in it, is too large.", vec![]),
        415 => (
            "The body is compressed.",
            header("Accept-Encoding", "Always `identity`: bodies are taken as they are.", true, text()),
        ),
        422 => ("The idempotency key belongs to another request.", vec![]),
        429 => ("Too many requests.", header("Retry-After", "Seconds to wait.", true, u32::schema_ref())),
        503 => (
            "Overloaded, not there yet, or the database is away.",
            header("Retry-After", "Seconds to wait.", false, u32::schema_ref()),
        ),
        _ => ("A fault of the server.", vec![]),
    };
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: JSON, schema: ErrorBody::schema_ref() }],
        headers,
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::payload::Json;
    use poem_openapi::{OpenApi, OpenApiService};

    use super::*;

    /// Status, headers of interest and body of an error.
    async fn said(error: WireError) -> (u16, Vec<Option<String>>, String) {
        let response = poem::Error::from(error).into_response();
        let names = [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER, header::ALLOW];
        let headers = names.map(|name| response.header(name).map(str::to_owned)).to_vec();
        (response.status().as_u16(), headers, response.into_body().into_string().await.unwrap())
    }

    /// Shows (docs/protocol.md): Shapes of refusals.
    #[tokio::test]
    async fn each_shape_is_answered_as_the_protocol_says() {
        let json = Some("application/json; charset=utf-8".to_owned());
        let plain = vec![json, Some("no-store".to_owned()), None, None];
        let with = |at: usize, text: &str| {
            let mut headers = plain.clone();
            headers[at] = Some(text.to_owned());
            headers
        };
        for (error, status, headers, body) in [
            (Code::NotAuth.into(), 401, plain.clone(), r#"{"error":"NOTAUTH"}"#),
            (Code::InvalidJson.into(), 400, plain.clone(), r#"{"error":"INVALIDJSON"}"#),
            (Code::NotAdmin.into(), 200, plain.clone(), r#"{"valid":false,"reason":"NOTADMIN"}"#),
            (Code::PasswordFailure.into(), 200, plain.clone(), r#"{"valid":false,"warning":"PASSWORDFAILURE"}"#),
            (
                WireError::retry(Code::RateLimited, Duration::from_millis(1200)),
                429,
                with(2, "2"),
                r#"{"error":"RATELIMITED"}"#,
            ),
            (Code::Unavailable.into(), 503, with(2, "1"), r#"{"error":"UNAVAILABLE"}"#),
            (
                WireError::method_not_allowed(HeaderValue::from_static("POST")),
                405,
                with(3, "POST"),
                r#"{"error":"METHODNOTALLOWED"}"#,
            ),
        ] {
            assert_eq!(said(error).await, (status, headers, body.to_owned()));
        }
    }

    #[test]
    fn codes_are_upper_case_words_said_once() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase()));
            assert!(seen.insert(code.as_str()), "{code:?}");
            if let Shape::Error(status) = code.shape() {
                assert_eq!(code.status().as_u16(), status);
            }
        }
    }

    struct Api;

    #[OpenApi]
    impl Api {
        #[oai(path = "/", method = "get")]
        async fn refuse(&self) -> Result<Json<bool>, WireError> {
            Err(Code::NotAuth.into())
        }
    }

    #[test]
    fn all_errors_of_an_operation_have_one_schema() {
        let document = OpenApiService::new(Api, "", "").spec();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let answers = document["paths"]["/"]["get"]["responses"].as_object().unwrap();
        let statuses: Vec<&str> = answers.keys().map(String::as_str).collect();
        assert_eq!(statuses, ["200", "400", "401", "408", "413", "415", "429", "500", "503"]);
        for status in &statuses[1..] {
            let schema = &answers[*status]["content"]["application/json; charset=utf-8"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/ErrorBody");
        }
        let codes = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
