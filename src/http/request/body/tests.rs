//! Tests of request bodies, in memory and over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use poem::endpoint::BoxEndpoint;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Endpoint as _, EndpointExt as _, IntoEndpoint as _, Response, Server};
use poem_openapi::payload::PlainText;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi, OpenApiService};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::http::request::common::Common;
use crate::http::request::lenient::Lenient;

/// A body.
#[derive(Debug, Object)]
struct Sample {
    /// Anything.
    a: Lenient<Any<Value>>,
    /// A text.
    b: Lenient<Option<String>>,
}

/// A body that not every object fits.
#[derive(Debug, Object)]
struct Strict {
    /// A number.
    a: u8,
}

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/", method = "post")]
    async fn sample(&self, body: Body<Sample>) -> PlainText<String> {
        let a = body.a.value().map_or("-".into(), Value::to_string);
        let b = body.b.str().map_or(0, str::len);
        PlainText(format!("{a} {b} {}", body.digest().is_some()))
    }

    #[oai(path = "/strict", method = "post")]
    async fn strict(&self, body: Body<Strict>) -> PlainText<String> {
        PlainText(body.into_inner().a.to_string())
    }
}

fn service(limits: BodyLimits) -> BoxEndpoint<'static, Response> {
    service_for(Resolved { common: Some(Common::with(limits)), ..Resolved::unknown() })
}

fn service_for(resolved: Resolved) -> BoxEndpoint<'static, Response> {
    OpenApiService::new(Api, "", "").data(resolved).map_to_response().boxed()
}

fn post(content_type: &str, body: impl Into<poem::Body>) -> Request {
    let mut request = Request::builder().method(poem::http::Method::POST);
    if !content_type.is_empty() {
        request = request.content_type(content_type);
    }
    request.body(body)
}

async fn said(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.into_body().into_string().await.unwrap())
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const INVALID: (u16, &str) = (400, r#"{"error":"INVALIDJSON"}"#);
const TOO_LARGE: (u16, &str) = (413, r#"{"error":"TOOLARGE"}"#);

/// Shows (docs/protocol.md): Bodies.
#[tokio::test]
async fn each_kind_of_body_has_its_answer() {
    let service = service(BodyLimits::default());
    let deep = |depth: usize| format!("{{\"b\":\"x\",\"c\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let many = |count: usize| format!(r#"{{"b":"x","c":[{}0]}}"#, "0,".repeat(count - 4));
    let nested = format!("{{\"b\":\"x\",\"c\":[{}0]}}", "[[[0]]],".repeat(20_000));
    for (content_type, body, expected) in [
        (JSON, r#"{"a":[1,{}],"b":"xy","c":0}"#.to_owned(), (200, "[1,{}] 2 false")),
        ("Application/JSON ; charset=UTF-8", "\u{feff} {\"a\":1,\"a\":2}".into(), (200, "2 0 false")),
        (JSON, r#"{"a":null,"b":7}"#.into(), (200, "null 0 false")),
        (JSON, String::new(), (200, "- 0 false")),
        (JSON, "[{\"a\":1}]".into(), (200, "- 0 false")),
        (JSON, " [] ".into(), (200, "- 0 false")),
        (JSON, "null".into(), INVALID),
        (JSON, "\"a\"".into(), INVALID),
        (JSON, "7".into(), INVALID),
        (JSON, " ".into(), INVALID),
        (JSON, "{\"a\":1".into(), INVALID),
        (JSON, "{\"a\":1}}".into(), INVALID),
        (JSON, "{'a':1}".into(), INVALID),
        (JSON, "{\"a\":NaN}".into(), INVALID),
        (JSON, "{\"a\":\"\\".into(), INVALID),
        (JSON, deep(126), (200, "- 1 false")),
        (JSON, deep(30_000), (200, "- 1 false")),
        (JSON, format!("{}]", deep(127)), INVALID),
        (JSON, r#"{"a":"\ud83d\ude00\ud83d","b":"\udc00"}"#.into(), (200, "\"😀\u{FFFD}\" 3 false")),
        (JSON, "[".repeat(5_000_000), TOO_LARGE),
        (JSON, many(65_536), (200, "- 1 false")),
        (JSON, many(65_537), TOO_LARGE),
        (JSON, nested, TOO_LARGE),
        (JSON, format!(r#"{{"b":"{}\""}}"#, ",".repeat(70_000)), (200, "- 70001 false")),
        (FORM, "a[x]=1&b=xyz".into(), (200, r#"{"x":"1"} 3 false"#)),
        (FORM, "a=1&b=2&c=3&d=4&e=5&f=6".into(), TOO_LARGE),
        (FORM, String::new(), (200, "- 0 false")),
        ("text/plain", r#"{"a":1}"#.into(), (200, "- 0 false")),
        ("application/jsonp", r#"{"a":1}"#.into(), (200, "- 0 false")),
        ("", r#"{"a":1}"#.into(), (200, "- 0 false")),
    ] {
        let head: String = body.chars().take(60).collect();
        let answer = said(service.get_response(post(content_type, body)).await).await;
        assert_eq!((answer.0, answer.1.as_str()), expected, "{content_type} {head}");
    }
    let answer = service.get_response(post(JSON, vec![b'"', 0xff, b'"'])).await;
    assert_eq!(said(answer).await, (400, INVALID.1.to_owned()));
}

/// Shows (docs/protocol.md): Bodies; Limits of bodies.
#[tokio::test]
async fn five_mebibytes_are_the_limit() {
    let service = service(BodyLimits::default());
    let body = |length: usize| format!(r#"{{"b":"{}"}}"#, "x".repeat(length - 8));
    let answer = service.get_response(post(JSON, body(5_242_880))).await;
    assert_eq!(said(answer).await, (200, "- 5242872 false".to_owned()));
    let answer = service.get_response(post(JSON, body(5_242_881))).await;
    assert_eq!(said(answer).await, (413, TOO_LARGE.1.to_owned()));
    // A declared length is believed only when it is too large.
    for (declared, status) in [("5242881", 413), ("99999999999999999999", 200), ("3", 200), ("x", 200)] {
        let mut request = post(JSON, "{}");
        request.headers_mut().insert(header::CONTENT_LENGTH, declared.parse().unwrap());
        assert_eq!(service.get_response(request).await.status(), status, "{declared}");
    }
}

#[tokio::test]
async fn a_type_that_is_not_lenient_may_refuse() {
    let service = service(BodyLimits::default());
    for (body, expected) in [("{\"a\":7}", (200, "7")), ("{\"a\":\"7\"}", (400, r#"{"error":"INVALIDINPUT"}"#))] {
        let mut request = post(JSON, body);
        *request.uri_mut() = "/strict".parse().unwrap();
        let answer = said(service.get_response(request).await).await;
        assert_eq!((answer.0, answer.1.as_str()), expected);
    }
}

#[tokio::test]
async fn the_digest_is_there_for_idempotency_only() {
    let service = service_for(Resolved { key: SentKey::Malformed, ..Resolved::unknown() });
    let answer = said(service.get_response(post(JSON, "{}")).await).await;
    assert_eq!(answer, (200, "- 0 true".to_owned()));
}

#[test]
fn the_document_shows_json_alone() {
    let document: Value = serde_json::from_str(&OpenApiService::new(Api, "", "").spec()).unwrap();
    let body = &document["paths"]["/"]["post"]["requestBody"];
    assert_eq!(body["required"], true);
    let content: Vec<_> = body["content"].as_object().unwrap().iter().collect();
    let schema = serde_json::json!({ "schema": { "$ref": "#/components/schemas/Sample" } });
    assert_eq!(content, [(&JSON.to_owned(), &schema)]);
}

/// The service behind a real connection.
async fn serve(limits: BodyLimits) -> SocketAddr {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(service(limits).into_endpoint()));
    address
}

#[tokio::test]
async fn slow_bodies_time_out() {
    let limits =
        BodyLimits { stall: Duration::from_millis(200), total: Duration::from_millis(500), ..BodyLimits::default() };
    let address = serve(limits).await;
    for pause in [400, 100] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let sender = tokio::spawn(async move {
            while write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
        let mut answer = String::new();
        let begin = std::time::Instant::now();
        let _ = read.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.ends_with(r#"{"error":"TIMEOUT"}"#), "{answer}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        sender.abort();
    }
}

proptest! {
    #[test]
    fn every_body_gets_a_clear_answer(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}:,\"a1 \\\\]{0,20}", form in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let service = service(BodyLimits::default());
        for body in [bytes, text.into_bytes()] {
            let object = matches!(serde_json::from_slice(&body), Ok(Value::Object(_) | Value::Array(_)));
            let (status, answer) = runtime.block_on(async {
                said(service.get_response(post(if form { FORM } else { JSON }, body.clone())).await).await
            });
            if form {
                assert!(status == 200 || (status, answer.as_str()) == TOO_LARGE);
            } else if object || body.is_empty() {
                assert_eq!(status, 200);
            } else {
                assert_eq!((status, answer.as_str()), INVALID);
            }
        }
    }
}
