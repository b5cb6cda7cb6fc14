//! Whose rights PostgreSQL runs with: ours, or as root an unprivileged user's, since PostgreSQL refuses root.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::error::PostgresError;

/// Whom PostgreSQL may run as when root starts it, the first that exists. A user of its own is the best, since a process that
/// runs anything else as the same user can read the cluster.
const SERVER_USERS: [&str; 3] = ["be8", "postgres", NOBODY];

/// The user whom other programs share.
const NOBODY: &str = "nobody";

/// A user of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OsUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The user we are and the user PostgreSQL runs as.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub own: OsUser,
    pub server: OsUser,
}

impl Identity {
    /// Finds out who we are and, as root, to whom the cluster belongs or shall belong.
    pub fn detect(cluster: &Path) -> Result<Self, PostgresError> {
        let uid = rustix::process::geteuid().as_raw();
        let own = look_up(&uid.to_string())?.ok_or(PostgresError::NamelessUser { uid })?;
        if uid != 0 {
            return Ok(Self { server: own.clone(), own });
        }
        // An existing cluster keeps its owner, also when a better user has appeared since.
        if let Ok(metadata) = fs::metadata(cluster)
            && metadata.uid() != 0
        {
            let uid = metadata.uid();
            let server = look_up(&uid.to_string())?.ok_or(PostgresError::NamelessUser { uid })?;
            return Ok(Self { own, server });
        }
        for name in SERVER_USERS {
            if let Some(server) = look_up(name)?
                && server.uid != 0
            {
                return Ok(Self { own, server });
            }
        }
        Err(PostgresError::NoUnprivilegedUser)
    }

    /// Whether PostgreSQL runs as somebody else than we do.
    pub fn drops_rights(&self) -> bool {
        self.own.uid != self.server.uid
    }

    /// Says in the log whom PostgreSQL runs as, if that is somebody else.
    pub fn announce(&self) {
        if !self.drops_rights() {
            return;
        }
        let user = &self.server.name;
        if user == NOBODY {
            tracing::warn!(user, "PostgreSQL runs as a user that other programs share: a user `be8` would be its own");
        } else {
            tracing::info!(user, "PostgreSQL runs as this user, since this process is root");
        }
    }

    /// A command that runs `program` with PostgreSQL's rights and dies (by SIGINT, PostgreSQL's fast shutdown) with the
    /// *thread* that spawned it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if self.drops_rights() {
            command.args(["--reuid", &self.server.uid.to_string(), "--regid", &self.server.gid.to_string()]);
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", "INT"]).arg(program);
        // PGPORT, PGOPTIONS, LC_ALL and the like must not reach the server; the working directory may be out of its
        // reach; and Ctrl-C in a terminal is for us alone, who then stop PostgreSQL after everything that needs it.
        command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0).stdin(Stdio::null());
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Turns the failure to spawn a [`Identity::command`] into an error that names the missing package.
    pub fn spawn_error(program: &Path) -> impl FnOnce(io::Error) -> PostgresError {
        move |error| match error.kind() {
            io::ErrorKind::NotFound => PostgresError::MissingTool { program: "setpriv", package: "util-linux" },
            _ => PostgresError::io("run", program)(error),
        }
    }

    /// Checks that PostgreSQL's user gets to `path`, and names the directory that stops it otherwise. Asks the kernel by
    /// trying, so that access lists and security modules count too.
    pub fn check_reach(&self, path: &Path) -> Result<(), PostgresError> {
        if !self.drops_rights() || self.may_execute(path)? {
            return Ok(());
        }
        let mut way: Vec<_> = path.ancestors().collect();
        way.reverse();
        for blocked in way {
            if !self.may_execute(blocked)? {
                let (user, path, blocked) = (self.server.name.clone(), path.into(), blocked.into());
                return Err(PostgresError::OutOfReach { user, path, blocked });
            }
        }
        Ok(())
    }

    fn may_execute(&self, path: &Path) -> Result<bool, PostgresError> {
        let test = Path::new("test");
        let output = self.command(test).arg("-x").arg(path).output().map_err(Self::spawn_error(test))?;
        Ok(output.status.success())
    }

    /// Gives a file or directory of ours to PostgreSQL's user, for nobody else to read.
    pub fn hand_over(&self, directory: &Path) -> Result<(), PostgresError> {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .and_then(|()| match self.drops_rights() {
                true => std::os::unix::fs::chown(directory, Some(self.server.uid), Some(self.server.gid)),
                false => Ok(()),
            })
            .map_err(PostgresError::io("hand PostgreSQL the directory", directory))
    }
}

/// Looks a user up by name or number, also one that comes from a directory service.
pub(super) fn look_up(key: &str) -> Result<Option<OsUser>, PostgresError> {
    let output =
        Command::new("getent").args(["passwd", key]).stdin(Stdio::null()).output().map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => PostgresError::MissingTool { program: "getent", package: "libc-bin" },
                _ => PostgresError::io("run", Path::new("getent"))(error),
            }
        })?;
    Ok(parse_passwd(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the first line of the form `name:password:uid:gid:...`.
fn parse_passwd(text: &str) -> Option<OsUser> {
    let mut fields = text.lines().next()?.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(OsUser { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_is_read() {
        let user = parse_passwd("postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n");
        assert_eq!(user, Some(OsUser { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(parse_passwd(""), None);
    }

    #[test]
    fn root_is_found_by_name_and_number_and_a_stranger_is_not() {
        assert_eq!(look_up("root").expect("getent runs").map(|user| user.uid), Some(0));
        assert_eq!(look_up("0").expect("getent runs").map(|user| user.name), Some("root".into()));
        assert_eq!(look_up("no-such-user-of-be8").expect("getent runs"), None);
    }
}
