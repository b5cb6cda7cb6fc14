//! Finds an installed PostgreSQL whose version fits.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use super::error::PostgresError;

/// The oldest major version that the project's SQL is written for.
const MINIMUM: u32 = 15;

/// Where Debian and its descendants put each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// An installed PostgreSQL: the directory of its programs and its major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    bin: PathBuf,
    pub major: u32,
}

impl Installation {
    /// Finds the installation to use: the one in `bin` if that is given; else the one that made `cluster` if that
    /// exists already (a distribution's upgrade leaves both installed); else the newest.
    pub fn find(bin: Option<&Path>, cluster: &Path) -> Result<Self, PostgresError> {
        let found = Self::all(bin)?;
        let Some(newest) = found.first() else {
            return Err(PostgresError::NotInstalled { minimum: MINIMUM });
        };
        let Some(made_by) = made_by(cluster)? else { return Ok(newest.clone()) };
        found.iter().find(|one| one.major == made_by.major).cloned().ok_or_else(|| {
            let installed: Vec<_> = found.iter().map(|one| one.major.to_string()).collect();
            let (cluster, installed, older) = (cluster.into(), installed.join(", "), made_by.major < newest.major);
            match older {
                true => PostgresError::OlderCluster { cluster, made_by: made_by.text, installed },
                false => PostgresError::NewerCluster { cluster, made_by: made_by.text, installed },
            }
        })
    }

    /// The one in `bin` if that is given, else all that are installed, newest first.
    fn all(bin: Option<&Path>) -> Result<Vec<Self>, PostgresError> {
        match bin {
            Some(bin) => Ok(vec![Self::given(bin)?]),
            None => Ok(Self::installed()),
        }
    }

    /// The one in `bin` if that is given, else the newest that is installed.
    pub fn newest(bin: Option<&Path>) -> Result<Self, PostgresError> {
        Self::all(bin)?.into_iter().next().ok_or(PostgresError::NotInstalled { minimum: MINIMUM })
    }

    /// The installation of this major version, if one was found.
    pub fn of_version(major: u32) -> Option<Self> {
        Self::installed().into_iter().find(|one| one.major == major)
    }

    /// Where its programs are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// All installations that are new enough, newest first: those of the distribution, else the one on `PATH`.
    fn installed() -> Vec<Self> {
        let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let mut found: Vec<_> = versions.filter_map(|bin| Self::at(&bin)).collect();
        if found.is_empty() {
            let path = env::var_os("PATH").unwrap_or_default();
            found = env::split_paths(&path).filter_map(|bin| Self::at(&bin)).take(1).collect();
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.major));
        found
    }

    /// The installation with these programs, if it is one and new enough.
    fn at(bin: &Path) -> Option<Self> {
        Self::given(bin).ok()
    }

    /// The installation with these programs, or what is wrong with it.
    pub fn given(bin: &Path) -> Result<Self, PostgresError> {
        let unusable = |reason: String| PostgresError::UnusableBin { bin: bin.into(), reason };
        // The server is started from another working directory.
        let bin = bin.canonicalize().map_err(|error| unusable(error.to_string()))?;
        if let Some(missing) = ["initdb", "postgres"].iter().find(|name| !bin.join(name).is_file()) {
            return Err(unusable(format!("there is no program `{missing}` in it")));
        }
        let version = Command::new(bin.join("postgres")).arg("--version").stdin(Stdio::null()).output();
        let version = version.map_err(|error| unusable(format!("its `postgres` does not run: {error}")))?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        match parse_major(&version) {
            Some(major) if major >= MINIMUM => Ok(Self { bin, major }),
            Some(major) => Err(unusable(format!("its version is {major}, and {MINIMUM} is the oldest that will do"))),
            None => Err(unusable(format!("its `postgres --version` says {version:?}"))),
        }
    }
}

/// The version that made a cluster.
pub(super) struct MadeBy {
    /// The major version; before PostgreSQL 10, its first half.
    pub major: u32,
    /// What `PG_VERSION` says.
    pub text: String,
}

/// The version that made a cluster; none if there is no cluster yet.
pub(super) fn made_by(cluster: &Path) -> Result<Option<MadeBy>, PostgresError> {
    let damaged = |what: String| PostgresError::DamagedCluster { cluster: cluster.into(), what };
    let path = cluster.join("PG_VERSION");
    let text = match fs::read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let empty = fs::read_dir(cluster).map_or(true, |mut entries| entries.next().is_none());
            return if empty { Ok(None) } else { Err(damaged("it has no file PG_VERSION".to_owned())) };
        }
        Err(error) => return Err(PostgresError::io("read", &path)(error)),
    };
    let version = text.split('.').next().and_then(|major| major.parse().ok());
    let major = version.ok_or_else(|| damaged(format!("its file PG_VERSION says {text:?}")))?;
    Ok(Some(MadeBy { major, text }))
}

/// The major version in, for example, `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `... 19beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_form() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("postgres (PostgreSQL) 18"), Some(18));
        assert_eq!(parse_major("mysqld 8"), None);
    }

    #[test]
    fn a_cluster_of_a_version_that_is_not_installed_is_refused() {
        let cluster = tempfile::tempdir().expect("a directory");
        let says = |version: &str| {
            fs::write(cluster.path().join("PG_VERSION"), version).expect("a file");
            Installation::find(None, cluster.path()).expect_err("it is never found")
        };
        let error = says("9.6\n");
        assert!(matches!(&error, PostgresError::OlderCluster { made_by, .. } if made_by == "9.6"), "{error}");
        assert!(error.to_string().contains("be8 postgres-upgrade"), "{error}");
        let error = says("99\n");
        assert!(matches!(&error, PostgresError::NewerCluster { made_by, .. } if made_by == "99"), "{error}");
        assert!(error.to_string().contains("cannot go back to an older version"), "{error}");
        for damage in ["", "\n", "fifteen"] {
            let error = says(damage);
            assert!(matches!(&error, PostgresError::DamagedCluster { .. }), "{error}");
        }
        fs::rename(cluster.path().join("PG_VERSION"), cluster.path().join("base")).expect("a file");
        let error = Installation::find(None, cluster.path()).expect_err("something is there");
        assert!(error.to_string().contains("no file PG_VERSION"), "{error}");
        fs::remove_file(cluster.path().join("base")).expect("a file");
        Installation::find(None, cluster.path()).expect("an empty directory is no cluster yet");
    }

    #[test]
    fn a_bin_directory_without_postgresql_is_named_as_such() {
        let error =
            Installation::find(Some(Path::new("/")), Path::new("/nonexistent")).expect_err("no PostgreSQL in /");
        assert_eq!(error.to_string(), "PG_BIN names /, but there is no program `initdb` in it");
    }
}
