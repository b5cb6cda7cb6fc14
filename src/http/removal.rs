//! Removing one's own account: the routes, and the guard that no other site can make a browser pass.

use poem::http::{HeaderMap, header};
use poem_openapi::OpenApi;

use super::app::Handle;
use super::document::Tag;
use super::error::{Code, WireError};
use super::session::Session;
use super::wire::{Answer, Success};
use crate::domain::removal::RemoveAccount;
use crate::process::removal::remove;

/// The removal of accounts by their owners.
pub struct Removal(pub Handle);

#[OpenApi]
impl Removal {
    /// Remove one's account
    ///
    /// At once and for good: the account, its sessions and all that it wrote are gone; its
    /// conversations end, the groups that it is the admin of are destroyed, and it leaves the others.
    ///
    /// A browser is only heard when the request comes from a page of this server's own: `FORBIDDEN`
    /// when `Sec-Fetch-Site` is there and not `same-origin`, when `Sec-Fetch-Mode` is `navigate`, or
    /// when `Origin` is another one.
    ///
    /// Checks in order: `FORBIDDEN`, `NOTAUTH`.
    #[oai(path = "/destroyacc", method = "post", operation_id = "removeAccount", tag = "Tag::Accounts")]
    async fn post(&self, from: Sender, session: Session) -> Result<Answer<Success>, WireError> {
        self.remove(&from, session).await
    }

    /// Remove one's account, as the web client asks for it
    ///
    /// The same as POST, which is to be preferred; HEAD is refused.
    ///
    /// Checks in order: `FORBIDDEN`, `NOTAUTH`.
    #[oai(path = "/destroyacc", method = "get", operation_id = "removeAccountByGet", tag = "Tag::Accounts")]
    async fn get(&self, from: Sender, session: Session) -> Result<Answer<Success>, WireError> {
        self.remove(&from, session).await
    }
}

impl Removal {
    async fn remove(&self, from: &Sender, session: Session) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        if !is_own(&from.0, &app.settings.origin) {
            return Err(Code::Forbidden.into());
        }
        let session = Some(session.required()?);
        remove(&app.ledger, &app.read, RemoveAccount::Panic { session }).await?;
        Ok(Answer::new(&Success::default()))
    }
}

/// Where a request comes from: its headers tell.
#[derive(Debug)]
struct Sender(HeaderMap);

impl<'a> poem::FromRequest<'a> for Sender {
    async fn from_request(request: &'a poem::Request, _: &mut poem::RequestBody) -> poem::Result<Self> {
        Ok(Self(request.headers().clone()))
    }
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

/// Whether the headers of a request allow that a page of ours, or no browser, made it (H3, D20). The
/// browser sets them, and no page can: Fetch Metadata, and Origin (RFC 6454).
fn is_own(headers: &HeaderMap, own: &str) -> bool {
    let all = |name: &str, good: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(good))
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let same_host = |origin: &str| {
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        authority.is_some() && authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    all("sec-fetch-site", &|site| site == "same-origin")
        && all("sec-fetch-mode", &|mode| !mode.eq_ignore_ascii_case("navigate"))
        && all("origin", &|origin| origin.eq_ignore_ascii_case(own) || same_host(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_pages_of_one_s_own_pass() {
        let own = origin_of("https://be8.example:443/some/path");
        assert_eq!(own, "https://be8.example");
        let good: [&[(&str, &str)]; 7] = [
            &[],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "same-origin")],
            &[("origin", "https://be8.example")],
            &[("origin", "HTTPS://Be8.Example")],
            // A server that knows its address only by what it is called.
            &[("origin", "http://localhost:3000"), ("host", "localhost:3000")],
            &[("host", "elsewhere")],
        ];
        for lines in good {
            assert!(is_own(&headers(lines), &own), "{lines:?}");
        }
        let bad: [&[(&str, &str)]; 14] = [
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "")],
            &[("sec-fetch-site", "SAME-ORIGIN ")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-mode", "navigate")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "https://evil.example")],
            &[("origin", "http://be8.example")],
            &[("origin", "https://be8.example.evil.example")],
            &[("origin", "https://be8.example:8443")],
            &[("origin", "ftp://localhost"), ("host", "localhost")],
        ];
        for lines in bad {
            assert!(!is_own(&headers(lines), &own), "{lines:?}");
        }
        // Any of several is enough to refuse.
        let mut twice = headers(&[("sec-fetch-site", "same-origin")]);
        twice.append("sec-fetch-site", "cross-site".parse().unwrap());
        assert!(!is_own(&twice, &own));
    }
}
