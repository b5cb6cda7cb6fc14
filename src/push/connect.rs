//! The connection to a push service: the checked address, TLS, and a time by which it stands.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::guard::{Resolve, SystemResolver, public_addresses};

/// Connects to push services. It knows no proxy: what the environment says has no effect.
#[derive(Clone)]
pub struct Connector {
    way: Way,
    timeout: Duration,
}

/// Where connections lead.
#[derive(Clone)]
enum Way {
    /// To the host of the address, over TLS, if the guard lets it.
    Guarded { resolver: Arc<dyn Resolve>, tls: TlsConnector },
    /// Always to the push service of a test, without TLS.
    TestPeer(SocketAddr),
    /// To the port of a test that speaks TLS, once the guard has let the name pass.
    #[cfg(test)]
    TestTls { resolver: Arc<dyn Resolve>, tls: TlsConnector, port: SocketAddr },
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// Connections to public addresses, over TLS.
    pub fn guarded(timeout: Duration) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self { way: Way::Guarded { resolver: Arc::new(SystemResolver), tls: tls(roots) }, timeout }
    }

    /// Connections to a port of this machine over TLS, for names that lead to public addresses.
    #[cfg(test)]
    pub fn to_test_tls(resolver: Arc<dyn Resolve>, roots: RootCertStore, port: SocketAddr, timeout: Duration) -> Self {
        Self { way: Way::TestTls { resolver, tls: tls(roots), port }, timeout }
    }

    /// Connections to the push service of a test, whatever the address says.
    pub const fn to_test_peer(peer: SocketAddr, timeout: Duration) -> Self {
        Self { way: Way::TestPeer(peer), timeout }
    }
}

/// TLS with these authorities, over which HTTP/1.1 is spoken.
fn tls(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring knows the versions of TLS");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl Way {
    async fn connect(self, host: &str) -> io::Result<Wire> {
        match self {
            Self::TestPeer(peer) => Ok(Wire::new(TcpStream::connect(peer).await?)),
            Self::Guarded { resolver, tls } => {
                let addresses = public_addresses(&*resolver, host).await?;
                let tcp = first(addresses).await?;
                secure(&tls, host, tcp).await
            }
            #[cfg(test)]
            Self::TestTls { resolver, tls, port } => {
                public_addresses(&*resolver, host).await?;
                secure(&tls, host, TcpStream::connect(port).await?).await
            }
        }
    }
}

/// The first of some addresses that takes a connection.
async fn first(addresses: Vec<IpAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect((address, 443)).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn secure(tls: &TlsConnector, host: &str, tcp: TcpStream) -> io::Result<Wire> {
    // What is written is small and whole: nothing is gained by waiting for more.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Wire::new(tls.connect(name, tcp).await?))
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { way, timeout } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            // With its own limit, so that a request that takes longer is known to have been sent.
            tokio::time::timeout(timeout, way.connect(&host)).await.map_err(io::Error::from)?
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection, with TLS or without.
pub struct Wire(TokioIo<Pin<Box<dyn Duplex>>>);

impl Wire {
    fn new(stream: impl Duplex + 'static) -> Self {
        Self(TokioIo::new(Box::pin(stream)))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, to)
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
