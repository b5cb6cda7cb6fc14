//! The session cookie: its token, how it is read from requests and how it is set.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::{Hash32, Timestamp};
use chrono::TimeDelta;
use poem::http::{HeaderMap, HeaderValue, header};
use rand::Rng as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::domain::token::CENTURY_DAYS;

/// The name of the cookie over plain http.
pub(in crate::http) const NAME: &str = "be8";
/// The name of the cookie over https. Browsers take one whose name begins so only from this host itself, over https and for
/// all paths (RFC 6265bis, section 4.1.3.2), so that no other host of the domain can give a visitor a session of its choice.
pub(in crate::http) const SECURE_NAME: &str = "__Host-be8";

const fn name(https: bool) -> &'static str {
    if https { SECURE_NAME } else { NAME }
}

/// The secret of a session: 256 random bits, as base64url without padding in the cookie.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SessionToken([u8; 32]);

impl SessionToken {
    /// A new token from the thread's cryptographically secure generator, which the operating
    /// system seeds.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let token = Self(bytes);
        bytes.zeroize();
        token
    }

    /// Reads a token; each has exactly one text, of 43 letters.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // The length first: a header may hold anything.
        if text.len() != 43 {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// The token of the session that a request with these headers belongs to, if it names one. `https` says whether its client
    /// speaks https.
    ///
    /// Consumers echo our whole `Set-Cookie` line, so attributes (`Path=/`, `Expires=Wed, 30
    /// Oct ...`) and bare words (`HttpOnly`) may stand among the pairs, and anything else too.
    /// The *first* well-formed pair of the name counts: a request has one session. Trying several
    /// would let the account that acts change when another session ends, and would multiply the
    /// look-ups a stranger can cause. Over https, only `__Host-be8` counts.
    pub fn read(headers: &HeaderMap, https: bool) -> Option<Self> {
        let name = name(https).as_bytes();
        // By bytes: `cookie` and `headers::Cookie` read text, so that one letter beyond ASCII (the latter) or beyond UTF-8 (the
        // former) in another program's cookie would end the session.
        headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).find_map(
            |pair| {
                let value = pair.trim_ascii().strip_prefix(name)?.trim_ascii_start();
                let value = value.strip_prefix(b"=")?.trim_ascii_start();
                // A value may stand in quotes (RFC 6265, section 4.1.1).
                let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                Self::parse(bare.unwrap_or(value))
            },
        )
    }

    /// What the server keeps instead of the token: the SHA-256 of its 32 bytes. The token is
    /// random, so neither salt nor slowness is needed.
    pub fn hash(&self) -> Hash32 {
        Hash32::sha256(&self.0)
    }

    /// The `Set-Cookie` line that opens the session in a client (RFC 6265, section 4.1).
    /// `https` says whether the client speaks https.
    ///
    /// It expires after the life of an endless account. Browsers keep a cookie for 400 days at most, whatever it says
    /// (RFC 6265bis, section 5.5), so for them this means "as long as you can"; other clients keep the date.
    pub fn set_cookie(&self, now: Timestamp, https: bool) -> HeaderValue {
        let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0));
        let mut line = set_cookie(&token, now.plus(TimeDelta::days(CENTURY_DAYS)), https);
        line.set_sensitive(true);
        line
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The `Set-Cookie` line that makes a client forget its session.
pub fn forget_cookie(https: bool) -> HeaderValue {
    set_cookie("", Timestamp::from_micros(0), https)
}

/// A `Set-Cookie` line with this value and end. The attributes of both lines have to agree:
/// name, path and `Secure` say which cookie is meant.
fn set_cookie(value: &str, expires: Timestamp, https: bool) -> HeaderValue {
    // The date form of RFC 9110, section 5.6.7.
    let expires = expires.to_utc().format("%a, %d %b %Y %H:%M:%S GMT");
    let secure = if https { "; Secure" } else { "" };
    let name = name(https);
    let line = Zeroizing::new(format!("{name}={value}; Path=/; Expires={expires}; HttpOnly; SameSite=Strict{secure}"));
    // Letters, digits and punctuation of ASCII, which a header value may always hold.
    HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const B: &str = "__________________________________________8";

    /// What a request with these Cookie headers says.
    fn token_of(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let [plain, secure] = [false, true].map(|https| SessionToken::read(&headers, https));
        assert!(plain.is_none() || secure.is_none(), "one name counts at a time");
        plain.or(secure).map(|token| URL_SAFE_NO_PAD.encode(token.0))
    }

    /// Shows (docs/protocol.md): The cookie.
    #[test]
    fn over_https_one_name_counts_and_over_http_the_other() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, format!("be8={A}; __Host-be8={B}").parse().unwrap());
        let read = |headers: &HeaderMap, https| {
            SessionToken::read(headers, https).map(|token| URL_SAFE_NO_PAD.encode(token.0))
        };
        assert_eq!((read(&headers, false).as_deref(), read(&headers, true).as_deref()), (Some(A), Some(B)));
        for other in ["be8", "__host-be8", "__Secure-be8", "=__Host-be8", "x__Host-be8"] {
            headers.insert(header::COOKIE, format!("{other}={A}").parse().unwrap());
            assert_eq!(read(&headers, true), None, "{other}");
        }
    }

    #[test]
    fn the_line_is_read_back_with_all_its_attributes() {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let token = SessionToken::parse(A.as_bytes()).unwrap();
        let line = token.set_cookie(now, false);
        assert_eq!(
            line.to_str().unwrap(),
            format!("be8={A}; Path=/; Expires=Sun, 24 Nov 2126 10:00:00 GMT; HttpOnly; SameSite=Strict")
        );
        assert!(line.is_sensitive());
        let secure = token.set_cookie(now, true);
        let secure_line = secure.to_str().unwrap();
        assert!(secure_line.starts_with("__Host-be8=") && secure_line.ends_with("; SameSite=Strict; Secure"));
        assert!(secure_line.contains("; Path=/; ") && !secure_line.contains("Domain"));
        assert_eq!(token_of(&[secure.to_str().unwrap()]).as_deref(), Some(A));
        assert_eq!(
            forget_cookie(true).to_str().unwrap(),
            "__Host-be8=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict; Secure"
        );
    }

    /// Shows (docs/protocol.md): The cookie.
    #[test]
    fn the_first_well_formed_pair_counts() {
        for (lines, expected) in [
            (vec![format!("be8={A}")], Some(A)),
            (vec![format!(" a=b;;=;be8 = \"{A}\" ;c")], Some(A)),
            (vec![format!("HttpOnly; Path=/; be8={B}; be8={A}")], Some(B)),
            (vec![format!("be8=; be8=short; be8={A}A; be8={A}; be8={B}")], Some(A)),
            (vec!["x=y".into(), format!("be8={B}"), format!("be8={A}")], Some(B)),
            (vec![format!("ü=ü; be8={A}")], Some(A)),
            (vec![format!("BE8={A}; xbe8={A}; be8x={A}; be8; be8:{A}")], None),
            // Padding, the other alphabet, and bits that no byte has.
            (vec![format!("be8={A}="), format!("be8={}", B.replace('_', "/"))], None),
            (vec![format!("be8={}9", &A[..42])], None),
            (vec!["invalid".into()], None),
            (vec!["".into()], None),
            (vec![], None),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(token_of(&lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_is_random_and_shows_only_its_hash() {
        let token = SessionToken::generate();
        assert_ne!(token.hash(), SessionToken::generate().hash());
        assert_eq!(format!("{token:?}"), "***");
        let text = URL_SAFE_NO_PAD.encode(token.0);
        assert_eq!(SessionToken::parse(text.as_bytes()).unwrap().hash(), token.hash());
        assert_eq!(
            SessionToken::parse(A.as_bytes()).unwrap().hash().to_string(),
            "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
    }

    proptest! {
        #[test]
        fn no_header_disturbs(junk in prop::collection::vec(any::<u8>(), 0..60), quoted in any::<bool>()) {
            let mut headers = HeaderMap::new();
            let value = if quoted { format!("\"{A}\"") } else { A.to_owned() };
            let mut line = junk;
            line.extend_from_slice(format!("; be8={value}").as_bytes());
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append(header::COOKIE, value);
                assert!(SessionToken::read(&headers, false).is_some());
            }
        }
    }
}
