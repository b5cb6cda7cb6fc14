//! Witnesses: two servers that watch each other, and what a witness refuses.

use std::sync::{Arc, Mutex, PoisonError};

use be8::audit::notes::{Checkpoint, NoteKey, Role, signatures, split};
use be8::audit::settings::AskedWitness;
use be8::audit::tree::{Growth, Question};
use be8::audit::verify::verify_bundle;
use be8::audit::witness::AddCheckpoint;
use be8::ledger::Tiles;
use be8_events::Hash32;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::bundles::both;
use super::{covering_checkpoint, eventful, signing};
use crate::client::Answer;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// A key in a file, as `be8 audit-key` would make it.
fn key(setup: &Setup, file: &str, name: &str, role: Role) -> (std::path::PathBuf, NoteKey) {
    let path = setup.master_key().with_file_name(file);
    let key = be8::audit::key_file::load_or_create(&path, role, name).unwrap();
    (path, key)
}

/// Two servers that witness each other.
async fn mutual() -> (Server, Server, [tempfile::NamedTempFile; 2]) {
    let ((one, first), (two, second)) = (signing().await, signing().await);
    let setups = [one.at_a_known_address(), two.at_a_known_address()];
    let names = ["one.example", "two.example"];
    let keys = [0, 1].map(|n| {
        let (_, log) = key(&setups[n], "audit.key", &format!("{}/audit/log", names[n]), Role::Log);
        let (path, witness) = key(&setups[n], "witness.key", &format!("{}/witness", names[n]), Role::Witness);
        (log.public().clone(), path, witness.public().clone())
    });
    let [one, two] = [0, 1].map(|n| {
        let (other, own) = (&keys[1 - n], &keys[n]);
        let setup = setups[n].clone().with("witness-key", own.1.display()).with("witness-logs", &other.0);
        setup.with("witnesses", format!("{}/audit/witness#{}", setups[1 - n].url(), other.2))
    });
    (one.start().await, two.start().await, [first, second])
}

/// Shows (docs/protocol.md): Witnessing.
#[tokio::test]
async fn two_servers_witness_each_other() {
    let (one, two, _tokens) = mutual().await;
    for (server, other) in [(&one, &two), (&two, &one)] {
        let (group, [alice, bob, ..]) = eventful(server).await;
        let witness = other.get("/audit/witness/key").await.text;
        let witness = witness.trim_end().parse().unwrap();
        // Each of its heads in its turn: the first one, and one that extends it.
        for round in 0..2 {
            bob.says(&group, &format!("round {round}")).await;
            let (covering, _) = covering_checkpoint(server).await;
            eventually("the other has cosigned", async || {
                let note = server.get("/audit/log/checkpoint").await.text;
                let (text, all) = split(&note).unwrap();
                let cosigned = all.iter().any(|one| be8::audit::notes::PublicKey::signed(&witness, text, one));
                cosigned && Checkpoint::parse(text).unwrap().size >= covering.size
            })
            .await;
        }
        // The bundle carries the cosignature, and both verifiers check it.
        let bundle = alice.client.get(&format!("/audit/groups/{group}/bundle")).await.text;
        let read = verify_bundle(&bundle, None).unwrap();
        assert_eq!(read.witnesses.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&witness]);
        for said in both(&bundle, None).unwrap() {
            assert!(said.contains(&format!("by {witness}")), "{said}");
        }
        // So does a single proof.
        let proof = alice.client.get(&format!("/audit/groups/{group}/proof")).await.json();
        let proof = proof["proof"].as_str().unwrap().to_owned();
        assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex "), "{proof}");
        assert!(proof.contains(&format!("— {} ", witness.name())), "{proof}");
    }
}

/// Shows (docs/protocol.md): Witnessing.
#[tokio::test]
async fn a_rewritten_log_is_refused_by_the_other() {
    let (one, two, _tokens) = mutual().await;
    eventful(&one).await;
    let (before, _) = covering_checkpoint(&one).await;
    let cosigned = async |server: &Server| {
        let note = server.get("/audit/log/checkpoint").await.text;
        split(&note).is_ok_and(|(_, signatures)| signatures.len() == 2)
    };
    eventually("the other has cosigned", async || cosigned(&one).await).await;
    // Its operator starts again, with another history under the same key, and hides the file that would show it.
    one.terminate();
    let (setup, _) = one.ended().await;
    std::fs::remove_file(setup.audit_key().with_extension("key.head")).unwrap();
    let setup = setup.through(crate::cluster::fresh_database().await.url);
    let one = setup.start().await;
    for _ in 0..2 {
        eventful(&one).await;
    }
    let (after, _) = covering_checkpoint(&one).await;
    assert!(after.size > before.size);
    eventually("the witness refuses", async || two.setup().log().contains("does not extend the last one")).await;
    eventually("who asked knows", async || one.setup().log().contains("a witness did not cosign")).await;
    assert!(!cosigned(&one).await);
}

/// A log that exists in this test only.
struct Fake {
    key: NoteKey,
    tiles: Tiles,
    tree: Growth,
}

impl Fake {
    fn new(name: &str, salt: u8, size: u64) -> Self {
        let key = NoteKey::new(name, Role::Log, &[9; 32]).unwrap();
        let mut own = Self { key, tiles: Tiles::new(), tree: Growth::new(0, Tiles::new()).unwrap() };
        (0..size).for_each(|n| own.tree.push(Hash32::sha256(&[&[salt][..], &n.to_be_bytes()].concat())));
        own.tiles = own.tree.changed();
        own
    }

    fn root(&self, size: u64) -> Hash32 {
        Question::Root { size }.answer(&self.tiles).unwrap()[0]
    }

    fn note(&self, size: u64) -> String {
        let origin = self.key.public().name().to_owned();
        self.key.note(&Checkpoint { origin, size, root: self.root(size) }.text())
    }

    /// The request that leads from one size to another.
    fn request(&self, old: u64, size: u64) -> String {
        let proof = Question::Consistency { old, size }.answer(&self.tiles).unwrap();
        AddCheckpoint { old, proof, note: &self.note(size) }.text()
    }
}

/// Shows (docs/protocol.md): Witnessing.
#[tokio::test]
async fn a_witness_answers_as_the_specification_has_it() {
    let log = Fake::new("fake.example/log", 0, 700);
    let (setup, _token) = signing().await;
    let (path, witness) = key(&setup, "witness.key", "w.example/witness", Role::Witness);
    let setup = setup.with("witness-key", path.display()).with("witness-logs", log.key.public());
    let server = setup.start().await;
    let add = async |server: &Server, body: String| -> Answer {
        server.client().post_raw("/audit/witness/add-checkpoint", None, body).await
    };
    let said = async |body: String| add(&server, body).await.status;
    let size_of = async |body: String| {
        let answer = add(&server, body).await;
        assert_eq!(answer.header("content-type"), Some("text/x.tlog.size"));
        (answer.status, answer.text)
    };

    // Who does not know what was cosigned asks with 0.
    let first = add(&server, log.request(0, 300)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let note = log.note(300);
    let (text, _) = split(&note).unwrap();
    let lines = signatures(&first.text).unwrap();
    assert!(lines.len() == 1 && witness.public().signed(text, &lines[0]), "{}", first.text);
    assert_eq!(size_of(log.request(0, 400)).await, (409, "300\n".to_owned()));
    assert_eq!(size_of(log.request(299, 400)).await, (409, "300\n".to_owned()));
    assert_eq!(said(log.request(300, 300)).await, 200, "the same once more");
    assert_eq!(said(log.request(300, 513)).await, 200);

    // Another history of the same log, by its own key.
    let rewritten = Fake::new("fake.example/log", 1, 700);
    assert_eq!(said(rewritten.request(513, 513)).await, 422);
    assert_eq!(said(rewritten.request(513, 700)).await, 422);
    let mut lying = log.request(513, 700).into_bytes();
    lying["old 513\n".len()] ^= 1;
    assert!([400, 422].contains(&said(String::from_utf8(lying).unwrap()).await));

    // Unknown, unsigned, malformed.
    assert_eq!(said(Fake::new("unknown.example", 0, 700).request(0, 700)).await, 404);
    let unsigned = log.request(513, 700).replace(
        &log.note(700),
        &NoteKey::new("fake.example/log", Role::Log, &[8; 32]).unwrap().note(split(&log.note(700)).unwrap().0),
    );
    assert_eq!(said(unsigned).await, 403);
    // A right signature does not make up for a wrong one under the same key.
    let right = log.note(700);
    let (text, _) = split(&right).unwrap();
    let line = right[text.len() + 1..].trim_end();
    let wrong = log.note(699);
    let (other, _) = split(&wrong).unwrap();
    let wrong = wrong[other.len() + 1..].trim_end();
    for lines in [format!("{line}\n{wrong}\n"), format!("{wrong}\n{line}\n")] {
        let note = format!("{text}\n{lines}");
        let proof = Question::Consistency { old: 513, size: 700 }.answer(&log.tiles).unwrap();
        assert_eq!(said(AddCheckpoint { old: 513, proof, note: &note }.text()).await, 403, "{note}");
    }
    let smaller = AddCheckpoint { old: 513, proof: vec![], note: &log.note(300) }.text();
    assert_eq!(said(smaller).await, 400);
    for bad in ["", "old\n\n", "old 1", "old 513\n\nnot a note", "\u{fffd}"] {
        assert_eq!(said(bad.to_owned()).await, 400, "{bad:?}");
    }
    assert_eq!(said("x".repeat(70_000)).await, 413);
    assert_eq!(server.get("/audit/witness/add-checkpoint").await.verdict(), "405 METHODNOTALLOWED");

    // What it cosigned it knows forever, and of two at once it takes one.
    let server = server.kill().await.start().await;
    assert_eq!(add(&server, rewritten.request(513, 700)).await.status, 422);
    let (one, two) = tokio::join!(add(&server, log.request(513, 600)), add(&server, log.request(513, 700)));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let asked: AskedWitness = format!("{}/audit/witness/#{}", server.url(), witness.public()).parse().unwrap();
    assert_eq!(asked.url, format!("{}/audit/witness", server.url()));
}

#[tokio::test]
async fn of_an_empty_log_there_is_one_tree() {
    let log = Fake::new("empty.example/log", 0, 1);
    let (setup, _token) = signing().await;
    let (path, _) = key(&setup, "witness.key", "w.example/witness", Role::Witness);
    let setup = setup.with("witness-key", path.display()).with("witness-logs", log.key.public());
    let server = setup.start().await;
    let said = async |root: Hash32| {
        let origin = log.key.public().name().to_owned();
        let note = log.key.note(&Checkpoint { origin, size: 0, root }.text());
        let body = AddCheckpoint { old: 0, proof: vec![], note: &note }.text();
        server.client().post_raw("/audit/witness/add-checkpoint", None, body).await.status
    };
    assert_eq!(said(Hash32::sha256(b"something")).await, 422);
    assert_eq!(said(Hash32::sha256(b"")).await, 200);
    assert_eq!(said(Hash32::sha256(b"something")).await, 422);
}

/// A witness that takes requests and never answers. It keeps them, each with whether its sender still waits.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Vec<(String, bool)>>>);

impl Silent {
    async fn start() -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = Self::default();
        let kept = silent.clone();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (kept, nth) = (kept.clone(), kept.with(|all| (all.push((String::new(), true)), all.len() - 1).1));
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(count) = tcp.read(&mut bytes).await
                        && count > 0
                    {
                        kept.with(|all| all[nth].0.push_str(&String::from_utf8_lossy(&bytes[..count])));
                    }
                    kept.with(|all| all[nth].1 = false);
                });
            }
        });
        (url, silent)
    }

    fn with<T>(&self, what: impl FnOnce(&mut Vec<(String, bool)>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the senders of the requests for this checkpoint still wait.
    fn asked_for(&self, text: &str) -> Vec<bool> {
        self.with(|all| all.iter().filter(|(request, _)| request.contains(text)).map(|(_, waits)| *waits).collect())
    }
}

#[tokio::test]
async fn a_silent_witness_holds_no_other_back() {
    let (asking, _first) = signing().await;
    let (answering, _second) = signing().await;
    let (asking, answering) = (asking.at_a_known_address(), answering.at_a_known_address());
    let (_, log) = key(&asking, "audit.key", "one.example/audit/log", Role::Log);
    let (path, witness) = key(&answering, "witness.key", "two.example/witness", Role::Witness);
    let (_, dumb) = key(&answering, "silent.key", "silent.example/witness", Role::Witness);
    let (url, silent) = Silent::start().await;
    let answering = answering.with("witness-key", path.display()).with("witness-logs", log.public());
    let at = format!("{}/audit/witness#{}", answering.url(), witness.public());
    let _answering = answering.start().await;
    let server = asking.with("witnesses", format!("{url}#{},{at}", dumb.public())).start().await;
    let (group, [_, bob, ..]) = eventful(&server).await;
    eventually("a head is cosigned while the first request of the silent one waits", async || {
        let note = server.get("/audit/log/checkpoint").await.text;
        let Ok((text, all)) = split(&note) else { return false };
        let cosigned = all.iter().any(|one| witness.public().signed(text, one));
        match &silent.asked_for(text)[..] {
            [true] => cosigned,
            [] => false,
            // On a slow machine that one was given up first: with another head, then.
            _ => {
                bob.says(&group, "something new").await;
                false
            }
        }
    })
    .await;
    // Nor does it keep the server from stopping.
    server.terminate();
    let (_, status) = within("the end of the server", server.ended()).await;
    assert!(status.success());
}
