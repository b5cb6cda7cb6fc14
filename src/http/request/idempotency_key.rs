//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use std::borrow::Cow;

use be8_events::Hash32;
use poem::http::HeaderMap;

/// The name of the header.
pub const HEADER: &str = "Idempotency-Key";
/// The most characters of a key.
pub(in crate::http) const MOST: usize = 255;

/// What a request says in that header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentKey {
    /// Nothing: there is no such header.
    Absent,
    /// What can be no key.
    Malformed,
    /// A key, by its SHA-256.
    Hash(Hash32),
}

impl SentKey {
    /// That of a request with these headers.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(HEADER).iter().map(|value| value.as_bytes()).peekable();
        if values.peek().is_none() {
            return Self::Absent;
        }
        key(values).map_or(Self::Malformed, |key| Self::Hash(Hash32::sha256(key.as_bytes())))
    }
}

/// The key that the values of the header say. They are structured fields (RFC 9651): a string in quotes. Without quotes it is
/// taken as it stands, as most clients send it; a parser of structured fields (`sfv`) refuses that, or takes it for a token.
fn key<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, str>> {
    let text = std::str::from_utf8(values.next()?).ok()?;
    let key = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) if inside.contains('\\') => Cow::Owned(unescaped(inside)),
        Some(inside) => Cow::Borrowed(inside),
        None => Cow::Borrowed(text),
    };
    (values.next().is_none() && (1..=MOST).contains(&key.chars().count())).then_some(key)
}

/// A string without the backslashes in front of characters.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        plain.push(escaped.unwrap_or(character));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_any_string_of_up_to_255_characters() {
        let of = |values: &[&str]| key(values.iter().map(|value| value.as_bytes())).map(Cow::into_owned);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of(&["8e03978e-40d5-43dd"]), is("8e03978e-40d5-43dd"));
        assert_eq!(of(&["\"8e03978e-40d5-43dd\""]), is("8e03978e-40d5-43dd"));
        assert_eq!(of(&[r#""a\"b\\c""#]), is(r#"a"b\c"#));
        assert_eq!(of(&["\""]), is("\""));
        assert_eq!(of(&["ä"]), is("ä"));
        assert_eq!(of(&[&"ä".repeat(255)]), is(&"ä".repeat(255)));
        assert_eq!(of(&[&format!("\"{}\"", "a".repeat(255))]), is(&"a".repeat(255)));
        for none in [&["", ""][..], &["\"\""], &["a", "a"], &[&"a".repeat(256)], &[]] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(key(std::iter::once(&[0xff][..])), None);
    }

    #[test]
    fn no_header_is_another_thing_than_no_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(SentKey::of(&headers), SentKey::Absent);
        headers.insert(HEADER, "".parse().unwrap());
        assert_eq!(SentKey::of(&headers), SentKey::Malformed);
        headers.insert(HEADER, "\"k\"".parse().unwrap());
        assert_eq!(SentKey::of(&headers), SentKey::Hash(Hash32::sha256(b"k")));
        headers.append(HEADER, "\"k\"".parse().unwrap());
        assert_eq!(SentKey::of(&headers), SentKey::Malformed);
    }
}
