//! What proxies write about the connections that they accepted: `X-Forwarded-For` and its companions, and `Forwarded`
//! (RFC 7239).
//!
//! Two crates exist for `Forwarded`. Both `rfc7239` 0.1.3 and `forwarded-header-value` 0.1.1 split quoted strings at their
//! commas and semicolons and refuse valid names and ports, so that a valid header hides its client; the latter is also
//! unmaintained. Hence this parser. What it cannot read belongs to nobody: the element has no address then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use poem::http::{HeaderMap, HeaderName, header};

/// What one proxy says about the connection that it accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Hop {
    /// Who connected, if it is an address: a proxy may hide it (`unknown`, `_name`).
    pub address: Option<IpAddr>,
    /// The scheme that was asked for.
    pub proto: Option<String>,
    /// The host that was asked for.
    pub host: Option<String>,
}

/// The hops of `Forwarded`, the nearest one last. The lines are one list (RFC 9110, section 5.3).
pub(in crate::http) fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let lines = headers.get_all(header::FORWARDED).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.flat_map(|line| elements(&line)).collect()
}

/// The hops of `X-Forwarded-For`, with what `X-Forwarded-Proto` and `X-Forwarded-Host` say of them, the nearest one last.
pub(in crate::http) fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let list = |name: &'static str| -> Vec<String> {
        let lines = headers.get_all(HeaderName::from_static(name)).iter();
        let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
        let values = lines.iter().flat_map(|line| line.split(',')).map(|value| value.trim().trim_matches('"'));
        // Empty members of a list say nothing (RFC 9110, section 5.6.1).
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let (addresses, protos, hosts) = (list("x-forwarded-for"), list("x-forwarded-proto"), list("x-forwarded-host"));
    // Counted from the nearest one; a proxy that overwrites a list instead of extending it speaks of its own client.
    let at = |values: &[String], hop: usize| values.iter().rev().take(hop + 1).next_back().cloned();
    let hop = |hop: usize| Hop {
        address: addresses.iter().rev().nth(hop).and_then(|text| node(text)),
        proto: at(&protos, hop),
        host: at(&hosts, hop),
    };
    (0..addresses.len().max(1)).rev().map(hop).collect()
}

/// The elements of one line of `Forwarded`.
fn elements(line: &str) -> Vec<Hop> {
    let Some(elements) = split(line, ',') else {
        // A quotation mark without its partner: where elements begin and end is anybody's guess.
        return vec![Hop::default()];
    };
    elements.into_iter().map(str::trim).filter(|element| !element.is_empty()).map(element).collect()
}

fn element(text: &str) -> Hop {
    let mut hop = Hop::default();
    let mut clients = 0;
    for pair in split(text, ';').unwrap_or_default() {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = unquoted(value.trim());
        match name.trim() {
            name if name.eq_ignore_ascii_case("for") => {
                clients += 1;
                hop.address = node(&value);
            }
            name if name.eq_ignore_ascii_case("proto") => hop.proto = Some(value),
            name if name.eq_ignore_ascii_case("host") => hop.host = Some(value),
            _ => {}
        }
    }
    // Each parameter comes once in an element (RFC 7239, section 4).
    if clients > 1 {
        hop.address = None;
    }
    hop
}

/// Splits a text at the separators outside of quoted strings; nothing if a quoted string does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut quoted) = (Vec::new(), 0, false);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => _ = characters.next(),
            _ if character == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// A value without its quotation marks and escapes (RFC 9110, section 5.6.4).
fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut plain = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        plain.push(escaped.unwrap_or(character));
    }
    plain
}

/// The address of a node (RFC 7239, section 6), with a port or without. Proxies also write IPv6 without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        IpAddr::V6(address)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (address, port) = text.rsplit_once(':')?;
        let address: Ipv4Addr = address.parse().ok()?;
        IpAddr::V4(is_port(port).then_some(address)?)
    };
    Some(address.to_canonical())
}

/// A number, or a name that hides it.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// Addresses, schemes and hosts as one line of text.
    fn shown(hops: &[Hop]) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
        let hop = |hop: &Hop| {
            let address = hop.address.map_or("-".to_owned(), |address| address.to_string());
            format!("{address} {} {}", part(&hop.proto), part(&hop.host))
        };
        hops.iter().map(hop).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn every_valid_form_of_forwarded_is_read() {
        for (line, expected) in [
            // The examples of RFC 7239.
            (r#"for="_gazonk""#, "- - -"),
            (r#"For="[2001:db8:cafe::17]:4711""#, "2001:db8:cafe::17 - -"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60 http -"),
            ("for=192.0.2.43, for=198.51.100.17", "192.0.2.43 - - | 198.51.100.17 - -"),
            (r#"for=192.0.2.43, for="[2001:db8:cafe::17]""#, "192.0.2.43 - - | 2001:db8:cafe::17 - -"),
            (
                r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#,
                "192.0.2.43 - - | 2001:db8:cafe::17 - - | - - -",
            ),
            ("for=_hidden, for=_SEVKISEK", "- - - | - - -"),
            // Ports, also hidden ones.
            (r#"for="192.0.2.43:47011""#, "192.0.2.43 - -"),
            (r#"for="192.0.2.43:_gw-1.a_B""#, "192.0.2.43 - -"),
            (r#"for="[2001:db8::1]:_p""#, "2001:db8::1 - -"),
            (r#"for="unknown:_p";proto=https"#, "- https -"),
            (r#"for="192.0.2.43:123456""#, "- - -"),
            (r#"for="192.0.2.43:_""#, "- - -"),
            (r#"for="[2001:db8::1]x""#, "- - -"),
            (r#"for="[2001:db8::1""#, "- - -"),
            // What other software writes without the quotation marks.
            ("for=192.0.2.43:80", "192.0.2.43 - -"),
            ("for=[2001:db8::1]:80", "2001:db8::1 - -"),
            ("for=2001:db8::1", "2001:db8::1 - -"),
            // Separators and escapes in quoted strings.
            (r#"for=192.0.2.1;by="a,b;for=203.0.113.9", for=192.0.2.2"#, "192.0.2.1 - - | 192.0.2.2 - -"),
            (r#"secret="\", for=203.0.113.9";for="192.0.\2.1";host="a\"b""#, "192.0.2.1 - a\"b"),
            (r#"host="example.org:8443" ; proto = HTTPS ;for=192.0.2.1"#, "192.0.2.1 HTTPS example.org:8443"),
            // Empty members and elements without a client.
            (",, for=192.0.2.1;;, ,", "192.0.2.1 - -"),
            ("by=203.0.113.9", "- - -"),
            ("for=192.0.2.1;for=192.0.2.2", "- - -"),
            ("for", "- - -"),
            (r#"for=::ffff:192.0.2.1"#, "192.0.2.1 - -"),
            // A quotation mark that does not end: what stands on its right cannot be separated.
            (r#"for="x, for=192.0.2.1"#, "- - -"),
            (r#"for="x, for="[2001:db8::1]""#, "- - -"),
            (r#"for="x\, for=192.0.2.1"#, "- - -"),
        ] {
            assert_eq!(shown(&forwarded(&headers(&[("forwarded", line)]))), expected, "{line}");
        }
        let lines = [("forwarded", "for=192.0.2.1"), ("forwarded", "for=192.0.2.2, for=192.0.2.3")];
        assert_eq!(shown(&forwarded(&headers(&lines))), "192.0.2.1 - - | 192.0.2.2 - - | 192.0.2.3 - -");
    }

    #[test]
    fn x_forwarded_headers_are_read_beside_each_other() {
        let cases: [(&[(&str, &str)], &str); 11] = [
            (&[], "- - -"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1 - -"),
            (&[("x-forwarded-for", " 192.0.2.1:80 ,, [2001:db8::1]:443,")], "192.0.2.1 - - | 2001:db8::1 - -"),
            (&[("x-forwarded-for", "\"[2001:db8::1]\", 2001:db8::2")], "2001:db8::1 - - | 2001:db8::2 - -"),
            (&[("x-forwarded-for", "unknown, unix:, ::ffff:192.0.2.1")], "- - - | - - - | 192.0.2.1 - -"),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")], "192.0.2.1 - - | 192.0.2.2 - -"),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example:8443")], "- https a.example:8443"),
            (
                &[("x-forwarded-for", "192.0.2.1, 192.0.2.2"), ("x-forwarded-proto", "https, http")],
                "192.0.2.1 https - | 192.0.2.2 http -",
            ),
            (
                &[("x-forwarded-for", "192.0.2.1, 192.0.2.2"), ("x-forwarded-proto", "https")],
                "192.0.2.1 https - | 192.0.2.2 https -",
            ),
            // What a client put in front is not what the nearest proxy says.
            (&[("x-forwarded-for", "192.0.2.2"), ("x-forwarded-proto", "http, https")], "192.0.2.2 https -"),
            (
                &[("x-forwarded-for", "192.0.2.2"), ("x-forwarded-host", "evil.example, a.example")],
                "192.0.2.2 - a.example",
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(shown(&x_forwarded(&headers(lines))), expected, "{lines:?}");
        }
    }

    proptest! {
        /// Whatever a client puts in front of what its proxy appends, the last hop is the proxy's or nobody's.
        #[test]
        fn nothing_in_front_changes_the_last_hop(front in "[ -~]{0,30}", quoted in any::<bool>()) {
            let own = if quoted { r#"for="[2001:db8::7]:80";proto=https"# } else { "for=192.0.2.7;proto=https" };
            let own_hop = elements(own).remove(0);
            for hops in [elements(&format!("{front}, {own}")), elements(&format!("{front},{own}"))] {
                let last = hops.last().unwrap();
                prop_assert!(*last == own_hop || *last == Hop::default(), "{last:?}");
            }
            let line = format!("{front}, 192.0.2.7");
            let headers = headers(&[("x-forwarded-for", &line)]);
            prop_assert_eq!(x_forwarded(&headers).pop().unwrap().address, node("192.0.2.7"));
        }
    }
}
