//! The audit of groups: who may see which of it, its pages, its state at a point, its findings, and the same by command
//! line.

use std::io::Write as _;
use std::process::Command;

use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::client::{Answer, Person};
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::server::{Server, Setup};

const TOKEN: &str = "an operator token of more than thirty-two bytes";

/// A server that knows an operator.
async fn with_operator() -> (Server, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let setup = Setup::on(&fresh_database().await).with("operator-token-file", file.path().display());
    (setup.start().await, file)
}

/// What the holder of a token is answered.
async fn as_operator(server: &Server, token: &str, path: &str) -> Answer {
    let client = server.client();
    client.send(client.request(reqwest::Method::GET, path).header(AUTHORIZATION, format!("Bearer {token}"))).await
}

fn history_of(group: &str) -> String {
    format!("/audit/groups/{group}/history")
}

/// The acts of a history, the keys with their versions.
fn acts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let entries = answer.json()["entries"].as_array().unwrap().clone();
    let short = |entry: &Value| match entry["act"].as_str().unwrap() {
        "keyStored" => format!("key {} for {}", entry["version"], entry["account"].as_str().unwrap()),
        act => act.to_owned(),
    };
    entries.iter().map(short).collect()
}

async fn store(storer: &Person, group: &str, member: &Person, key: &str) -> Answer {
    let body = json!({ "groupID": group, "groupKey": key, "accID": member.id, "keyholder": storer.id });
    storer.client.post("/groupstorekey", &body).await
}

/// Alice's group, with Bob who stays and Carol who is kicked while she holds the key.
async fn eventful(server: &Server) -> (String, [Person; 4]) {
    let [alice, bob, carol, stranger] = people(server, ["Alice", "Bob", "Carol", "Mallory"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    carol.enters(&group).await;
    alice.takes_version(&group).await;
    for member in [&alice, &bob, &carol] {
        assert_eq!(store(&alice, &group, member, &format!("wrapped for {}", member.id)).await.verdict(), "200 ok");
    }
    carol.says(&group, "while I am here").await;
    alice.kicks(&group, &carol).await;
    bob.says(&group, "she still has the key").await;
    (group, [alice, bob, carol, stranger])
}

/// Shows (docs/protocol.md): Group history and proofs.
#[tokio::test]
async fn members_and_the_operator_may_see_a_history() {
    let (server, _token) = with_operator().await;
    let (group, [alice, bob, carol, stranger]) = eventful(&server).await;
    for path in [history_of(&group), format!("/audit/groups/{group}/findings")] {
        for (who, client, status) in [
            ("nobody", server.client(), "401 NOTAUTH"),
            ("junk", server.client().with_cookie("invalid"), "401 NOTAUTH"),
            ("admin", alice.client.clone(), "200 ok"),
            ("member", bob.client.clone(), "200 ok"),
            ("former member", carol.client.clone(), "404 NOTFOUND"),
            ("stranger", stranger.client.clone(), "404 NOTFOUND"),
        ] {
            assert_eq!(client.get(&path).await.verdict(), status, "{who} at {path}");
        }
        assert_eq!(as_operator(&server, TOKEN, &path).await.verdict(), "200 ok");
        for wrong in ["", "x", &TOKEN[1..], &format!("{TOKEN}x")] {
            assert_eq!(as_operator(&server, wrong, &path).await.verdict(), "401 NOTAUTH", "{wrong:?}");
        }
    }
    // Unknown and malformed groups look the same to everybody who may not see this one.
    let unseen = carol.client.get(&history_of(&group)).await;
    for other in ["g99999", "nonsense", "10001"] {
        for answer in
            [alice.client.get(&history_of(other)).await, as_operator(&server, TOKEN, &history_of(other)).await]
        {
            assert_eq!((answer.status, &answer.text), (unseen.status, &unseen.text), "{other}");
        }
    }
    // A destroyed group is for the operator only.
    alice.destroys(&group).await;
    assert_eq!(alice.client.get(&history_of(&group)).await.verdict(), "404 NOTFOUND");
    assert_eq!(acts(&as_operator(&server, TOKEN, &history_of(&group)).await).last().unwrap(), "destroyed");
    // The token is logged nowhere, its uses are.
    let log = server.setup().log();
    assert!(!log.contains(TOKEN) && log.contains("operator access"), "{log}");
}

#[tokio::test]
async fn without_a_token_file_there_is_no_operator() {
    let server = Server::start().await;
    let (group, _) = eventful(&server).await;
    for token in ["", TOKEN] {
        assert_eq!(as_operator(&server, token, &history_of(&group)).await.verdict(), "401 NOTAUTH");
    }
}

#[tokio::test]
async fn a_history_lists_everything_in_order_page_by_page() {
    let (server, _token) = with_operator().await;
    let (group, [alice, bob, carol, _]) = eventful(&server).await;
    let keys = [&alice, &bob, &carol].map(|member| format!("key 1 for {}", member.id));
    let all = ["created", "joined", "joined", "joined", "versionAllocated"].map(str::to_owned).into_iter();
    let all: Vec<String> = all.chain(keys).chain(["message", "kicked", "message"].map(str::to_owned)).collect();
    let whole = alice.client.get(&history_of(&group)).await;
    assert_eq!(acts(&whole), all);
    assert_eq!(whole.json()["more"], false);

    let positions: Vec<i64> = {
        let entries = whole.json()["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["position"].as_i64().unwrap()).collect()
    };
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");

    // Forwards and backwards, in pages of three.
    let mut forwards = Vec::new();
    let mut after = 0;
    loop {
        let page = alice.client.get(&format!("{}?after={after}&limit=3", history_of(&group))).await;
        forwards.extend(acts(&page));
        let page = page.json();
        after = page["entries"].as_array().unwrap().last().unwrap()["position"].as_i64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(forwards, all);
    let mut backwards = Vec::new();
    let mut before = i64::MAX;
    loop {
        let page = alice.client.get(&format!("{}?before={before}&limit=3", history_of(&group))).await;
        backwards.splice(0..0, acts(&page));
        let page = page.json();
        before = page["entries"][0]["position"].as_i64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(backwards, all);

    for bad in ["after=1&before=9", "after=-1", "limit=0", "limit=1001", "limit=x", "at=yesterday"] {
        let answer = alice.client.get(&format!("{}?{bad}", history_of(&group))).await;
        assert_eq!(answer.verdict(), "400 INVALIDINPUT", "{bad}");
    }
}

#[tokio::test]
async fn a_member_sees_the_messages_of_its_own_stays_only() {
    let (server, _token) = with_operator().await;
    let (group, [_, _, carol, _]) = eventful(&server).await;
    carol.enters(&group).await;
    carol.says(&group, "back again").await;
    let messages = |answer: &Answer| acts(answer).iter().filter(|act| *act == "message").count();
    let hers = carol.client.get(&history_of(&group)).await;
    let all = as_operator(&server, TOKEN, &history_of(&group)).await;
    assert_eq!((messages(&hers), messages(&all)), (2, 3), "not the one of her absence");
    assert_eq!(acts(&hers).len() + 1, acts(&all).len(), "everything else");
}

#[tokio::test]
async fn a_group_is_shown_as_it_was_at_a_point() {
    let (server, _token) = with_operator().await;
    let (group, [alice, bob, carol, _]) = eventful(&server).await;
    let entries = alice.client.get(&history_of(&group)).await.json()["entries"].as_array().unwrap().clone();
    let kick = entries.iter().find(|entry| entry["act"] == "kicked").unwrap();
    let kicked = kick["position"].as_i64().unwrap();
    let at = async |point: &str| {
        let answer = alice.client.get(&format!("{}?at={point}", history_of(&group))).await.json();
        assert_eq!(answer["entries"], json!([]));
        answer["state"].clone()
    };
    let members = |state: &Value| {
        let members = state["members"].as_array().unwrap().clone();
        members.iter().map(|member| member["account"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let everybody = [&alice, &bob, &carol].map(|member| member.id.clone());
    let before = at(&(kicked - 1).to_string()).await;
    assert_eq!(members(&before), everybody);
    assert_eq!((&before["version"], before["keys"].as_array().unwrap().len()), (&json!(1), 3));
    assert_eq!(members(&at(&kicked.to_string()).await), everybody[..2]);
    assert_eq!(members(&at(kick["time"].as_str().unwrap()).await), everybody[..2]);
    assert_eq!(members(&at("9000000000000").await), everybody[..2]);
    assert_eq!(at("0").await, Value::Null);
    assert_eq!(at("2001-01-01T00:00:00Z").await, Value::Null);
    // The fingerprint is the SHA-256 of what the storer sent.
    let fingerprint = be8_events::Hash32::sha256(format!("wrapped for {}", bob.id).as_bytes()).to_string();
    let of_bob = before["keys"].as_array().unwrap().iter().find(|key| key["account"] == json!(bob.id)).unwrap();
    assert_eq!(of_bob["fingerprint"], json!(fingerprint));
}

#[tokio::test]
async fn an_exposure_is_found_and_closed_by_a_rekey() {
    let (server, _token) = with_operator().await;
    let (group, [alice, bob, carol, _]) = eventful(&server).await;
    let findings = async || {
        alice.client.get(&format!("/audit/groups/{group}/findings")).await.json()["findings"]
            .as_array()
            .unwrap()
            .clone()
    };
    let open = findings().await;
    let [finding] = &open[..] else { panic!("{open:?}") };
    assert_eq!(finding["rule"], "exposure-window");
    assert_eq!(finding["knowledge"], "holds-key");
    assert_eq!((&finding["account"], &finding["messages"]), (&json!(carol.id), &json!(1)));
    assert!(finding.get("until").is_none());

    bob.takes_version(&group).await;
    store(&bob, &group, &alice, "the next key").await;
    assert!(findings().await[0].get("until").is_none(), "Bob has none yet");
    store(&bob, &group, &bob, "the next key").await;
    let closed = findings().await;
    let proof = closed[0]["proof"].as_array().unwrap();
    assert_eq!(&closed[0]["until"], proof.last().unwrap());
    bob.says(&group, "safe again").await;
    assert_eq!(findings().await[0]["messages"], 1);
}

#[tokio::test]
async fn the_command_line_prints_the_same() {
    let (server, _token) = with_operator().await;
    let (group, [alice, ..]) = eventful(&server).await;
    let home = tempfile::tempdir().unwrap();
    let be8 = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_be8"))
            .args(arguments)
            .args(["--database-url", server.setup().database_url()])
            .arg("--data-dir")
            .arg(home.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();

    let (ok, history, _) = be8(&["history", &group, "--format", "json"]);
    assert!(ok);
    assert_eq!(json!(lines(&history)), as_operator(&server, TOKEN, &history_of(&group)).await.json()["entries"]);
    let (ok, table, _) = be8(&["history", &group]);
    assert!(ok && table.starts_with("POSITION") && table.contains("kicked"), "{table}");
    assert_eq!(table.lines().count(), 1 + lines(&history).len());

    let (ok, state, _) = be8(&["history", &group, "--at", "9000000000000", "--format", "json"]);
    assert!(ok);
    let state: Value = serde_json::from_str(&state).unwrap();
    let answered = alice.client.get(&format!("{}?at=9000000000000", history_of(&group))).await.json();
    assert_eq!(state, answered["state"]);

    let (ok, findings, _) = be8(&["findings", &group, "--format", "json"]);
    assert!(ok);
    assert_eq!(lines(&findings)[0]["rule"], "exposure-window");

    for (arguments, what) in [
        (&["history", "g77777"][..], "there is no group g77777"),
        (&["findings", "g77777"][..], "there is no group g77777"),
        (&["history", "friends"][..], "\"friends\" is no group"),
        (&["history", &group, "--at", "yesterday"][..], "--at: neither a position nor a time"),
        (&["history", &group, "--at", "0"][..], "there was no group"),
    ] {
        let (ok, out, error) = be8(arguments);
        assert!(!ok && out.is_empty() && error.contains(what), "{arguments:?}: {error}");
    }
}
