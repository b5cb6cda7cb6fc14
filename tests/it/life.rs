//! A whole life as the web client leads it, from the first start to the panic button: the same requests in the same order,
//! with real cryptography, and every change received on the way. One life alone, and twenty at once, on one node and on two.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Person, number_of};
use crate::groups::ids;
use crate::groups::web_client::WebClient;
use crate::push::peer::Device;
use crate::server::{Server, two_nodes};
use crate::sse::EventStream;

/// Somebody at the web client, with a tab that listens.
struct Browser {
    web: WebClient,
    stream: EventStream,
    /// At which node the next request is sent.
    node: usize,
}

impl Browser {
    /// The first start, by an invite link if there is one.
    async fn boots(nodes: &[Server], node: usize, nickname: &str, link: &str) -> Self {
        let server = &nodes[node % nodes.len()];
        let page = server.get(&format!("/{link}")).await;
        assert!(page.status == 200 && page.text.starts_with("<!"), "{}", page.text);
        assert_eq!(server.get("/me").await.json(), json!({ "error": "NOTAUTH" }));
        let web = WebClient::sign_up(server, nickname).await;
        let stream = web.person.client.events().await;
        let browser = Self { web, stream, node };
        let answer = browser.who().client.post("/subscribe", &Device::new().subscription()).await;
        assert_eq!(answer.status, 201);
        let system = browser.system();
        assert_eq!(browser.threads().await, [(system.clone(), "WELCOME".to_owned())]);
        assert_eq!(browser.who().messages(&system).await[0]["text"], "WELCOME");
        browser
    }

    fn who(&self) -> &Person {
        &self.web.person
    }

    fn system(&self) -> String {
        format!("{}:s1", self.who().id)
    }

    /// Goes on at the next node.
    fn moves(&mut self, nodes: &[Server]) {
        self.node += 1;
        self.web.person = self.who().at(&nodes[self.node % nodes.len()]);
    }

    async fn asks(&self, path: &str, body: Value) -> Value {
        let answer = self.who().client.post(path, &body).await;
        assert_eq!(answer.verdict(), "200 ok", "{path} {body}");
        answer.json()
    }

    /// The own account as the server sees it.
    async fn account(&self) -> Value {
        self.who().client.get("/me").await.json()["accObj"].clone()
    }

    /// The list of threads: each with its last text.
    async fn threads(&self) -> Vec<(String, String)> {
        let text = |thread: &Value, field: &str| thread[field].as_str().expect("a text").to_owned();
        self.who().threads().await.iter().map(|thread| (text(thread, "threadID"), text(thread, "text"))).collect()
    }

    /// Expects these changes and no others before them.
    async fn receives(&mut self, changes: &[Value]) {
        for change in changes {
            assert_eq!(self.stream.event().await.data, *change, "{}", self.web.person.nickname);
        }
    }
}

async fn all_receive<const N: usize>(change: Value, browsers: [&mut Browser; N]) {
    for browser in browsers {
        browser.receives(std::slice::from_ref(&change)).await;
    }
}

fn wrote(who: &Person, thread: &str, kind: &str) -> Value {
    json!({
        "action": "newMessage", "threadID": thread, "groupID": thread, "sender": who.id, "nickname": who.nickname,
        "type": kind,
    })
}

fn read_to(thread: &str, receiver: &Person, number: u32) -> Value {
    let number = number.to_string();
    json!({ "action": "messageRead", "threadID": thread, "receiver": receiver.id, "messageID": number, "type": "user" })
}

fn joined(group: &str) -> Value {
    json!({ "action": "groupJoin", "groupID": group, "threadID": group, "type": "group" })
}

fn left(group: &str, who: &Person) -> Value {
    json!({
        "action": "groupMemberRemove", "groupID": group, "threadID": group, "leavingMember": who.id, "type": "group",
    })
}

/// An invite link, then a talk that both read. Answers the thread.
async fn conversation(anna: &mut Browser, ben: &mut Browser) -> String {
    anna.asks("/invitelink", json!({ "type": "user", "sentInviteLink": true })).await;
    let mut body = ben.account().await;
    body["receiverID"] = json!(anna.who().id);
    let thread = ben.asks("/startConversation", body).await["threadID"].as_str().expect("a thread").to_owned();
    ben.asks("/invitelink", json!({ "type": "user", "usedInviteLink": true })).await;
    ben.receives(&[json!({ "action": "newConversation", "partner": anna.who().id })]).await;
    anna.receives(&[wrote(ben.who(), &thread, "user")]).await;
    assert_eq!(thread, format!("{}:{}", ben.who().id, anna.who().id));

    assert_eq!(ben.who().write_secretly(&thread, anna.who(), "Is that you, Anna?").await, 2);
    all_receive(wrote(ben.who(), &thread, "user"), [&mut *anna, &mut *ben]).await;
    let talk = anna.who().read_secretly(&thread, ben.who()).await;
    assert_eq!(talk.last().unwrap(), &("2".to_owned(), "Is that you, Anna?".to_owned()));
    ben.receives(&[read_to(&thread, anna.who(), 2)]).await;
    assert_eq!(anna.who().write_secretly(&thread, ben.who(), "It is, and nobody else can read it. 🦢").await, 3);
    all_receive(wrote(anna.who(), &thread, "user"), [&mut *anna, &mut *ben]).await;
    let talk = ben.who().read_secretly(&thread, anna.who()).await;
    let texts: Vec<&str> = talk.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["STARTCONVERSATION", "Is that you, Anna?", "It is, and nobody else can read it. 🦢"]);
    anna.receives(&[read_to(&thread, ben.who(), 3)]).await;
    // The double check: the partner, and nobody else, has read it.
    assert_eq!(anna.who().messages(&thread).await[2]["status"], json!([ben.who().id]));
    thread
}

/// An image that only the partner can look at.
async fn image(anna: &mut Browser, ben: &mut Browser, thread: &str) {
    let picture = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(5_000));
    let (content, iv) = anna.who().keys.encrypt(&ben.who().own_jwk(), &picture);
    let name: String = (0..32).map(|_| char::from(b'a' + rand::random::<u8>() % 26)).collect();
    let body = json!({
        "content": content, "contentID": name, "contentType": "image", "sender": anna.who().id,
        "receiver": ben.who().id, "threadID": thread, "nickname": anna.who().nickname, "messageType": "image",
        "type": "user", "isGroup": false, "imgHeight": 480, "imgWidth": 640, "iv": iv,
    });
    assert_eq!(anna.asks("/imageupload", body).await, json!({ "valid": true }));
    all_receive(wrote(anna.who(), thread, "user"), [&mut *anna, &mut *ben]).await;
    assert_eq!(anna.threads().await[0].1, "SENTIMAGE");
    assert_eq!(ben.threads().await[0].1, "RECEIVEDIMAGE");
    let message = ben.who().messages(thread).await.pop().expect("the image");
    anna.receives(&[read_to(thread, ben.who(), 4)]).await;
    assert_eq!((&message["messageType"], &message["contentID"]), (&json!("image"), &json!(name)));
    let asked = json!({ "contentID": name, "threadID": thread, "sender": anna.who().id, "messageID": "4" });
    let found = ben.asks("/imageget", asked).await;
    assert_eq!((&found["contentID"], &found["sender"]), (&json!(name), &json!(anna.who().id)));
    let field = |name: &str| found[name].as_str().expect("a text").to_owned();
    let shown = ben.who().keys.decrypt(&anna.who().own_jwk(), &field("content"), &field("iv"));
    assert_eq!(shown.as_deref(), Some(picture.as_str()));
}

/// A group: created, joined by a link, added to, talked in, rekeyed when one is kicked and when one leaves.
async fn group(nodes: &[Server], anna: &mut Browser, ben: &mut Browser, carl: &mut Browser) {
    let group = anna.web.create("public").await;
    anna.receives(&[json!({ "action": "groupCreate", "partner": group }), joined(&group)]).await;
    anna.asks("/invitelink", json!({ "type": "group", "sentInviteLink": true })).await;
    ben.moves(nodes);
    ben.web.join(&group).await;
    ben.asks("/invitelink", json!({ "type": "group", "usedInviteLink": true })).await;
    all_receive(joined(&group), [&mut *anna, &mut *ben]).await;
    anna.web.synchronize(&group).await;
    anna.web.add(&group, &carl.web).await;
    all_receive(joined(&group), [&mut *anna, &mut *ben, &mut *carl]).await;
    assert_eq!(json!(carl.who().members(&group).await), ids(&[anna.who(), ben.who(), carl.who()]));

    for browser in [&mut *anna, &mut *ben, &mut *carl] {
        browser.web.synchronize(&group).await;
        browser.moves(nodes);
    }
    assert_eq!(carl.web.send(&group, "Who are we?").await, 4);
    all_receive(wrote(carl.who(), &group, "group"), [&mut *anna, &mut *ben, &mut *carl]).await;
    let whole = ["ACCJOINEDGROUP", "ACCJOINEDGROUP", "ACCADDEDTOGROUP", "Who are we?"];
    for (reader, from) in [(&mut *anna, 0), (&mut *ben, 1)] {
        assert_eq!(reader.web.read(&group).await, whole[from..]);
        let read = json!({
            "action": "messageRead", "threadID": group, "groupID": group, "receiver": group, "messageID": "4",
            "type": "group",
        });
        carl.receives(&[read]).await;
    }

    anna.web.kick(&group, &carl.web).await;
    all_receive(left(&group, carl.who()), [&mut *anna, &mut *ben, &mut *carl]).await;
    ben.web.synchronize(&group).await;
    assert_eq!(ben.web.send(&group, "Carl is gone").await, 6);
    all_receive(wrote(ben.who(), &group, "group"), [&mut *anna, &mut *ben]).await;
    let message = anna.who().messages(&group).await.pop().expect("the last message");
    assert_eq!(anna.web.open(&message), "Carl is gone");
    assert!(!carl.web.breaks(&message), "Carl reads what came after him");
    let read = json!({
        "action": "messageRead", "threadID": group, "groupID": group, "receiver": group, "messageID": "6",
        "type": "group",
    });
    ben.receives(&[read]).await;
    let refused = carl.who().client.post("/getmessages", &json!({ "threadID": group })).await;
    assert_eq!(refused.json(), json!({ "error": "INVALIDTHREADID" }));

    ben.web.leave(&group).await;
    all_receive(left(&group, ben.who()), [&mut *anna, &mut *ben]).await;
    // The key that the leaver made for those who stay is the one that is used.
    anna.web.synchronize(&group).await;
    assert_eq!(anna.web.versions(&group), [1, 2, 3, 4, 5]);
    assert_eq!(anna.web.send(&group, "Alone at last").await, 8);
    anna.receives(&[wrote(anna.who(), &group, "group")]).await;
    assert_eq!(anna.web.read(&group).await[5..], ["(removed)", "ACCLEFTGROUP", "Alone at last"]);
    assert!(ben.threads().await.contains(&(ben.system(), "LEFTGROUP".to_owned())));
}

/// A new name, a status, and a lock on the screen.
async fn codes(ben: &mut Browser) {
    ben.asks("/changenickname", json!({ "oldNickname": "Ben", "newNickname": "Benjamin" })).await;
    ben.asks("/userstatusset", json!({ "userStatus": "behind a lock" })).await;
    ben.web.person.nickname = "Benjamin".to_owned();
    let mut body = ben.account().await;
    assert_eq!((&body["nickname"], &body["codes"]), (&json!("Benjamin"), &json!(false)));
    body["unlockCode"] = json!("2580");
    body["destroyCode"] = json!("0852");
    ben.asks("/codeset", body).await;
    // The page is loaded again, and asks for the code.
    assert_eq!(ben.account().await["codes"], json!(true));
    let wrong = ben.who().client.post("/codeunlock", &json!({ "code": "1111" })).await;
    assert_eq!(wrong.json(), json!({ "valid": false, "inValid": true }));
    assert_eq!(ben.asks("/codeunlock", json!({ "code": "2580" })).await["isValid"], json!(true));
    let mut body = ben.account().await;
    (body["code"], body["oldCode"], body["codeType"]) = (json!("9999"), json!("2580"), json!("unlock"));
    assert_eq!(ben.asks("/codeupdate", body).await["unlockUpdated"], json!(true));
    assert_eq!(ben.asks("/codeunlock", json!({ "code": "9999" })).await["isValid"], json!(true));
}

/// One life.
async fn life(nodes: &[Server], first_node: usize) {
    let mut anna = Browser::boots(nodes, first_node, "Anna", "").await;
    let mut ben = Browser::boots(nodes, first_node + 1, "Ben", "?user=a%2Bblob%3D%3D").await;
    let mut carl = Browser::boots(nodes, first_node, "Carl", "?group=a%2Bblob%3D%3D").await;
    let thread = conversation(&mut anna, &mut ben).await;
    anna.moves(nodes);
    image(&mut anna, &mut ben, &thread).await;
    group(nodes, &mut anna, &mut ben, &mut carl).await;
    codes(&mut ben).await;
    assert_eq!(anna.who().threads().await.iter().filter(|one| one["nickname"] == "Benjamin").count(), 1);
    ben.moves(nodes);
    let letter = ben.who().letter(&thread, &anna.who().id, "farewell");
    assert_eq!(number_of(&ben.who().client.post("/writemessage", &letter).await, &thread), 5);
    all_receive(wrote(ben.who(), &thread, "user"), [&mut anna, &mut ben]).await;

    // The panic button: the account is gone, and the reloaded page makes another one.
    let asked = anna.who().client.request(reqwest::Method::GET, "/destroyacc");
    let asked = asked.header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "cors");
    assert_eq!(anna.who().client.send(asked).await.json(), json!({ "valid": true }));
    assert_eq!(anna.who().client.get("/me").await.json(), json!({ "error": "NOTAUTH" }));
    ben.receives(&[json!({ "action": "expiredAcc", "accID": anna.who().id, "threadID": thread })]).await;
    assert_eq!(ben.threads().await, [(ben.system(), "ACCDELETED".to_owned())]);
    assert_eq!(anna.stream.rest().await, []);
    let new_anna = Browser::boots(nodes, first_node, "Anna", "").await;
    assert_ne!(new_anna.who().id, anna.who().id);

    // The destroy code does the same behind a lock.
    ben.moves(nodes);
    assert_eq!(ben.asks("/codeunlock", json!({ "code": "0852" })).await["isDestroyCode"], json!(true));
    assert_eq!(ben.who().client.get("/me").await.json(), json!({ "error": "NOTAUTH" }));
    assert_eq!(ben.stream.rest().await, []);

    // Carl had nothing to do with all that, and receives nothing of it.
    carl.who().start_conversation(new_anna.who()).await;
    carl.receives(&[json!({ "action": "newConversation", "partner": new_anna.who().id })]).await;
    let notices = carl.who().messages(&carl.system()).await;
    let notices: Vec<&str> = notices.iter().map(|notice| notice["text"].as_str().unwrap()).collect();
    assert_eq!(notices, ["WELCOME", "ADDEDTOGROUP", "KICKEDFROMGROUP"]);
}

/// Lives at once, and then what they left behind, counted and checked.
async fn lives(nodes: &[Server], count: usize) {
    join_all((0..count).map(|n| life(nodes, n))).await;
    let counters = nodes[0].get("/insights").await.json()["insights"].clone();
    let counted = |n: usize| match &counters[n]["value"] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_u64().unwrap(),
    };
    let count = count as u64;
    // Accounts, groups, threads with joins and adds, images, panic, and the four kinds of links.
    let expected = [
        (0, 4 * count),
        (1, count),
        (2, 5 * count),
        (4, count),
        (5, count),
        (6, count),
        (7, count),
        (8, count),
        (9, count),
    ];
    for (n, expected) in expected {
        assert_eq!(counted(n), expected, "{}", counters[n]);
    }
    let said = nodes[0].setup().run(&["check"]).await;
    assert!(said.success, "{said:?}");
    for node in nodes {
        let log = node.setup().log();
        assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    }
}

/// Shows (docs/protocol.md): Removing an account; Read marks; Counters; A session of the web client; Encryption between
/// clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_on_one_node() {
    lives(&[Server::start().await], 1).await;
}

/// Shows (docs/protocol.md): A session of the web client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_on_two_nodes() {
    let (one, two) = two_nodes().await;
    lives(&[one, two], 1).await;
}

/// Shows (docs/protocol.md): Counters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_lives_at_once_on_one_node() {
    lives(&[Server::start().await], 20).await;
}

/// Shows (docs/protocol.md): Requests in flight; Counters; Order of changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_lives_at_once_on_two_nodes() {
    let (one, two) = two_nodes().await;
    lives(&[one, two], 20).await;
}
