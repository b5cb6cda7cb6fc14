//! What is known of a request besides its body, found once in front of all that asks for it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use be8_events::Hash32;
use poem::{FromRequest, Request, RequestBody};

use super::address::{Arrival, Caller, Proxies};
use super::common::Common;
use super::cookie::SessionToken;
use super::idempotency_key::SentKey;
use super::paths::{Paths, Rule};
use crate::http::document::operation::{ErrorStyle, LimitClass};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// What a request is for, who sends it, and what the server has for it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is declared for its path; none: no operation and no page is there.
    pub rule: Option<&'static Rule>,
    /// Who sends it.
    pub caller: Caller,
    /// The hash of its session token, if it carries one. Whether such a session exists is decided with the command or the
    /// query, never before it.
    pub session: Option<Hash32>,
    /// What its `Idempotency-Key` says.
    pub key: SentKey,
    /// What it has in common with all others; none: it did not come through the layers.
    pub common: Option<Arc<Common>>,
}

impl Resolved {
    /// That of a request.
    pub fn of(request: &Request) -> &Self {
        static UNKNOWN: Resolved = Resolved::unknown();
        request.data().unwrap_or(&UNKNOWN)
    }

    /// That of a request of which nothing was found out.
    pub(in crate::http) const fn unknown() -> Self {
        let caller = Caller { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), https: false };
        Self { rule: None, caller, session: None, key: SentKey::Absent, common: None }
    }

    /// How errors are reported.
    pub(in crate::http) fn errors(&self) -> ErrorStyle {
        self.rule.map_or(ErrorStyle::Contract, |rule| rule.errors)
    }

    /// Under which limit it counts.
    pub(in crate::http) fn limit(&self) -> LimitClass {
        self.rule.map_or(LimitClass::Usual, |rule| rule.limit)
    }
}

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Resolved::of(request).caller)
    }
}

impl<'a> FromRequest<'a> for &'a Common {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Resolved::of(request).common.as_deref().ok_or(WireError::from(Code::Internal))?)
    }
}

/// By what requests are resolved.
#[derive(Debug)]
pub(in crate::http) struct Resolver {
    /// All paths.
    pub paths: Paths,
    /// Who is believed about whom they speak for.
    pub proxies: Proxies,
    /// The public address is one of https: so is every client, whatever is in between.
    pub https: bool,
    /// What all requests have in common.
    pub common: Arc<Common>,
}

impl Resolver {
    /// What is known of a request, and the host that a trusted proxy was asked for.
    pub(in crate::http) fn resolve(&self, request: &Request) -> (Resolved, Option<String>) {
        let Arrival { caller, forwarded_host } = self.proxies.arrival(request);
        let caller = Caller { https: caller.https || self.https, ..caller };
        let headers = request.headers();
        let resolved = Resolved {
            rule: self.paths.find(request.uri().path()),
            caller,
            session: SessionToken::read(headers, caller.https).map(|token| token.hash()),
            key: SentKey::of(headers),
            common: Some(self.common.clone()),
        };
        (resolved, forwarded_host)
    }
}

#[cfg(test)]
mod tests {
    use poem::http::header;

    use super::*;
    use crate::http::request::body::BodyLimits;

    const TOKEN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn resolve(public_https: bool, path: &str, lines: &[(&str, String)]) -> Resolved {
        let paths = Paths::new([Rule::page("/docs"), Rule::page("/threads/{id}")]);
        let common = Common::with(BodyLimits::default());
        let resolver = Resolver { paths, proxies: Proxies::default(), https: public_https, common };
        let mut request = Request::builder().uri_str(path);
        for (name, value) in lines {
            request = request.header(*name, value);
        }
        resolver.resolve(&request.finish()).0
    }

    #[test]
    fn all_of_a_request_is_found_at_once() {
        let hash = SessionToken::parse(TOKEN.as_bytes()).map(|token| token.hash());
        let lines = [(header::COOKIE.as_str(), format!("be8={TOKEN}")), ("idempotency-key", "\"k\"".to_owned())];
        let found = resolve(false, "/Docs/?x", &lines);
        assert_eq!(found.rule.map(|rule| rule.path.as_str()), Some("/docs"));
        assert_eq!((found.session, found.key), (hash, SentKey::Hash(Hash32::sha256(b"k"))));
        assert!(hash.is_some() && !found.caller.https);
        // Over https the cookie has another name.
        let found = resolve(true, "/threads/7", &lines);
        assert_eq!(found.rule.map(|rule| rule.path.as_str()), Some("/threads/{id}"));
        assert_eq!((found.session, found.caller.https), (None, true));
        let lines = [(header::COOKIE.as_str(), format!("__Host-be8={TOKEN}"))];
        assert_eq!(resolve(true, "/", &lines).session, hash);
        assert_eq!((resolve(false, "/", &lines).session, resolve(false, "/", &[]).key), (None, SentKey::Absent));
    }

    #[test]
    fn a_path_without_a_rule_is_the_contract_s() {
        let found = resolve(false, "/nowhere", &[]);
        assert!(found.rule.is_none());
        assert_eq!((found.errors(), found.limit()), (ErrorStyle::Contract, LimitClass::Usual));
        let request = Request::default();
        let unknown = Resolved::of(&request);
        assert!(unknown.rule.is_none() && unknown.session.is_none());
    }
}
