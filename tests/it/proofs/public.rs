//! What anybody may fetch, and who else may fetch what.

use be8_events::Hash32;
use signed_note::{Note, StandardVerifier, VerifierList};

use super::{as_operator, covering_checkpoint, entries, eventful, log_key, root, signing, signing_every};
use crate::client::{http_client, two_people};
use crate::library::Library;
use crate::patience::eventually;
use crate::server::Server;

/// A tile's hashes, over HTTP.
async fn tile(server: &Server, path: &str) -> Vec<Hash32> {
    let url = format!("{}/audit/log/tile/{path}", server.url());
    let answer = http_client().build().expect("a client").get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
    let bytes = answer.bytes().await.expect("bytes");
    bytes.chunks(32).map(|hash| Hash32(hash.try_into().expect("32 bytes"))).collect()
}

/// Hashes, one after the other.
fn bytes(hashes: &[Hash32]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The root of hashes that are leaves already.
fn root_of_hashes(hashes: &[Hash32]) -> Hash32 {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            Hash32::sha256(&[&[1][..], &root_of_hashes(left).0, &root_of_hashes(right).0].concat())
        }
    }
}

/// Shows (docs/protocol.md): The public log.
#[tokio::test]
async fn tiles_and_checkpoint_are_those_of_the_log() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write_many(&thread, &bob, 600).await;
    let (checkpoint, note) = covering_checkpoint(&server).await;
    let size = usize::try_from(checkpoint.size).unwrap();
    let entries = entries(&server).await;
    assert_eq!(checkpoint.root, root(&entries[..size]));

    // The signature, by another program than ours.
    let key = log_key(&server).await;
    let verifier = StandardVerifier::new(&key.to_string()).expect("a key of signed-note");
    let note = Note::from_bytes(note.as_bytes()).expect("a note");
    let (verified, others) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).expect("signed by the log");
    assert_eq!((verified.len(), others.len()), (1, 0));

    // All tiles of that size, and nothing but them.
    let (full, rest) = (size / 256, size % 256);
    let mut leaves = Vec::new();
    for number in 0..full {
        let hashes = tile(&server, &format!("0/{number:03}")).await;
        assert_eq!(hashes.len(), 256);
        leaves.extend(hashes);
    }
    if rest > 0 {
        leaves.extend(tile(&server, &format!("0/{full:03}.p/{rest}")).await);
    }
    let own: Vec<Hash32> = entries[..size].iter().map(|entry| root(&[*entry])).collect();
    assert_eq!(leaves, own);
    let above = tile(&server, &format!("1/000.p/{full}")).await;
    let own: Vec<Hash32> = leaves.chunks_exact(256).map(root_of_hashes).collect();
    assert_eq!(above, own);
    // Narrower ones stay, for readers of older checkpoints.
    assert_eq!(tile(&server, "0/000.p/17").await, leaves[..17]);
    for path in [
        format!("0/{:03}", full + 1),
        format!("0/{full:03}"),
        format!("1/000.p/{}", full + 1),
        "2/000.p/1".to_owned(),
        "0/000.p/0".to_owned(),
        "0/000.p/256".to_owned(),
        "0/0".to_owned(),
        "64/000".to_owned(),
        "8/0/000".to_owned(),
        "entries/000".to_owned(),
        "data/000".to_owned(),
        String::new(),
    ] {
        let answer = server.get(&format!("/audit/log/tile/{path}")).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
    }
}

/// Shows (docs/protocol.md): The public log.
#[tokio::test]
async fn tiles_of_a_large_log_have_longer_paths() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    // As they would be after hundreds of millions of events; above level 0 they are in nobody's way.
    let hashes: Vec<u8> = (0..8192u32).map(|n| (n / 32) as u8).collect();
    let pool = Library::open(&server).await.pool.clone();
    for number in [1067i64, 1_234_067] {
        let insert = sqlx::query("insert into audit_tiles (level, number, hashes) values (1, $1, $2)");
        insert.bind(number).bind(&hashes).execute(&pool).await.unwrap();
    }
    for path in ["1/x001/067", "1/x001/x234/067"] {
        assert_eq!(bytes(&tile(&server, path).await), hashes, "{path}");
        assert_eq!(bytes(&tile(&server, &format!("{path}.p/5")).await), hashes[..160], "{path}");
    }
    for path in ["1/1067", "1/001/067", "1/x01/067", "1/x001/67", "1/x000/067", "1/x001/068", "1/x001/067.p/256"] {
        let answer = server.get(&format!("/audit/log/tile/{path}")).await;
        assert_eq!(answer.verdict(), "404 NOTFOUND", "{path}");
    }
}

/// Shows (docs/protocol.md): The public log; Witnessing.
#[tokio::test]
async fn headers_and_methods_of_the_public_log() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    covering_checkpoint(&server).await;
    for path in ["/audit/log/checkpoint", "/audit/log/key"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=5"));
        let client = server.client();
        let head = client.send(client.request(reqwest::Method::HEAD, path)).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""));
    }
    let tile = "/audit/log/tile/0/000.p/1";
    let client = server.client();
    let head = client.send(client.request(reqwest::Method::HEAD, tile)).await;
    assert_eq!((head.status, head.header("content-length"), head.text.as_str()), (200, Some("32"), ""));
    let paths = ["checkpoint", "key", "tile/0/000", "tile/0/000.p/1", "tile/0/x001/000", "tile/0/x001/000.p/1"];
    for path in paths.map(|path| format!("/audit/log/{path}")).iter().chain([&"/audit/witness/key".to_owned()]) {
        let answer = client.post_raw(path, None, "").await;
        assert_eq!(answer.verdict(), "405 METHODNOTALLOWED", "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
    }
    let missing = client.get("/audit/log/tile/0/999").await;
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
    assert_eq!((missing.verdict(), missing.header("cache-control")), ("404 NOTFOUND".to_owned(), Some("no-store")));
    // This server is no witness.
    assert_eq!(server.get("/audit/witness/key").await.verdict(), "404 NOTFOUND");
    assert_eq!(
        server.client().post_raw("/audit/witness/add-checkpoint", None, "old 0\n\n").await.verdict(),
        "404 NOTFOUND"
    );
}

/// Shows (docs/protocol.md): The public log.
#[tokio::test]
async fn a_closed_log_proves_to_members_only() {
    let (setup, _token) = signing().await;
    let server = setup.with("public-audit-log", "off").start().await;
    let (group, [alice, ..]) = eventful(&server).await;
    let proof = format!("/audit/groups/{group}/proof");
    eventually("the group is covered", async || alice.client.get(&proof).await.status == 200).await;
    for path in ["checkpoint", "key", "tile/0/000.p/1"] {
        assert_eq!(server.get(&format!("/audit/log/{path}")).await.verdict(), "404 NOTFOUND", "{path}");
    }
    assert_eq!(alice.client.get(&format!("/audit/groups/{group}/bundle")).await.status, 200);
}

/// Shows (docs/protocol.md): Group history and proofs.
#[tokio::test]
async fn members_and_the_operator_may_have_proofs_and_bundles() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, bob, carol, mallory]) = eventful(&server).await;
    covering_checkpoint(&server).await;
    for path in [format!("/audit/groups/{group}/proof"), format!("/audit/groups/{group}/bundle")] {
        for (who, client, expected) in [
            ("nobody", server.client(), "401 NOTAUTH"),
            ("junk", server.client().with_cookie("invalid"), "401 NOTAUTH"),
            ("former member", carol.client.clone(), "404 NOTFOUND"),
            ("stranger", mallory.client.clone(), "404 NOTFOUND"),
        ] {
            assert_eq!(client.get(&path).await.verdict(), expected, "{who} at {path}");
        }
        for member in [&alice, &bob] {
            assert_eq!(member.client.get(&path).await.status, 200);
        }
        assert_eq!(as_operator(&server, &path).await.status, 200);
        for other in ["g99999", "nonsense"] {
            let path = path.replace(&group, other);
            assert_eq!(alice.client.get(&path).await.verdict(), "404 NOTFOUND");
            let answer = as_operator(&server, &path).await;
            if path.ends_with("g99999/bundle") {
                assert_eq!(answer.status, 200, "that there is no such group is proved");
            } else {
                assert_eq!(answer.verdict(), "404 NOTFOUND");
            }
        }
    }

    // Of one event: the group's own, and those that the history shows.
    carol.enters(&group).await;
    covering_checkpoint(&server).await;
    let history = as_operator(&server, &format!("/audit/groups/{group}/history")).await.json();
    let mut messages = Vec::new();
    for entry in history["entries"].as_array().unwrap() {
        let position = entry["position"].as_i64().unwrap();
        let path = format!("/audit/groups/{group}/proof?position={position}");
        let hers = carol.client.get(&path).await;
        if entry["act"] == "message" {
            messages.push(hers.verdict());
        } else {
            assert_eq!(hers.verdict(), "200 ok", "{entry}");
            assert_eq!(hers.json()["position"], position);
        }
        assert_eq!(as_operator(&server, &path).await.verdict(), "200 ok");
    }
    assert_eq!(messages, ["200 ok", "404 NOTFOUND"], "not the message of her absence");
    // Events of others, of no one, and of the future.
    for position in [1, 2, 9_000_000_000_000i64] {
        let path = format!("/audit/groups/{group}/proof?position={position}");
        assert_eq!(alice.client.get(&path).await.verdict(), "404 NOTFOUND", "{position}");
        assert_eq!(as_operator(&server, &path).await.verdict(), "404 NOTFOUND", "{position}");
    }
    for bad in ["0", "-1", "x", "1.5", "99999999999999999999"] {
        let path = format!("/audit/groups/{group}/proof?position={bad}");
        assert_eq!(alice.client.get(&path).await.verdict(), "400 INVALIDINPUT", "{bad}");
    }
    // A destroyed group is for the operator only.
    alice.destroys(&group).await;
    let bundle = format!("/audit/groups/{group}/bundle");
    assert_eq!(alice.client.get(&bundle).await.verdict(), "404 NOTFOUND");
    assert_eq!(as_operator(&server, &bundle).await.status, 200);
}

#[tokio::test]
async fn what_no_checkpoint_covers_is_proved_later() {
    // The first checkpoint comes at once, the next one after the test, also if it is asked for.
    let (setup, _token) = signing_every(3600).await;
    let server = setup.with("checkpoint-request-interval", 3600).start().await;
    eventually("the first checkpoint", async || server.get("/audit/log/checkpoint").await.status == 200).await;
    let (group, [alice, ..]) = eventful(&server).await;
    for path in ["proof", "bundle"] {
        let answer = alice.client.get(&format!("/audit/groups/{group}/{path}")).await;
        assert_eq!(answer.verdict(), "503 NOTCOVEREDYET");
        let again: u64 = answer.header("retry-after").expect("when to come back").parse().unwrap();
        assert!((3000..=3600).contains(&again), "{again}");
    }
}

#[tokio::test]
async fn a_proof_has_the_checkpoint_signed_that_it_needs() {
    let (setup, _token) = signing_every(3600).await;
    let server = setup.with("checkpoint-request-interval", 1).start().await;
    let other = server.setup().second().start().await;
    eventually("the first checkpoint", async || server.get("/audit/log/checkpoint").await.status == 200).await;
    let first = server.get("/audit/log/checkpoint").await.text;
    let (group, [alice, ..]) = eventful(&server).await;
    assert_eq!(server.get("/audit/log/checkpoint").await.text, first, "nothing is signed without a request");
    // At either node, only one of which signs.
    for node in [&server, &other] {
        let alice = alice.at(node);
        alice.says(&group, "something new").await;
        let history = alice.client.get(&format!("/audit/groups/{group}/history?limit=1000")).await.json();
        let newest =
            history["entries"].as_array().unwrap().iter().map(|entry| entry["position"].as_i64()).max().unwrap();
        let path = format!("/audit/groups/{group}/proof?position={}", newest.unwrap());
        // On a slow machine it is signed after the answer.
        eventually("the newest message is proved", async || alice.client.get(&path).await.status == 200).await;
        alice.says(&group, "and more").await;
        let path = format!("/audit/groups/{group}/bundle");
        eventually("the bundle holds the newest message", async || {
            let bundle = alice.client.get(&path).await.text;
            let tree = bundle.lines().find_map(|line| line.strip_prefix("tree ")).expect("a size");
            tree.parse::<i64>().unwrap() > newest.unwrap()
        })
        .await;
    }
}
