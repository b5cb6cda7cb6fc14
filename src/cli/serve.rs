//! `be8 serve`: runs a node until it gets a signal.

use std::io::Write as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::logging;
use crate::app::Handle;
use crate::config::Config;
use crate::http::layers::limits::Limiter;
use crate::http::serve::tls::Tls;
use crate::http::site::Site;
use crate::http::wire::event_stream::RefusedStreams;
use crate::http::{self, Serving};
use crate::measurements;
use crate::node::{Node, NodeError, test_clock};
use crate::push::Vapid;

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// [`NodeError`]
pub async fn run(config: Config) -> Result<(), NodeError> {
    logging::begin(&config.server.log);
    let metrics = measuring();
    let stop = CancellationToken::new();
    let handle = Handle::default();
    // Listening first: an early request gets UNAVAILABLE instead of no connection, and a port that
    // is taken is reported before anything is started.
    let tls = config.tls.clone().map(Tls::load).transpose()?;
    // Clients subscribe with the key pair that signs; without one, with the key that is built into them.
    let vapid = Vapid::load(&config.push)?;
    let key = vapid.as_ref().map(|vapid| vapid.public().to_owned());
    let site = Site::load(config.site.clone(), key, http::taken())?;
    let server = http::listen(config.server.listen, tls.clone())
        .await
        .map_err(|cause| NodeError::Listen { address: config.server.listen.to_string(), cause })?;
    let address = server.address().to_owned();
    let serving = Serving {
        bodies: config.body,
        large_bodies: config.large_bodies,
        site: site.clone(),
        public_url: config.public_url.clone(),
        limiter: Limiter::new(config.limits.clone(), test_clock(&config)),
        connections: config.connections.clone(),
        refused: RefusedStreams::new(config.app.refused_hold, config.app.refused_streams, stop.clone()),
    };
    let serving = tokio::spawn(server.run(handle.clone(), metrics, serving, stop.clone()));
    let stopping = stop_on_signal(stop.clone());
    let renewing = renew_on_signal(tls, site);

    let node = tokio::select! {
        node = Node::start(&config, vapid, stop.clone()) => node?,
        () = stop.cancelled() => return Ok(()),
    };
    handle.set(node.app.clone());
    greet(&config, &node, &address);

    stop.cancelled().await;
    stopping.abort();
    renewing.abort();
    // The listener ends its requests and streams, the ledger the batch in flight, then the rest.
    match serving.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the listener ended with an error"),
        Err(error) => tracing::warn!(%error, "the listener did not end"),
    }
    node.stop().await
}

/// Prints the addresses and folders in use. Standard output may be closed.
fn greet(config: &Config, node: &Node, address: &str) {
    // The system chooses the port where it is asked to.
    let public = if config.server.listen.port() == 0 && config.public_url.ends_with(":0") {
        address
    } else {
        &config.public_url
    };
    let mut lines = vec![
        format!("be8 {} serves on {public}", env!("CARGO_PKG_VERSION")),
        format!("  listening     {address}"),
        format!("  Swagger UI    {public}/docs"),
        format!("  OpenAPI       {public}/openapi.json"),
        format!("  database      {}", node.database.describe()),
        format!("  data          {}", config.data_dir.display()),
        format!("  audit key     {}", node.app.transparency.key().public()),
    ];
    lines.extend(node.app.witness.as_ref().map(|witness| format!("  witness key   {}", witness.key())));
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
}

/// Reloads certificate and files on SIGHUP. The present ones stay if the new ones cannot be used.
fn renew_on_signal(tls: Option<Tls>, site: Site) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return tracing::warn!("no handler for SIGHUP: certificate and files are read at start only");
        };
        while hangup.recv().await.is_some() {
            match tls.as_ref().map(Tls::reload) {
                Some(Ok(())) => tracing::info!("the certificate was reloaded"),
                Some(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
                None => {}
            }
            let site = site.clone();
            match tokio::task::spawn_blocking(move || site.reload()).await {
                Ok(Ok(())) => tracing::info!("the files were reloaded"),
                Ok(Err(error)) => tracing::error!(%error, "the files stay as they were"),
                Err(error) => tracing::error!(%error, "the files stay as they were"),
            }
        }
    })
}

fn measuring() -> PrometheusHandle {
    let seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    let commands = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &commands))
        .unwrap_or_else(|_| PrometheusBuilder::new());
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed already: /metrics stays empty");
    }
    measurements::describe();
    handle
}

/// Stops on the first signal.
fn stop_on_signal(stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return tracing::warn!("no handlers for signals: stop the server by killing its process");
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping");
        stop.cancel();
    })
}
