//! Notifications of other nodes about what they appended, which only wake.

use std::time::Duration;

use be8_database::{Connector, with_deadline};
use be8_events::Position;
use sqlx::Executor as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::append;

/// How soon a lost connection is replaced.
const RETRY: Duration = Duration::from_millis(500);
/// After so long without a notification the connection is asked whether it lives: a dead one says nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Waits for batches of other nodes. A lost connection is replaced; the poll covers the gap.
pub(super) async fn listen(connect: Connector, wake: watch::Sender<Position>, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&connect, &wake).await {
                tracing::debug!(error = %be8_database::reason(&error), "not listening to other nodes");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! { () = stop.cancelled() => {}, () = listening => {} }
}

async fn listen_once(connect: &Connector, wake: &watch::Sender<Position>) -> Result<(), sqlx::Error> {
    let mut listener = connect.listener().await?;
    with_deadline(LIMIT, listener.listen(append::CHANNEL)).await?;
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Ok(position) = notification.payload().parse() {
                    wake.send_replace(Position(position));
                }
            }
            // The connection is lost.
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                with_deadline(LIMIT, listener.execute("select 1")).await?;
            }
        }
    }
}
