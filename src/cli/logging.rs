//! The lines on standard error: the log, and what a command says besides. With `--log-format json` all of them are JSON.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ArgMatches;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config;

/// Whether lines are JSON. It is known in steps: some lines come before all settings are read.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether lines are JSON.
fn json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Chooses the form of lines by the words of the command line and the environment, before they are understood: a word that
/// is not understood is complained of in this form.
pub fn choose_by_words(words: impl IntoIterator<Item = String>, environment: Option<&str>) {
    let mut words = words.into_iter();
    let mut asked = None;
    while let Some(word) = words.next() {
        match word.strip_prefix("--log-format") {
            Some("") => asked = words.next(),
            Some(value) => asked = value.strip_prefix('=').map(str::to_owned).or(asked),
            None => {}
        }
    }
    JSON.store(asked.as_deref().or(environment) == Some("json"), Ordering::Relaxed);
}

/// Chooses the form of lines by the settings, of which the others may still be wrong. A command without settings changes nothing.
pub(super) fn choose(matches: &ArgMatches) {
    let mut inner = matches;
    while let Some((_, matches)) = inner.subcommand() {
        inner = matches;
    }
    if let Some(json) = config::log_json(inner) {
        JSON.store(json, Ordering::Relaxed);
    }
    if self::json() {
        std::panic::set_hook(Box::new(|panic| say(Level::Error, &panic.to_string())));
    }
}

/// Begins to log what this filter lets through: a level, or levels by module.
pub(super) fn begin(filter: &str) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(self::filter(filter))
        .with_writer(std::io::stderr)
        // It would report them by a panic when nobody reads standard error any more.
        .log_internal_errors(false);
    // A second subscriber cannot be there: this is the first thing that the process does.
    let _ =
        if json() { builder.json().try_init() } else { builder.with_ansi(std::io::stderr().is_terminal()).try_init() };
}

/// How urgent a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What a command did.
    Info,
    /// Why it could not do it.
    Error,
}

/// Says something whatever is logged, in a line of the log if that is JSON. A reader that went away is no error.
pub fn say(level: Level, text: &str) {
    use std::io::Write as _;
    if !json() {
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    }
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false).json().finish();
    tracing::subscriber::with_default(subscriber, || match level {
        Level::Info => tracing::info!("{text}"),
        Level::Error => tracing::error!("{text}"),
    });
}

/// Says what is wrong with a command line.
///
/// # Errors
/// Standard error cannot be written.
pub fn complain(error: &clap::Error) -> std::io::Result<()> {
    if json() {
        say(Level::Error, error.render().to_string().trim_end());
        return Ok(());
    }
    error.print()
}

/// Whose lines are never logged, whatever is asked for: the first two write whole pushes, with endpoints and keys, into their
/// traces; the last one repeats PostgreSQL's words on a connection that was lost while idle, with lines of its source.
const SILENT: [&str; 3] = ["web_push", "ece", "sqlx_core::pool::connection"];

/// What is logged.
fn filter(wanted: &str) -> EnvFilter {
    let about = |directive: &&str| !SILENT.iter().any(|target| directive.trim_start().starts_with(target));
    let mut kept: Vec<&str> = wanted.split(',').filter(about).collect();
    // Of each repetition of a request to a store of images its client says something at this level; what comes of the request
    // is said by the code that asked.
    let level = kept.iter().rev().find_map(|directive| directive.trim().parse().ok()).unwrap_or(LevelFilter::ERROR);
    if level > LevelFilter::WARN {
        kept.insert(0, "object_store=warn");
    }
    let filter = EnvFilter::try_new(kept.join(",")).unwrap_or_else(|_| EnvFilter::new("object_store=warn,info"));
    let silence = |filter: EnvFilter, target: &&str| match format!("{target}=off").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    SILENT.iter().fold(filter, silence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_a_store_says_what_it_repeats_only_when_it_is_asked_to() {
        let directives = |wanted: &str| filter(wanted).to_string().split(',').map(str::to_owned).collect::<Vec<_>>();
        let of_store = |wanted: &str| {
            let all = directives(wanted).into_iter();
            all.filter(|directive| directive.starts_with("object_store")).collect::<Vec<_>>()
        };
        for quiet in ["info", "debug", "be8=debug,info", "???"] {
            assert_eq!(of_store(quiet), ["object_store=warn"], "{quiet}");
        }
        assert_eq!(of_store("info,object_store=debug"), ["object_store=debug"]);
        assert_eq!(of_store("error"), [""; 0]);
        for target in SILENT {
            assert!(directives("trace,web_push=trace").contains(&format!("{target}=off")), "{target}");
        }
    }
}
