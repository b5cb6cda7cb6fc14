//! Waiting: for what must come, with an end for tests whose waiting is in vain.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// After this a test is given up: no limit for the server, just the end of waiting in vain.
const LONG: Duration = Duration::from_secs(30);

/// The result of something that must come to an end.
///
/// # Panics
/// When it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(LONG, future).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// The result of something that starts many programs, one after the other, on a machine that may be busy with others.
///
/// # Panics
/// When it does not come to an end.
pub async fn in_the_end<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(LONG * 20, future).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until something holds that no event reports.
///
/// # Panics
/// When it never does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LONG, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
