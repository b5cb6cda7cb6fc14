//! Urlencoded forms with nested names, such as `keys[auth]=...` and `accIDs[]=10001`.
//!
//! `serde_qs` nests, too, but refuses forms that mean something here: a name that comes twice, or once with and once without
//! brackets.

use serde_json::{Map, Value};
use url::form_urlencoded;

/// The fields of a urlencoded form (URL Standard, section 5.1; bytes that are no UTF-8 become
/// U+FFFD). Every form means something; only one with more than `most` parameters is none.
pub fn fields(bytes: &[u8], most: usize) -> Option<Map<String, Value>> {
    let parameters = bytes.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    if parameters.take(most.saturating_add(1)).count() > most {
        return None;
    }
    let mut fields = Map::new();
    for (name, text) in form_urlencoded::parse(bytes) {
        let (first, steps) = path(&name);
        put(fields.entry(first).or_insert(Value::Null), &steps, text.into_owned());
    }
    Some(fields)
}

/// Deepest nesting of a form; what is deeper stays part of the last name. Without a bound a
/// small form could build, and then drop, values deeper than the stack.
const DEPTH: usize = 5;

/// The field that a parameter is about, and the steps from there: `a[b][]` is `a` and then `b`
/// and the empty step. Brackets that do not pair are letters of a name like any other.
fn path(name: &str) -> (&str, Vec<&str>) {
    let plain = (name, Vec::new());
    let Some((first, mut rest)) = name.split_once('[').filter(|(first, _)| !first.is_empty()) else {
        return plain;
    };
    let mut steps = Vec::new();
    while steps.len() < DEPTH {
        let Some((step, after)) = rest.split_once(']') else { return plain };
        steps.push(step);
        match after.strip_prefix('[') {
            Some(next) => rest = next,
            None => return (first, steps),
        }
    }
    steps.push(rest);
    (first, steps)
}

/// Puts a text where the steps lead. An empty or numeric step makes an array: it goes to the
/// element of that number or, where there is none yet, after the last. Whatever is in the way
/// is replaced: the last of equal names wins, as in JSON.
fn put(slot: &mut Value, steps: &[&str], text: String) {
    let [step, rest @ ..] = steps else {
        *slot = Value::String(text);
        return;
    };
    // An object stays one: there a number is a name.
    let listed = step.bytes().all(|byte| byte.is_ascii_digit()) && !matches!(slot, Value::Object(_));
    if listed {
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        if let Value::Array(list) = slot {
            let at = step.parse().unwrap_or(list.len()).min(list.len());
            if at == list.len() {
                list.push(Value::Null);
            }
            put(&mut list[at], rest, text);
        }
    } else {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        if let Value::Object(fields) = slot {
            put(fields.entry(*step).or_insert(Value::Null), rest, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(form: &str) -> Value {
        Value::Object(fields(form.as_bytes(), 5).unwrap())
    }

    #[test]
    fn names_nest() {
        for (form, expected) in [
            ("", json!({})),
            ("&&a=1&&", json!({ "a": "1" })),
            ("nickname=A+B%20%C3%BC&password", json!({ "nickname": "A B ü", "password": "" })),
            ("a=1&a=2", json!({ "a": "2" })),
            ("keys[p256dh]=x&keys%5Bauth%5d=y", json!({ "keys": { "p256dh": "x", "auth": "y" } })),
            ("accIDs[]=1&accIDs[]=2", json!({ "accIDs": ["1", "2"] })),
            ("accIDs[0]=1&accIDs[1]=2&accIDs[0]=3", json!({ "accIDs": ["3", "2"] })),
            ("a[99999999999999999999]=1&a[7][x]=2", json!({ "a": ["1", { "x": "2" }] })),
            ("a[b]=1&a[0]=2", json!({ "a": { "b": "1", "0": "2" } })),
            ("a[]=1&a[b]=2", json!({ "a": { "b": "2" } })),
            ("a=1&a[b]=2", json!({ "a": { "b": "2" } })),
            ("a[b]=1&a=2", json!({ "a": "2" })),
            ("a[b=1&[c]=2&d]=3&=4", json!({ "a[b": "1", "[c]": "2", "d]": "3", "": "4" })),
            ("a%ff=%", json!({ "a\u{fffd}": "%" })),
            ("0=1", json!({ "0": "1" })),
            ("a[b][c][d][e][f][g][h]=1", json!({ "a": { "b": { "c": { "d": { "e": { "f": { "g][h]": "1" } } } } } } })),
        ] {
            assert_eq!(read(form), expected, "{form}");
        }
    }

    #[test]
    fn five_parameters_are_enough() {
        assert!(fields(b"&a=1&b=2&c=3&d=4&e=5&", 5).is_some());
        assert!(fields(b"a=1&b=2&c=3&d=4&e=5&f", 5).is_none());
        let deep = format!("a{}=1", "[b]".repeat(1_000_000));
        assert!(fields(deep.as_bytes(), 5).is_some());
    }

    proptest! {
        #[test]
        fn no_form_is_refused(form in "[ab0=&%\\[\\]+]{0,40}", bytes in any::<Vec<u8>>()) {
            assert!(fields(form.as_bytes(), usize::MAX).is_some());
            assert!(fields(&bytes, usize::MAX).is_some());
        }
    }
}
