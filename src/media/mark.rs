//! The mark of a folder of images: a file that says that the folder is the one which it was. The place where a disk is to be
//! mounted is an empty folder while it is not: without the mark every image would be missing, and new ones would be written
//! beneath the disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::support::secret_file;

/// The name of the file, in the folder of the log.
const NAME: &str = "be8-images";

/// The mark of a folder of images.
#[derive(Debug)]
pub(super) struct Mark(PathBuf);

impl Mark {
    /// The mark of the images of a log in a folder.
    pub(super) fn of(folder: &Path, log: &str) -> Self {
        Self(folder.join(log).join(NAME))
    }

    /// Whether it is there. What cannot be asked for is not.
    pub(super) async fn is_there(&self) -> bool {
        tokio::fs::metadata(&self.0).await.is_ok_and(|found| found.is_file())
    }

    /// Whether there is something of the log in the folder: a server of an older version kept images there.
    pub(super) fn is_used(&self) -> bool {
        let entries = self.0.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        entries.is_some_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())))
    }

    /// Makes it; another server may have done so.
    pub(super) fn make(&self) -> io::Result<()> {
        let text = "The images of a be8 server lie here. Without this file it takes the disk for not mounted.\n";
        match secret_file::write(&self.0, text.as_bytes(), false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}
