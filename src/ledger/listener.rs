//! Hearing of what other nodes append: PostgreSQL's notifications, which only wake.

use std::time::Duration;

use be8_events::Position;
use sqlx::postgres::{PgConnectOptions, PgListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::append;

/// How soon a lost connection is made anew.
const RETRY: Duration = Duration::from_millis(500);

/// Hears of batches of other nodes. A lost connection is made anew; the poll covers the gap.
pub(super) async fn listen(connect: PgConnectOptions, wake: watch::Sender<Position>, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&connect, &wake).await {
                tracing::debug!(%error, "not listening to other nodes");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! { () = stop.cancelled() => {}, () = listening => {} }
}

async fn listen_once(connect: &PgConnectOptions, wake: &watch::Sender<Position>) -> Result<(), sqlx::Error> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(connect.clone()).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(append::CHANNEL).await?;
    loop {
        let notification = listener.recv().await?;
        if let Ok(position) = notification.payload().parse() {
            wake.send_replace(Position(position));
        }
    }
}
