//! `/setkey`, `/getkey` and `/getkeys`.

use serde_json::{Value, json};

use super::{no_account, no_text, refuses};
use crate::client::{Client, Person};
use crate::crypto::KeyPair;
use crate::server::Server;

/// The public key of RFC 7517, appendix A.1.
fn p256_key() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "ext": true, "key_ops": ["deriveKey"],
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

async fn set(client: &Client, key: &Value) -> String {
    client.post("/setkey", &json!({ "publicKey": key })).await.verdict()
}

async fn key_of(client: &Client, account: &str) -> Value {
    let answer = client.post("/getkey", &json!({ "accID": account })).await;
    assert_eq!(answer.verdict(), "200 ok");
    answer.json()["publicKey"].clone()
}

/// A key as it is handed out.
fn shown(key: &Value, owner: &str) -> Value {
    json!({
        "crv": key["crv"], "ext": "true", "key_ops": ["deriveKey", "deriveBits"], "kty": "EC",
        "x": key["x"], "y": key["y"], "accID": owner,
    })
}

/// Shows (docs/protocol.md): Unchanged values; Public keys.
#[tokio::test]
async fn a_key_is_kept_for_its_owner_and_nobody_else() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let bob = Person::sign_up(&server, "Bob").await;
    // Whatever owner a key names, it belongs to its sender; whatever else it holds is not kept.
    let mut forged = KeyPair::generate().jwk();
    let more = json!({ "accID": bob.id, "d": "private", "nickname": "Bob", "ext": "true" });
    forged.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(set(&alice.client, &forged).await, "200 ok");
    assert_eq!(key_of(&bob.client, &alice.id).await, shown(&forged, &alice.id));
    assert_eq!(key_of(&bob.client, &bob.id).await, shown(&bob.own_jwk(), &bob.id));

    // A key may change, and P-256 is one too; the same key again is no event.
    assert_eq!(set(&alice.client, &p256_key()).await, "200 ok");
    let events = server.metric("be8_ledger_events_total").await;
    assert_eq!(set(&alice.client, &p256_key()).await, "200 ok");
    assert_eq!(server.metric("be8_ledger_events_total").await, events);
    assert_eq!(key_of(&bob.client, &alice.id).await, shown(&p256_key(), &alice.id));
}

/// Shows (docs/protocol.md): Public keys.
#[tokio::test]
async fn malformed_keys_are_refused() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let refused = "400 INVALIDPUBLICKEY";
    refuses(&alice.client, "/setkey", &json!({ "publicKey": p256_key() }), "publicKey", &no_text(), refused).await;

    let texts = no_text;
    let other = KeyPair::generate().jwk();
    let table: [(&str, Vec<Value>); 6] = [
        ("crv", [texts(), vec![json!("P-521"), json!("p-256"), json!("P-384")]].concat()),
        ("ext", [texts(), vec![json!(false), json!("yes")]].concat().into_iter().filter(|v| v != true).collect()),
        ("key_ops", vec![json!(null), json!(true), json!(7), json!({}), json!(""), json!("deriveKey")]),
        ("kty", [texts(), vec![json!("RSA"), json!("ec")]].concat()),
        ("x", [texts(), vec![p256_key()["y"].clone(), other["x"].clone(), json!("A".repeat(43))]].concat()),
        ("y", [texts(), vec![p256_key()["x"].clone(), other["y"].clone(), json!("A".repeat(5_000))]].concat()),
    ];
    for (field, values) in table {
        let missing = std::iter::once(None);
        for value in missing.chain(values.into_iter().map(Some)) {
            let mut key = p256_key();
            match &value {
                None => drop(key.as_object_mut().unwrap().remove(field)),
                Some(value) => key[field] = value.clone(),
            }
            assert_eq!(set(&alice.client, &key).await, refused, "{field} = {value:?}");
        }
    }
    assert_eq!(key_of(&alice.client, &alice.id).await, shown(&alice.own_jwk(), &alice.id));
}

/// Shows (docs/protocol.md): Checks of accounts and groups; Public keys; Keyholders that are gone.
#[tokio::test]
async fn keys_come_in_the_order_in_which_they_were_asked_for() {
    let server = Server::start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let bob = Person::sign_up(&server, "Bob").await;
    let keyless = server.post("/newacc", &json!({ "nickname": "Keyless", "password": "p" })).await;
    let keyless = keyless.json()["accID"].to_string();
    assert_eq!(key_of(&alice.client, &keyless).await, json!({ "key_ops": ["deriveKey", "deriveBits"] }));

    let asked = json!({ "accIDs": [bob.id, keyless, alice.id, bob.id] });
    let answer = alice.client.post("/getkeys", &asked).await;
    assert_eq!(answer.verdict(), "200 ok");
    let entry = |of: &Person| json!({ "accID": of.id, "publicKey": shown(&of.own_jwk(), &of.id) });
    assert_eq!(answer.json()["publicKeys"], json!([entry(&bob), entry(&alice), entry(&bob)]));

    let refused = "200 MEMBERNOTEXISTING";
    let lists = [json!(null), json!(true), json!(7), json!([]), json!({}), json!(""), json!(alice.id), json!([[]])];
    refuses(&alice.client, "/getkeys", &asked, "accIDs", &lists, refused).await;
    // One that names nobody fails all.
    for nobody in no_account() {
        let body = json!({ "accIDs": [alice.id, nobody, bob.id] });
        assert_eq!(alice.client.post("/getkeys", &body).await.verdict(), refused, "{body}");
    }
}
