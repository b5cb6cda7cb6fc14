//! The edge of the routes: which methods a path answers, and that whatever goes wrong inside leaves as a JSON answer of the
//! wire contract.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use poem::error::ResponseError as _;
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use poem::{Endpoint, IntoResponse, Request, Response};

use crate::http::document::operation::ErrorStyle;
use crate::http::request::paths::Rule;
use crate::http::request::resolved::Resolved;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The answer of `inside` to a request, whatever happens in there.
///
/// - A request for a known path goes to it in its canonical case, without a slash at its end.
/// - HEAD reaches a known path only where its rule says so: poem would run the GET handler.
/// - Errors and panics become JSON answers; causes of 500s are logged, never shown.
pub(super) async fn answer<E: Endpoint>(inside: &E, resolved: &Resolved, mut request: Request) -> Response {
    let rule = resolved.rule;
    let answer = match rule.map(|rule| admit(rule, &mut request)) {
        Some(Err(refusal)) => refusal.into_response(),
        None | Some(Ok(())) => {
            let route = rule.map_or("(other)", |rule| rule.path.as_str());
            // What a panic leaves half done was the request's own.
            match AssertUnwindSafe(inside.call(request)).catch_unwind().await {
                Ok(Ok(answer)) => answer.into_response(),
                Ok(Err(error)) => translate(error, route, rule),
                Err(panic) => {
                    tracing::error!(route, panic = panic_text(&*panic), "a handler panicked");
                    WireError::from(Code::Internal).into_response()
                }
            }
        }
    };
    resolved.errors().apply(answer)
}

/// Makes a request for a known path one that the routes inside match, or refuses its method.
fn admit(rule: &Rule, request: &mut Request) -> Result<(), WireError> {
    let method = request.method();
    if method == Method::HEAD && rule.head {
        // The server leaves out the body of an answer to HEAD by itself, and keeps its length.
        request.set_method(Method::GET);
    } else if !rule.methods.contains(method) {
        return Err(wrong_method(Some(rule)));
    }
    if request.uri().path() != rule.path
        && !rule.is_template()
        && let Some(uri) = with_path(request.uri(), &rule.path)
    {
        *request.uri_mut() = uri;
    }
    Ok(())
}

/// The same URI with another path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let path_and_query = match uri.query() {
        None => PathAndQuery::try_from(path),
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
    };
    parts.path_and_query = Some(path_and_query.ok()?);
    Uri::from_parts(parts).ok()
}

/// The answer to a method that a path does not have.
fn wrong_method(rule: Option<&Rule>) -> WireError {
    match rule {
        Some(rule) if rule.errors != ErrorStyle::Contract => WireError::method_not_allowed(rule.allow()),
        _ => Code::NotFound.into(),
    }
}

/// The answer to an error that came out of the routes: ours as it is, the framework's as the
/// code that comes nearest.
fn translate(error: poem::Error, route: &str, rule: Option<&Rule>) -> Response {
    if let Some(ours) = error.downcast_ref::<WireError>() {
        return ours.as_response();
    }
    if error.is_from_response() {
        return error.into_response();
    }
    let code = match error.status() {
        StatusCode::UNAUTHORIZED => Code::NotAuth,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => return wrong_method(rule).into_response(),
        StatusCode::REQUEST_TIMEOUT => Code::Timeout,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        // Answers about a file's state and ranges: their headers say it all.
        status @ (StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) => {
            let mut answer = error.into_response();
            answer.set_status(status);
            answer.headers_mut().remove(header::CONTENT_TYPE);
            answer.set_body(());
            return answer;
        }
        status if status.is_client_error() => Code::InvalidInput,
        status => {
            tracing::error!(route, %status, %error, "a request failed");
            Code::Internal
        }
    };
    WireError::from(code).into_response()
}

/// The message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

/// Adds the headers that every answer has, unless the inside has set them: `X-Content-Type-Options: nosniff`,
/// `Referrer-Policy: no-referrer`, the Content-Security-Policy of what is no page, for JSON `Cache-Control: no-store`; over
/// https also the one that has browsers stay with it.
pub(super) fn finish(mut answer: Response, https: bool) -> Response {
    let json = answer.content_type().is_some_and(|media| media.starts_with("application/json"));
    let mut set = |name: HeaderName, value: &'static str| {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    // For who opens an answer as a page: nothing in it acts, and nobody frames it.
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if https {
        // A year (RFC 6797, section 6.1). Other names of the domain are not ours to speak for.
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if json {
        set(header::CACHE_CONTROL, "no-store");
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use poem::endpoint::make;
    use poem::error::InternalServerError;
    use poem::listener::{Acceptor as _, Listener as _, TcpListener};
    use poem::{EndpointExt as _, Error, Route, Server, get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::http::request::paths::Paths;

    /// Says path and query as the inside sees them.
    async fn echo(request: Request) -> poem::Result<Response> {
        let text = format!("{} {}", request.method(), request.uri());
        Ok(Response::builder().content_type("application/json; charset=utf-8").body(text))
    }

    fn rule(path: &str, method: Method, head: bool, errors: ErrorStyle) -> Rule {
        Rule { methods: vec![method], head, errors, ..Rule::page(path) }
    }

    fn service() -> impl Endpoint<Output = Response> {
        let fails = |error: fn() -> Error| get(make(move |_| async move { Err::<Response, _>(error()) }));
        let routes = Route::new()
            .at("/me", get(make(echo)))
            .at("/destroyacc", get(make(echo)))
            .at("/getMessages", post(make(echo)))
            .at("/login", post(make(echo)))
            .at("/threads/:id", post(make(echo)))
            .at("/tile/*path", get(make(echo)))
            .at("/own", fails(|| WireError::from(Code::NotAdmin).into()))
            .at("/broken", fails(|| InternalServerError(std::io::Error::other("secret cause"))))
            .at("/refused", fails(|| Error::from_string("secret cause", StatusCode::UNSUPPORTED_MEDIA_TYPE)))
            .at("/range", fails(|| poem::error::StaticFileError::RangeNotSatisfiable { size: 7 }.into()))
            .at("/audit", fails(|| WireError::from(Code::NotFound).into()))
            .at("/panics", get(make(|_| async { panic!("secret cause") as poem::Result<Response> })))
            .at("/file", get(make(|_| async { Ok::<_, Error>("text".with_header("referrer-policy", "same-origin")) })));
        let paths = Arc::new(Paths::new([
            rule("/me", Method::GET, true, ErrorStyle::Contract),
            rule("/destroyacc", Method::GET, false, ErrorStyle::Contract),
            rule("/getMessages", Method::POST, false, ErrorStyle::Contract),
            rule("/login", Method::POST, false, ErrorStyle::Added),
            rule("/threads/{id}", Method::POST, true, ErrorStyle::Added),
            rule("/tile/{number}.p/{width}", Method::GET, true, ErrorStyle::Added),
            rule("/tile/x{thousands}/{number}", Method::GET, true, ErrorStyle::Added),
            rule("/audit", Method::GET, true, ErrorStyle::Own),
        ]));
        routes.around(move |inside, request| {
            let rule = paths.find(request.uri().path());
            async move {
                let resolved = Resolved { rule, ..Resolved::unknown() };
                Ok(finish(answer(&inside, &resolved, request).await, resolved.caller.https))
            }
        })
    }

    async fn ask(method: &str, uri: &str) -> (u16, Response) {
        let method: Method = method.parse().unwrap();
        let answer = service().get_response(Request::builder().method(method).uri_str(uri).finish()).await;
        (answer.status().as_u16(), answer)
    }

    #[tokio::test]
    async fn paths_methods_and_errors() {
        let not_found = (404, r#"{"error":"NOTFOUND"}"#);
        let not_allowed = (405, r#"{"error":"METHODNOTALLOWED"}"#);
        let internal = (500, r#"{"error":"INTERNAL"}"#);
        for (method, uri, expected) in [
            ("GET", "/me", (200, "GET /me")),
            ("GET", "/ME/", (200, "GET /me")),
            ("GET", "/Me?A=b%20C", (200, "GET /me?A=b%20C")),
            ("GET", "http://host:3000/mE/?x", (200, "GET http://host:3000/me?x")),
            ("POST", "/getmessages/", (200, "POST /getMessages")),
            ("POST", "/GetMessages", (200, "POST /getMessages")),
            ("POST", "/LOGIN", (200, "POST /login")),
            ("POST", "/threads/G1", (200, "POST /threads/G1")),
            ("GET", "/me//", not_found),
            ("GET", "/", not_found),
            ("GET", "//", not_found),
            ("GET", "/me%2f", not_found),
            ("POST", "/me", not_found),
            ("GET", "/getmessages", not_found),
            ("OPTIONS", "/me", not_found),
            ("HEAD", "/destroyacc", not_found),
            ("HEAD", "/DestroyAcc/", not_found),
            ("GET", "/destroyacc", (200, "GET /destroyacc")),
            ("GET", "/login", not_allowed),
            ("HEAD", "/login/", not_allowed),
            ("GET", "/threads/g1", not_allowed),
            ("GET", "/threads/", not_found),
            ("GET", "/threads/g1/x", not_found),
            ("POST", "/tile/000.p/5", not_allowed),
            ("POST", "/tile/x001/000", not_allowed),
            ("POST", "/tile/.p/5", not_found),
            ("POST", "/tile/000.px/5", not_found),
            ("POST", "/tile/x/000", not_found),
            ("POST", "/tile/y001/000", not_found),
            ("GET", "/tile/y001/000", (200, "GET /tile/y001/000")),
            ("POST", "/file", not_found),
            ("GET", "/FILE", not_found),
            ("GET", "/file", (200, "text")),
            ("GET", "/own", (200, r#"{"valid":false,"reason":"NOTADMIN"}"#)),
            ("GET", "/refused", (400, r#"{"error":"INVALIDINPUT"}"#)),
            ("GET", "/broken", internal),
            ("GET", "/panics", internal),
            ("GET", "/range", (416, "")),
        ] {
            let (status, answer) = ask(method, uri).await;
            let body = answer.into_body().into_string().await.unwrap();
            assert_eq!((status, body.as_str()), expected, "{method} {uri}");
        }
        assert_eq!(ask("GET", "/login").await.1.header("allow"), Some("POST"));
        assert_eq!(ask("GET", "/threads/g1").await.1.header("allow"), Some("POST, HEAD"));
        assert_eq!(ask("GET", "/range").await.1.header("content-range"), Some("bytes */7"));
    }

    #[tokio::test]
    async fn our_own_paths_answer_problems() {
        for (method, status, title, code, detail) in [
            ("GET", 404, "Not Found", "NOTFOUND", "There is nothing at this path."),
            ("POST", 405, "Method Not Allowed", "METHODNOTALLOWED", "Not with this method."),
        ] {
            let (said, answer) = ask(method, "/audit").await;
            assert_eq!((said, answer.content_type()), (status, Some("application/problem+json")));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let body: serde_json::Value = answer.into_body().into_json().await.unwrap();
            let expected = serde_json::json!({
                "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code, "error": code
            });
            assert_eq!(body, expected);
        }
    }

    #[tokio::test]
    async fn every_answer_has_its_headers() {
        for (uri, referrer, cache) in [
            ("/me", "no-referrer", Some("no-store")),
            ("/nowhere", "no-referrer", Some("no-store")),
            ("/panics", "no-referrer", Some("no-store")),
            ("/file", "same-origin", None),
        ] {
            let answer = ask("GET", uri).await.1;
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("referrer-policy"), Some(referrer));
            assert_eq!(answer.header("cache-control"), cache, "{uri}");
        }
    }

    #[tokio::test]
    async fn an_answer_to_head_has_the_length_and_no_body() {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        tokio::spawn(Server::new_with_acceptor(acceptor).run(service()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"HEAD /Me HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-length: 7\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}
