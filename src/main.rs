//! The program `be8`.

use std::process::ExitCode;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    keep_memory_private();
    let matches = be8::cli::command().get_matches();
    match be8::cli::run(&matches).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("be8: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps the keys in memory from leaving it: no core dump is written when the process crashes, and no other process of the
/// same user can read its memory or attach a debugger to it.
fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Either is enough against core dumps; a sandbox may refuse one.
    let limited = setrlimit(Resource::Core, none);
    if let (Err(error), Err(_)) = (set_dumpable_behavior(DumpableBehavior::NotDumpable), limited) {
        eprintln!("be8: core dumps of this process, which would hold keys, cannot be turned off: {error}");
    }
}
