//! The environment variables of libpq, as they were when the program started.
//!
//! sqlx reads some of them by itself (`PGOPTIONS`, `PGPASSWORD`, `PGSSLMODE` and others) whenever options for a connection are
//! made, and PostgreSQL's own programs read them too. So `main` takes them out of the environment before anything else, and
//! only the database that the operator names sees them, through [`variable`].

use std::collections::HashMap;
use std::sync::OnceLock;

static CAPTURED: OnceLock<HashMap<String, String>> = OnceLock::new();

/// The names of the variables of libpq that are set now. `PGPASSFILE` is none of them: sqlx looks into that file itself, for
/// what the operator names and lacks a password, and PostgreSQL's programs are started without it.
pub fn of_libpq() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    // PG_BIN, with an underscore, is a setting of be8.
    names.filter(|name| name.starts_with("PG") && !name.starts_with("PG_") && name != "PGPASSFILE").collect()
}

/// Keeps the values of these variables, before they are taken out of the environment. The first call counts.
pub fn capture(names: &[String]) {
    let value = |name: &String| std::env::var(name).ok().map(|value| (name.clone(), value));
    // A second call would find nothing in the environment any more.
    let _ = CAPTURED.set(names.iter().filter_map(value).collect());
}

/// The value of a variable of libpq; none if it is unset or empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = match CAPTURED.get() {
        Some(captured) => captured.get(name).cloned(),
        None => std::env::var(name).ok(),
    };
    value.filter(|value| !value.is_empty())
}
