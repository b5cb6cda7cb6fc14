//! Text as the wire counts it: in UTF-16 code units, the length of a JavaScript string.

/// The length of a text in UTF-16 code units.
///
/// ```
/// # use be8::http::wire::text::utf16_len;
/// assert_eq!(utf16_len("be8"), 3);
/// assert_eq!(utf16_len("ü🦀"), 3);
/// ```
pub fn utf16_len(text: &str) -> usize {
    // Not `encode_utf16().count()`: it decodes every character of each text that comes in.
    // In UTF-8 each character has one byte that is no continuation (10xxxxxx), and exactly the
    // characters that take four bytes (lead byte 11110xxx) are surrogate pairs in UTF-16.
    text.bytes().map(|byte| usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0)).sum()
}

/// The longest start of a text that has at most `units` UTF-16 code units. A character that
/// takes two units is kept whole or left out.
///
/// ```
/// # use be8::http::wire::text::cut_utf16;
/// assert_eq!(cut_utf16("a🦀b", 2), "a");
/// assert_eq!(cut_utf16("a🦀b", 3), "a🦀");
/// ```
pub fn cut_utf16(text: &str, units: usize) -> &str {
    // No character has more UTF-16 units than UTF-8 bytes.
    if text.len() <= units {
        return text;
    }
    let mut room = units;
    for (at, character) in text.char_indices() {
        match room.checked_sub(character.len_utf16()) {
            Some(rest) => room = rest,
            None => return &text[..at],
        }
    }
    text
}

/// A text with the five characters escaped that mean something in HTML: the client puts the extras
/// of system messages into its page as they come (docs/protocol.md, "Escaping in system messages"). Five characters need no
/// `html-escape`.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Shows (docs/protocol.md): Lengths of texts.
        #[test]
        fn lengths_are_those_of_utf16(text in ".*") {
            assert_eq!(utf16_len(&text), text.encode_utf16().count());
        }

        #[test]
        fn a_cut_is_the_longest_start_that_fits(text in "(.|[\u{10000}-\u{10ffff}]){0,40}", units in 0usize..50) {
            let cut = cut_utf16(&text, units);
            assert!(text.starts_with(cut));
            assert!(utf16_len(cut) <= units);
            let next = text[cut.len()..].chars().next();
            assert!(next.is_none_or(|c| utf16_len(cut) + c.len_utf16() > units));
        }
    }
}
