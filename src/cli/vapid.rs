//! `be8 vapid`: prints the public key of Web Push, and makes the key pair the first time.

use super::logging::{Level, say};
use super::print;
use crate::config::Config;
use crate::node::{NodeError, make_data_dir};
use crate::push::Vapid;

/// Prints the public key alone to standard output; what was done goes to standard error.
///
/// # Errors
/// [`NodeError`]
pub fn run(config: &Config) -> Result<(), NodeError> {
    make_data_dir(config)?;
    let file = config.push.key_file.as_ref().unwrap_or(&config.push.default_key_file);
    let (public, made) = Vapid::make(file)?;
    if made {
        say(Level::Info, &format!("made a key pair: {}", file.display()));
    }
    if config.push.subject.is_none() {
        say(Level::Info, "the server also needs a contact: --vapid-subject mailto:you@example.org");
    }
    print(&format!("{public}\n"));
    Ok(())
}
