//! Connections that hold what others need: how long one may be silent, how many there may be, and what they may leave unread.

use std::net::SocketAddr;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Person, http_client, two_people};
use crate::cluster::fresh_database;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

fn address(server: &Server) -> SocketAddr {
    server.url().trim_start_matches("http://").parse().unwrap()
}

/// A connection over which this was sent.
async fn having_sent(server: &Server, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address(server)).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    connection
}

/// What still comes until the server ends the connection.
async fn rest(connection: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // An end is an end, also one without manners.
    let _ = within("the end of a connection", connection.read_to_end(&mut rest)).await;
    String::from_utf8_lossy(&rest).into_owned()
}

/// A connection that was answered over, and stays open; none if it was refused.
async fn held_open(server: &Server) -> Option<TcpStream> {
    let mut connection = TcpStream::connect(address(server)).await.unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
    let mut said = [0; 12];
    let answered = within("an answer or an end", connection.read_exact(&mut said)).await.is_ok();
    (answered && said == *b"HTTP/1.1 200").then_some(connection)
}

/// Whether the server answers over a new connection.
async fn is_served(server: &Server) -> bool {
    let mut connection = TcpStream::connect(address(server)).await.unwrap();
    let asked = connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    asked.is_ok() && rest(&mut connection).await.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn a_connection_without_a_whole_request_ends() {
    let setup = Setup::on(&fresh_database().await).with("request-head-seconds", 1).with("events-heartbeat-seconds", 1);
    let server = setup.start().await;
    let alice = Person::sign_up(&server, "Alice").await;
    let mut stream = alice.client.events().await;
    let whole = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    for (sent, answers) in [
        ("", 0),
        ("GET /hea", 0),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n", 0),
        ("PRI * HTTP/2.0\r\n\r\n", 0),
        (whole, 1),
        (&format!("{whole}{whole}GET /hea"), 2),
    ] {
        let mut connection = having_sent(&server, sent).await;
        assert_eq!(rest(&mut connection).await.matches("200 OK").count(), answers, "{sent:?}");
    }
    // A drop now and then does not help.
    let mut dripping = having_sent(&server, "GET /").await;
    let (mut reading, mut writing) = dripping.split();
    let drip = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut end = [0];
    tokio::select! {
        read = within("the end of one that drips", reading.read(&mut end)) => assert!(matches!(read, Ok(0) | Err(_))),
        () = drip => {}
    }
    // A stream says little for longer than that, and goes on.
    let bob = Person::sign_up(&server, "Bob").await;
    alice.start_conversation(&bob).await;
    stream.event().await;
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_a_trusted_proxy_as_many_as_there_are() {
    let database = fresh_database().await;
    let setup = Setup::on(&database).with("connections-per-address", 6).with("connections", 12);
    let server = setup.clone().start().await;
    let fill = async |server: &Server| {
        let (mut held, mut refused) = (Vec::new(), 0);
        // The server may need a moment to notice that one has ended.
        while refused < 20 {
            match held_open(server).await {
                Some(connection) => held.push(connection),
                None => {
                    refused += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
        held
    };
    let mut held = fill(&server).await;
    assert!((4..=6).contains(&held.len()), "{}", held.len());
    assert!(!is_served(&server).await);
    held.pop();
    eventually("one that ended makes room", async || is_served(&server).await).await;
    drop(held);

    let server = setup.second().with("trusted-proxy", "127.0.0.1").start().await;
    let held = fill(&server).await;
    assert!((10..=12).contains(&held.len()), "{}", held.len());
    drop(held);
    eventually("it is served", async || is_served(&server).await).await;
    assert!(server.metric("be8_connections_refused_total").await >= 1.0);
}

/// Asks for an image of five mebibytes and reads nothing of it.
async fn asks_and_does_not_read(server: &Server, reader: &Person, of: &Person, name: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(address(server)).await.unwrap();
    let body = format!(r#"{{"sender":"{}","contentID":"{name}"}}"#, of.id);
    let head = "POST /imageget HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let cookie = reader.client.cookie().split(';').next().unwrap();
    let request = format!("{head}Cookie: {cookie}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn answers_that_nobody_takes_take_bounded_memory_and_are_given_up() {
    let setup = Setup::on(&fresh_database().await).with("answer-memory-mib", 16).with("answer-stall-seconds", 2);
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let content = "i".repeat(5_200_000);
    alice.posts(&thread, &bob.id, "large", &content).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(asks_and_does_not_read(&server, &bob, &alice, "large").await);
    }
    let bytes = async || server.metric("be8_answer_bytes").await;
    eventually("three have the room", async || bytes().await > 15_000_000.0).await;
    assert!(bytes().await <= 16.0 * 1024.0 * 1024.0);
    // A client that wants little is served at once, and one that reads has a turn once the others are given up.
    assert_eq!(bob.messages(&thread).await.len(), 2);
    assert_eq!(bob.looks_at(&alice, "large").await.as_deref(), Some(&*content));
    drop(silent);
    eventually("all of it is given back", async || bytes().await == 0.0).await;
}

#[tokio::test]
async fn a_client_that_sends_more_than_is_read_gets_the_reason() {
    let server = Server::start().await;
    let client = server.client();
    for (path, length, refused) in [
        ("/login", 5_242_881, 413),
        ("/login", 20_000_000, 413),
        ("/imageupload", 5_000_000, 401),
        ("/nowhere", 5_000_000, 404),
    ] {
        for declared in [true, false] {
            let pieces = (0..length / 1000 + 1).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1000]));
            let body = match declared {
                true => reqwest::Body::from(vec![b' '; length]),
                false => reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)),
            };
            let answer = client.post_raw(path, Some("application/json"), body).await;
            assert_eq!(answer.status, refused, "{path} {length} {declared}: {}", answer.text);
        }
    }
    let foreign = client.request(reqwest::Method::POST, "/newacc").header("origin", "https://evil.example");
    assert_eq!(client.send(foreign.body(vec![b' '; 5_000_000])).await.status, 403);
    let squeezed = client.request(reqwest::Method::POST, "/newacc").header("content-encoding", "gzip");
    assert_eq!(client.send(squeezed.body(vec![b' '; 5_000_000])).await.status, 415);
}

/// Small bodies that nobody completes, a hundred on each connection: over HTTP/2 one connection brings many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bodies_of_a_connection_have_one_free_share_together() {
    const MIB: f64 = 1_048_576.0;
    let setup = Setup::on(&fresh_database().await).with("body-memory-mib", 16);
    let server = setup.with("body-stall-seconds", 3600).with("body-total-seconds", 3600).start().await;
    // Given ten connections with a hundred requests each, of whose bodies 60,000 bytes have come
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let connection = http_client().http2_prior_knowledge().build().unwrap();
        for _ in 0..100 {
            let first = stream::once(async { Ok::<_, std::io::Error>(vec![b' '; 60_000]) });
            let body = reqwest::Body::wrap_stream(first.chain(stream::pending()));
            let request = connection.post(format!("{}/login", server.url())).header("content-type", "application/json");
            requests.spawn(request.body(body).send());
        }
    }
    // when they take all of the memory for bodies, then the rest is refused,
    let refused = within("a refusal", requests.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((refused.version(), refused.status().as_u16()), (reqwest::Version::HTTP_2, 503));
    let claimed = async || server.metric("be8_body_bytes").await;
    eventually("nearly all of it is claimed", async || claimed().await > 15.0 * MIB).await;
    // so that 58 MB take no more than the memory and the free share of each connection: about 290 bodies.
    while requests.len() > 300 {
        let answer = within("the other refusals", requests.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 503);
    }
    assert!(claimed().await <= 16.0 * MIB);
    // Clients on connections of their own are served meanwhile,
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "hello").await;
    // and everything is free once the connections have ended.
    requests.shutdown().await;
    eventually("nothing is claimed", async || claimed().await == 0.0).await;
}
