//! The guard at the moment of connecting: which addresses a request may go to whose address a stranger named. Names can be
//! made to resolve to anything, so a name on a list is not enough.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// What the resolver says.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the system.
#[derive(Debug)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 443)).await?.map(|address| address.ip()).collect())
    }
}

/// An address that is not one of the public Internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it leads to an address that is not public")]
pub struct Forbidden;

/// The addresses of a host, if every one of them is public: a single one that is not makes the
/// name suspicious.
///
/// # Errors
/// What the resolver says; [`Forbidden`].
pub async fn public_addresses(resolver: &dyn Resolve, host: &str) -> io::Result<Vec<IpAddr>> {
    let addresses = resolver.resolve(host).await?;
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    match addresses.iter().all(|address| is_public(*address)) {
        true => Ok(addresses),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, Forbidden)),
    }
}

/// Whether an address is one of the public Internet (the IANA registries of special-purpose
/// addresses, RFC 6890 and its updates).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: [(Ipv4Addr, u32); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
        (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
        (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by carriers (CGNAT)
        (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
        (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, and the metadata of clouds
        (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
        (Ipv4Addr::new(192, 0, 0, 0), 24),    // of protocols
        (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
        (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays of 6to4
        (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
        (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
        (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
        (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
        (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
        (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
    ];
    let bits = address.to_bits();
    !SPECIAL.iter().any(|(network, length)| (bits ^ network.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Whatever is not below 2000::/3 is special: loopback, mapped and translated (NAT64) addresses
    // of IPv4, unique local, link-local, multicast, discard.
    const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    const SPECIAL: [(Ipv6Addr, u32); 4] = [
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // of protocols: Teredo, ORCHID and others
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: an address of IPv4 inside
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
    ];
    let bits = address.to_bits();
    let within = |(network, length): (Ipv6Addr, u32)| (bits ^ network.to_bits()) >> (128 - length) == 0;
    within(GLOBAL) && !SPECIAL.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resolver that knows these addresses for every name.
    #[derive(Debug)]
    struct Fake(Vec<&'static str>);

    #[async_trait]
    impl Resolve for Fake {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    const PUBLIC: [&str; 8] = [
        "1.1.1.1",
        "142.250.185.170",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.1",
        "17.188.143.34",
        "2a00:1450:4001:82a::200a",
        "2001:4860:4860::8888",
    ];
    const SPECIAL: [&str; 38] = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:1.1.1.1",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::101:101",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "ff02::1",
    ];

    #[test]
    fn special_addresses_are_distinguished_from_public_ones() {
        for address in PUBLIC {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in SPECIAL {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn one_bad_address_spoils_the_name() {
        let all = public_addresses(&Fake(PUBLIC.to_vec()), "a.b").await.unwrap();
        assert_eq!(all.len(), PUBLIC.len());
        for address in SPECIAL {
            let fake = Fake(vec![PUBLIC[0], address, PUBLIC[1]]);
            let error = public_addresses(&fake, "a.b").await.unwrap_err();
            assert!(error.get_ref().unwrap().is::<Forbidden>(), "{address}");
        }
        let none = public_addresses(&Fake(Vec::new()), "a.b").await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
