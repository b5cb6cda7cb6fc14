//! The table: for each room what it may use.

/// A folder of the house, or a file that is a room of its own.
pub struct Room {
    /// Where it lies.
    pub path: &'static str,
    /// Which crates it may use, besides the standard library and those of tests.
    pub crates: Crates,
    /// Which other rooms of `src` it may use; none: all of them.
    pub rooms: Option<&'static [&'static str]>,
    /// No input, no output, no clock.
    pub pure: bool,
    /// May ask for the time.
    pub clock: bool,
}

/// Which crates a room may use.
pub enum Crates {
    /// These.
    Only(&'static [&'static str]),
    /// All but these, and what begins with one of these names and an underscore.
    AllBut(&'static [&'static str]),
}

impl Crates {
    pub fn allow(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(&name),
            Self::AllBut(names) => {
                let means = |other: &&str| name.strip_prefix(other).is_some_and(|r| r.is_empty() || r.starts_with('_'));
                !names.iter().any(means)
            }
        }
    }
}

impl Room {
    /// The name of its module.
    pub fn name(&self) -> &'static str {
        let path = self.path.trim_start_matches("src/").trim_start_matches(SUPPORT);
        path.trim_end_matches('/').trim_end_matches(".rs")
    }

    /// Whether it is the module of this name in the crate `be8`.
    pub fn is_module(&self, name: &str) -> bool {
        self.path.starts_with("src/") && self.name() == name
    }
}

/// A room of `src` that reads no clock.
const fn room(path: &'static str, crates: Crates, rooms: &'static [&'static str]) -> Room {
    Room { path, crates, rooms: Some(rooms), pure: false, clock: false }
}

/// The folder of `src` whose files are rooms of their own.
const SUPPORT: &str = "support/";

/// What reaches out of the process.
pub const IO: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "std::thread", "std::io", "Instant::now", "rand::"];

/// What asks for the time of day.
pub const CLOCK: &[&str] = &["Utc::now", "Local::now", "SystemTime::now"];

/// Where the sources of each crate are.
pub const SOURCES: &[&str] = &["database/src/", "events/src/", "postgres/src/", "projections/src/", "src/"];

/// The folders. Who is not here does not exist.
pub const ROOMS: &[Room] = &[
    Room {
        path: "events/",
        crates: Crates::Only(&["be8_events", "chrono", "serde", "serde_json", "sha2", "thiserror"]),
        rooms: Some(&[]),
        pure: true,
        clock: false,
    },
    // The tests of the events read and record files.
    Room {
        path: "events/src/fixtures/",
        crates: Crates::Only(&["be8_events", "serde", "serde_json"]),
        rooms: Some(&[]),
        pure: false,
        clock: false,
    },
    Room {
        path: "events/tests/",
        crates: Crates::Only(&["serde_json", "sha2"]),
        rooms: Some(&[]),
        pure: false,
        clock: false,
    },
    Room {
        path: "database/",
        crates: Crates::Only(&[
            "futures_util",
            "parking_lot",
            "percent_encoding",
            "sqlx",
            "thiserror",
            "tokio",
            "tracing",
        ]),
        rooms: Some(&[]),
        pure: false,
        clock: false,
    },
    // Nothing of be8 but how to connect.
    Room {
        path: "postgres/",
        crates: Crates::Only(&["be8_database", "rustix", "sqlx", "tempfile", "thiserror", "tokio", "tracing"]),
        rooms: Some(&[]),
        pure: false,
        clock: false,
    },
    Room {
        path: "projections/",
        crates: Crates::Only(&[
            "be8_database",
            "be8_events",
            "be8_projections",
            "chrono",
            "futures_util",
            "parking_lot",
            "rangemap",
            "sqlx",
            "thiserror",
        ]),
        rooms: Some(&[]),
        pure: true,
        clock: false,
    },
    Room {
        path: "src/domain/",
        crates: Crates::Only(&["be8_events", "chrono", "rangemap", "serde", "serde_json", "thiserror"]),
        rooms: Some(&[]),
        pure: true,
        clock: false,
    },
    Room {
        path: "src/histories/",
        crates: Crates::Only(&["be8_events", "thiserror"]),
        rooms: Some(&[]),
        pure: true,
        clock: false,
    },
    room("src/ledger/", Crates::AllBut(&["poem"]), &["domain", "histories", "vault", "clock", "settings"]),
    room("src/vault/", Crates::AllBut(&["poem", "be8_projections"]), &["occasional", "secret_file"]),
    room("src/feed/", Crates::AllBut(&["poem", "sqlx"]), &["ledger", "clock", "settings"]),
    room(
        "src/process/",
        Crates::AllBut(&["poem", "sqlx"]),
        &[
            "client",
            "feed",
            "ledger",
            "domain",
            "histories",
            "vault",
            "audit",
            "push",
            "media",
            "clock",
            "occasional",
            "settings",
        ],
    ),
    room("src/views/", Crates::AllBut(&["poem", "sqlx"]), &["ledger", "vault", "settings"]),
    room(
        "src/audit/",
        Crates::AllBut(&["poem", "sqlx"]),
        &["ledger", "domain", "histories", "secret_file", "settings"],
    ),
    // What the routes share; a node wires it.
    room(
        "src/app/",
        Crates::AllBut(&["poem", "sqlx"]),
        &[
            "audit",
            "clock",
            "domain",
            "feed",
            "ledger",
            "media",
            "memory",
            "password",
            "push",
            "secret_file",
            "vault",
            "views",
            "settings",
        ],
    ),
    // Its types say what the document says of them.
    room("src/json/", Crates::Only(&["be8_events", "be8_projections", "poem_openapi", "serde"]), &["audit"]),
    room(
        "src/http/",
        Crates::AllBut(&["sqlx"]),
        &[
            "app",
            "json",
            "domain",
            "ledger",
            "vault",
            "feed",
            "process",
            "audit",
            "push",
            "media",
            "password",
            "clock",
            "occasional",
            "secret_file",
            "views",
            "settings",
        ],
    ),
    room(
        "src/client/",
        Crates::Only(&["async_trait", "reqwest", "rustls", "thiserror", "tokio", "url", "webpki_roots"]),
        &[],
    ),
    room("src/push/", Crates::AllBut(&["poem", "sqlx"]), &["client", "secret_file", "settings"]),
    room("src/password/", Crates::AllBut(&["poem", "sqlx"]), &["settings"]),
    room("src/media/", Crates::AllBut(&["poem", "sqlx"]), &["occasional", "secret_file", "settings"]),
    // Its commands are those of routes and processes, sent by the operator.
    room(
        "src/cli/",
        Crates::AllBut(&["sqlx"]),
        &[
            "app",
            "config",
            "node",
            "http",
            "json",
            "ledger",
            "audit",
            "clock",
            "domain",
            "measurements",
            "process",
            "push",
            "vault",
        ],
    ),
    // What is set names the settings of each room.
    room(
        "src/config/",
        Crates::AllBut(&["poem", "sqlx"]),
        &[
            "app", "audit", "feed", "http", "ledger", "memory", "password", "process", "push", "media", "settings",
            "vault", "views",
        ],
    ),
    // Only the list of its files, which are rooms of their own.
    room("src/support/", Crates::Only(&[]), &[]),
    // What belongs to these files of `src`.
    Room { path: "src/node/", crates: Crates::AllBut(&["poem"]), rooms: None, pure: false, clock: false },
    // Tests look at the whole house, and know what time it is.
    Room { path: "tests/", crates: Crates::AllBut(&[]), rooms: None, pure: false, clock: true },
    Room { path: "benches/", crates: Crates::AllBut(&[]), rooms: None, pure: false, clock: true },
];

/// The files of `src` that are a room of their own.
pub const FILES: &[Room] = &[
    Room {
        path: "src/support/clock.rs",
        crates: Crates::Only(&["be8_events", "chrono", "rustix"]),
        rooms: Some(&[]),
        pure: false,
        clock: true,
    },
    room("src/support/memory.rs", Crates::Only(&[]), &[]),
    room("src/support/occasional.rs", Crates::Only(&["parking_lot"]), &[]),
    room("src/support/secret_file.rs", Crates::Only(&["rustix", "tempfile", "thiserror", "zeroize"]), &[]),
    room("src/measurements.rs", Crates::Only(&["metrics"]), &[]),
    room("src/settings.rs", Crates::Only(&["chrono"]), &[]),
    // Wiring: all rooms, and the migrations.
    Room { path: "src/node.rs", crates: Crates::AllBut(&["poem"]), rooms: None, pure: false, clock: false },
    Room { path: "src/lib.rs", crates: Crates::Only(&["be8_postgres"]), rooms: None, pure: false, clock: false },
    Room { path: "src/main.rs", crates: Crates::AllBut(&["poem", "sqlx"]), rooms: None, pure: false, clock: false },
];
