//! Connections: not too many, and none that waits for ever.
//!
//! hyper bounds the size of a request's head, but nothing ends a client that sends half a head or stops reading.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at once; more wait in the kernel's queue. Programs that ask networks keep many, and a scrape must find
/// room beside them.
const CONNECTIONS: usize = 512;

/// How long a client may take no byte of an answer.
const WRITE_STALL: Duration = Duration::from_secs(5);

/// How long a client may send no byte: longer than the usual scrape interval of a minute, so that Prometheus keeps
/// its connection.
const IDLE: Duration = Duration::from_secs(75);

/// A listener that has room for [`CONNECTIONS`].
#[derive(Debug)]
pub(super) struct Connections {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Self {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        Self { listener, room }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.expect("this semaphore is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, room), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends with an error when its client keeps it waiting.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reads: Patience,
    writes: Patience,
    _room: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, room: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            reads: Patience::new(IDLE),
            writes: Patience::new(WRITE_STALL),
            _room: room,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.reads.bound(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.writes.bound(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.writes.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx) // a TCP stream has nothing to flush
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bounds the time from one progress to the next.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// Runs while there is none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn bound<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.timer = None;
            return progress;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_in_an_error_and_progress_starts_it_anew() {
        let mut patience = Patience::new(Duration::ZERO);
        let waited = poll_fn(|cx| patience.bound::<()>(cx, Poll::Pending)).await;
        assert_eq!(waited.expect_err("timed out").kind(), io::ErrorKind::TimedOut);

        let mut patience = Patience::new(IDLE);
        poll_fn(|cx| {
            assert!(patience.bound::<()>(cx, Poll::Pending).is_pending());
            assert!(patience.timer.is_some());
            patience.bound(cx, Poll::Ready(Ok(())))
        })
        .await
        .expect("progress");
        assert!(patience.timer.is_none());
    }
}
