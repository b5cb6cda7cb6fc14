//! `docs/log-format.md`, followed by hand: what it says is enough to compute the canonical bytes
//! and the hash of every fixture, without a line of the crate's own code.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All fixtures: kind and version, and what the file holds.
fn fixtures() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join("events/fixtures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".schema.json") {
            all.push((name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()));
        }
    }
    assert!(all.len() >= 8);
    all
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Microseconds of `2026-11-23T23:59:59.999999Z`, by the calendar.
fn micros(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    assert_eq!((text.len(), &text[26..]), (27, "Z"));
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let leap = |year: i64| year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = before + lengths[..month as usize - 1].iter().sum::<i64>() + day - 1;
    ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60_000_000 + number(17, 19) * 1_000_000 + number(20, 26)
}

/// The fields of the envelope in their order, each with its length before it.
fn canonical_fields(event: &Value) -> Vec<Vec<u8>> {
    let number = |name: &str| field(&event[name].as_i64().unwrap().to_be_bytes());
    let text = |name: &str| event[name].as_str().unwrap();
    vec![
        number("position"),
        field(text("stream").as_bytes()),
        number("version"),
        field(text("kind").as_bytes()),
        number("schema"),
        field(&micros(text("time")).to_be_bytes()),
        if event["actor"].is_null() { field(&[]) } else { number("actor") },
        field(&unhex(text("salt"))),
        field(text("payload").as_bytes()),
        match &event["sealed"] {
            Value::Null => field(&[]),
            sealed => field(&commitment(sealed)),
        },
    ]
}

fn commitment(sealed: &Value) -> Vec<u8> {
    let ids = sealed["keys"].as_array().unwrap().iter();
    let ids: Vec<u8> = ids.flat_map(|id| id.as_i64().unwrap().to_be_bytes()).collect();
    let unhexed = |name: &str| unhex(sealed[name].as_str().unwrap());
    let parts = [field(&ids), field(&unhexed("nonce")), field(&unhexed("bytes"))];
    Sha256::digest(parts.concat()).to_vec()
}

#[test]
fn the_document_is_enough_to_compute_every_hash() {
    for (name, event) in fixtures() {
        let canonical = [vec![vec![1]], canonical_fields(&event)].concat().concat();
        assert_eq!(hex(&canonical), event["canonical"].as_str().unwrap(), "{name}");
        assert_eq!(hex(&Sha256::digest(&canonical)), event["sha256"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn the_document_quotes_its_example_as_it_is() {
    let document = fs::read_to_string(root().join("docs/log-format.md")).unwrap();
    let (_, event) = fixtures().into_iter().find(|(name, _)| name == "MessageWritten.v1.json").unwrap();
    let quotes = |text: &str| assert!(document.contains(&format!("`{text}`")), "the document lacks {text}");
    for bytes in canonical_fields(&event) {
        let (length, value) = bytes.split_at(4);
        quotes(&format!("{}` `{}", hex(length), hex(value)));
    }
    for text in [&event["sha256"], &event["sealed"]["bytes"], &event["sealed"]["nonce"], &event["secret"]["plain"]] {
        quotes(text.as_str().unwrap());
    }
    for key in event["secret"]["keys"].as_array().unwrap() {
        quotes(key["key"].as_str().unwrap());
        assert!(document.contains(&format!("key {} |", key["id"])));
    }
    // Every kind is written into a stream that the document names.
    let (_, streams) = document.split_once("\nStreams:\n").unwrap();
    let (streams, _) = streams.split_once("\n## ").unwrap();
    for (name, event) in fixtures() {
        let family = event["stream"].as_str().unwrap().split('-').next().unwrap();
        let named = [format!("| `{family}-"), format!("| `{family}` ")];
        assert!(named.iter().any(|row| streams.contains(row)), "{name}: the document lacks streams {family}");
    }
}
