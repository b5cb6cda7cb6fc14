//! Turning the clock of a running server.

use std::fs;
use std::path::Path;

/// Lets time pass for the server whose clock is moved by this file, until it is this many seconds ahead of the time.
pub fn turn(file: &Path, seconds: i64) {
    write(file, &format!("{seconds} {}", seconds.max(0)));
}

/// Sets the clock that is moved by this file, this many seconds ahead of the time, without any time passing.
pub fn set(file: &Path, seconds: i64) {
    write(file, &seconds.to_string());
}

/// In one step, since the server may be looking.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("the clock as it will be");
    fs::rename(new, file).expect("the clock as it is");
}
