//! The migrations of log and vault, in their order, and which version of the program is newer.
//!
//! A list and not `sqlx::migrate!`: the macros of sqlx compile its drivers, tokio and rustls a second time, for the compiler.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! migrations {
    ($($version:literal $name:literal;)+) => {
        [$(($version, $name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $version, "_", $name, ".sql")))),+]
    };
}

/// Each file of `migrations/`: its number, its name, what it says.
const FILES: [(&str, &str, &str); 18] = migrations! {
    "0001" "log";
    "0002" "vault";
    "0003" "sealed_guard";
    "0004" "processes";
    "0005" "code_attempts";
    "0006" "sweep";
    "0008" "idempotency";
    "0010" "push";
    "0011" "generations";
    "0012" "transparency";
    "0013" "media_store";
    "0014" "trusted_time";
    "0015" "primary_keys";
    "0016" "vault_rotation";
    "0017" "audit_wanted";
    "0018" "push_devices";
    "0019" "session_days";
    "0020" "history_map";
};

/// What brings a database up to the schema of this version.
pub fn migrator() -> Migrator {
    let migration = |(version, name, sql): (&str, &str, &'static str)| {
        let number = version.bytes().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Migration::new(number, name.replace('_', " ").into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(FILES.map(migration).into())
}

/// Whether a version, `major.minor.patch`, is newer than another.
pub(super) fn is_newer(version: &str, than: &str) -> bool {
    let numbers = |text: &str| {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        core.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>()
    };
    numbers(version) > numbers(than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_file_is_a_migration_as_sqlx_reads_the_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let read = Migrator::new(folder).await.unwrap();
        let all = |migrator: &Migrator| {
            let all =
                migrator.iter().map(|one| (one.version, one.description.clone(), one.checksum.clone(), one.no_tx));
            all.collect::<Vec<_>>()
        };
        assert_eq!(all(&migrator()), all(&read));
    }
}
