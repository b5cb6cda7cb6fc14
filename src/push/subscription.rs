//! The check of push subscriptions (W3C Push API, section 8).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use be8_events::device::DeviceSecret;
use url::{Host, Url};

/// The longest endpoint, in bytes.
pub const LONGEST_ENDPOINT: usize = 2048;
/// The bytes of an uncompressed point of P-256 (RFC 8291, section 3.1).
const POINT: usize = 65;
/// The bytes of an authentication secret (RFC 8291, section 3.2).
const SECRET: usize = 16;
/// Some libraries pad.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// A subscription whose endpoint is an https URL with a host, whose `p256dh` is a point of P-256
/// and whose `auth` has 16 bytes, with both in base64url without padding; nothing if it is none.
pub fn check(endpoint: &str, p256dh: &str, auth: &str) -> Option<DeviceSecret> {
    if endpoint.len() > LONGEST_ENDPOINT {
        return None;
    }
    // Parsers pass over line ends and spaces around a URL; what is no URL as it stands is none.
    if endpoint.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let url = Url::parse(endpoint).ok()?;
    let host = match url.host()? {
        Host::Domain(name) => !name.is_empty(),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    };
    let (scheme, rest) = endpoint.split_at_checked(8)?;
    if url.scheme() != "https" || !host || !scheme.eq_ignore_ascii_case("https://") || rest.starts_with(['/', '\\']) {
        return None;
    }
    let point = decode(p256dh, POINT)?;
    let secret = decode(auth, SECRET)?;
    p256::PublicKey::from_sec1_bytes(&point).ok()?;
    let [p256dh, auth] = [point, secret].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    Some(DeviceSecret { endpoint: endpoint.to_owned(), p256dh, auth })
}

/// Exactly `length` bytes from base64, of either alphabet.
fn decode(text: &str, length: usize) -> Option<Vec<u8>> {
    // The length of the text first: it may be megabytes.
    if text.len() > length.div_ceil(3) * 4 {
        return None;
    }
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let standard = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let bytes = url_safe.decode(text).or_else(|_| standard.decode(text)).ok()?;
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The subscription of RFC 8291, section 5.
    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const ENDPOINT: &str = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV";

    #[test]
    fn a_subscription_is_kept_in_one_form() {
        let kept = check(ENDPOINT, P256DH, AUTH).unwrap();
        assert_eq!((&*kept.endpoint, &*kept.p256dh, &*kept.auth), (ENDPOINT, P256DH, AUTH));
        let standard = |text: &str| text.replace('-', "+").replace('_', "/");
        for (p256dh, auth) in [
            (format!("{P256DH}="), format!("{AUTH}==")),
            (standard(P256DH), standard(AUTH)),
            (format!("{}=", standard(P256DH)), AUTH.to_owned()),
        ] {
            assert!(check(ENDPOINT, &p256dh, &auth).is_some_and(|other| other == kept), "{p256dh} {auth}");
        }
        for endpoint in
            ["HTTPS://a.b", "https://[2001:db8::1]:8443/x", "https://10.0.0.1/x", "https://user:pw@localhost/#f"]
        {
            assert!(check(endpoint, P256DH, AUTH).is_some(), "{endpoint}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("{ENDPOINT}/{}", "x".repeat(LONGEST_ENDPOINT - ENDPOINT.len()));
        for endpoint in [
            "",
            "https",
            "https:",
            "https://",
            "https:///x",
            "https:a.b/x",
            "https:/a.b/x",
            "http://https.example.org/",
            "x https://a.b",
            " https://a.b",
            "https://a.b\n",
            "https://a b/",
            "https://a.b/\tx",
            "https://a.b:99999/",
            "https://[::1/",
            "ftps://https/",
            &long,
        ] {
            assert!(check(endpoint, P256DH, AUTH).is_none(), "{endpoint:?}");
        }
        assert!(check(&long[..LONGEST_ENDPOINT], P256DH, AUTH).is_some());
        let compressed = format!("A{}", &P256DH[1..44]);
        let off_curve = format!("{}A", &P256DH[..86]);
        for p256dh in
            ["", "x", &compressed, &off_curve, &P256DH[..86], &format!("{P256DH}AA"), &"A".repeat(87), AUTH, "é"]
        {
            assert!(check(ENDPOINT, p256dh, AUTH).is_none(), "{p256dh}");
        }
        for auth in ["", "AAAA", &format!("{AUTH}AA"), &AUTH[..21], &"!".repeat(22), P256DH] {
            assert!(check(ENDPOINT, P256DH, auth).is_none(), "{auth}");
        }
    }
}
