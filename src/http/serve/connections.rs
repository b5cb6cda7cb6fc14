//! The connections: how many there may be, in all and of one client, and how long one may be silent.
//!
//! hyper speaks; here is decided who is spoken to. A connection on which no request is under way ends when the head of
//! the next one does not come, as a whole, in time, so that a stranger who sends half a line holds nothing for long.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Lost};
use super::outgoing::{Outgoing, Way};
use super::tls::Tls;
use super::unread::Unread;
use crate::http::request::address::{Proxies, network};
use crate::http::request::body::FreeShare;
use crate::http::request::byte_budget::ByteBudget;
use crate::settings::{count, mebibytes, optional, seconds, settings};

/// How long open requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// The pause when no connection can be taken in, mostly because the process has no file left.
const PAUSE: Duration = Duration::from_millis(50);
/// The most requests at once over one connection (HTTP/2).
const AT_ONCE: u32 = 100;
/// The most bytes of the head of a request (HTTP/2).
const HEAD_BYTES: u32 = 16_384;
settings! {
    /// What connections are bounded by.
    #[derive(Debug, Clone)]
    pub struct ConnectionSettings {
        most: Option<usize> = optional(count), "connections", "N", "", "Connections of clients at once; one more is closed; three quarters of the files that the process may open, at most 20000";
        per_address: usize = count, "connections-per-address", "N", "1000", "Of those, from one address (IPv6: from one /64); trusted proxies have no such limit";
        head: Duration = seconds, "request-head-seconds", "SECONDS", "60", "How long a connection without a request under way stays open, and the longest wait for a request's whole head";
        dead: Duration = seconds, "connection-dead-seconds", "SECONDS", "30", "After how long without an acknowledgement or an answer to a probe a connection is closed";
        stall: Duration = seconds, "answer-stall-seconds", "SECONDS", "60", "The longest time in which a client may read nothing of its answer; a large answer may take longer, at 8 KiB a second";
        answers: usize = mebibytes, "answer-memory-mib", "MIB", "256", "Memory for answers on their way; beyond it those over 64 KiB wait or are refused as UNAVAILABLE";
    }
    given {
        /// Whose connections are those of many clients.
        proxies: Proxies,
    }
}

/// The most connections where nothing else is set: a part of the files that the process may open, which is raised as
/// far as it goes.
fn most_by_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    // A process that may not raise the limit keeps the one it has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 4 * 3).map_or(MOST, |files| files.min(MOST))
}

/// No more by default, however many files there may be: each takes some memory.
const MOST: usize = 20_000;

/// Who is connected.
#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// Counts connections.
struct Gate {
    most: usize,
    per_address: usize,
    proxies: Proxies,
    inside: Arc<Mutex<Inside>>,
}

/// A connection that was let in, as long as it lasts.
struct Place {
    network: Option<IpAddr>,
    inside: Arc<Mutex<Inside>>,
}

impl Gate {
    fn new(settings: &ConnectionSettings) -> Self {
        Self {
            most: settings.most.unwrap_or_else(most_by_files),
            per_address: settings.per_address,
            proxies: settings.proxies.clone(),
            inside: Arc::default(),
        }
    }

    /// A place for a connection from there; else, why there is none.
    fn admit(&self, peer: IpAddr) -> Result<Place, &'static str> {
        let network = (!self.proxies.trusts(peer)).then(|| network(peer));
        let mut inside = self.inside.lock();
        if inside.all >= self.most {
            return Err("all");
        }
        if let Some(network) = network {
            let count = inside.by_network.entry(network).or_default();
            if *count >= self.per_address {
                return Err("address");
            }
            *count += 1;
        }
        inside.all += 1;
        metrics::gauge!("be8_connections").increment(1.0);
        drop(inside);
        Ok(Place { network, inside: self.inside.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.inside.lock();
        inside.all -= 1;
        if let Some(Entry::Occupied(mut count)) = self.network.map(|network| inside.by_network.entry(network)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        metrics::gauge!("be8_connections").decrement(1.0);
    }
}

/// What all connections share.
struct Serve<E> {
    endpoint: E,
    local: SocketAddr,
    settings: ConnectionSettings,
    budget: ByteBudget,
    /// Cancelled when the server stops.
    stop: CancellationToken,
    /// Cancelled when the grace period ends, too.
    cut: CancellationToken,
}

/// Serves connections until `stop`; then open requests get a while to end.
pub(in crate::http) async fn serve<E: Endpoint<Output = Response> + 'static>(
    listener: TcpListener,
    tls: Option<Tls>,
    endpoint: E,
    settings: ConnectionSettings,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let local = listener.local_addr()?;
    let gate = Gate::new(&settings);
    let budget = ByteBudget::new(settings.answers, Some("be8_answer_bytes"));
    let cut = CancellationToken::new();
    let dead = settings.dead;
    let serve = Arc::new(Serve { endpoint, local, settings, budget, stop: stop.clone(), cut: cut.clone() });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! { () = stop.cancelled() => break, accepted = listener.accept() => accepted };
        match accepted {
            Ok((socket, peer)) => match gate.admit(peer.ip()) {
                Ok(place) => {
                    watch_peer(&socket, dead);
                    let (serve, tls) = (serve.clone(), tls.clone());
                    connections.spawn(async move {
                        let _place = place;
                        serve.greet(socket, tls, peer).await;
                    });
                }
                // It is closed without a word.
                Err(why) => {
                    metrics::counter!("be8_connections_refused_total", "bound" => why).increment(1);
                    tracing::debug!(why, "a connection too many");
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken in");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Has the system end a connection whose peer shows no sign of life for so long: neither an acknowledgement of what was sent
/// (RFC 5482) nor an answer to keep-alive probes. Small answers are sent at once. On a silent stream the first that nobody
/// acknowledges is the next heartbeat, which is up to half of that time later: so the other half is left to wait for it.
fn watch_peer(socket: &TcpStream, dead: Duration) {
    let probes =
        TcpKeepalive::new().with_time(dead / 2).with_interval((dead / 6).max(Duration::from_secs(1))).with_retries(3);
    let socket = SockRef::from(socket);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&probes))
        .and_then(|()| socket.set_tcp_user_timeout(Some(dead / 2)));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection cannot be watched");
    }
}

impl<E: Endpoint<Output = Response> + 'static> Serve<E> {
    /// Agrees on a key if there is one to agree on, and speaks.
    async fn greet(self: Arc<Self>, socket: TcpStream, tls: Option<Tls>, peer: SocketAddr) {
        let Some(tls) = tls else { return self.speak(socket, Scheme::HTTP, peer).await };
        tokio::select! {
            socket = tls.agree(socket) => if let Some(socket) = socket { self.speak(socket, Scheme::HTTPS, peer).await },
            () = self.stop.cancelled() => {}
        }
    }

    async fn speak<Io>(self: Arc<Self>, socket: Io, scheme: Scheme, peer: SocketAddr)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ConnectionSettings { head, stall, dead, .. } = self.settings;
        let lost = Lost::default();
        let broken = CancellationToken::new();
        let way = Way::new(&self.budget, stall, broken.clone());
        let asked = Arc::new(AtomicBool::new(false));
        let bodies = FreeShare::default();
        let service = service_fn({
            let (serve, asked, lost) = (self.clone(), asked.clone(), lost.clone());
            move |request: poem::http::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let (serve, scheme, outgoing) = (serve.clone(), scheme.clone(), Outgoing::over(&way));
                let (bodies, lost) = (bodies.clone(), lost.clone());
                async move {
                    let (local, peer) = (LocalAddr(Addr::SocketAddr(serve.local)), RemoteAddr(Addr::SocketAddr(peer)));
                    let mut request = Request::from((request, local, peer, scheme));
                    request.set_data(outgoing.clone());
                    request.set_data(lost);
                    request.set_data(bodies);
                    let unread = Unread::of(&mut request);
                    let answer = serve.endpoint.get_response(request).await;
                    unread.discard().await;
                    Ok::<_, Infallible>(poem::http::Response::from(outgoing.hold(answer).await))
                }
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
        let mut speaking = builder.http2();
        speaking.timer(TokioTimer::new()).max_concurrent_streams(AT_ONCE).max_header_list_size(HEAD_BYTES);
        speaking.keep_alive_interval(dead / 2).keep_alive_timeout(dead / 2);
        let mut speaking = pin!(builder.serve_connection(TokioIo::new(Connection::new(socket, stall, lost)), service));
        // Before the first request nobody knows yet which protocol it will be.
        let silent = async {
            sleep(head).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let mut gone = pin!(async {
            tokio::select! { () = silent => {}, () = broken.cancelled() => {}, () = self.cut.cancelled() => {} }
        });
        // However it ends, nobody is left to report it to.
        tokio::select! {
            _ = &mut speaking => return,
            () = &mut gone => return,
            // All that `hyper_util::server::graceful` would do; who is still served is counted here already.
            () = self.stop.cancelled() => speaking.as_mut().graceful_shutdown(),
        }
        tokio::select! { _ = &mut speaking => {}, () = gone => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_share_and_proxies_are_many() {
        let settings = ConnectionSettings {
            most: Some(6),
            per_address: 2,
            proxies: Proxies { trusted: "192.0.2.1".parse().unwrap(), ..Proxies::default() },
            head: Duration::ZERO,
            stall: Duration::ZERO,
            dead: Duration::ZERO,
            answers: 0,
        };
        let gate = Gate::new(&settings);
        let admit = |peer: &str| gate.admit(peer.parse().unwrap());
        let mut places = Vec::new();
        places.push(admit("198.51.100.1").unwrap());
        places.push(admit("::ffff:198.51.100.1").unwrap());
        assert_eq!(admit("198.51.100.1").err(), Some("address"));
        places.push(admit("2001:db8:0:1::1").unwrap());
        places.push(admit("2001:db8:0:1:ffff::1").unwrap());
        assert_eq!(admit("2001:db8:0:1::2").err(), Some("address"));
        places.remove(0);
        places.push(admit("198.51.100.1").unwrap());
        for _ in 0..2 {
            places.push(admit("::ffff:192.0.2.1").unwrap());
        }
        assert_eq!(admit("192.0.2.1").err(), Some("all"));
        assert_eq!(admit("198.51.100.2").err(), Some("all"));
        drop(places);
        assert!(gate.inside.lock().by_network.is_empty());
        assert!((0..6).map(|_| admit("192.0.2.1")).collect::<Vec<_>>().iter().all(Result::is_ok));
    }

    #[test]
    fn the_files_of_the_process_bound_what_is_not_set() {
        assert!((1..=MOST).contains(&most_by_files()));
    }
}
