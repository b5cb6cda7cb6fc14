//! The sealed parts of the recorded events (`events/fixtures`), which take keys to make and to
//! open. How to record new ones is said in `events/src/fixtures/mod.rs`.

#[path = "../../events/src/fixtures/file.rs"]
pub(super) mod file;
#[path = "../../events/src/fixtures/samples.rs"]
mod samples;

use std::path::PathBuf;

use be8_events::{Day, Hash32, KeyId, Position, Recorded, Sealed, SealedContext, Timestamp};

use super::key::DataKey;
use super::seal::{KeySet, seal, unseal};
use file::{Fixture, Hex, KeyFixture, SealedFixture, SecretFixture, file_name, read_all, record, recording};
use samples::{Sample, samples};

fn directory() -> PathBuf {
    file::directory(concat!(env!("CARGO_MANIFEST_DIR"), "/events"))
}

/// The data key of a test: number and bytes follow from the name of its subject.
fn test_key(subject: String) -> KeyFixture {
    let key = Hash32::sha256(format!("be8 test key of {subject}").as_bytes());
    let id = key.0[..4].iter().fold(0, |id: KeyId, byte| id << 8 | KeyId::from(*byte));
    KeyFixture { id, subject, key }
}

fn key_set(keys: &[KeyFixture]) -> KeySet {
    let keys = keys.iter().map(|key| DataKey::filled(key.id, |bytes| *bytes = key.key.0));
    KeySet::from_keys(keys.collect()).unwrap()
}

/// An event of the log made from a sample, the same at each call.
fn fixture(sample: &Sample, nth: i64) -> Fixture {
    let (kind, schema) = sample.name();
    let name = file_name(kind, schema);
    let salt = Hash32::sha256(format!("be8 test salt of {name}").as_bytes());
    let time: Timestamp = "2026-11-23T23:59:59.999999Z".parse().unwrap();
    let day: Day = time.day();
    let (secret, sealed) = sample
        .secret
        .as_ref()
        .map(|secret| {
            let plain = secret.payload.plain.expose();
            let subjects = secret.payload.sealing.subjects(day);
            let keys: Vec<_> = subjects.iter().map(|subject| test_key(subject.to_string())).collect();
            let set = key_set(&keys);
            let nonce = *Hash32::sha256(format!("be8 test nonce of {name}").as_bytes()).0.first_chunk().unwrap();
            let sealed = seal(&set.cipher(), set.ids(), nonce, SealedContext { kind, schema, salt: &salt }, plain);
            let commitment = sealed.commitment();
            (
                SecretFixture { plain: String::from_utf8(plain.clone()).unwrap(), keys },
                SealedFixture { keys: sealed.keys, nonce: Hex(nonce.to_vec()), bytes: Hex(sealed.bytes), commitment },
            )
        })
        .unzip();
    let recorded = Recorded {
        // Beyond 32 bits, so that each byte of a number is seen to matter.
        position: Position(5_000_000_000 + nth),
        stream: sample.stream,
        version: 258,
        time,
        actor: sample.actor,
        salt,
        schema,
        payload: sample.event.payload(),
        sealed: sealed.as_ref().map(|sealed| sealed.commitment),
        event: sample.event.clone(),
    };
    Fixture {
        position: recorded.position.0,
        stream: recorded.stream.to_string(),
        version: recorded.version,
        kind: kind.to_owned(),
        schema,
        time,
        actor: recorded.actor,
        salt,
        payload: String::from_utf8(recorded.payload.clone()).unwrap(),
        sealed,
        secret,
        canonical: Hex(recorded.canonical()),
        sha256: recorded.hash(),
    }
}

#[test]
fn fixtures_open_with_their_keys() {
    let directory = directory();
    if recording() {
        for (sample, nth) in samples().iter().zip(1..) {
            let (kind, schema) = sample.name();
            let name = format!("{}.json", file_name(kind, schema));
            // Versions before the newest cannot be written any more: theirs were recorded in time.
            if schema == sample.event.schema() && !directory.join(&name).exists() {
                record(&directory, &name, &fixture(sample, nth));
            }
        }
    }
    let mut opened = 0;
    for (name, fixture) in read_all(&directory) {
        assert_eq!(name, fixture.name());
        let (Some(sealed), Some(secret)) = (&fixture.sealed, &fixture.secret) else { continue };
        let set = key_set(&secret.keys);
        let context = SealedContext { kind: &fixture.kind, schema: fixture.schema, salt: &fixture.salt };
        let payload = Sealed { keys: sealed.keys.clone(), nonce: sealed.nonce.array(), bytes: sealed.bytes.0.clone() };
        assert_eq!(unseal(&set.cipher(), &payload, context).unwrap(), secret.plain.as_bytes(), "{name}");
        let again = seal(&set.cipher(), set.ids(), payload.nonce, context, secret.plain.as_bytes());
        assert_eq!(again, payload, "{name}");
        // The keys are those of the subjects that the sample names, in their order.
        let recorded = fixture.recorded();
        let written = (recorded.event.kind(), recorded.schema);
        let sample = samples().into_iter().find(|sample| sample.name() == written).unwrap();
        let expected = sample.secret.unwrap();
        assert_eq!((expected.read_again)(secret.plain.as_bytes()), *expected.payload.plain.expose(), "{name}");
        let subjects: Vec<_> =
            expected.payload.sealing.subjects(fixture.time.day()).iter().map(ToString::to_string).collect();
        assert_eq!(secret.keys.iter().map(|key| key.subject.clone()).collect::<Vec<_>>(), subjects, "{name}");
        opened += 1;
    }
    assert!(opened >= 3, "only {opened} fixtures have a sealed part");
}

#[test]
fn the_document_quotes_what_is_derived_for_its_example() {
    let document = include_str!("../../docs/log-format.md");
    let fixtures = read_all(&directory());
    let (_, fixture) = fixtures.iter().find(|(name, _)| name == "MessageWritten.v1").unwrap();
    let set = key_set(&fixture.secret.as_ref().unwrap().keys);
    let context = SealedContext { kind: &fixture.kind, schema: fixture.schema, salt: &fixture.salt };
    for bytes in [set.payload_key().to_vec(), Sealed::associated_data(set.ids().as_slice(), context)] {
        let text = String::from(Hex(bytes));
        assert!(document.contains(&format!("`{text}`")), "docs/log-format.md lacks {text}");
    }
}
