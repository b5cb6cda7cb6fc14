//! The HTTP client of the server, for push services and witnesses: HTTP/1.1 over TLS with the authorities that browsers
//! trust, no proxy, no redirections, a time for each step, and no more of an answer than is asked for.

pub mod guard;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve as ReqwestResolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Request, Response};
use rustls::{ClientConfig, RootCertStore};
use url::Host;

use self::guard::{Forbidden, Resolve, SystemResolver, public_addresses};

/// For how long an idle connection is kept: shorter than services close it, for a request that meets a closing connection may
/// be lost.
const IDLE: Duration = Duration::from_secs(20);

/// Sends requests.
#[derive(Clone)]
pub struct Client {
    client: reqwest::Client,
    reach: Reach,
    /// How long connecting may take, then the answer, and then its body.
    timeout: Duration,
}

/// Where requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// To names that lead to public addresses, over TLS.
    Public,
    /// Anywhere.
    Any,
    /// To the server of a test whatever the address says, and without TLS.
    TestPeer,
}

/// What became of a request that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It may not go there. Nothing was sent.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No connection came about: nothing was sent.
    #[error("it cannot be reached: {}", chain(.0))]
    Unreachable(reqwest::Error),
    /// It was sent, and the connection ended before the answer.
    #[error("it did not answer: {}", chain(.0))]
    Lost(reqwest::Error),
    /// It was sent, and no answer came in time.
    #[error("it did not answer in time")]
    Late,
    /// The answer is longer than what is read of it.
    #[error("its answer is too long")]
    TooLong,
}

/// An error with its causes. reqwest says only what it was doing.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for addresses that strangers name: it connects to public ones only. It keeps so many idle connections to
    /// each host.
    pub fn public(timeout: Duration, idle: usize) -> Self {
        let names = PublicNames { resolver: Arc::new(SystemResolver), instead: None };
        Self::new(Reach::Public, Some(Arc::new(names)), browsers(), timeout, idle)
    }

    /// A client for addresses that the operator names, which may be in the operator's own network.
    pub fn any(timeout: Duration) -> Self {
        Self::new(Reach::Any, None, browsers(), timeout, 1)
    }

    /// A client whose requests all go to the server of a test.
    pub fn to_test_peer(peer: SocketAddr, timeout: Duration, idle: usize) -> Self {
        Self::new(Reach::TestPeer, Some(Arc::new(Peer(peer))), browsers(), timeout, idle)
    }

    /// As [`Client::public`], but what passes its guard goes to a port of this machine that has this authority.
    #[cfg(test)]
    pub(crate) fn to_test_tls(
        resolver: Arc<dyn Resolve>,
        roots: RootCertStore,
        port: SocketAddr,
        timeout: Duration,
    ) -> Self {
        let names = PublicNames { resolver, instead: Some(port) };
        Self::new(Reach::Public, Some(Arc::new(names)), roots, timeout, 1)
    }

    fn new(
        reach: Reach,
        names: Option<Arc<dyn ReqwestResolve>>,
        roots: RootCertStore,
        timeout: Duration,
        idle: usize,
    ) -> Self {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(roots))
            .https_only(reach == Reach::Public)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            // With its own limit, so that a request that takes longer is known to have been sent.
            .connect_timeout(timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle);
        let builder = match names {
            Some(names) => builder.dns_resolver(names),
            None => builder,
        };
        let client = builder.build().expect("the configuration of TLS is ours");
        Self { client, reach, timeout }
    }

    /// Sends a request, and answers with the head of what comes back. It takes no longer than twice the time-out.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        match self.reach {
            // No name is resolved for an address that is a number.
            Reach::Public if !matches!(request.url().host(), Some(Host::Domain(_))) => return Err(Forbidden.into()),
            Reach::Public | Reach::Any => {}
            Reach::TestPeer => request.url_mut().set_scheme("http").map_err(|()| Forbidden)?,
        }
        match tokio::time::timeout(self.timeout * 2, self.client.execute(request)).await {
            Err(_) => Err(Failure::Late),
            Ok(Ok(answer)) => Ok(answer),
            // It has no address that requests may go to.
            Ok(Err(error)) if error.is_builder() || is_forbidden(&error) => Err(Forbidden.into()),
            Ok(Err(error)) if error.is_connect() => Err(Failure::Unreachable(error.without_url())),
            Ok(Err(error)) => Err(Failure::Lost(error.without_url())),
        }
    }

    /// Reads the body of an answer, if it is no longer than this. Once it is read, its connection can be used again.
    ///
    /// # Errors
    /// [`Failure::TooLong`], [`Failure::Late`], [`Failure::Lost`]
    pub async fn body(&self, mut answer: Response, longest: usize) -> Result<Vec<u8>, Failure> {
        let read = async {
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| Failure::Lost(error.without_url()))? {
                if body.len() + piece.len() > longest {
                    return Err(Failure::TooLong);
                }
                body.extend_from_slice(&piece);
            }
            Ok(body)
        };
        tokio::time::timeout(self.timeout, read).await.unwrap_or(Err(Failure::Late))
    }
}

/// The authorities that browsers trust.
fn browsers() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS with these authorities, over which HTTP/1.1 is spoken.
fn tls(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring knows the versions of TLS");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Resolves names whose addresses are all public.
struct PublicNames {
    resolver: Arc<dyn Resolve>,
    /// Where a test connects to instead.
    instead: Option<SocketAddr>,
}

impl ReqwestResolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, instead) = (self.resolver.clone(), self.instead);
        Box::pin(async move {
            let addresses = public_addresses(&*resolver, name.as_str()).await?;
            // Port 0 is that of the scheme.
            let addresses: Addrs = match instead {
                None => Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))),
                Some(port) => Box::new(std::iter::once(port)),
            };
            Ok(addresses)
        })
    }
}

/// The server of a test, whatever the name.
struct Peer(SocketAddr);

impl ReqwestResolve for Peer {
    fn resolve(&self, _: Name) -> Resolving {
        let peer: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(peer)))
    }
}

/// Whether a request failed at the guard.
fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<Forbidden>() || inner.is_some_and(|inner| inner.is::<Forbidden>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
