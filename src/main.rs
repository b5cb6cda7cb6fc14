//! The program `be8`.

use std::process::ExitCode;

use be8::cli::logging::{self, Level, say};
use mimalloc::MiMalloc;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroizing_alloc::ZeroAlloc;

/// What is given back is overwritten with zeros: otherwise what was erased would stay in memory until something else is written there.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    logging::choose_by_words(std::env::args(), std::env::var("BE8_LOG_FORMAT").ok().as_deref());
    keep_memory_private();
    // Before there is another thread: sqlx and PostgreSQL's programs read these by themselves, and would apply what was meant
    // for another database to the private one.
    let names = be8_database::of_libpq();
    be8_database::capture(&names);
    temp_env::with_vars_unset(names, be8::cli::main)
}

/// Keeps the keys in memory from leaving it: no core dump is written when the process crashes, and no other process of the
/// same user can read its memory or attach a debugger to it.
fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Either is enough against core dumps; a sandbox may refuse one.
    let limited = setrlimit(Resource::Core, none);
    if let (Err(error), Err(_)) = (set_dumpable_behavior(DumpableBehavior::NotDumpable), limited) {
        let text = format!("be8: core dumps of this process, which would hold keys, cannot be turned off: {error}");
        say(Level::Error, &text);
    }
}
