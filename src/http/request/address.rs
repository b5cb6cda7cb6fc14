//! Who sends a request: the address of its client and whether that speaks https, of the connection or, if a trusted proxy
//! sent it, as the proxy says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Once;

use be8_events::AccId;
use ipnet::{IpNet, Ipv4Net};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, header};
use poem::{Addr, Request};

use super::forwarded::{Hop, forwarded, x_forwarded};
use crate::password::Requester;

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

/// The proxies that are trusted.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their networks.
    pub trusted: Networks,
    /// The header that they write. Of another one nobody knows who wrote it.
    pub header: ForwardedBy,
}

/// Networks of addresses, as they are set: `10.0.0.0/8, 2001:db8::1`. An address alone is a network of one. IPv4 addresses
/// may be written as IPv6 (`::ffff:10.0.0.0/104`), as a socket for both shows them, and IPv6 addresses in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// No network.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NoNetwork(String);

impl FromStr for Networks {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        parts
            .map(|part| one_network(part).ok_or_else(|| NoNetwork(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn one_network(text: &str) -> Option<IpNet> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let (address, length) = match address.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(address)) => (address, length),
        // `[fd00::/8]`
        Some(None) => (address.strip_prefix('[')?, Some(length?.strip_suffix(']')?)),
        None => (address, length),
    };
    let address: IpAddr = address.parse().ok()?;
    let length = match length {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None if address.is_ipv4() => 32,
        None => 128,
    };
    let network = IpNet::new(address, length).ok()?;
    let folded = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Some(match folded {
        Some((address, length)) => Ipv4Net::new(address, length).ok()?.trunc().into(),
        None => network.trunc(),
    })
}

impl Networks {
    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The address of the client.
    pub address: IpAddr,
    /// The client speaks https, to this server or to a proxy in front of it.
    pub https: bool,
}

impl Caller {
    /// For whom a password or a code of an account is hashed.
    pub fn requester(self, account: Option<AccId>) -> Requester {
        Requester { network: network(self.address), account }
    }
}

/// What is known of the way of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Arrival {
    /// Who sends it.
    pub caller: Caller,
    /// The host, with its port, that a trusted proxy was asked for.
    pub forwarded_host: Option<String>,
}

impl Proxies {
    /// What is known of the way of a request.
    ///
    /// If the connection is a trusted proxy's, the client is the right-most one of its header that is no proxy. What stands
    /// left of that came from outside and may be a lie.
    pub(in crate::http) fn arrival(&self, request: &Request) -> Arrival {
        let peer = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => address.ip().to_canonical(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        if !self.trusts(peer) && speaks_for_others(peer, request.headers()) {
            HINT.call_once(|| {
                tracing::warn!("a proxy that is not trusted sends requests: all who come through it share one limit");
            });
        }
        let (address, hop) = self.behind(peer, request.headers());
        let forwarded_https =
            hop.proto.as_deref().map(|proto| ["https", "wss"].iter().any(|name| proto.eq_ignore_ascii_case(name)));
        let https = forwarded_https.unwrap_or(*request.scheme() == Scheme::HTTPS);
        Arrival { caller: Caller { address, https }, forwarded_host: hop.host }
    }

    /// Whether an address is that of a trusted proxy.
    pub(in crate::http) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.contain(address)
    }

    /// The client, and what the proxy that it connected to says.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> (IpAddr, Hop) {
        let (mut nearest, mut said) = (peer, Hop::default());
        if !self.trusts(peer) {
            return (nearest, said);
        }
        let hops = match self.header {
            ForwardedBy::XForwardedFor => x_forwarded(headers),
            ForwardedBy::Forwarded => forwarded(headers),
        };
        for hop in hops.into_iter().rev() {
            let address = hop.address;
            said = hop;
            // Of who stands behind what cannot be read nothing is known: it counts as the proxy that wrote it.
            let Some(address) = address else { break };
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        (nearest, said)
    }
}

/// Logs once that a setting may be missing.
static HINT: Once = Once::new();

/// Whether a request looks as if it came through a proxy of the operator's own.
fn speaks_for_others(peer: IpAddr, headers: &HeaderMap) -> bool {
    let near = match peer {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    };
    near && (headers.contains_key("x-forwarded-for") || headers.contains_key(header::FORWARDED))
}

/// What stands for all addresses that one client has for the asking: of IPv6 a network of 64 bits.
pub(in crate::http) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(header: ForwardedBy, peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted = "10.0.0.0/30, 2001:db8::1".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(poem::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Proxies { trusted, header }.behind(peer.parse::<IpAddr>().unwrap().to_canonical(), &headers).0.to_string()
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
            // An empty member of a list is none.
            ("10.0.0.1", &["198.51.100.7,"], "198.51.100.7"),
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

    #[test]
    fn a_client_is_its_address_or_its_network() {
        let net = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(net("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(net("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(net("192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn networks_are_written_in_many_ways() {
        let in_it = |networks: &str, address: &str| {
            let networks: Networks = networks.parse().unwrap_or_else(|error| panic!("{error}"));
            networks.contain(address.parse().unwrap())
        };
        for (networks, address) in [
            ("127.0.0.0/8", "127.9.9.9"),
            ("127.0.0.1/8", "127.9.9.9"),
            ("10.0.0.0/8,127.0.0.1", "127.0.0.1"),
            (" 10.0.0.0/8 ,\t[::1] ,", "::1"),
            ("10.0.0.0/8 ::1", "::1"),
            ("[fd00::]/8", "fd12::1"),
            ("[fd00::/8]", "fd12::1"),
            ("FD00::/8", "fd12::1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[::ffff:10.0.0.1]", "::ffff:10.0.0.1"),
            ("0.0.0.0/0", "::ffff:198.51.100.7"),
            ("::/0", "2001:db8::1"),
        ] {
            assert!(in_it(networks, address), "{networks} {address}");
        }
        for (networks, address) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("::/0", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.2"),
            ("::ffff:10.0.0.0/104", "11.0.0.1"),
        ] {
            assert!(!in_it(networks, address), "{networks} {address}");
        }
        for wrong in
            ["10.0.0.0/33", "::1/129", "10.0.0/8", "proxy", "10.0.0.1:80", "[::1", "::1]", "10.0.0.0/", "10.0.0.0/+8"]
        {
            let error = format!("10.0.0.1,{wrong}").parse::<Networks>().unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?} is neither")), "{error}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_that_the_outermost_proxy_was_asked_for() {
        let said = |header, lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(poem::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let proxies = Proxies { trusted: "10.0.0.0/8".parse().unwrap(), header };
            let of = |peer: &str| {
                let (address, hop) = proxies.behind(peer.parse().unwrap(), &headers);
                format!("{address} {} {}", hop.proto.unwrap_or_default(), hop.host.unwrap_or_default())
            };
            assert_eq!(of("192.0.2.1"), "192.0.2.1  ", "of a stranger nothing is believed");
            of("10.0.0.1")
        };
        let x = ForwardedBy::XForwardedFor;
        assert_eq!(said(x, &[("x-forwarded-proto", "https")]), "10.0.0.1 https ");
        assert_eq!(
            said(x, &[("x-forwarded-for", "198.51.100.7, 10.0.0.2"), ("x-forwarded-proto", "https, http")]),
            "198.51.100.7 https "
        );
        assert_eq!(
            said(x, &[("x-forwarded-for", "unknown"), ("x-forwarded-host", "a.example")]),
            "10.0.0.1  a.example"
        );
        assert_eq!(said(x, &[("forwarded", "proto=https")]), "10.0.0.1  ");
        let lines = [(
            "forwarded",
            "for=evil;proto=http;host=evil.example, for=198.51.100.7;proto=https;host=a.example, for=10.0.0.2;proto=http",
        )];
        assert_eq!(said(ForwardedBy::Forwarded, &lines), "198.51.100.7 https a.example");
        assert_eq!(said(ForwardedBy::Forwarded, &[("forwarded", "for=_hidden;proto=https")]), "10.0.0.1 https ");
        assert_eq!(said(ForwardedBy::Forwarded, &[("x-forwarded-proto", "https")]), "10.0.0.1  ");
    }
}
