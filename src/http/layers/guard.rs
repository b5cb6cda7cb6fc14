//! The guard against other sites: what sets or uses a session is refused when a page of another origin makes a browser send
//! it (docs/protocol.md, "Requests from other origins").
//!
//! `SameSite` keeps the cookie from requests of other sites. It does not keep them from setting it, by a form that they post
//! to `/login`, and not from using it where another port or a sibling host, which are the same site, posts that form.

use std::sync::{Arc, Once};

use poem::http::{HeaderMap, header};
use poem::{Endpoint, IntoResponse as _, Middleware, Request, Response};

use super::edge::{EdgeLayer, finish};
use crate::http::request::address::{Arrival, Caller, Proxies};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The guard as a poem middleware, in front of the limits: what is refused here counts for nobody. It also finds out who
/// sends a request ([`Caller`]), for all that comes after it.
#[derive(Debug, Clone)]
pub struct GuardLayer {
    /// How paths match, and what is guarded.
    pub edge: EdgeLayer,
    /// Who is believed about whom they speak for.
    pub proxies: Proxies,
    /// The public address.
    pub public_url: Arc<str>,
}

impl<E: Endpoint<Output = Response>> Middleware<E> for GuardLayer {
    type Output = Guarded<E>;

    fn transform(&self, inside: E) -> Guarded<E> {
        Guarded { layer: self.clone(), inside }
    }
}

/// An endpoint behind the guard.
#[derive(Debug)]
pub struct Guarded<E> {
    layer: GuardLayer,
    inside: E,
}

impl<E: Endpoint<Output = Response>> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let GuardLayer { edge, proxies, public_url } = &self.layer;
        let Arrival { caller, hosts } = proxies.arrival(&request);
        let https = caller.https || public_url.starts_with("https://");
        request.set_data(Caller { https, ..caller });
        if let Some(rule) = edge.rule(request.uri().path())
            && rule.guarded.contains(request.method())
        {
            let scheme = if https { "https" } else { "http" };
            let own = hosts.iter().map(|host| origin_of(&format!("{scheme}://{host}"))).chain([origin_of(public_url)]);
            let own: Vec<String> = own.collect();
            if !allows(request.headers(), &own) || rule.changes_by_get && navigates(request.headers()) {
                hint(request.headers());
                let answer = WireError::from(Code::Forbidden).into_response();
                return Ok(finish(rule.errors.apply(answer), https));
            }
        }
        self.inside.call(request).await
    }
}

/// Whether the headers of a request allow that a page of one of these origins, or no page at all, made it. Browsers set
/// them, and no page can: Fetch Metadata where there is any, else Origin (RFC 6454), which browsers send with every form
/// and which old ones replace by Referer. Other programs send none of them.
fn allows(headers: &HeaderMap, own: &[String]) -> bool {
    let values = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let sites = values("sec-fetch-site");
    if !sites.is_empty() {
        // `none` is what a person does: an address that is typed, a bookmark.
        return sites.iter().all(|site| site == "same-origin" || site == "none");
    }
    let origins = values(header::ORIGIN.as_str());
    if !origins.is_empty() {
        return origins.iter().all(|origin| own.contains(&origin.to_ascii_lowercase()));
    }
    values(header::REFERER.as_str()).iter().all(|page| own.contains(&origin_of(page)))
}

/// Whether a browser goes there instead of fetching it.
fn navigates(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-mode").iter().any(|mode| mode.as_bytes().eq_ignore_ascii_case(b"navigate"))
}

/// The origin of an address: scheme, host and port, as browsers write it.
pub fn origin_of(url: &str) -> String {
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
        let own = ["https://be8.example".to_owned(), "http://localhost:3000".to_owned()];
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
            assert!(allows(&headers(lines), &own), "{lines:?}");
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
            assert!(!allows(&headers(lines), &own), "{lines:?}");
        }
    }
}
