//! Answers that say no: the stable codes of the wire contract, their shapes and statuses.

use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, Enum, Object};
use serde_json::{Value, json};

use crate::password::HashError;

/// How a code is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error":CODE}` with this HTTP status.
    Error(u16),
    /// `{"valid":false,"reason":CODE}` with status 200.
    Reason,
    /// `{"valid":false,"warning":CODE}` with status 200.
    Warning,
}

/// Defines [`Code`] as one table: documentation, name, text on the wire, shape.
macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident $text:literal $shape:expr;)*) => {
        /// A stable code of the wire contract: clients compare it, so it never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
        pub enum Code {
            $(#[doc = $doc] #[oai(rename = $text)] $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the code means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc.trim_start(),)* }
            }

            /// How the code is said.
            pub const fn shape(self) -> Shape {
                match self { $(Self::$name => $shape,)* }
            }
        }
    };
}

codes! {
    /// No session, or its account is gone.
    NotAuth "NOTAUTH" Shape::Error(401);
    /// The nickname is no string of 1 to 30 characters.
    InvalidNickname "INVALIDNICKNAME" Shape::Error(400);
    /// The password is no string, or empty.
    InvalidPassword "INVALIDPASSWORD" Shape::Error(400);
    /// The password cannot be decrypted or is too long.
    PasswordFailure "PASSWORDFAILURE" Shape::Warning;
    /// No such account.
    AccNotExists "ACCNOTEXISTS" Shape::Error(400);
    /// A conversation with oneself.
    CircularConversation "CIRCULARCONVERSATION" Shape::Error(400);
    /// No such thread, or not one of the caller's.
    InvalidThreadId "INVALIDTHREADID" Shape::Error(400);
    /// Not a type of message that may be sent, or a foreign group key version.
    InvalidMessageType "INVALIDMESSAGETYPE" Shape::Error(400);
    /// Neither `public` nor `private`.
    InvalidGroupType "INVALIDGROUPTYPE" Shape::Error(400);
    /// The group is full.
    GroupMaxReached "GROUPMAXREACHED" Shape::Error(400);
    /// Not a public key on a known curve.
    InvalidPublicKey "INVALIDPUBLICKEY" Shape::Error(400);
    /// Not a push subscription.
    InvalidSubscribe "INVALIDSUBSCRIBE" Shape::Error(400);
    /// No such token.
    TokenNotExist "TOKENNOTEXIST" Shape::Error(400);
    /// The content id is no string of 1 to 128 printable characters.
    InvalidContentId "INVALIDCONTENTID" Shape::Error(400);
    /// A value that this request cannot have.
    InvalidInput "INVALIDINPUT" Shape::Error(400);
    /// The body is not JSON.
    InvalidJson "INVALIDJSON" Shape::Error(400);
    /// The status is no string.
    InvalidStatus "INVALIDSTATUS" Shape::Reason;
    /// The unlock code is no string, or empty.
    InvalidUnlockCode "INVALIDUNLOCKCODE" Shape::Reason;
    /// The destroy code is no string, empty, or equal to the unlock code.
    InvalidDestroyCode "INVALIDDESTROYCODE" Shape::Reason;
    /// The code is no string, or empty.
    InvalidCode "INVALIDCODE" Shape::Reason;
    /// The old code is no string, or empty.
    InvalidOldCode "INVALIDOLDCODE" Shape::Reason;
    /// Neither `unlock` nor `destroy`.
    InvalidCodeType "INVALIDCODETYPE" Shape::Reason;
    /// The old code is not the one that is set.
    OldCodeWrong "OLDCODEWRONG" Shape::Reason;
    /// Codes are set already.
    CodesAlreadySet "CODESALREADYSET" Shape::Reason;
    /// The token is no string of at least 32 characters.
    InvalidToken "INVALIDTOKEN" Shape::Reason;
    /// No such group.
    GroupNotExisting "GROUPNOTEXISTING" Shape::Reason;
    /// No such account.
    MemberNotExisting "MEMBERNOTEXISTING" Shape::Reason;
    /// No such account as keyholder.
    KeyholderNotExisting "KEYHOLDERNOTEXISTING" Shape::Reason;
    /// Not a member of the group.
    NoGroupMember "NOGROUPMEMBER" Shape::Reason;
    /// Only the group's admin may do that.
    NotAdmin "NOTADMIN" Shape::Reason;
    /// A member of the group already.
    IsAlreadyMember "ISALREADYMEMBER" Shape::Reason;
    /// An admin cannot kick itself.
    CircularKick "CIRCULARKICK" Shape::Reason;
    /// The group key is no string of at least 10 characters, or another one is stored.
    InvalidGroupKey "INVALIDGROUPKEY" Shape::Reason;
    /// Neither `joinmember` nor `leavegroup`.
    InvalidUpdateType "INVALIDUPDATETYPE" Shape::Reason;
    /// Neither `user` nor `group`.
    InvalidLinkType "INVALIDLINKTYPE" Shape::Reason;
    /// Neither sent nor used.
    NotUsedOrSentLink "NOTUSEDORSENTLINK" Shape::Reason;
    /// Other content is stored under this content id.
    ContentExists "CONTENTEXISTS" Shape::Reason;
    /// Not from here.
    Forbidden "FORBIDDEN" Shape::Error(403);
    /// New accounts are not made here now.
    RegistrationClosed "REGISTRATIONCLOSED" Shape::Error(403);
    /// No such path.
    NotFound "NOTFOUND" Shape::Error(404);
    /// Not with this method.
    MethodNotAllowed "METHODNOTALLOWED" Shape::Error(405);
    /// The body did not arrive in time.
    Timeout "TIMEOUT" Shape::Error(408);
    /// The first request with this idempotency key is still running.
    InFlight "INFLIGHT" Shape::Error(409);
    /// The body or the text is too large.
    TooLarge "TOOLARGE" Shape::Error(413);
    /// The body is compressed.
    UnsupportedEncoding "UNSUPPORTEDENCODING" Shape::Error(415);
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused "IDEMPOTENCYKEYREUSED" Shape::Error(422);
    /// Too many requests.
    RateLimited "RATELIMITED" Shape::Error(429);
    /// A fault of the server.
    Internal "INTERNAL" Shape::Error(500);
    /// Overloaded, or the database is away; nothing was changed.
    Unavailable "UNAVAILABLE" Shape::Error(503);
    /// No checkpoint covers it yet; the next one will.
    NotCoveredYet "NOTCOVEREDYET" Shape::Error(503);
    /// The database went away during the change; it may have happened.
    OutcomeUnknown "OUTCOMEUNKNOWN" Shape::Error(503);
}

impl Code {
    /// The HTTP status of the code.
    pub fn status(self) -> StatusCode {
        match self.shape() {
            Shape::Error(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Shape::Reason | Shape::Warning => StatusCode::OK,
        }
    }
}

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

impl From<HashError> for WireError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => Self::retry(Code::Unavailable, Duration::from_secs(5)),
            HashError::Broken(_) => {
                tracing::error!(%error, "a password could not be hashed");
                Self::from(Code::Internal)
            }
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

/// An error of ours as problem details (RFC 9457); any other answer as it is.
pub fn as_problem(mut answer: Response) -> Response {
    let code = answer.extensions().get::<Code>().copied();
    let Some(code) = code.filter(|code| matches!(code.shape(), Shape::Error(_))) else { return answer };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    answer.set_body(problem(code).to_string());
    answer
}

/// The problem details of a code.
pub(super) fn problem(code: Code) -> Value {
    let (status, word) = (code.status(), code.as_str());
    json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": code.meaning(),
        "code": word,
        "error": word,
    })
}

/// How the OpenAPI document describes what [`problem`] makes.
pub(super) fn problem_schema() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let code = |what: &str| json!({ "allOf": [{ "$ref": "#/components/schemas/Code" }], "description": what });
    json!({
        "type": "object",
        "description": "The body of every error of the routes of our own: problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "error"],
        "properties": {
            "type": text("Always `about:blank`: the code says all."),
            "title": text("What the status means."),
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "detail": text("What the code means, for a person."),
            "code": code("What went wrong."),
            "error": code("The code again, where the other routes say it."),
        },
    })
}

/// The media type of errors of our own routes (RFC 9457, section 3).
pub(super) const PROBLEM: &str = "application/problem+json";
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
        404 => ("No such path.", vec![]),
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

    #[tokio::test]
    async fn each_shape_is_said_as_the_contract_has_it() {
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
