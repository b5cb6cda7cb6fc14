//! `be8 vapid`: prints the public key of Web Push, and makes the key pair the first time.

use super::print;
use crate::config::Config;
use crate::push::{BadVapid, Vapid};

/// Prints the public key alone to standard output; what was done goes to standard error.
///
/// # Errors
/// [`BadVapid`]
pub fn run(config: &Config) -> Result<(), BadVapid> {
    let file = config.push.key_file.as_ref().unwrap_or(&config.push.default_key_file);
    let (public, made) = Vapid::make(file)?;
    if made {
        eprintln!("made a key pair: {}", file.display());
    }
    if config.push.subject.is_none() {
        eprintln!("the server also needs a contact: --vapid-subject mailto:you@example.org");
    }
    print(&format!("{public}\n"));
    Ok(())
}
