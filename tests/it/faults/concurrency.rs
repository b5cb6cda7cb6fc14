//! Many at once in one conversation, and readers of the log beside them.

use std::collections::BTreeMap;

use be8::ledger::Log;
use be8_events::Position;
use futures_util::future::join_all;
use reqwest::Method;
use sqlx::PgPool;

use super::{numbers, sound_log};
use crate::client::{Answer, Person, number_of, two_people};
use crate::hold::Hold;
use crate::library::Library;
use crate::server::{Server, two_nodes};

/// Each of 64 clients, at these servers in turn, writes this many texts of its own; answers the text of every number.
async fn all_write(servers: [&Server; 2], people: [&Person; 2], thread: &str, each: u32) -> BTreeMap<u32, String> {
    let clients = (0..64).map(async |client: usize| {
        let from = people[client % 2].at(servers[client / 2 % 2]);
        let mut written = Vec::new();
        for nth in 0..each {
            let text = format!("text {nth} of client {client}");
            written.push((from.write(thread, people[(client + 1) % 2], &text).await, text));
        }
        assert!(written.is_sorted(), "a client's own messages stand in its order");
        written
    });
    let written = join_all(clients).await.concat();
    let by_number: BTreeMap<u32, String> = written.iter().cloned().collect();
    assert_eq!(by_number.len(), written.len(), "no number was given twice");
    by_number
}

/// Expects that the log and both readers have exactly these messages.
async fn exactly(server: &Server, people: [&Person; 2], thread: &str, written: &BTreeMap<u32, String>) {
    let library = Library::open(server).await;
    let in_order = numbers(&sound_log(&library.pool).await, thread);
    assert_eq!(in_order, (2..2 + written.len() as u32).collect::<Vec<_>>(), "dense and in the order of the log");
    assert_eq!(library.texts(thread).await, *written);
    let newest: Vec<String> = written.values().rev().take(100).rev().cloned().collect();
    for person in people {
        let shown: Vec<_> =
            person.messages(thread).await.iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(shown, newest);
    }
}

#[tokio::test]
async fn sixty_four_clients_write_into_one_conversation() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    let mut stream = bob.client.events().await;
    let listening = async { stream.events(640).await.into_iter().map(|event| event.id).collect::<Vec<_>>() };
    let (written, ids) = tokio::join!(all_write([&server; 2], [&alice, &bob], &thread, 10), listening);
    assert_eq!(written.len(), 640);
    let in_order = bob.client.ids_until(&ids[639]).await;
    assert_eq!(in_order[in_order.len() - 640..], ids, "each is received once, in order");
    exactly(&server, [&alice, &bob], &thread, &written).await;
}

/// Shows (docs/protocol.md): Requests in flight.
#[tokio::test]
async fn sixty_four_clients_write_through_two_nodes() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    // From the beginning: a node may learn late of what another one has answered.
    let mut first = bob.client.events_after("1-0").await;
    let mut second = bob.at(&two).client.events_after("1-0").await;
    let (written, from_one, from_two) =
        tokio::join!(all_write([&one, &two], [&alice, &bob], &thread, 10), first.events(641), second.events(641));
    for (left, right) in from_one.iter().zip(&from_two) {
        assert_eq!(left, right, "both nodes send the same");
    }
    exactly(&one, [&alice, &bob.at(&two)], &thread, &written).await;
}

#[tokio::test]
async fn who_reads_the_log_never_passes_a_gap() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    let log = Log::new(PgPool::connect(one.setup().database_url()).await.unwrap());
    let read = async |at: &mut Position| {
        let page = log.read_all(*at, 100).await.unwrap();
        for event in &page {
            assert_eq!(event.position, at.next(), "a gap was passed");
            *at = event.position;
        }
        !page.is_empty()
    };
    let mut at = Position::START;
    read(&mut at).await;

    // One append is held open in the middle, and a second node wants to append too.
    let mut hold = Hold::next_append(one.setup().database_url()).await;
    let held = tokio::spawn(
        alice.client.request(Method::POST, "/writemessage").json(&alice.letter(&thread, &bob.id, "held")).send(),
    );
    hold.caught().await;
    let at_two = bob.at(&two).client;
    let behind = tokio::spawn(
        at_two.request(Method::POST, "/writemessage").json(&bob.letter(&thread, &alice.id, "behind")).send(),
    );
    let before = at;
    for _ in 0..50 {
        read(&mut at).await;
    }
    assert_eq!(at, before, "nothing is visible that is not committed, and nothing overtakes it");
    hold.release().await;
    for (answer, number) in [(held, 2), (behind, 3)] {
        let answer = Answer::read(answer.await.unwrap().unwrap()).await;
        assert_eq!(number_of(&answer, &thread), number);
    }

    // And under load.
    let mut done = false;
    let bob_at_two = bob.at(&two);
    let writing = async {
        tokio::join!(alice.write_many(&thread, &bob, 300), bob_at_two.write_many(&thread, &alice, 300));
    };
    let mut writing = std::pin::pin!(writing);
    while !done {
        tokio::select! { () = &mut writing => done = true, _ = read(&mut at) => {} }
    }
    while read(&mut at).await {}
    assert_eq!(at.0, one.metric("be8_log_position").await as i64);
    assert_eq!(
        numbers(&sound_log(&PgPool::connect(one.setup().database_url()).await.unwrap()).await, &thread).len(),
        602
    );
}
