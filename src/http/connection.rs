//! Connections that end as soon as their client is gone.
//!
//! hyper notices the end of a client in the middle of an answer and gives the connection up; poem then waits for that
//! connection once more, so an event stream would stay open until its next heartbeat fails to be written. Here, once
//! the client's end was read, the connection itself is broken, so that waiting for it comes to an end.
//!
//! And reading is done in small pieces, so that a connection takes little memory however much comes.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are read at a time. hyper makes its buffer twice as large whenever it is filled, up to 400 KiB for each
/// client that sends a lot.
const PIECE: usize = 16 * 1024;

/// Accepts connections that end with their clients.
#[derive(Debug)]
pub struct Attentive<A>(pub A);

impl<A: Acceptor> Acceptor for Attentive<A> {
    type Io = Connection<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, poem::http::uri::Scheme)> {
        let (io, local, remote, scheme) = self.0.accept().await?;
        Ok((Connection { io, gone: false }, local, remote, scheme))
    }
}

/// A connection that ends with its client.
#[derive(Debug)]
pub struct Connection<Io> {
    io: Io,
    /// Whether the client's end was read.
    gone: bool,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (room, before) = (buffer.remaining(), buffer.filled().len());
        if room <= PIECE {
            ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        } else {
            // Zeroed first, which the usual small buffer is spared.
            let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(PIECE));
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
            let count = piece.filled().len();
            buffer.advance(count);
        }
        self.gone |= room > 0 && buffer.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes whenever it is polled, also with nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gone {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
