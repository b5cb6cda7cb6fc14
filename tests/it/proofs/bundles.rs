//! Bundles: both verifiers take them, neither takes one with a changed byte, and what the server itself could forge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8::audit::notes::{NoteKey, PublicKey, Role};
use be8::audit::verify::verify_bundle;
use be8::domain::erasure::Erase;
use be8_events::erasure::Cause;
use be8_events::{Hash32, Subject};

use super::{as_operator, covering_checkpoint, eventful, log_key, signing};
use crate::library::Library;
use crate::server::Server;

/// The second verifier.
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/verify/verify.py")
}

/// A Python that has the package `cryptography`: `scripts/test.sh` installs one.
fn python() -> &'static str {
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| {
        let usable = |python: &&str| {
            let tried = Command::new(python).args(["-c", "import cryptography"]).output();
            tried.is_ok_and(|output| output.status.success())
        };
        ["python3", "/usr/bin/python3"].into_iter().find(usable).expect("Python 3 with the package cryptography")
    })
}

/// What the two verifiers say of a bundle: both take it, or both refuse it.
pub fn both(bundle: &str, key: Option<&PublicKey>) -> Result<[String; 2], [String; 2]> {
    beside(bundle, key, None)
}

/// The same beside another bundle that is known.
pub fn beside(bundle: &str, key: Option<&PublicKey>, known: Option<&str>) -> Result<[String; 2], [String; 2]> {
    let home = tempfile::tempdir().unwrap();
    let [file, beside] = ["bundle", "known"].map(|name| home.path().join(name));
    fs::write(&file, bundle).unwrap();
    let known = known.map(|known| {
        fs::write(&beside, known).unwrap();
        &beside
    });
    let key = key.map(ToString::to_string);
    let mut ours = Command::new(env!("CARGO_BIN_EXE_be8"));
    ours.arg("verify-bundle").arg(&file).args(key.iter().flat_map(|key| ["--key", key]));
    ours.args(known.iter().flat_map(|known| [std::ffi::OsStr::new("--known"), known.as_os_str()]));
    let mut theirs = Command::new(python());
    theirs.arg(script()).arg(&file).args(&key).args(known);
    let said = [ours, theirs].map(|mut command| command.output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let success = said.each_ref().map(|output: &Output| output.status.success());
    match success {
        [true, true] => Ok(said.map(|output| text(&output.stdout))),
        [false, false] => Err(said.map(|output| text(&output.stderr))),
        _ => panic!("only one takes it: {said:?}"),
    }
}

async fn bundle_of(server: &Server, group: &str) -> String {
    covering_checkpoint(server).await;
    let answer = as_operator(server, &format!("/audit/groups/{group}/bundle")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

#[tokio::test]
async fn both_verifiers_take_a_bundle() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, bob, carol, _]) = eventful(&server).await;
    carol.enters(&group).await;
    covering_checkpoint(&server).await;
    let key = log_key(&server).await;
    for (client, reader, messages) in [(&alice.client, &alice.id, 2), (&carol.client, &carol.id, 1)] {
        let answer = client.get(&format!("/audit/groups/{group}/bundle")).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let name = format!("attachment; filename=\"{group}.be8-bundle\"");
        assert_eq!(answer.header("content-disposition"), Some(&*name));
        let read = verify_bundle(&answer.text, Some(&key)).unwrap();
        assert_eq!((&read.reader, read.messages), (reader, 2));
        // The bundle contains what the history contains.
        let history = client.get(&format!("/audit/groups/{group}/history")).await.json();
        let entries = read.entries();
        let entries = entries.iter().map(be8::json::history::HistoryEntry::from);
        let entries = serde_json::to_value(entries.collect::<Vec<_>>()).unwrap();
        assert_eq!(entries, history["entries"]);
        assert_eq!(entries.as_array().unwrap().iter().filter(|entry| entry["act"] == "message").count(), messages);
        // And the findings are the server's.
        let findings = client.get(&format!("/audit/groups/{group}/findings")).await.json();
        let now = be8_events::Timestamp::from_micros(i64::MAX / 2);
        let found = read.findings(now);
        let found = found.iter().map(be8::json::findings::Finding::from).collect::<Vec<_>>();
        let window = |value: serde_json::Value| {
            let all = value.as_array().unwrap().clone();
            all.into_iter().find(|one| one["rule"] == "exposure-window").unwrap()
        };
        assert_eq!(window(serde_json::to_value(found).unwrap()), window(findings["findings"].clone()));

        for said in both(&answer.text, Some(&key)).unwrap() {
            assert!(said.starts_with(&format!("The bundle of {group} for {reader} is whole")), "{said}");
            assert!(said.contains(&key.to_string()), "{said}");
        }
        let [ours, theirs] = both(&answer.text, None).unwrap();
        assert!(ours.contains("exposure-window") && ours.contains(&format!("messages    {messages} of 2")), "{ours}");
        assert!(ours.contains("by nobody") && theirs.contains("GroupKeyStored"), "{theirs}");
    }
    // Another key than the one that signed.
    let other = NoteKey::new(key.name(), Role::Log, &[1; 32]).unwrap();
    let bundle = as_operator(&server, &format!("/audit/groups/{group}/bundle")).await.text;
    for said in both(&bundle, Some(other.public())).unwrap_err() {
        assert!(said.contains("signed by another key"), "{said}");
    }
    drop(bob);
}

#[tokio::test]
async fn one_changed_byte_is_refused_by_both() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, _) = eventful(&server).await;
    let bundle = bundle_of(&server, &group).await;
    let key = log_key(&server).await;
    both(&bundle, Some(&key)).unwrap();
    // Each byte in three ways; what is no text any more is refused as such.
    for at in 0..bundle.len() {
        for change in [1, 0x20, 0x80] {
            let mut bytes = bundle.clone().into_bytes();
            bytes[at] ^= change;
            if let Ok(changed) = String::from_utf8(bytes) {
                for key in [None, Some(&key)] {
                    assert!(verify_bundle(&changed, key).is_err(), "byte {at} of {} changed by {change}", bundle.len());
                }
            }
        }
    }
    for cut in (0..bundle.len()).filter(|cut| bundle.is_char_boundary(*cut)) {
        assert!(verify_bundle(&bundle[..cut], None).is_err(), "cut at {cut}");
    }
    for more in ["\n", " ", "\n\n", "x", "\nevent \n"] {
        assert!(both(&format!("{bundle}{more}"), None).is_err(), "{more:?} at the end");
    }
    // The same in one run of Python: a process for each byte would take hours.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("bundle");
    fs::write(&file, &bundle).unwrap();
    let program = r#"
import sys
sys.path.insert(0, sys.argv[1])
sys.stdout = open("/dev/null", "w")
import verify
data = open(sys.argv[2], "rb").read()
verify.verify(data, None)
for at in range(len(data)):
    for change in (1, 0x20, 0x80):
        changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1:]
        try:
            verify.verify(changed, None)
        except (verify.Refused, ValueError, KeyError, TypeError, OverflowError):
            continue
        sys.exit(f"byte {at} changed by {change} is taken")
"#;
    let mut command = Command::new(python());
    command.args(["-B", "-c", program]).arg(script().parent().unwrap()).arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A bundle taken apart, to be put together otherwise by who has the log's key.
struct Parts {
    head: String,
    checkpoint: String,
    /// What proves where the histories end.
    map: Vec<String>,
    events: Vec<String>,
}

impl Parts {
    fn of(bundle: &str) -> Self {
        let mut sections = bundle.strip_suffix('\n').unwrap().split("\n\n").map(str::to_owned);
        let head = sections.next().unwrap();
        sections.next();
        let checkpoint = format!("{}\n\n{}", sections.next().unwrap(), sections.next().unwrap());
        let (map, events) = sections.partition(|section| !section.starts_with("event "));
        Self { head, checkpoint, map, events }
    }

    /// The bundle, signed again, with what the head says changed.
    fn signed(&self, key: &NoteKey, change: impl Fn(String) -> String) -> String {
        let body = [std::slice::from_ref(&self.checkpoint), &self.map, &self.events].concat().join("\n\n") + "\n";
        let digest = STANDARD.encode(Hash32::sha256(body.as_bytes()).0);
        let lines = self.head.lines().map(|line| match line.split_once(' ') {
            Some(("body", _)) => format!("body {digest}\n"),
            Some(("events", _)) => format!("events {}\n", self.events.len()),
            _ => format!("{line}\n"),
        });
        format!("{}\n{body}", key.note(&change(lines.collect())))
    }
}

#[tokio::test]
async fn a_bundle_from_before_the_map_is_verified_and_proves_less() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, _) = eventful(&server).await;
    let key = NoteKey::from_text(&fs::read_to_string(server.setup().audit_key()).unwrap()).unwrap();
    let mut parts = Parts::of(&bundle_of(&server, &group).await);
    parts.map.clear();
    let of_old = |head: String| {
        let lines = head.lines().filter(|line| !line.starts_with("until ")).map(|line| line.replace("@v2", "@v1"));
        lines.map(|line| line + "\n").collect()
    };
    for said in both(&parts.signed(&key, of_old), Some(key.public())).unwrap() {
        assert!(said.contains("as the server says: a bundle of this form does not prove it"), "{said}");
    }
}

#[tokio::test]
async fn what_the_server_itself_could_forge_is_refused_by_both() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, _) = eventful(&server).await;
    let bundle = bundle_of(&server, &group).await;
    let text = fs::read_to_string(server.setup().audit_key()).unwrap();
    let key = NoteKey::from_text(&text).unwrap();
    let refused = |what: &str, parts: &Parts, change: &dyn Fn(String) -> String| {
        assert!(both(&parts.signed(&key, change), Some(key.public())).is_err(), "{what}");
    };
    let same = |head: String| head;
    let parts = Parts::of(&bundle);
    both(&parts.signed(&key, same), Some(key.public())).unwrap();

    // An event of the group's life that is left out; the head says one less.
    let last = parts.events.len() - 2;
    for gone in [0, 1, last] {
        let mut fewer = Parts::of(&bundle);
        fewer.events.remove(gone);
        refused("an event is left out", &fewer, &same);
    }
    // Twice, out of order, with another's proof, with a byte of the event changed.
    let mut twice = Parts::of(&bundle);
    twice.events.insert(1, twice.events[0].clone());
    refused("an event twice", &twice, &same);
    let mut swapped = Parts::of(&bundle);
    swapped.events.swap(1, 2);
    refused("two events in another order", &swapped, &same);
    let mut other = Parts::of(&bundle);
    let (event, _) = other.events[1].split_once('\n').unwrap();
    let (_, proof) = other.events[2].split_once('\n').unwrap();
    other.events[1] = format!("{event}\n{proof}");
    refused("the proof of another event", &other, &same);
    let mut changed = Parts::of(&bundle);
    let (event, proof) = changed.events[3].split_once('\n').unwrap();
    let mut canonical = STANDARD.decode(event.strip_prefix("event ").unwrap()).unwrap();
    // The last bytes of the salt: the event still reads well.
    let at = canonical.windows(4).position(|w| w == [0, 0, 0, 32]).unwrap() + 20;
    canonical[at] ^= 1;
    changed.events[3] = format!("event {}\n{proof}", STANDARD.encode(canonical));
    refused("a changed event", &changed, &same);
    // What the head says.
    let says = |from: &'static str, to: &'static str| move |head: String| head.replacen(from, to, 1);
    refused("another group", &parts, &says("group g10001\n", "group g10002\n"));
    refused("more events of the group", &parts, &|head| {
        let (before, after) = head.split_once(&format!("stream group-{group} ")).unwrap();
        format!("{before}stream group-{group} 9{after}")
    });
    refused("another size", &parts, &says("\ntree ", "\ntree 1"));
    refused("a line more", &parts, &|head| format!("{head}more lines\n"));
    refused("another form", &parts, &says("@v2", "@v3"));
    refused("the form before", &parts, &says("@v2", "@v1"));
    refused("a map that goes further", &parts, &says("\nuntil ", "\nuntil 1"));
    // What proves where the histories end: none of it can be left out, nor stand for something else.
    for gone in 0..parts.map.len() {
        let mut less = Parts::of(&bundle);
        less.map.remove(gone);
        refused("a section of the map is left out", &less, &same);
        let mut other = Parts::of(&bundle);
        let (first, rest) = other.map[gone].split_once('\n').unwrap();
        other.map[gone] = format!("{}\n{rest}", first.replace("present", "absent"));
        if gone > 0 {
            refused("the map has it not", &other, &same);
        }
        let mut shorter = Parts::of(&bundle);
        let (kept, _) = shorter.map[gone].rsplit_once('\n').unwrap();
        shorter.map[gone] = kept.to_owned();
        refused("a hash of the path is left out", &shorter, &same);
    }
    let witness = NoteKey::new("w", Role::Witness, &[3; 32]).unwrap();
    refused("a witness that did not sign", &parts, &|head| {
        head.replacen("\ngroup ", &format!("\nwitness {}\ngroup ", witness.public()), 1)
    });
    let mut foreign = Parts::of(&bundle);
    foreign.checkpoint.push('\n');
    foreign.checkpoint.push_str(witness.sign("something else", 5).trim_end());
    refused("a signature that the head does not name", &foreign, &same);
    // Signed by somebody else, who names himself.
    let mallory = NoteKey::new(key.public().name(), Role::Log, &[5; 32]).unwrap();
    let theirs =
        parts.signed(&mallory, |head| head.replacen(&key.public().to_string(), &mallory.public().to_string(), 1));
    assert!(both(&theirs, None).is_err(), "the checkpoint is still the log's");
}

#[tokio::test]
async fn what_is_erased_is_still_proved() {
    let (setup, _token) = signing().await;
    let server = setup.start().await;
    let (group, [alice, bob, ..]) = eventful(&server).await;
    let before = bundle_of(&server, &group).await;
    let library = Library::open(&server).await;
    let subjects = [Subject::Account(alice.id.parse().unwrap()), Subject::GroupKeys(group.parse().unwrap())].to_vec();
    library.ledger.execute(Erase { subjects, cause: Cause::Operator }).await.unwrap();
    bob.leaves(&group).await;
    let after = bundle_of(&server, &group).await;
    both(&after, None).unwrap();
    let (before, after) = (verify_bundle(&before, None).unwrap(), verify_bundle(&after, None).unwrap());
    assert_eq!(after.events[..before.events.len()], before.events, "nothing is rewritten");
    assert!(after.checkpoint.size > before.checkpoint.size);
}
