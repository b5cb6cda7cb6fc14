//! The wire contract, route by route, as a client sees it.

pub mod accounts;
mod codes;
mod conversations;
mod dead;
mod insights;
mod keys;
mod logins;
mod messages;
mod profile;
mod reconnect;
mod resume;
mod sessions;
mod slow;
mod stream;
mod talk;
mod tokens;
mod transport;
mod writing;

use chrono::NaiveDateTime;
use serde_json::{Value, json};

use crate::client::Client;

/// A value of every type of JSON that is no text of any use, and a text wrapped in an array.
pub fn no_text() -> Vec<Value> {
    vec![json!(null), json!(true), json!(7), json!([]), json!({}), json!(""), json!(["10001"])]
}

/// What names no account: no text, and ids that nobody has or that are none.
pub fn no_account() -> Vec<Value> {
    let unknown = ["99999", "0", "-1", "010001", " 10001", "10001 ", "1e4", "s1", "g10001", "99999999999999999999"];
    no_text().into_iter().chain(unknown.map(Value::from)).collect()
}

/// Sends a body without a field, and with each of these values in it, and expects this verdict each time.
pub async fn refuses(client: &Client, path: &str, body: &Value, field: &str, values: &[Value], verdict: &str) {
    let mut without = body.clone();
    without.as_object_mut().expect("an object").remove(field).expect("the field");
    assert_eq!(client.post(path, &without).await.verdict(), verdict, "{path} without {field}");
    for value in values {
        let mut body = body.clone();
        body[field] = value.clone();
        assert_eq!(client.post(path, &body).await.verdict(), verdict, "{path} with {field} = {value}");
    }
}

/// A time as the wire has it.
pub fn time(text: &Value) -> NaiveDateTime {
    let format = "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)";
    NaiveDateTime::parse_from_str(text.as_str().expect("a time"), format).expect("a time in the form of JavaScript")
}

/// The same without its times, which differ from run to run. Each must be a time, or the one constant of the contract.
pub fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Array(list) => list.iter_mut().for_each(|item| *item = timeless(item.take())),
        Value::Object(fields) => {
            for (name, field) in fields {
                if (name == "ts" || name == "expire") && field != "2286-11-20T17:46:40.000Z" {
                    time(field);
                    *field = json!("(time)");
                } else {
                    *field = timeless(field.take());
                }
            }
        }
        _ => {}
    }
    value
}
