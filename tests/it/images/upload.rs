//! Posting images: what readers see, the checks and their order, sizes, and how many at once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::blobs;
use crate::client::{Person, two_people};
use crate::cluster::fresh_database;
use crate::contract::{no_account, no_text, refuses, timeless};
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// Shows (docs/protocol.md): Fields of a thread; Fields of a message; Posting an image; Fetching an image.
#[tokio::test]
async fn an_image_is_posted_listed_and_fetched() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut streams = [alice.client.events().await, bob.client.events().await];
    alice.posts(&thread, &bob.id, "name!?", "opaque content").await;
    for stream in &mut streams {
        let expected = json!({
            "action": "newMessage", "threadID": thread, "groupID": thread, "sender": alice.id, "nickname": "Alice",
            "type": "user",
        });
        assert_eq!(stream.event().await.data, expected);
    }
    // The lists say that one was sent, or received.
    for (person, text, status) in [(&alice, "SENTIMAGE", "read"), (&bob, "RECEIVEDIMAGE", "unread")] {
        let entry = &person.threads().await[0];
        assert_eq!((&entry["text"], &entry["messageType"]), (&json!(text), &json!("system")));
        assert_eq!((&entry["sender"], &entry["status"]), (&json!(alice.id), &json!(status)));
    }
    let shown = json!({
        "messageID": "2", "ts": "(time)", "sender": alice.id, "receiver": bob.id, "threadID": thread,
        "nickname": "Alice", "messageType": "image", "type": "user", "iv": "6f0d6c1e-0b57-4a0e-8d8a-2f6a4f0e9c11",
        "contentID": "name!?", "contentType": "image", "imgHeight": "480", "imgWidth": "640", "isGroup": "false",
        "status": [bob.id], "valid": true,
    });
    assert_eq!(timeless(bob.messages(&thread).await[1].clone()), shown);
    let read = streams[0].event().await.data;
    assert_eq!((&read["action"], &read["messageID"]), (&json!("messageRead"), &json!("2")));
    // The content comes with what decrypting it takes.
    let mut found = shown;
    let fields = found.as_object_mut().unwrap();
    fields.remove("status");
    fields.insert("content".to_owned(), json!("opaque content"));
    fields.insert("type".to_owned(), json!("image"));
    for reader in [&alice, &bob] {
        assert_eq!(timeless(reader.asks_for_image(&alice, "name!?").await.json()), found);
    }
    let stored = std::fs::read(&blobs(server.setup())[0]).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"opaque"), "a blob lies there in the clear");
}

/// Shows (docs/protocol.md): Posting an image; Names of images; Who writes system messages.
#[tokio::test]
async fn the_checks_have_an_order() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let eve = Person::sign_up(&server, "Eve").await;
    let good = alice.picture(&thread, &bob.id, "name", "content");
    let path = "/imageupload";
    // Everything is wrong, and put right from the first check to the last.
    let mut body = json!({
        "receiver": 7, "sender": [], "threadID": {}, "contentID": false, "content": 1, "messageType": "system",
        "groupVersionKey": "g1:1", "iv": "x".repeat(1025),
    });
    assert_eq!(server.client().with_cookie("invalid").post(path, &body).await.verdict(), "401 NOTAUTH");
    assert_eq!(server.post(path, &body).await.verdict(), "401 NOTAUTH");
    for (field, verdict) in [
        ("", "400 ACCNOTEXISTS"),
        ("receiver", "400 ACCNOTEXISTS"),
        ("sender", "400 INVALIDTHREADID"),
        ("threadID", "400 INVALIDCONTENTID"),
        ("contentID", "400 INVALIDMESSAGETYPE"),
        ("content", "400 INVALIDMESSAGETYPE"),
    ] {
        if !field.is_empty() {
            body[field] = good[field].clone();
        }
        assert_eq!(alice.client.post(path, &body).await.verdict(), verdict, "{field} is right");
    }
    body["groupVersionKey"] = json!(null);
    assert_eq!(alice.client.post(path, &body).await.verdict(), "413 TOOLARGE");
    assert!(blobs(server.setup()).is_empty(), "a refused image was stored");

    refuses(&alice.client, path, &good, "receiver", &no_account(), "400 ACCNOTEXISTS").await;
    refuses(&alice.client, path, &good, "sender", &no_account(), "400 ACCNOTEXISTS").await;
    let threads: Vec<_> = no_text().into_iter().chain([json!("1:2"), json!(format!("{}:s1", alice.id))]).collect();
    refuses(&alice.client, path, &good, "threadID", &threads, "400 INVALIDTHREADID").await;
    let names: Vec<_> = no_text().into_iter().chain([json!("a\nb"), json!("\u{0}"), json!("x".repeat(129))]).collect();
    refuses(&alice.client, path, &good, "contentID", &names, "400 INVALIDCONTENTID").await;
    refuses(&alice.client, path, &good, "content", &[json!(null), json!(1), json!({})], "400 INVALIDMESSAGETYPE").await;
    // Not as somebody else, not in a thread of others.
    for (field, value) in [("sender", &bob.id), ("sender", &eve.id)] {
        let mut body = good.clone();
        body[field] = json!(value);
        assert_eq!(alice.client.post(path, &body).await.verdict(), "400 ACCNOTEXISTS");
    }
    let theirs = eve.picture(&thread, &bob.id, "name", "content");
    assert_eq!(eve.client.post(path, &theirs).await.verdict(), "400 INVALIDTHREADID");
    assert_eq!(alice.messages(&thread).await.len(), 1);

    // Whatever type it says, it is an image: no system message can be planted.
    for (number, kind) in [json!("system"), json!("text"), json!(null), json!(7)].into_iter().enumerate() {
        let mut body = alice.picture(&thread, &bob.id, &format!("planted {number}"), "content");
        (body["messageType"], body["text"], body["extra1"]) = (kind, json!("WELCOME"), json!("<script>"));
        assert_eq!(alice.client.post(path, &body).await.verdict(), "200 ok");
        let last = bob.messages(&thread).await.pop().unwrap();
        assert_eq!(last["messageType"], "image");
        assert!(last.get("text").is_none() && last.get("extra1").is_none(), "{last}");
    }
}

/// Shows (docs/protocol.md): Names of images.
#[tokio::test]
async fn a_name_stands_for_one_content() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.posts(&thread, &bob.id, "name", "first").await;
    // The same again has no effect, other content is refused and changes nothing.
    alice.posts(&thread, &bob.id, "name", "first").await;
    let other = alice.client.post("/imageupload", &alice.picture(&thread, &bob.id, "name", "second")).await;
    assert_eq!(other.verdict(), "200 CONTENTEXISTS");
    assert_eq!(bob.looks_at(&alice, "name").await.as_deref(), Some("first"));
    assert_eq!((bob.messages(&thread).await.len(), blobs(server.setup()).len()), (2, 1));
    // Names are each sender's own.
    bob.posts(&thread, &alice.id, "name", "of Bob").await;
    assert_eq!(alice.looks_at(&bob, "name").await.as_deref(), Some("of Bob"));
    assert_eq!(alice.looks_at(&alice, "name").await.as_deref(), Some("first"));
    // Twenty at once under one name: one of them comes, and no blob is left of the others.
    let bodies: Vec<_> = (0..20).map(|n| alice.picture(&thread, &bob.id, "race", &format!("content {n}"))).collect();
    let answers = join_all(bodies.iter().map(|body| alice.client.post("/imageupload", body))).await;
    let verdicts: Vec<_> = answers.iter().map(|answer| answer.verdict()).collect();
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "200 ok").count(), 1, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "200 CONTENTEXISTS").count(), 19, "{verdicts:?}");
    assert_eq!(blobs(server.setup()).len(), 3);
}

/// Shows (docs/protocol.md): Names of images.
#[tokio::test]
async fn names_are_names_and_never_paths() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for name in ["../../../../../../tmp/be8-h4", "/etc/passwd", "..\\..\\x", "%2e%2e%2f", "a/b/c", "🦢", "."] {
        alice.posts(&thread, &bob.id, name, name).await;
        assert_eq!(bob.looks_at(&alice, name).await.as_deref(), Some(name));
    }
    assert!(!std::path::Path::new("/tmp/be8-h4").exists());
    for blob in blobs(server.setup()) {
        let name = blob.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
    for name in ["/etc/passwd", "../master.key"] {
        for sender in ["..", "../..", "/etc", "10001/../10002"] {
            let answer = bob.client.post("/imageget", &json!({ "sender": sender, "contentID": name })).await;
            assert_eq!(answer.json(), json!({ "valid": false, "contentID": name }));
        }
    }
}

/// Shows (docs/protocol.md): Posting an image.
#[tokio::test]
async fn the_largest_images_of_the_web_client_come_through() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    // 2 MiB as a data URL, encrypted, in base64.
    let large = "Zm9v".repeat(950_000);
    alice.posts(&thread, &bob.id, "large", &large).await;
    assert_eq!(bob.looks_at(&alice, "large").await, Some(large));
    let too_large = alice.picture(&thread, &bob.id, "too large", &"x".repeat(5_242_880));
    assert_eq!(alice.client.post("/imageupload", &too_large).await.verdict(), "413 TOOLARGE");
}

#[tokio::test]
async fn an_image_of_a_group_carries_its_version() {
    let server = Server::start().await;
    let (alice, bob, _) = two_people(&server).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.takes_version(&group).await;
    let mut body = alice.picture(&group, &group, "name", "content");
    for bad in [json!(format!("{group}:2")), json!("g99999:1"), json!(1), json!("x")] {
        body["groupVersionKey"] = bad;
        assert_eq!(alice.client.post("/imageupload", &body).await.verdict(), "400 INVALIDMESSAGETYPE");
    }
    body["groupVersionKey"] = json!(format!("{group}:1"));
    assert_eq!(alice.client.post("/imageupload", &body).await.verdict(), "200 ok");
    let found = bob.asks_for_image(&alice, "name").await.json();
    assert_eq!((&found["groupVersionKey"], &found["groupID"]), (&json!(format!("{group}:1")), &json!(group)));
    assert_eq!((&found["receiver"], &found["isGroup"]), (&json!(group), &json!("true")));
    assert_eq!(bob.thread(&group).await.unwrap()["text"], "RECEIVEDIMAGE");
}

/// Shows (docs/protocol.md): Writing a message.
#[tokio::test]
async fn an_image_may_be_written_like_a_text() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    // As the older description of the interface has it, and with a type that says it.
    for (number, kind) in [("2", "imageMessage"), ("3", "user")] {
        let mut letter = alice.letter(&thread, &bob.id, "a small image");
        letter["type"] = json!(kind);
        letter["messageType"] = json!("image");
        if kind == "imageMessage" {
            letter.as_object_mut().unwrap().remove("messageType");
        }
        let answer = alice.client.post("/writemessage", &letter).await;
        assert_eq!(answer.json(), json!({ "valid": true, "messageID": format!("message:{thread}:{number}") }));
        let message = bob.messages(&thread).await.pop().unwrap();
        assert_eq!((&message["messageType"], &message["messageID"]), (&json!("image"), &json!(number)));
        let name = message["contentID"].as_str().unwrap();
        assert_eq!(bob.looks_at(&alice, name).await.as_deref(), Some("a small image"));
    }
    let mut letter = alice.letter(&thread, &bob.id, "x");
    (letter["messageType"], letter["contentID"]) = (json!("image"), json!(7));
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "400 INVALIDCONTENTID");
    (letter["contentID"], letter["text"]) = (json!("name"), json!("x".repeat(262_145)));
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "413 TOOLARGE");
    letter["messageType"] = json!("system");
    assert_eq!(alice.client.post("/writemessage", &letter).await.verdict(), "400 INVALIDMESSAGETYPE");
}

/// A body of which the first half is sent; it is completed by what is sent to the other end.
fn half_sent(person: &Person, body: &serde_json::Value) -> (reqwest::RequestBuilder, tokio::sync::oneshot::Sender<()>) {
    let text = body.to_string();
    let (first, second) = (text[..text.len() / 2].to_owned(), text[text.len() / 2..].to_owned());
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let pieces =
        futures_util::stream::unfold((0, Some(wait), first, second), |(step, wait, first, second)| async move {
            match step {
                0 => Some((Ok::<_, std::io::Error>(first.clone()), (1, wait, first, second))),
                1 => {
                    let _ = wait?.await;
                    Some((Ok(second.clone()), (2, None, first, second)))
                }
                _ => None,
            }
        });
    let request = person.client.request(Method::POST, "/imageupload").header("content-type", "application/json");
    (request.body(reqwest::Body::wrap_stream(pieces)), go)
}

/// Shows (docs/protocol.md): Posting an image.
#[tokio::test]
async fn large_bodies_wait_for_each_other() {
    let setup = Setup::on(&fresh_database().await).with("media-bodies", 2).with("media-waiting", 1);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let body = |name: &str| alice.picture(&thread, &bob.id, name, "content");
    let mut running = Vec::new();
    for (person, body) in [(&alice, body("one")), (&bob, bob.picture(&thread, &alice.id, "two", "content"))] {
        let (request, go) = half_sent(person, &body);
        let client = person.client.clone();
        running.push((tokio::spawn(async move { client.send(request).await.verdict() }), go));
    }
    eventually("two are being read", async || server.metric("be8_image_uploads").await == 2.0).await;
    // A stranger waits for nobody, and keeps nobody waiting.
    assert_eq!(server.post("/imageupload", &body("stranger")).await.verdict(), "401 NOTAUTH");
    let third = {
        let (client, body) = (alice.client.clone(), body("three"));
        tokio::spawn(async move { client.post("/imageupload", &body).await.verdict() })
    };
    eventually("the third waits", async || server.metric("be8_image_uploads_waiting").await == 1.0).await;
    let fourth = bob.client.post("/imageupload", &bob.picture(&thread, &alice.id, "four", "content")).await;
    assert_eq!(fourth.verdict(), "503 UNAVAILABLE");
    assert!(fourth.header("retry-after").is_some());
    // All else goes on meanwhile.
    assert_eq!(alice.write(&thread, &bob, "meanwhile").await, 2);
    for (run, go) in running {
        go.send(()).unwrap();
        assert_eq!(run.await.unwrap(), "200 ok");
    }
    assert_eq!(third.await.unwrap(), "200 ok");
    assert_eq!(server.metric("be8_image_uploads").await, 0.0);
}

#[tokio::test]
async fn one_account_has_a_quarter_of_the_turns() {
    let setup = Setup::on(&fresh_database().await).with("media-bodies", 8).with("media-waiting", 4);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut running = Vec::new();
    for name in ["one", "two", "three"] {
        let (request, go) = half_sent(&alice, &alice.picture(&thread, &bob.id, name, "content"));
        let client = alice.client.clone();
        running.push((tokio::spawn(async move { client.send(request).await.verdict() }), go));
    }
    eventually("two are being read", async || server.metric("be8_image_uploads").await == 2.0).await;
    eventually("the third waits", async || server.metric("be8_image_uploads_waiting").await == 1.0).await;
    let fourth = alice.client.post("/imageupload", &alice.picture(&thread, &bob.id, "four", "content")).await;
    assert_eq!(fourth.verdict(), "503 UNAVAILABLE");
    // Others do not wait for her.
    bob.posts(&thread, &alice.id, "of Bob", "content").await;
    // Which of the three waits is not said: all go on before one of them is waited for.
    let (runs, gos): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    gos.into_iter().for_each(|go| go.send(()).unwrap());
    for run in runs {
        assert_eq!(run.await.unwrap(), "200 ok");
    }
}
