//! Images: posted, listed, fetched, attacked, removed.

mod access;
mod bucket;
mod folder;
mod sweeping;
mod upload;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::{Answer, Person};
use crate::server::Setup;

/// What somebody does with images, in the words of the wire.
impl Person {
    /// The body of `/imageupload` as the web client sends it, to a partner or a group.
    pub fn picture(&self, thread: &str, to: &str, name: &str, content: &str) -> Value {
        let group = to.starts_with('g');
        let mut body = json!({
            "content": content, "contentID": name, "contentType": "image", "sender": self.id, "receiver": to,
            "threadID": thread, "nickname": self.nickname, "messageType": "image",
            "type": if group { "group" } else { "user" }, "isGroup": group, "imgHeight": 480, "imgWidth": 640,
            "iv": "6f0d6c1e-0b57-4a0e-8d8a-2f6a4f0e9c11",
        });
        if group {
            body["groupID"] = json!(to);
        }
        body
    }

    /// Posts an image.
    pub async fn posts(&self, thread: &str, to: &str, name: &str, content: &str) {
        let answer = self.client.post("/imageupload", &self.picture(thread, to, name, content)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "valid": true })));
    }

    /// Asks for an image by who posted it and its name.
    pub async fn asks_for_image(&self, of: &Self, name: &str) -> Answer {
        self.client.post("/imageget", &json!({ "sender": of.id, "contentID": name })).await
    }

    /// The content of an image; none if it is not available.
    pub async fn looks_at(&self, of: &Self, name: &str) -> Option<String> {
        let answer = self.asks_for_image(of, name).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let body = answer.json();
        assert_eq!(body["contentID"], name);
        match body["valid"].as_bool().expect("a verdict") {
            true => Some(body["content"].as_str().expect("a content").to_owned()),
            false => {
                assert_eq!(body, json!({ "valid": false, "contentID": name }));
                None
            }
        }
    }
}

/// The files of all blobs that a server keeps in its data directory.
pub fn blobs(setup: &Setup) -> Vec<PathBuf> {
    blobs_in(&setup.data_dir().join("media"))
}

/// The files of all blobs in a folder.
pub fn blobs_in(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => walk(entry.path(), found),
                // The mark of the folder is none.
                false if entry.file_name() == "be8-images" => {}
                false => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder.to_owned(), &mut found);
    found
}
