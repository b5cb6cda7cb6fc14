//! The pages that the server shows in a browser: what runs here, and Swagger UI. None of them needs
//! anything from elsewhere, and each allows itself, by its Content-Security-Policy, what it needs.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poem::http::{HeaderValue, header};
use poem::{Request, Response};
use sha2::{Digest, Sha256};

/// What runs here.
const HOME: &str = include_str!("home.html");
/// The page of Swagger UI.
const DOCS: &str = include_str!("docs.html");
/// How the page of Swagger UI starts it.
const START: &str = include_str!("docs.js");

/// The paths of the pages.
pub const PATHS: [&str; 5] = ["/", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"];

/// The pages.
pub(in crate::http) struct Pages(HashMap<&'static str, Page>);

impl Pages {
    /// All of them. `bundled` is poem-openapi's page of Swagger UI, which carries its program and its style in itself: they are
    /// taken out of it, so that no script has to stand in a page.
    pub(in crate::http) fn new(bundled: &str) -> Self {
        let style = between(HOME, "<style>", "</style>");
        let style = STANDARD.encode(Sha256::digest(style));
        let home = format!("default-src 'none'; style-src 'sha256-{style}'; img-src data:; {NOTHING_ELSE}");
        // Swagger UI draws with style elements and attributes, and with images as data.
        let docs = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             connect-src 'self'; {NOTHING_ELSE}"
        );
        let css = between(bundled, "<style charset=\"UTF-8\">", "</style>");
        let program = between(bundled, "<script charset=\"UTF-8\">", "</script>");
        let pages = [
            Page::new("text/html; charset=utf-8", HOME, &home),
            Page::new("text/html; charset=utf-8", DOCS, &docs),
            Page::new("text/javascript; charset=utf-8", START, &docs),
            Page::new("text/css; charset=utf-8", css, &docs),
            Page::new("text/javascript; charset=utf-8", program, &docs),
        ];
        Self(PATHS.into_iter().zip(pages).collect())
    }

    /// The page that a request reads; none if there is none at its path.
    pub(in crate::http) fn answer(&self, request: &Request) -> Option<Response> {
        self.0.get(request.uri().path()).map(|page| page.answer(request))
    }
}

/// What no page does.
const NOTHING_ELSE: &str = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(inside, _)| inside).unwrap_or_default()
}

/// A text that never changes while the server runs.
struct Page {
    media_type: &'static str,
    text: Arc<str>,
    policy: HeaderValue,
    tag: HeaderValue,
}

impl Page {
    fn new(media_type: &'static str, text: &str, policy: &str) -> Self {
        // Both texts are ASCII without control characters, which a header value may hold.
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let tag = format!("\"{}\"", STANDARD.encode(&Sha256::digest(text)[..16]));
        Self { media_type, text: text.into(), policy: header(policy), tag: header(&tag) }
    }

    fn answer(&self, request: &Request) -> Response {
        // Asked again each time, answered in full only after an update of the server (RFC 9110,
        // section 13.1.2).
        let known = request.headers().get_all(header::IF_NONE_MATCH).iter().any(|tag| *tag == self.tag);
        let mut answer = if known {
            Response::builder().status(poem::http::StatusCode::NOT_MODIFIED).finish()
        } else {
            Response::builder().content_type(self.media_type).body(self.text.to_string())
        };
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse as _;
    use poem::http::StatusCode;
    use poem_openapi::OpenApiService;

    use super::*;

    async fn ask(path: &str, known: Option<&str>) -> (StatusCode, String, Response) {
        let bundled = OpenApiService::new((), "", "").swagger_ui_html();
        let mut request = Request::builder().uri_str(path);
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let answer = Pages::new(&bundled).answer(&request.finish());
        let mut answer = answer.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response());
        let body = answer.take_body().into_string().await.unwrap();
        (answer.status(), body, answer)
    }

    #[tokio::test]
    async fn swagger_ui_comes_in_parts_from_here() {
        let (_, page, _) = ask("/docs", None).await;
        for path in &PATHS[2..] {
            assert!(page.contains(&format!("\"{path}\"")), "{path}");
            let (status, part, _) = ask(path, None).await;
            assert_eq!(status, StatusCode::OK);
            assert!(part.len() > 100, "{path} is cut off");
        }
        assert!(ask("/docs/swagger-ui-bundle.js", None).await.1.contains("SwaggerUIBundle"));
        assert!(ask("/docs/swagger-ui.css", None).await.1.contains(".swagger-ui"));
        assert!(!page.contains("http:") && !page.contains("https:"), "the page needs something from elsewhere");
    }

    /// Shows (docs/protocol.md): Files of the web client.
    #[tokio::test]
    async fn a_page_is_sent_once_and_says_what_it_may_do() {
        for path in PATHS {
            let (status, _, answer) = ask(path, None).await;
            assert_eq!(status, StatusCode::OK);
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with(NOTHING_ELSE), "{policy}");
            assert!(!policy.contains("script-src 'unsafe"), "{policy}");
            let again = ask(path, answer.header("etag")).await;
            assert_eq!((again.0, again.1.as_str()), (StatusCode::NOT_MODIFIED, ""));
        }
        assert_eq!(ask("/other", None).await.0, StatusCode::IM_A_TEAPOT);
    }
}
