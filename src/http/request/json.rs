//! JSON as JavaScript's `JSON.parse` reads it, which is what clients expect
//! (docs/protocol.md, "JSON as JavaScript reads it").
//!
//! Valid JSON may hold what a `serde_json::Value` refuses: half of a surrogate pair, which a client sends that cuts a text
//! between UTF-16 units; a number beyond a double; nesting of any depth. The syntax is `serde_json`'s all the same: it checks
//! a [`RawValue`] without recursion and without looking at what strings and numbers mean, and hands out the bytes of strings.
//! (`arbitrary_precision` is no way: it changes numbers in the whole program, and refuses the strings.)

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// How deep values are kept. Nothing looks deeper: there, arrays and objects are checked and kept empty, so that nesting
/// costs no stack.
const DEPTH: usize = 8;
/// Up to here all integers are exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// What stands for the infinities, which a [`Number`] cannot hold. No number that is read becomes these: integers beyond
/// 2^53 are floats.
const INFINITY: u64 = u64::MAX;
const MINUS_INFINITY: i64 = i64::MIN;

/// Reads a JSON text. Strings keep their length in UTF-16 units, half of a pair becoming U+FFFD. Numbers are doubles:
/// [`double`] says which. Nothing means that it is no JSON.
pub fn read(text: &str) -> Option<Value> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    value(raw, DEPTH)
}

/// The double that a number of a text that was [`read`] stands for.
pub fn double(number: &Number) -> f64 {
    match (number.as_u64(), number.as_i64()) {
        (Some(INFINITY), _) => f64::INFINITY,
        (_, Some(MINUS_INFINITY)) => f64::NEG_INFINITY,
        _ => number.as_f64().unwrap_or_default(),
    }
}

/// A number as JavaScript writes it: `10001`, `0.5`, `1e+21`, `Infinity`.
pub fn decimal(number: &Number) -> String {
    match double(number) {
        infinite if infinite.is_infinite() => if infinite > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        finite => ryu_js::Buffer::new().format_finite(finite).to_owned(),
    }
}

fn value(raw: &RawValue, depth: usize) -> Option<Value> {
    let text = raw.get();
    Some(match text.as_bytes().first()? {
        b'"' => Value::String(string(&mut serde_json::Deserializer::from_str(text)).ok()?),
        b'{' if depth == 0 => Value::Object(Map::new()),
        b'[' if depth == 0 => Value::Array(Vec::new()),
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let members = members.into_iter().map(|(name, raw)| Some((name.0, value(raw, depth - 1)?)));
            // The last of equal names wins.
            Value::Object(members.collect::<Option<_>>()?)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Value::Array(items.into_iter().map(|raw| value(raw, depth - 1)).collect::<Option<_>>()?)
        }
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        b'n' => Value::Null,
        _ => Value::Number(number(text.parse().ok()?)),
    })
}

fn number(double: f64) -> Number {
    if double.is_infinite() {
        return if double > 0.0 { INFINITY.into() } else { MINUS_INFINITY.into() };
    }
    if double.fract() == 0.0 && double.abs() <= EXACT {
        // The cast is exact, and turns -0 into 0, as JavaScript writes it.
        return Number::from(double as i64);
    }
    Number::from_f64(double).unwrap_or(INFINITY.into())
}

/// A string, whose bytes `serde_json` gives with halves of surrogate pairs encoded like other characters.
fn string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    let mut bytes = deserializer.deserialize_bytes(Bytes)?;
    // The text around them was UTF-8, in which ED is followed by less than A0: only those halves are otherwise. U+FFFD takes
    // three bytes, too.
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == 0xED) {
        at += found;
        match bytes.get_mut(at..at + 3) {
            Some(half) if half[1] >= 0xA0 => half.copy_from_slice("\u{FFFD}".as_bytes()),
            _ => {}
        }
        at += 1;
    }
    String::from_utf8(bytes).map_err(Error::custom)
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Name, &'a RawValue)>);

struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn halves_of_pairs_are_replaced_one_by_one() {
        for (text, expected) in [
            (r#""\ud83d""#, "\u{FFFD}"),
            (r#""a\uD83Db\ude00c""#, "a\u{FFFD}b\u{FFFD}c"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
            (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
            (r#""\ud83d\n""#, "\u{FFFD}\n"),
            (r#""\ud83d\u0041""#, "\u{FFFD}A"),
            (r#""\ud7ff퟿\ue000\uffff\u0000""#, "\u{D7FF}\u{D7FF}\u{E000}\u{FFFF}\0"),
            (r#""\\ud83d \"\\""#, "\\ud83d \"\\"),
        ] {
            assert_eq!(read(text), Some(json!(expected)), "{text}");
            let object = read(&format!("{{{text}: [{text}]}}")).unwrap();
            assert_eq!(object, json!({ expected: [expected] }));
        }
        for no_json in
            [r#""\ud83""#, r#""\ud83g""#, "\"\\ud83d", "\"\t\"", r#"{"\ud83d":1,}"#, "", " ", "01", "1.", "+1"]
        {
            assert_eq!(read(no_json), None, "{no_json}");
        }
    }

    #[test]
    fn numbers_are_doubles_and_written_as_in_javascript() {
        for (text, expected) in [
            ("10001", "10001"),
            ("10001.0", "10001"),
            ("1e4", "10000"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("640.5", "640.5"),
            ("1e-3", "0.001"),
            ("1e-7", "1e-7"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709552000"),
            ("-9223372036854775808", "-9223372036854776000"),
            ("12345678901234567890123", "1.2345678901234568e+22"),
            ("1e21", "1e+21"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("1e400", "Infinity"),
            ("-1e400", "-Infinity"),
            ("1e-400", "0"),
            ("0e999999999999", "0"),
            ("0.1", "0.1"),
            ("5e-324", "5e-324"),
        ] {
            let Some(Value::Number(number)) = read(text) else { panic!("{text}") };
            assert_eq!(decimal(&number), expected, "{text}");
        }
        let digits = "9".repeat(400);
        assert_eq!(read(&digits), read("1e400"));
        assert!(double(&json!(0).as_number().unwrap().clone()) == 0.0);
    }

    #[test]
    fn nesting_has_no_limit_and_the_last_of_equal_names_wins() {
        assert_eq!(read(r#"{"a":1,"b":[],"a":{"c":2}}"#), Some(json!({ "a": { "c": 2 }, "b": [] })));
        assert_eq!(read("[[[[[[[[1]]]]]]]]"), Some(json!([[[[[[[[1]]]]]]]])));
        assert_eq!(read("[[[[[[[[[1]]]]]]]]]"), Some(json!([[[[[[[[[]]]]]]]]])));
        let deep = |open: &str, close: &str| format!("{}{}", open.repeat(60_000), close.repeat(60_000));
        assert!(read(&deep("[", "]")).is_some());
        assert!(read(&deep("{\"a\":[", "]}")).is_some());
        assert_eq!(read(&deep("[", "}")), None);
    }
}
