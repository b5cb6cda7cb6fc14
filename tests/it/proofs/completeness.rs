//! Completeness: a bundle shows all events up to a point or is refused, and a server that commits to a shortened map is caught by
//! who knows better.

use std::fs;

use be8::audit::bundle::Bundle;
use be8::audit::completeness::Completeness;
use be8::audit::notes::{Checkpoint, NoteKey};
use be8::audit::tree::{Growth, Question};
use be8::audit::verify::verify_bundle;
use be8::histories::map::{Entry, Nodes, Proof};
use be8::histories::{Changes, history_entry, history_index, name_entry, name_index, newest, salt};
use be8::ledger::{SignedHead, Tiles};
use be8_events::server::HistoriesCommitted;
use be8_events::{AccId, GroupId, Hash32, Position, Recorded, StreamName};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::bundles::{beside, both};
use super::{as_operator, covering_checkpoint, eventful, log_key, signing};
use crate::library::Library;
use crate::server::{Server, Setup};

/// A server's log and key, in the hands of somebody who lies.
struct Forger {
    key: NoteKey,
    log: Vec<Recorded>,
    group: GroupId,
}

impl Forger {
    async fn of(server: &Server, group: &str) -> Self {
        let key = NoteKey::from_text(&fs::read_to_string(server.setup().audit_key()).unwrap()).unwrap();
        let log = Library::open(server).await.ledger.log().read_all(Position::START, u32::MAX).await.unwrap();
        Self { key, log, group: group.parse().unwrap() }
    }

    fn of_stream(&self, stream: StreamName) -> Vec<Recorded> {
        self.log.iter().filter(|event| event.stream == stream).cloned().collect()
    }

    /// A bundle that shows so many events of the group's life less, under a head whose map has so many less. Every signature and
    /// every proof of inclusion in it is right.
    fn bundle(&self, reader: Option<&str>, shown_less: usize, committed_less: usize) -> String {
        let (life, chat) = (StreamName::Group(self.group), StreamName::Chat(self.group));
        let (lives, chats) = (self.of_stream(life), self.of_stream(chat));
        let hidden = |less: usize| lives[lives.len() - less..].iter().map(|event| event.position).collect::<Vec<_>>();
        let uncommitted = hidden(committed_less);
        let mut changes = Changes::after(Position::START);
        self.log.iter().filter(|event| !uncommitted.contains(&event.position)).for_each(|event| changes.apply(event));
        let mut nodes = Nodes::empty();
        changes.entries().into_iter().for_each(|entry| nodes.set(entry).unwrap());
        let (root, _) = nodes.root().unwrap();

        let last = self.log.last().unwrap();
        let event = HistoriesCommitted { until: last.position, root }.into();
        let mut committed = last.clone();
        committed.position = last.position.next();
        committed.stream = StreamName::Histories;
        (committed.actor, committed.sealed, committed.schema) = (None, None, 1);
        committed.payload = be8_events::Event::payload(&event);
        committed.event = event;
        let mut tree = Growth::new(0, Tiles::new()).unwrap();
        self.log.iter().chain([&committed]).for_each(|event| tree.push(event.hash()));
        let tiles = tree.changed();
        let (size, root) = (tree.size(), tree.root().unwrap());
        let inclusion = |event: &Recorded| {
            let index = event.position.0.unsigned_abs() - 1;
            Question::Inclusion { size, index }.answer(&tiles).unwrap()
        };
        let note = self.key.note(&Checkpoint { origin: self.key.public().name().to_owned(), size, root }.text());
        let salt = salt(&lives[0].salt);
        let prove = |index: Hash32| nodes.prove(&index).unwrap();
        let name = prove(name_index(&life.to_string()));
        let histories = Some((
            prove(history_index(&salt, &life.to_string())),
            prove(history_index(&salt, &chat.to_string())),
            chats.last().map(newest),
        ));
        let unshown = hidden(shown_less);
        let mut events: Vec<Recorded> =
            lives.iter().chain(&chats).filter(|event| !unshown.contains(&event.position)).cloned().collect();
        events.sort_by_key(|event| event.position);
        let counts = ((lives.len() - shown_less) as i64, chats.len() as i64);
        let histories_until = Some(last.position.0.unsigned_abs());
        Bundle {
            group: self.group,
            reader: reader.map(|reader| reader.parse::<AccId>().unwrap()),
            head: SignedHead { size, root, note, cosignatures: String::new(), histories: histories_until },
            witnesses: Vec::new(),
            completeness: Completeness { commitment: (committed.clone(), inclusion(&committed)), name, histories },
            counts,
            events: events.into_iter().map(|event| (event.clone(), inclusion(&event))).collect(),
        }
        .text(&self.key)
    }
}

#[tokio::test]
async fn a_bundle_whose_last_event_is_left_out_is_refused_by_both() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [_, bob, ..]) = eventful(&server).await;
    let forger = Forger::of(&server, &group).await;
    let key = Some(forger.key.public());
    for reader in [None, Some(&*bob.id)] {
        both(&forger.bundle(reader, 0, 0), key).expect("the honest one is taken");
        for less in [1, 2] {
            for said in both(&forger.bundle(reader, less, 0), key).unwrap_err() {
                assert!(said.contains("events are left out"), "{said}");
            }
        }
        // Nor can the map be the one that leaves out.
        both(&forger.bundle(reader, 0, 1), key).unwrap_err();
    }
}

#[tokio::test]
async fn a_server_that_commits_to_a_shortened_map_is_caught_by_a_member_who_knows_better() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, bob, ..]) = eventful(&server).await;
    covering_checkpoint(&server).await;
    let known = alice.client.get(&format!("/audit/groups/{group}/bundle")).await.text;
    alice.takes_version(&group).await;
    let forger = Forger::of(&server, &group).await;
    let key = Some(forger.key.public());
    // Three events are hidden, of which Alice knows two. The lie alone holds: its signer is who says so.
    let lie = forger.bundle(Some(&bob.id), 3, 3);
    both(&lie, key).unwrap();
    // Who has both, in either order, has two signatures that contradict each other.
    for (one, other) in [(&lie, &known), (&known, &lie)] {
        for said in beside(one, key, Some(other)).unwrap_err() {
            assert!(said.contains("signed a contradiction"), "{said}");
        }
    }
    // So has who asks later.
    let later = as_operator(&server, &format!("/audit/groups/{group}/bundle")).await.text;
    for said in beside(&later, key, Some(&lie)).unwrap_err() {
        assert!(said.contains("signed a contradiction") || said.contains("two checkpoints of one size"), "{said}");
    }
    // What is true agrees: an older bundle, another member's, the operator's.
    for other in [&known, &forger.bundle(Some(&bob.id), 0, 0)] {
        if verify_bundle(other, None).unwrap().checkpoint.size != verify_bundle(&later, None).unwrap().checkpoint.size {
            beside(&later, key, Some(other)).unwrap();
        }
    }
}

#[tokio::test]
async fn that_there_is_no_such_group_is_proved_to_the_operator() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, _) = eventful(&server).await;
    covering_checkpoint(&server).await;
    let key = log_key(&server).await;
    let absent = as_operator(&server, "/audit/groups/g77777/bundle").await;
    assert_eq!(absent.status, 200, "{}", absent.text);
    for said in both(&absent.text, Some(&key)).unwrap() {
        assert!(said.starts_with("There is no group g77777"), "{said}");
    }
    // Not of a group that is there.
    let forger = Forger::of(&server, &group).await;
    let events = |text: &str| text.split("\n\n").filter(|section| section.starts_with("event ")).count();
    assert_eq!(events(&absent.text), 0);
    let head = absent.text.split("\n\n").next().unwrap();
    let renamed = absent.text.replacen(head, &head.replace("g77777", &group), 1);
    let signed = renamed.splitn(3, "\n\n").collect::<Vec<_>>();
    let note = forger.key.note(&format!("{}\n", signed[0]));
    both(&format!("{note}\n{}", signed[2]), Some(&key)).unwrap_err();
}

async fn run(setup: &Setup, sql: &str) {
    let mut connection = PgConnection::connect(setup.database_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_map_is_made_again_from_the_log_while_the_server_runs() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, ..]) = eventful(&server).await;
    covering_checkpoint(&server).await;
    let (sound, report, complaint) = server.setup().command(&["check"], "").await;
    assert!(sound, "{report}{complaint}");

    let damage = "update audit_map_nodes set node = set_byte(node, 40, get_byte(node, 40) # 1) where died is null";
    run(server.setup(), damage).await;
    let (sound, report, _) = server.setup().command(&["check"], "").await;
    assert!(!sound && report.contains("the stored nodes of the map of histories"), "{report}");
    let (done, said, complaint) = server.setup().command(&["rebuild"], "").await;
    assert!(done && said.contains("The map of histories goes up to position"), "{said}{complaint}");
    let (sound, report, complaint) = server.setup().command(&["check"], "").await;
    assert!(sound, "{report}{complaint}");

    // It goes on from there.
    alice.takes_version(&group).await;
    covering_checkpoint(&server).await;
    let bundle = as_operator(&server, &format!("/audit/groups/{group}/bundle")).await.text;
    both(&bundle, Some(&log_key(&server).await)).unwrap();
    let (sound, report, complaint) = server.setup().command(&["check"], "").await;
    assert!(sound, "{report}{complaint}");

    // A commitment that is not to what the log has: this one's map is of no use to anybody, and the check names it.
    run(
        server.setup(),
        "set session_replication_role = replica;
         update events set payload = convert_to(regexp_replace(convert_from(payload, 'utf8'), 'root.*', 'root\":\"'
                 || repeat('ab', 32) || '\"}'), 'utf8')
         where position = (select max(position) from events where kind = 'HistoriesCommitted')",
    )
    .await;
    let (sound, report, _) = server.setup().command(&["check"], "").await;
    assert!(
        !sound && report.contains("it commits to another map of histories than that of the events before it"),
        "{report}"
    );
}

/// The vectors of `docs/log-format.md`, which another program made.
#[test]
fn the_map_is_the_one_of_the_vectors() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/histories.json")).unwrap();
    let hash = |value: &serde_json::Value| value.as_str().unwrap().parse::<Hash32>().unwrap();
    let entry =
        |value: &serde_json::Value| Entry { index: hash(&value["index"]), commitment: hash(&value["commitment"]) };
    let mut nodes = Nodes::empty();
    for group in vectors["groups"].as_array().unwrap() {
        let salt = salt(&hash(&group["first"]));
        assert_eq!(salt, hash(&group["salt"]));
        let name = name_entry(&format!("group-{}", group["group"].as_str().unwrap()), &salt);
        assert_eq!(name, entry(&group["name"]));
        nodes.set(name).unwrap();
        for history in group["histories"].as_array().unwrap() {
            let (name, count) = (history["history"].as_str().unwrap(), history["count"].as_i64().unwrap());
            assert_eq!(history_index(&salt, name), hash(&history["index"]));
            if count > 0 {
                let bytes = [b"be8/map/newest/1", history["canonical"].as_str().unwrap().as_bytes()].concat();
                assert_eq!(Hash32::sha256(&bytes), hash(&history["newest"]));
                let made = history_entry(&salt, name, count, &hash(&history["newest"]));
                assert_eq!(made, entry(history));
                nodes.set(made).unwrap();
            }
        }
    }
    assert_eq!(nodes.root().unwrap().0, hash(&vectors["root"]));
    for proof in vectors["proofs"].as_array().unwrap() {
        let found = proof["found"].as_array().map(|pair| Entry { index: hash(&pair[0]), commitment: hash(&pair[1]) });
        let siblings = proof["siblings"].as_array().unwrap().iter().map(hash).collect();
        assert_eq!(nodes.prove(&hash(&proof["index"])).unwrap(), Proof { found, siblings });
    }
}
