//! The guard against other sites: what sets or uses a session is refused when a page of another origin makes a browser send
//! it (docs/protocol.md, "Requests from other origins").
//!
//! `SameSite` keeps the cookie from requests of other sites. It does not keep them from setting it, by a form that they post
//! to `/login`, and not from using it where another port or a sibling host, which are the same site, posts that form.

use std::sync::Once;

use poem::http::{HeaderMap, HeaderName, header};
use poem::{IntoResponse as _, Request, Response};

use crate::http::request::resolved::Resolved;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The guard, in front of the limits: what is refused here counts for nobody.
#[derive(Debug)]
pub(super) struct Guard {
    /// The origin of the public address.
    public: String,
}

impl Guard {
    /// Of a server with this public address.
    pub(super) fn new(public_url: &str) -> Self {
        Self { public: origin_of(public_url) }
    }

    /// Refuses what another site makes a browser send. `forwarded_host` is the host that a trusted proxy was asked for.
    pub(super) fn refusal(
        &self,
        resolved: &Resolved,
        request: &Request,
        forwarded_host: Option<&str>,
    ) -> Option<Response> {
        let rule = resolved.rule.filter(|rule| rule.guarded.contains(request.method()))?;
        let scheme = if resolved.caller.https { "https" } else { "http" };
        let is_own = |origin: &str| {
            let hosts = [asked_host(request), forwarded_host].into_iter().flatten();
            let mut own = hosts.map(|host| origin_of(&format!("{scheme}://{host}")));
            origin == self.public || own.any(|own| origin == own)
        };
        if allows(request.headers(), is_own) && !(rule.changes_by_get && navigates(request.headers())) {
            return None;
        }
        hint(request.headers());
        let answer = WireError::from(Code::Forbidden).into_response();
        Some(rule.errors.apply(answer))
    }
}

/// The host, with its port, that this server was asked for. HTTP/2 has an authority and mostly no Host (RFC 9113, section
/// 8.3.1); in HTTP/1.1 that of an absolute target counts (RFC 9112, section 3.2.2).
fn asked_host(request: &Request) -> Option<&str> {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    authority.or_else(|| request.header(header::HOST))
}

/// Whether the headers of a request allow that a page of an own origin, or no page at all, made it. Browsers set
/// them, and no page can: Fetch Metadata where there is any, else Origin (RFC 6454), which browsers send with every form
/// and which old ones replace by Referer. Other programs send none of them.
fn allows(headers: &HeaderMap, is_own: impl Fn(&str) -> bool) -> bool {
    let values = |name: HeaderName, allowed: &dyn Fn(&str) -> bool| {
        let mut values = headers.get_all(&name).iter();
        headers.contains_key(&name).then(|| values.all(|value| allowed(value.to_str().unwrap_or_default())))
    };
    // `none` is what a person does: an address that is typed, a bookmark.
    values(HeaderName::from_static("sec-fetch-site"), &|site| site == "same-origin" || site == "none")
        .or_else(|| values(header::ORIGIN, &|origin| is_own(&origin.to_ascii_lowercase())))
        .or_else(|| values(header::REFERER, &|page| is_own(&origin_of(page))))
        .unwrap_or(true)
}

/// Whether a browser goes there instead of fetching it.
fn navigates(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-mode").iter().any(|mode| mode.as_bytes().eq_ignore_ascii_case(b"navigate"))
}

/// The origin of an address: scheme, host and port, as browsers write it.
fn origin_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // The port of the scheme is left out.
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    format!("{scheme}://{authority}").to_ascii_lowercase()
}

/// Logs once that a setting may be missing: a proxy that rewrites `Host` makes one's own page look like another's to
/// browsers without Fetch Metadata.
fn hint(headers: &HeaderMap) {
    static HINT: Once = Once::new();
    if let Some(origin) = headers.get(header::ORIGIN).filter(|_| !headers.contains_key("sec-fetch-site")) {
        HINT.call_once(|| {
            let origin: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(100).collect();
            tracing::warn!(
                ?origin,
                "a request from another origin was refused; if it is this server's own, set public-url"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// Shows (docs/protocol.md): Requests from other origins.
    #[test]
    fn only_own_pages_pass() {
        assert_eq!(origin_of("https://be8.example:443/some/path"), "https://be8.example");
        assert_eq!(origin_of("HTTP://Be8.Example:80?x"), "http://be8.example");
        assert_eq!(origin_of("https://[::1]:8443"), "https://[::1]:8443");
        let own = |origin: &str| ["https://be8.example", "http://localhost:3000"].contains(&origin);
        let good: [&[(&str, &str)]; 10] = [
            &[],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            // A proxy that rewrites the host does not matter to a browser that says it by itself.
            &[("sec-fetch-site", "same-origin"), ("origin", "https://chat.example")],
            &[("sec-fetch-mode", "cors")],
            &[("origin", "https://be8.example")],
            &[("origin", "HTTPS://Be8.Example")],
            &[("origin", "http://localhost:3000"), ("referer", "https://evil.example/")],
            &[("referer", "https://be8.example/page?x#y")],
            &[("referer", "http://localhost:3000")],
        ];
        for lines in good {
            assert!(allows(&headers(lines), own), "{lines:?}");
        }
        let bad: [&[(&str, &str)]; 19] = [
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[("sec-fetch-site", "SAME-ORIGIN ")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://be8.example")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "https://evil.example")],
            &[("origin", "http://be8.example")],
            &[("origin", "https://be8.example.evil.example")],
            &[("origin", "https://be8.example:8443")],
            &[("origin", "https://be8.example/")],
            &[("origin", "ftp://localhost:3000")],
            &[("origin", "https://be8.example"), ("origin", "https://evil.example")],
            &[("referer", "https://evil.example/https://be8.example")],
            &[("referer", "https://be8.example@evil.example/")],
            &[("referer", "https://be8.example.evil.example/")],
            &[("referer", "")],
        ];
        for lines in bad {
            assert!(!allows(&headers(lines), own), "{lines:?}");
        }
    }
}
