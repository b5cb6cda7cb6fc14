//! What a map of a million groups costs: `cargo test --release --workspace --test it a_million_groups -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use be8::histories::map::Nodes;
use be8::histories::{Changes, history_entry, history_index, name_entry, name_index, salt};
use be8::ledger::{Leads, Log, TransparencyTables};
use be8_database::{Address, Connector};
use be8_events::message::MessageWritten;
use be8_events::{AccId, Event, GroupId, Hash32, Position, Recorded, StreamName, ThreadId, Timestamp};
use sqlx::PgPool;

use super::signing;

const GROUPS: i64 = 1_000_000;

/// The salt of the first event of a group's life.
fn first(group: i64) -> Hash32 {
    Hash32::sha256(&group.to_be_bytes())
}

/// A group by its number from 0.
fn id(group: i64) -> GroupId {
    GroupId::new(10_001 + group).unwrap()
}

/// The names of a group's life and of its messages.
fn names(group: i64) -> [String; 2] {
    [StreamName::Group(id(group)), StreamName::Chat(id(group))].map(|stream| stream.to_string())
}

/// All their entries: a name, a life and messages for each.
fn whole_map() -> Nodes {
    let mut nodes = Nodes::empty();
    for group in 0..GROUPS {
        let (salt, [life, chat]) = (salt(&first(group)), names(group));
        nodes.set(name_entry(&life, &salt)).unwrap();
        nodes.set(history_entry(&salt, &life, 5, &first(group))).unwrap();
        nodes.set(history_entry(&salt, &chat, 7, &first(group))).unwrap();
    }
    nodes
}

/// The next message of a group, at a position.
fn message(group: i64, position: i64) -> Recorded {
    let (thread, sender) = (ThreadId::Group(id(group)), AccId::new(10_001).unwrap());
    let event: Event = MessageWritten { thread, id: 8, sender, nickname: Position(1), stay: 1, version: None }.into();
    Recorded {
        position: Position(position),
        stream: StreamName::Chat(id(group)),
        version: 8,
        time: Timestamp::from_micros(position),
        actor: Some(sender),
        salt: first(position),
        schema: 1,
        payload: event.payload(),
        sealed: None,
        event,
    }
}

#[tokio::test]
#[ignore = "a measurement: it takes some minutes and gigabytes"]
async fn a_million_groups() {
    let (setup, _token) = signing().await;
    setup.migrate().await;
    let begun = Instant::now();
    let mut nodes = whole_map();
    let (root, _) = nodes.root().unwrap();
    println!("{} nodes, made in {:?}", nodes.all().len(), begun.elapsed());
    let pool = PgPool::connect(setup.database_url()).await.unwrap();
    for page in nodes.all().iter().collect::<Vec<_>>().chunks(20_000) {
        let rows = page.iter().map(|(prefix, node)| (prefix.to_vec(), node.to_bytes()));
        let (prefixes, bytes): (Vec<Vec<u8>>, Vec<Vec<u8>>) = rows.unzip();
        let insert = "insert into audit_map_nodes (prefix, born, node)
            select p, 1, n from unnest($1::bytea[], $2::bytea[]) u(p, n)";
        sqlx::query(insert).bind(prefixes).bind(bytes).execute(&pool).await.unwrap();
    }
    sqlx::query("update audit_map set until = 1, root = $1").bind(&root.0[..]).execute(&pool).await.unwrap();
    let event = "insert into events values (1, 1, 1, 'HourStruck', 1, now(), null, $1, '{}', null)";
    sqlx::query(event).bind(&first(1).0[..]).execute(&pool).await.unwrap();
    sqlx::raw_sql("vacuum analyze audit_map_nodes").execute(&pool).await.unwrap();
    let size = sqlx::query_scalar::<_, String>("select pg_size_pretty(pg_total_relation_size('audit_map_nodes'))");
    println!("stored in {}", size.fetch_one(&pool).await.unwrap());

    let connect = Connector::from(Address::parse(setup.database_url()).unwrap());
    let tables = TransparencyTables::of(&Log::new(be8::node::reading_pool(&connect, 2, Duration::from_secs(30))));
    let (mut times, mut hashes) = (Vec::new(), 0);
    for group in (0..GROUPS).step_by(997) {
        let (salt, [life, chat]) = (salt(&first(group)), names(group));
        let indexes = [name_index(&life), history_index(&salt, &life), history_index(&salt, &chat)];
        let begun = Instant::now();
        let proofs = tables.map_proofs(1, &indexes).await.unwrap();
        times.push(begun.elapsed());
        for (proof, index) in proofs.iter().zip(&indexes) {
            assert_eq!((proof.root(index), proof.found.map(|entry| entry.index)), (Some(root), Some(*index)));
            hashes += proof.siblings.len();
        }
    }
    times.sort();
    let [median, most] = [times[times.len() / 2], times[times.len() * 99 / 100]];
    println!(
        "the three proofs of a bundle: median {median:?}, 99 % {most:?}, {} hashes each",
        hashes / times.len() / 3
    );

    let mut lead = Leads::new(&connect).take("a measurement").await.unwrap().unwrap();
    let mut position = 1;
    for count in [1, 10, 100, 1_000, 10_000] {
        for _ in 0..3 {
            let mut changes = Changes::after(Position(position));
            for _ in 0..count {
                position += 1;
                let group = position * 7919 % GROUPS;
                changes.apply(&message(group, position));
                changes.set_first(id(group), first(group));
            }
            let begun = Instant::now();
            lead.advance_map(&mut changes, (Position(1), first(1))).await.unwrap().expect("a root");
            println!("{count} changed histories: {:?}", begun.elapsed());
        }
    }
}
