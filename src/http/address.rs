//! The address of a client: of the connection, or, behind a proxy that is trusted, the one that the
//! proxy names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Once;

use poem::http::{HeaderMap, HeaderName, header};
use poem::{Addr, Request};

/// Where proxies write down whom they speak for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For: client, proxy`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

/// No such header.
#[derive(Debug, thiserror::Error)]
#[error("neither x-forwarded-for nor forwarded")]
pub struct NoSuchHeader;

impl FromStr for ForwardedBy {
    type Err = NoSuchHeader;

    fn from_str(text: &str) -> Result<Self, NoSuchHeader> {
        match text {
            _ if text.eq_ignore_ascii_case("x-forwarded-for") => Ok(Self::XForwardedFor),
            _ if text.eq_ignore_ascii_case("forwarded") => Ok(Self::Forwarded),
            _ => Err(NoSuchHeader),
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<IpAddr>,
    /// The header that they write. Of another one nobody knows who wrote it.
    pub header: ForwardedBy,
}

/// The address of a request's client, found once for the limits and whoever asks behind them.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl<'a> poem::FromRequest<'a> for ClientAddress {
    async fn from_request(request: &'a Request, _: &mut poem::RequestBody) -> poem::Result<Self> {
        // Behind the limits it is always there.
        Ok(request.data().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

impl Proxies {
    /// The address that a request comes from: the one of the connection; if that is a trusted
    /// proxy's, the right-most one of its header that is none. What stands left of that came from
    /// outside and may be a lie.
    pub fn client(&self, request: &Request) -> IpAddr {
        let peer = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => address.ip().to_canonical(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        if !self.trusts(peer) && speaks_for_others(peer, request.headers()) {
            HINT.call_once(|| {
                tracing::warn!("a proxy that is not trusted sends requests: all who come through it share one limit");
            });
        }
        self.behind(peer, request.headers())
    }

    /// Whether a (canonical) address is that of a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|trusted| trusted.to_canonical() == address)
    }

    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer;
        if !self.trusts(peer) {
            return nearest;
        }
        let name = match self.header {
            ForwardedBy::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardedBy::Forwarded => header::FORWARDED,
        };
        // A header may come in several lines, each a list.
        let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let entry = match self.header {
                ForwardedBy::XForwardedFor => Some(entry),
                ForwardedBy::Forwarded => forwarded_for(entry),
            };
            // Behind what cannot be read nothing is known: it counts as the proxy that wrote it.
            let Some(address) = entry.and_then(address) else { break };
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

/// Tells once that a setting may be missing.
static HINT: Once = Once::new();

/// Whether a request looks as if it came through a proxy of the operator's own.
fn speaks_for_others(peer: IpAddr, headers: &HeaderMap) -> bool {
    let near = match peer {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    };
    near && (headers.contains_key("x-forwarded-for") || headers.contains_key(header::FORWARDED))
}

/// The node of `for` in an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or bare.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// What stands for all addresses that one client has for the asking: of IPv6 a network of 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(header: ForwardedBy, peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.1", "10.0.0.2", "2001:db8::1"].map(|text| text.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Proxies { trusted, header }.behind(peer.parse::<IpAddr>().unwrap().to_canonical(), &headers).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        for (peer, lines, expected) in [
            // Nobody trusts a stranger.
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // What the client itself claims stands on the left.
            ("10.0.0.1", &["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9,198.51.100.7 , 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8::2]:4711, 2001:db8::1"], "2001:db8::2"),
            ("2001:db8::1", &["2001:db8::3"], "2001:db8::3"),
            // What cannot be read hides who stands behind it.
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.7,"], "10.0.0.1"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(behind(ForwardedBy::XForwardedFor, peer, &lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn only_the_header_that_the_proxies_write_is_read() {
        let both = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.7;proto=https")];
        assert_eq!(behind(ForwardedBy::XForwardedFor, "10.0.0.1", &both), "203.0.113.9");
        assert_eq!(behind(ForwardedBy::Forwarded, "10.0.0.1", &both), "198.51.100.7");
        for (line, expected) in [
            ("proto=http; For=\"[2001:db8::2]:4711\"", "2001:db8::2"),
            ("for=\"[2001:db8::2]\", for=10.0.0.2;by=10.0.0.1", "2001:db8::2"),
            ("for=203.0.113.9, for=198.51.100.7:80", "198.51.100.7"),
            ("for=_secret", "10.0.0.1"),
            ("by=203.0.113.9", "10.0.0.1"),
        ] {
            assert_eq!(behind(ForwardedBy::Forwarded, "10.0.0.1", &[("forwarded", line)]), expected, "{line}");
        }
    }
}
