//! Putting an upgraded cluster in the place of the old one, which no kill may leave undone.
//!
//! ```text
//! cluster.new-*       the new cluster while it is being made
//! cluster.upgraded    the new cluster, whole
//! cluster.old-15      the old cluster, once the new one is in its place
//! ```

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::directory::{Layout, UNFINISHED_PREFIX};
use super::error::PostgresError;
use super::identity::Identity;

/// How the name of an old cluster begins.
const OLD_PREFIX: &str = "cluster.old-";

impl Layout {
    /// A directory for a cluster that is being made; one left by a killed process goes with the next start.
    pub fn unfinished_directory(&self, identity: &Identity) -> Result<TempDir, PostgresError> {
        let made = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempdir_in(self.dir());
        let made = made.map_err(PostgresError::io("make a directory in", self.dir()))?;
        identity.hand_over(made.path())?;
        Ok(made)
    }

    /// Puts a new cluster in the place of the present one, and says where that lies now.
    pub fn put_upgraded(&self, data: &Path, made_by: &str) -> Result<PathBuf, PostgresError> {
        let (cluster, upgraded) = (self.cluster(), self.upgraded());
        let mut old = self.dir().join(format!("{OLD_PREFIX}{made_by}"));
        for nth in 2.. {
            if !old.exists() {
                break;
            }
            old = self.dir().join(format!("{OLD_PREFIX}{made_by}.{nth}"));
        }
        // From the first step on the new cluster is known to be whole; between the last two there is none in the place, and
        // the next start puts the new one there.
        for (from, to) in [(data, &upgraded), (&cluster, &old), (&upgraded, &cluster)] {
            fs::rename(from, to).map_err(PostgresError::io("put a cluster in place as", to))?;
            self.sync()?;
        }
        Ok(old)
    }

    /// Ends what an upgrade that was killed began: a new cluster is put in the place that is empty, or removed if the old
    /// one is still there, since that may have been used again.
    pub fn finish_upgrade(&self) -> Result<(), PostgresError> {
        let (cluster, upgraded) = (self.cluster(), self.upgraded());
        match (cluster.exists(), upgraded.exists()) {
            (true, true) => fs::remove_dir_all(&upgraded).map_err(PostgresError::io("remove", &upgraded)),
            (false, true) => {
                fs::rename(&upgraded, &cluster)
                    .map_err(PostgresError::io("put the new cluster in place as", &cluster))?;
                self.sync()
            }
            (false, false) if !self.old_clusters()?.is_empty() => {
                let what = "it is missing, although there is one from before an upgrade beside it".to_owned();
                Err(PostgresError::DamagedCluster { cluster, what })
            }
            (_, false) => Ok(()),
        }
    }

    /// The clusters from before upgrades.
    pub fn old_clusters(&self) -> Result<Vec<PathBuf>, PostgresError> {
        let entries = fs::read_dir(self.dir()).map_err(PostgresError::io("list", self.dir()))?;
        let old = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(OLD_PREFIX.as_bytes()));
        Ok(old.map(|entry| entry.path()).collect())
    }

    fn upgraded(&self) -> PathBuf {
        self.dir().join("cluster.upgraded")
    }

    fn sync(&self) -> Result<(), PostgresError> {
        let synced = File::open(self.dir()).and_then(|dir| dir.sync_all());
        synced.map_err(PostgresError::io("make durable", self.dir()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_killed_between_any_two_steps_leaves_one_cluster_in_place() {
        // What is there after so many renames, and which of the two is in place after the next start.
        for (renames, expected) in [(0, "old"), (1, "old"), (2, "new"), (3, "new")] {
            let home = tempfile::tempdir().unwrap();
            let layout = Layout::open(home.path()).unwrap();
            let at = |name: &str| home.path().join(name);
            for (name, text) in [("cluster", "old"), ("data", "new")] {
                fs::create_dir(at(name)).unwrap();
                fs::write(at(name).join("text"), text).unwrap();
            }
            let steps = [("data", "cluster.upgraded"), ("cluster", "cluster.old-15"), ("cluster.upgraded", "cluster")];
            for (from, to) in &steps[..renames] {
                fs::rename(at(from), at(to)).unwrap();
            }
            layout.finish_upgrade().unwrap();
            assert_eq!(fs::read_to_string(at("cluster/text")).unwrap(), expected, "{renames}");
            assert!(!at("cluster.upgraded").exists());
            assert_eq!(layout.old_clusters().unwrap().len(), usize::from(renames >= 2));
        }
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::open(home.path()).unwrap();
        layout.finish_upgrade().unwrap();
        fs::create_dir(home.path().join("cluster.old-15")).unwrap();
        assert!(layout.finish_upgrade().is_err(), "an empty cluster must not take the place");
    }
}
