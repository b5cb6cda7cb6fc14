//! A client that talks to the server as the web client does: the same requests, the same cookie handling, real
//! cryptography.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::crypto::{KeyPair, encrypt_password};
use crate::patience::within;
use crate::server::Server;
use crate::sse::{Event, EventStream};

/// One who sends requests, with a session or without.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    cookie: Option<String>,
    bearer: Option<String>,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("the body of an answer") }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of ASCII"))
    }

    /// The code of a refusal with the HTTP status: `400 INVALIDNICKNAME`; `200 ok` if it is none.
    pub fn verdict(&self) -> String {
        let body = self.json();
        let (code, valid) = match (body["error"].as_str(), body["reason"].as_str().or(body["warning"].as_str())) {
            (Some(code), None) => (code, Value::Null),
            (None, Some(code)) => (code, json!(false)),
            (None, None) => ("ok", json!(true)),
            (Some(_), Some(_)) => panic!("two codes: {body}"),
        };
        assert_eq!(body["valid"], valid, "{body}");
        format!("{} {code}", self.status)
    }
}

/// A client of HTTP, as every test begins one: reqwest panics where nobody chose its cryptography, even for plain http. That is
/// chosen once in a process, so a test that left it out would depend on those before it.
pub fn http_client() -> reqwest::ClientBuilder {
    // A second choice has no effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

impl Client {
    /// A client without a session.
    pub fn new(url: &str) -> Self {
        let http = http_client().build().expect("a client");
        Self { http, url: url.to_owned(), cookie: None, bearer: None }
    }

    /// The same client with this text as its cookies.
    #[must_use]
    pub fn with_cookie(&self, cookie: &str) -> Self {
        Self { cookie: Some(cookie.to_owned()), ..self.clone() }
    }

    /// The same client with this bearer token.
    #[must_use]
    pub fn with_bearer(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    /// The same session at another node, over connections of its own.
    #[must_use]
    pub fn at(&self, server: &Server) -> Self {
        Self { cookie: self.cookie.clone(), ..Self::new(&server.url()) }
    }

    /// The cookie line that it sends.
    pub fn cookie(&self) -> &str {
        self.cookie.as_deref().expect("a session")
    }

    /// A request that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        };
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an error when no answer comes.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        within("an answer", async { Ok(Answer::read(request.send().await?).await) }).await
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST with a JSON body under an idempotency key.
    pub async fn post_once(&self, path: &str, body: &Value, key: &str) -> Answer {
        self.send(self.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
    }

    /// POST with a body of some content type, or of none.
    pub async fn post_raw(&self, path: &str, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).body(body);
        self.send(match content_type {
            Some(content_type) => request.header(CONTENT_TYPE, content_type),
            None => request,
        })
        .await
    }

    /// Opens the stream of events from now on, whatever was missed.
    pub async fn events(&self) -> EventStream {
        let metrics = self.get("/metrics").await.text;
        let position = metrics.lines().find_map(|line| line.strip_prefix("be8_log_position ")).expect("the position");
        self.events_after(position).await
    }

    /// Opens the stream of events without saying what was seen.
    pub async fn events_without_id(&self) -> EventStream {
        EventStream::open(self.request(Method::GET, "/events")).await
    }

    /// Opens the stream of events after the last one that was seen.
    pub async fn events_after(&self, id: &str) -> EventStream {
        EventStream::open(self.request(Method::GET, "/events").header("Last-Event-ID", id)).await
    }
}

impl Client {
    /// The ids of the account's changes that it receives, in the order of the log up to `last`. Ids are opaque, so this is
    /// what they are compared with. At most 1000, since more are summarised.
    pub async fn ids_until(&self, last: &str) -> Vec<String> {
        let mut stream = self.events_after("0").await;
        let mut ids = vec![stream.event().await.id];
        while ids.last().is_some_and(|id| id != last) {
            ids.push(stream.event().await.id);
        }
        ids
    }

    /// The change that the newest event of the log is for the account, apart from commitments to the map of histories.
    pub async fn newest_change(&self) -> Event {
        let metrics = self.get("/metrics").await.text;
        let position = metrics.lines().find_map(|line| line.strip_prefix("be8_log_position ")).expect("the position");
        let mut before = position.parse::<i64>().expect("a position") - 1;
        loop {
            let mut stream = self.events_after(&before.to_string()).await;
            if let Ok(event) = tokio::time::timeout(std::time::Duration::from_secs(1), stream.event()).await {
                return event;
            }
            before -= 1;
        }
    }
}

/// Somebody with an account.
#[derive(Clone)]
pub struct Person {
    /// The session.
    pub client: Client,
    /// The account.
    pub id: String,
    /// The nickname.
    pub nickname: String,
    /// The password, as only the person knows it.
    pub password: String,
    /// The keys that encrypt what the person writes.
    pub keys: KeyPair,
}

impl Person {
    /// Makes an account and a key as the web client does on its first start.
    pub async fn sign_up(server: &Server, nickname: &str) -> Self {
        let password: String = rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let salt = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis().to_string();
        let body = json!({ "password": encrypt_password(&password, &salt), "salt": salt, "nickname": nickname });
        let answer = server.post("/newacc", &body).await;
        assert_eq!(answer.verdict(), "200 ok");
        // The whole line, attributes included, goes back as the cookie.
        let client = server.client().with_cookie(answer.header("set-cookie").expect("a session"));
        let id = client.get("/me").await.json()["accID"].as_str().expect("an id").to_owned();
        let keys = KeyPair::generate();
        let person = Self { client, id, nickname: nickname.to_owned(), password, keys };
        assert_eq!(person.client.post("/setkey", &json!({ "publicKey": person.own_jwk() })).await.verdict(), "200 ok");
        person
    }

    /// The public key as the web client sends it: with the account in it.
    pub fn own_jwk(&self) -> Value {
        let mut jwk = self.keys.jwk();
        jwk["accID"] = json!(self.id);
        jwk
    }

    /// The same person at another node, over connections of its own.
    #[must_use]
    pub fn at(&self, server: &Server) -> Self {
        Self { client: self.client.at(server), ..self.clone() }
    }

    /// Starts a conversation; answers its thread.
    pub async fn start_conversation(&self, with: &Self) -> String {
        let answer = self.client.post("/startConversation", &json!({ "id": self.id, "receiverID": with.id })).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["threadID"].as_str().expect("a thread").to_owned()
    }

    /// The body of `/writemessage` as the web client sends it, without encryption.
    pub fn letter(&self, thread: &str, to: &str, text: &str) -> Value {
        json!({
            "text": text, "nickname": self.nickname, "sender": self.id, "endless": false, "receiver": to,
            "threadID": thread, "type": "user", "messageType": "text", "iv": "c4ad7b0e-0a63-4b53-9d0c-1f8f6f6f7a11",
        })
    }

    /// Writes a text as it stands; answers the number of the message.
    pub async fn write(&self, thread: &str, to: &Self, text: &str) -> u32 {
        let answer = self.client.post("/writemessage", &self.letter(thread, &to.id, text)).await;
        number_of(&answer, thread)
    }

    /// Writes this many messages as fast as the server takes them.
    pub async fn write_many(&self, thread: &str, to: &Self, count: usize) {
        futures_util::stream::iter(0..count)
            .for_each_concurrent(50, async |number| {
                self.write(thread, to, &format!("text {number}")).await;
            })
            .await;
    }

    /// Writes a text that only the receiver can read; answers the number of the message.
    pub async fn write_secretly(&self, thread: &str, to: &Self, text: &str) -> u32 {
        let key = self.client.post("/getkey", &json!({ "accID": to.id })).await.json();
        let (text, iv) = self.keys.encrypt(&key["publicKey"], text);
        let mut letter = self.letter(thread, &to.id, &text);
        letter["iv"] = json!(iv);
        number_of(&self.client.post("/writemessage", &letter).await, thread)
    }

    /// What the messages of a conversation say, decrypted: by number, those of the system with their code.
    pub async fn read_secretly(&self, thread: &str, partner: &Self) -> Vec<(String, String)> {
        let key = self.client.post("/getkey", &json!({ "accID": partner.id })).await.json();
        let read = |message: &Value| {
            let field = |name: &str| message[name].as_str().expect("text");
            let text = match field("messageType") {
                "text" => self.keys.decrypt(&key["publicKey"], field("text"), field("iv")).expect("our own key"),
                _ => field("text").to_owned(),
            };
            (field("messageID").to_owned(), text)
        };
        self.messages(thread).await.iter().map(read).collect()
    }

    /// The messages of a thread as the server shows them.
    pub async fn messages(&self, thread: &str) -> Vec<Value> {
        let answer = self.client.post("/getmessages", &json!({ "threadID": thread })).await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["messages"].as_array().expect("a list").clone()
    }

    /// The threads as the server shows them.
    pub async fn threads(&self) -> Vec<Value> {
        let answer = self.client.get("/getthreads").await;
        assert_eq!(answer.verdict(), "200 ok");
        answer.json()["threads"].as_array().expect("a list").clone()
    }
}

/// The number in the answer to `/writemessage`.
pub fn number_of(answer: &Answer, thread: &str) -> u32 {
    assert_eq!(answer.verdict(), "200 ok");
    let id = answer.json()["messageID"].as_str().expect("a message id").to_owned();
    let number = id.strip_prefix(&format!("message:{thread}:")).expect("an id of this thread");
    number.parse().expect("a number")
}

/// Two people with a conversation that the first began.
pub async fn two_people(server: &Server) -> (Person, Person, String) {
    let alice = Person::sign_up(server, "Alice").await;
    let bob = Person::sign_up(server, "Bob").await;
    let thread = alice.start_conversation(&bob).await;
    (alice, bob, thread)
}
