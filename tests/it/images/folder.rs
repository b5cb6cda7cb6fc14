//! A folder of images whose disk is not mounted: nothing is taken for missing, nothing is written beneath the disk.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::blobs_in;
use crate::cluster::{fresh_database, passable_directory};
use crate::groups::people;
use crate::patience::{eventually, within};
use crate::server::{Server, Setup};

/// A disk with images, mounted where they are looked for.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(passable_directory());
        fs::create_dir(disk.place()).unwrap();
        disk
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("media")
    }

    fn away(&self) -> PathBuf {
        self.0.path().join("away")
    }

    /// What is left in its place is an empty folder.
    fn unmount(&self) {
        fs::rename(self.place(), self.away()).unwrap();
        fs::create_dir(self.place()).unwrap();
    }

    fn mount(&self) {
        // Only an empty one can be removed so.
        fs::remove_dir(self.place()).unwrap();
        fs::rename(self.away(), self.place()).unwrap();
    }

    async fn setup(&self) -> Setup {
        Setup::on(&fresh_database().await).with("media-dir", self.place().display())
    }
}

/// Starts it in vain; answers what it says.
async fn refusal(setup: &Setup) -> String {
    let (mut process, _printed) = setup.launch();
    let status = within("the end of the server", process.wait()).await.unwrap();
    assert!(!status.success());
    setup.log().lines().last().unwrap_or_default().to_owned()
}

/// What `/readyz` says of the images.
async fn said_of_images(server: &Server) -> Option<String> {
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Some(answer.json().get("images")?[0].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_image_on_a_disk_that_is_not_mounted_is_not_missing() {
    let disk = Disk::new();
    let server = disk.setup().await.start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let group = alice.founds().await;
    bob.enters(&group).await;
    alice.posts(&group, &group, "holiday", "a ciphertext").await;
    bob.posts(&group, &group, "of Bob", "another").await;
    disk.unmount();
    assert_eq!(bob.asks_for_image(&alice, "holiday").await.verdict(), "503 UNAVAILABLE");
    let picture = alice.picture(&group, &group, "lost", "lost");
    assert_eq!(alice.client.post("/imageupload", &picture).await.verdict(), "503 UNAVAILABLE");
    // Nobody has to ask for an image for it to be known, and all else goes on.
    let said = said_of_images(&server).await;
    assert!(said.is_some_and(|said| said.contains("may not be mounted")));
    assert!((server.metric("be8_image_store_failing").await - 1.0).abs() < f64::EPSILON);
    assert_eq!(
        server.setup().log().matches("is the disk of the images mounted?").count(),
        1,
        "{}",
        server.setup().log()
    );
    // What is erased meanwhile is swept when the disk is there.
    bob.leaves(&group).await;
    assert!(fs::read_dir(disk.place()).unwrap().next().is_none(), "something was written beneath the disk");
    disk.mount();
    eventually("Bob's is swept", async || blobs_in(&disk.place()).len() == 1).await;
    eventually("all is well", async || said_of_images(&server).await.is_none()).await;
    assert_eq!(alice.looks_at(&alice, "holiday").await.as_deref(), Some("a ciphertext"));
    alice.posts(&group, &group, "found", "found").await;
}

#[tokio::test]
async fn a_disk_that_is_unmounted_while_nobody_asks_is_noticed() {
    let disk = Disk::new();
    let server = disk.setup().await.start().await;
    disk.unmount();
    eventually("it is noticed", async || said_of_images(&server).await.is_some()).await;
    disk.mount();
    eventually("it is well again", async || said_of_images(&server).await.is_none()).await;
}

#[tokio::test]
async fn a_start_without_the_disk_is_refused_until_an_operator_says_that_the_images_are_lost() {
    let disk = Disk::new();
    let server = disk.setup().await.start().await;
    let [alice, bob] = people(&server, ["Alice", "Bob"]).await;
    let setup = server.kill().await;
    // There is nothing to lose yet: any folder will do.
    disk.unmount();
    let server = setup.start().await;
    let (alice, bob) = (alice.at(&server), bob.at(&server));
    let thread = alice.start_conversation(&bob).await;
    alice.posts(&thread, &bob.id, "holiday", "a ciphertext").await;
    let setup = server.kill().await;
    fs::remove_dir_all(disk.away()).unwrap();
    disk.unmount();
    let said = refusal(&setup).await;
    assert!(said.contains("Is the disk mounted?"), "{said}");
    assert!(fs::read_dir(disk.place()).unwrap().next().is_none(), "something was written beneath the disk");
    // A folder of an older version has no mark.
    disk.mount();
    let mark = mark_in(&disk.place());
    fs::remove_file(&mark).unwrap();
    let server = setup.start().await;
    assert_eq!(bob.at(&server).looks_at(&alice, "holiday").await.as_deref(), Some("a ciphertext"));
    assert!(mark.is_file());
    let setup = server.kill().await;
    // They are lost. The mark is where the server says.
    fs::remove_dir_all(disk.place()).unwrap();
    fs::create_dir(disk.place()).unwrap();
    let said = refusal(&setup).await;
    assert!(said.contains(mark.to_str().unwrap()), "{said}");
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    fs::write(&mark, "").unwrap();
    let server = setup.start().await;
    assert_eq!(bob.at(&server).looks_at(&alice, "holiday").await, None);
    assert_eq!(said_of_images(&server).await, None);
}

/// The mark of the only log that has images there.
fn mark_in(folder: &Path) -> PathBuf {
    let logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs[0].join("be8-images")
}
