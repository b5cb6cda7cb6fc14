//! What is left of a removed account in the database: nothing that anybody can read, and after the sweep not even bytes.

use be8_events::account::AccountSecret;
use be8_events::{AccountEvent, Event, Position, Sealed, SealedContext, SecretPayload};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use crate::client::{Person, two_people};
use crate::groups::people;
use crate::library::Library;
use crate::patience::eventually;
use crate::replay::replay;
use crate::rig::Rig;
use crate::server::Server;

/// All rows of all tables as text, bytes in hexadecimal.
async fn everything(pool: &PgPool) -> String {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select table_schema::text, table_name::text from information_schema.tables
         where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 15, "{tables:?}");
    let mut all = String::new();
    for (schema, table) in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("select t::text from {schema}.{table} t")))
            .fetch_all(pool)
            .await
            .unwrap();
        rows.iter().for_each(|row| all.push_str(&format!("{schema}.{table} {row}\n")));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text stands somewhere, as it is or among bytes.
fn stands(everything: &str, text: &str) -> bool {
    everything.contains(text) || everything.contains(&hex(text.as_bytes()))
}

/// The sealed bytes of what these accounts' keys seal: of the account and of its stays.
async fn sealed_bytes(pool: &PgPool, account: &str) -> Vec<String> {
    let rows = sqlx::query(
        "select bytes from sealed s join vault.key k on k.id = s.key
         where k.subject in ('account/' || $1, 'public-key/' || $1)
         union all
         select bytes from sealed_message m join vault.key k on k.id = m.account_key where k.subject = 'account/' || $1",
    )
    .bind(account)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.iter().map(|row| hex(row.get("bytes"))).collect()
}

/// The password hash of an account, unsealed.
async fn password_hash(library: &Library, account: &str) -> String {
    let log = library.ledger.log().read_all(Position::START, u32::MAX >> 1).await.unwrap();
    let created = log.iter().find(|event| match &event.event {
        Event::Account(AccountEvent::AccountCreated(e)) => e.account.to_string() == account,
        _ => false,
    });
    let created = created.expect("the account");
    let (key, nonce, bytes): (i64, Vec<u8>, Vec<u8>) =
        sqlx::query_as("select key, nonce, bytes from sealed where position = $1")
            .bind(created.position.0)
            .fetch_one(&library.pool)
            .await
            .unwrap();
    let sealed = Sealed { keys: vec![key], nonce: nonce.try_into().unwrap(), bytes };
    let opener = library.vault.opener(&sealed.keys).await.unwrap();
    let context = SealedContext { kind: "AccountCreated", schema: created.schema, salt: &created.salt };
    let plain = opener.open(&sealed, context).unwrap().expect("a living key");
    SecretPayload::read::<AccountSecret>(plain.expose()).unwrap().into_inner().password
}

/// A report of an erasure, by command line.
async fn report(server: &Server, account: &str, complete: bool) -> Value {
    let said = server.setup().run(&["erasure-report", "--format", "json", account]).await;
    assert_eq!(said.success, complete, "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

/// Shows (docs/protocol.md): What a removal does; Messages of former members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_erased_account_can_be_read_or_even_found() {
    let server = Server::start().await;
    let [alice, bob, carol] = people(&server, ["Alice Wonderland", "Bob", "Carol"]).await;
    let thread = alice.start_conversation(&bob).await;
    let group = bob.founds().await;
    alice.enters(&group).await;
    carol.enters(&group).await;
    let texts = ["ciphertext of Alice to Bob", "ciphertext of Alice to the group"];
    alice.write(&thread, &bob, texts[0]).await;
    bob.write(&thread, &alice, "ciphertext of Bob to Alice").await;
    alice.says(&group, texts[1]).await;
    bob.says(&group, "ciphertext of Bob to the group").await;
    for reader in [&alice, &bob] {
        reader.messages(&thread).await;
        reader.messages(&group).await;
    }
    let library = Library::open(&server).await;
    let hash = password_hash(&library, &alice.id).await;
    assert!(hash.starts_with("$argon2id$"));
    let jwk = alice.own_jwk();
    let secrets = [&alice.nickname, &alice.password, &hash, texts[0], texts[1], jwk["x"].as_str().unwrap()];
    let sealed = sealed_bytes(&library.pool, &alice.id).await;
    // Account and key; one text in the conversation, one in the group.
    assert_eq!(sealed.len(), 4);
    let before = everything(&library.pool).await;
    assert!(sealed.iter().all(|bytes| before.contains(bytes)), "the search sees what is there");
    // Nothing was readable without keys even before, and with them everything is.
    secrets.iter().for_each(|secret| assert!(!stands(&before, secret), "{secret}"));
    let alive = report(&server, &alice.id, true).await;
    assert_eq!((&alive["removed"], &alive["unreadable"]), (&Value::Null, &json!(0)), "{alive}");
    assert_eq!(alive["readable"].as_array().unwrap().len(), 4, "{alive}");

    alice.vanishes().await;
    // From the answer on, no key opens any of it.
    let found = report(&server, &alice.id, true).await;
    assert_eq!((&found["readable"], &found["unfinished"]), (&json!([]), &json!([0, 0])), "{found}");
    assert_eq!((&found["sealed"], &found["unreadable"], &found["reason"]), (&json!(4), &json!(4), &json!("panic")));
    for key in found["keys"].as_array().unwrap() {
        assert!(key["position"].as_i64().unwrap() > found["removed"]["position"].as_i64().unwrap(), "{key}");
    }
    eventually("the bytes are swept", async || {
        let now = everything(&library.pool).await;
        sealed.iter().all(|bytes| !now.contains(bytes))
    })
    .await;
    let after = everything(&library.pool).await;
    secrets.iter().for_each(|secret| assert!(!stands(&after, secret), "{secret}"));
    assert_eq!(report(&server, &alice.id, true).await["swept"], 4);
    // The others' are still there, but for what Bob wrote to Alice.
    assert_eq!(sealed_bytes(&library.pool, &bob.id).await.len(), 3);
    let texts: Vec<String> = carol.sees(&group).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts[1..], ["removed", "ciphertext of Bob to the group", "ACCLEFTGROUP"]);
    // The log is whole, and says all that is in the tables.
    let rig = Rig::on(server.setup().database_url()).await;
    for page in [1, 7, 1000] {
        replay(&rig, page).await;
    }
}

#[tokio::test]
async fn what_is_kept_is_kept_for_a_reason() {
    let server = Server::start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = bob.founds().await;
    alice.enters(&group).await;
    alice.takes_version(&group).await;
    for member in [&alice, &bob] {
        let key = json!({ "groupID": group, "accID": member.id, "keyholder": alice.id, "groupKey": "a wrapped key" });
        assert_eq!(alice.client.post("/groupstorekey", &key).await.verdict(), "200 ok");
    }
    let mine = alice.founds().await;
    alice.vanishes().await;
    let found = report(&server, &alice.id, true).await;
    let kept: Vec<(&str, i64)> = found["retained"].as_array().unwrap()[1..]
        .iter()
        .map(|kept| (kept["what"].as_str().unwrap(), kept["count"].as_i64().unwrap()))
        .collect();
    let (name, keys) = (format!("the name of {mine}"), format!("wrapped keys of {group}"));
    assert_eq!(kept, [("its public key", 1), (name.as_str(), 1), (keys.as_str(), 2)]);
    let key = found["keys"].as_array().unwrap().iter().find(|key| key["subject"] == format!("public-key/{}", alice.id));
    assert_eq!(key.unwrap()["kept"], format!("needed in {group}"));
    // The text says the same.
    let text = server.setup().run(&["erasure-report", &alice.id]).await.out;
    assert!(text.contains("The erasure is complete") && text.contains(&format!("needed in {group}")), "{text}");

    bob.destroys(&group).await;
    eventually("nothing but the name is kept", async || {
        let said = server.setup().run(&["erasure-report", "--format", "json", &alice.id]).await;
        let found: Value = serde_json::from_str(&said.out).unwrap();
        said.success && found["retained"].as_array().unwrap().len() == 2
    })
    .await;
    let said = server.setup().run(&["erasure-report", "10099"]).await;
    assert!(!said.success && said.err.contains("there is no account 10099"), "{said:?}");
}

#[tokio::test]
async fn a_half_done_erasure_is_seen() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "ciphertext").await;
    let library = Library::open(&server).await;
    let setup = server.kill().await;
    // Nobody follows: the account's key is gone, its conversation goes on, its public key lives.
    let command = be8::domain::removal::RemoveAccount::Operator { account: alice.id.parse().unwrap() };
    library.ledger.execute(command).await.unwrap();
    let said = setup.run(&["erasure-report", "--format", "json", &alice.id]).await;
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert!(!said.success, "{said:?}");
    assert_eq!((&found["unfinished"], &found["unreadable"]), (&json!([1, 0]), &json!(2)));
    assert_eq!(found["readable"].as_array().unwrap().len(), 1, "the public key");
    // One run of `be8 expire` does what servers do.
    let said = setup.run(&["expire", "--dry-run"]).await;
    assert!(said.success && said.out.contains("removals and ends of groups to follow     1"), "{said:?}");
    assert!(setup.run(&["expire"]).await.success);
    let said = setup.run(&["erasure-report", "--format", "json", &alice.id]).await;
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert!(said.success, "{said:?}");
    assert_eq!((&found["sealed"], &found["swept"]), (&json!(3), &json!(3)));
    let again = setup.run(&["expire"]).await;
    assert!(again.out.lines().all(|line| line.ends_with("  0")), "{again:?}");
    assert_ne!(Person::at(&bob, &setup.start().await).threads().await.len(), 2);
}
