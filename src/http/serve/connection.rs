//! What a connection reads and writes through: in small pieces, and never waiting for long.
//!
//! Reading is done in small pieces, so that a connection takes little memory however much comes. A peer that takes
//! nothing of what is written to it loses its connection: it would hold its answer forever.
//!
//! Not `tokio-io-timeout`: it would be a second wrapper around the same connection, which also bounds pieces and notes losses.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use poem::{Request, RequestBody};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Most bytes that are read at a time. hyper makes its buffer twice as large whenever it is filled, up to 400 KiB for each
/// client that sends a lot.
const PIECE: usize = 16 * 1024;

/// Whether a connection was lost: it ended by an error, not by its client, so that what was written to it last may not have
/// arrived.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Lost(Arc<AtomicBool>);

impl Lost {
    /// For those who do not know what a connection is.
    pub(in crate::http) fn flag(self) -> Arc<AtomicBool> {
        self.0
    }
}

impl<'a> poem::FromRequest<'a> for Lost {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data().cloned().unwrap_or_default())
    }
}

/// A connection that reads little at a time and gives up a peer that does not read.
#[derive(Debug)]
pub(in crate::http) struct Connection<Io> {
    io: Io,
    /// The longest that the peer may take nothing.
    stall: Duration,
    /// The end of that, while it does.
    stalled: Option<Pin<Box<Sleep>>>,
    lost: Lost,
}

impl<Io> Connection<Io> {
    pub(in crate::http) const fn new(io: Io, stall: Duration, lost: Lost) -> Self {
        Self { io, stall, stalled: None, lost }
    }

    /// Notes an error of the connection.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.lost.0.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Passes on how writing went, or that it has waited for too long.
    fn within_patience<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            self.stalled = None;
            return Poll::Ready(self.note(written));
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(self.note(Err(ErrorKind::TimedOut.into())))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() <= PIECE {
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
            return Poll::Ready(self.note(read));
        }
        // Zeroed first, which the usual small buffer is spared.
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(PIECE));
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece));
        self.note(read)?;
        let count = piece.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.within_patience(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.within_patience(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.within_patience(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.within_patience(cx, shut)
    }
}
