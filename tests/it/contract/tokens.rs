//! `/endlessvalidate`, `--tokens-file` and `be8 token`.

use be8_events::{AccId, AccountEvent, Event, Hash32, Position, StreamName};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{no_text, refuses};
use crate::client::{Answer, Client, Person};
use crate::cluster::fresh_database;
use crate::library::Library;
use crate::server::{Server, Setup};

/// The development set.
const ENDLESS: &str = "12345678901234567890123456789012";
const PROMO_180: &str = "promo180_12345678901234567890123";
const PROMO_365: &str = "promo365_12345678901234567890123";
const FILE: &str = "
[[token]]
token = '12345678901234567890123456789012'
type = 'endless'
[[token]]
token = 'promo180_12345678901234567890123'
type = 'promo'
validTime = 15552000000
[[token]]
token = 'promo365_12345678901234567890123'
type = 'promo'
validTime = 31536000000
";

async fn with_tokens() -> Setup {
    Setup::on(&fresh_database().await).with_file("tokens-file", FILE)
}

async fn validate(client: &Client, token: &str) -> Answer {
    client.post("/endlessvalidate", &json!({ "token": token })).await
}

fn endless() -> Value {
    json!({ "valid": true, "validate": true, "tokenType": "endless" })
}

fn promo(millis: &str) -> Value {
    json!({ "valid": true, "validate": true, "tokenType": "promo", "validTime": millis })
}

fn in_use() -> Value {
    json!({ "valid": false, "tokenInUse": true })
}

/// Until when accounts live and whether they are endless, from the log alone.
async fn life(library: &Library, account: &str) -> (i64, bool) {
    let stream = StreamName::Account(account.parse::<AccId>().unwrap());
    let log = library.ledger.log().read_all(Position::START, u32::MAX >> 1).await.unwrap();
    let mut life = (0, false);
    for event in log.iter().filter(|event| event.stream == stream) {
        match &event.event {
            Event::Account(AccountEvent::AccountCreated(e)) => life.0 = e.until.micros() / 1000,
            Event::Account(AccountEvent::LifetimeExtended(e)) => life = (e.until.micros() / 1000, e.endless),
            _ => {}
        }
    }
    life
}

/// Shows (docs/protocol.md): Shapes of refusals; Tokens.
#[tokio::test]
async fn tokens_of_the_file_extend_lives_also_after_a_restart() {
    let server = with_tokens().await.start().await;
    let (alice, bob) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Bob").await);
    let library = Library::open(&server).await;
    let born = life(&library, &alice.id).await.0;

    assert_eq!(validate(&alice.client, PROMO_180).await.json(), promo("15552000000"));
    let longer = life(&library, &alice.id).await;
    assert!((longer.0 - born - 150 * 86_400_000).abs() < 600_000, "180 days from now, no more 30 from the beginning");
    assert!(!longer.1);
    for person in [&alice, &bob] {
        assert_eq!(validate(&person.client, PROMO_180).await.verdict(), "400 TOKENNOTEXIST", "it is used up");
    }
    assert_eq!(validate(&alice.client, ENDLESS).await.json(), endless());
    let (until, is_endless) = life(&library, &alice.id).await;
    assert!(is_endless && (until - born - 36_495 * 86_400_000).abs() < 600_000);
    // Its holder gets the same answer again, and nothing happens.
    let events = server.metric("be8_ledger_events_total").await;
    assert_eq!(validate(&alice.client, ENDLESS).await.json(), endless());
    assert_eq!(server.metric("be8_ledger_events_total").await, events);
    let taken = validate(&bob.client, ENDLESS).await;
    assert_eq!((taken.status, taken.json()), (200, in_use()));

    // The file is read again, and what was used stays used.
    let server = server.kill().await.start().await;
    assert_eq!(validate(&bob.client.at(&server), PROMO_180).await.verdict(), "400 TOKENNOTEXIST");
    assert_eq!(validate(&bob.client.at(&server), ENDLESS).await.json(), in_use());
    // No life gets shorter.
    assert_eq!(validate(&alice.client.at(&server), PROMO_365).await.json(), promo("31536000000"));
    assert_eq!(life(&Library::open(&server).await, &alice.id).await, (until, true));
    let log = server.setup().log();
    for token in [ENDLESS, PROMO_180, PROMO_365] {
        assert!(!log.contains(token), "no token in the log of the server");
    }
}

/// Shows (docs/protocol.md): Checks of fields.
#[tokio::test]
async fn checks_come_in_their_order() {
    let server = with_tokens().await.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let stranger = server.client().with_cookie("invalid");
    for token in [json!(ENDLESS), json!("short"), json!(null)] {
        let verdict = stranger.post("/endlessvalidate", &json!({ "token": token })).await.verdict();
        assert_eq!(verdict, "401 NOTAUTH", "{token}");
    }
    let mut bad = no_text();
    bad.extend([json!([ENDLESS]), json!({ "token": ENDLESS }), json!(12345678901234567890u64), json!("a".repeat(31))]);
    let body = json!({ "token": ENDLESS });
    refuses(&alice.client, "/endlessvalidate", &body, "token", &bad, "200 INVALIDTOKEN").await;
    // Characters are UTF-16 units.
    for unknown in ["a".repeat(32), "🦀".repeat(16), format!("{ENDLESS} "), "x".repeat(100_000)] {
        assert_eq!(validate(&alice.client, &unknown).await.verdict(), "400 TOKENNOTEXIST");
    }
    assert_eq!(validate(&alice.client, &"🦀".repeat(15)).await.verdict(), "200 INVALIDTOKEN");
}

/// Fifty at once over two nodes: each token serves once.
///
/// Shows (docs/protocol.md): Requests in flight; Tokens.
#[tokio::test]
async fn of_fifty_accounts_one_gets_the_token() {
    let first = with_tokens().await.start().await;
    let second = first.setup().second().start().await;
    let signing_up = (0..50).map(|n| {
        let server = if n % 2 == 0 { &first } else { &second };
        async move { Person::sign_up(server, &format!("Nr. {n}")).await }
    });
    let people = join_all(signing_up).await;
    for (token, accepted, refused) in
        [(ENDLESS, endless(), in_use()), (PROMO_180, promo("15552000000"), json!({ "error": "TOKENNOTEXIST" }))]
    {
        let answers = join_all(people.iter().enumerate().map(async |(n, person)| {
            let client = if n % 4 < 2 { person.client.at(&first) } else { person.client.at(&second) };
            validate(&client, token).await.json()
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| **answer == accepted).count(), 1, "{token}");
        assert!(answers.iter().all(|answer| *answer == accepted || *answer == refused), "{answers:?}");
    }
    // And fifty times by the same one.
    let answers = join_all(people.iter().map(async |_| validate(&people[7].client, PROMO_365).await.json())).await;
    assert_eq!(answers.iter().filter(|answer| **answer == promo("31536000000")).count(), 1);
    let log = Library::open(&first).await.ledger.log().read_all(Position::START, u32::MAX >> 1).await.unwrap();
    let of = |kind: &str| log.iter().filter(|event| event.event.kind() == kind).count();
    assert_eq!(
        (of("TokenIssued"), of("TokenTaken"), of("TokenConsumed"), of("LifetimeExtended")),
        (3, 1, 2, 3),
        "both nodes had the file"
    );
}

/// Shows (docs/protocol.md): Tokens.
#[tokio::test]
async fn the_operator_issues_lists_and_revokes() {
    let server = Server::start().await;
    let setup = server.setup();
    let alice = Person::sign_up(&server, "Alice").await;
    let (ok, printed, _) = setup.command(&["token", "list"], "").await;
    assert!(ok && printed == "No tokens.\n", "{printed}");

    let (ok, printed, error) = setup.command(&["token", "add", "endless", "--count", "2"], "").await;
    assert!(ok, "{error}");
    let endless_tokens: Vec<&str> = printed.lines().collect();
    let (ok, printed, error) = setup.command(&["token", "add", "promo", "--days", "90"], "").await;
    assert!(ok, "{error}");
    let promo_token = printed.trim();
    assert!(endless_tokens.iter().chain([&promo_token]).all(|token| token.len() == 32), "{printed}");
    assert_eq!(validate(&alice.client, promo_token).await.json(), promo("7776000000"));
    assert_eq!(validate(&alice.client, endless_tokens[0]).await.json(), endless());

    let (ok, printed, _) = setup.command(&["token", "list", "--format", "json"], "").await;
    let listed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ok && !printed.contains(promo_token), "the list knows no token itself");
    let states: Vec<_> = listed.iter().map(|token| (token["type"].clone(), token["state"].clone())).collect();
    let taken = states.iter().filter(|(kind, state)| kind == "endless" && state == "taken").count();
    let free = states.iter().filter(|(kind, state)| kind == "endless" && state == "free").count();
    assert_eq!((states.len(), taken, free), (3, 1, 1));
    assert_eq!(states[2], (json!("promo"), json!("used")));
    let free = listed.iter().find(|token| token["state"] == "free").unwrap()["token"].as_str().unwrap().to_owned();
    assert!(free.parse::<Hash32>().is_ok());

    // By its fingerprint, and by itself.
    let (ok, printed, error) = setup.command(&["token", "revoke", &free[..12]], "").await;
    assert!(ok && printed == format!("{} is revoked\n", &free[..16]), "{printed}{error}");
    let bob = Person::sign_up(&server, "Bob").await;
    assert_eq!(validate(&bob.client, endless_tokens[1]).await.verdict(), "400 TOKENNOTEXIST");
    let (ok, ..) = setup.command(&["token", "revoke", "-"], &format!("{}\n", endless_tokens[0])).await;
    assert!(ok);
    assert_eq!(validate(&bob.client, endless_tokens[0]).await.verdict(), "400 TOKENNOTEXIST");
    assert_eq!(alice.client.get("/me").await.verdict(), "200 ok", "what it gave stays");

    for (arguments, said) in [
        (&["token", "revoke", &free][..], "no such token"),
        (&["token", "revoke", "abc"][..], "at least 8 characters"),
        (&["token", "add", "endless", "--days", "3"][..], "--days: an endless token"),
        (&["token", "add", "promo", "--days", "0"][..], "--days: from 1 to 36525"),
    ] {
        let (ok, printed, error) = setup.command(arguments, "").await;
        assert!(!ok && printed.is_empty() && error.contains(said), "{arguments:?}: {printed}{error}");
    }
}

/// What becomes free with an account serves the next one: freeing is an event that its removal brings.
///
/// Shows (docs/protocol.md): What a removal does; Tokens.
#[tokio::test]
async fn a_freed_token_serves_another_account() {
    let server = with_tokens().await.start().await;
    let (alice, bob) = (Person::sign_up(&server, "Alice").await, Person::sign_up(&server, "Bob").await);
    assert_eq!(validate(&alice.client, ENDLESS).await.json(), endless());
    assert_eq!(validate(&bob.client, ENDLESS).await.json(), in_use());
    let library = Library::open(&server).await;
    let token = be8::app::tokens::fingerprint(&library.vault, ENDLESS).await.unwrap().expect("the server's key");
    let by = alice.id.parse().unwrap();
    let freed = be8_events::NewEvent {
        stream: StreamName::Token(token),
        actor: None,
        event: be8_events::token::TokenFreed { by }.into(),
        secret: None,
    };
    let appended = library.ledger.append(freed.stream, be8::ledger::ExpectedVersion::Any, vec![freed]).await;
    appended.expect("the event");
    assert_eq!(validate(&bob.client, ENDLESS).await.json(), endless());
}

/// Shows (docs/protocol.md): Tokens.
#[tokio::test]
async fn a_file_that_is_none_stops_the_start_without_showing_tokens() {
    let bad = format!("[[token]]\ntoken = '{ENDLESS}'\ntype = 'forever'\n");
    let setup = Setup::on(&fresh_database().await).with_file("tokens-file", &bad);
    let file = setup.file("tokens-file");
    let (ok, _, error) =
        setup.command(&["serve", "--listen", "127.0.0.1:0", "--tokens-file", file.to_str().unwrap()], "").await;
    assert!(!ok && error.contains("1. token: the type is neither endless nor promo"), "{error}");
    assert!(!error.contains(ENDLESS));
}
