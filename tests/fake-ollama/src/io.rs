//! A connection that can be made to misbehave below HTTP: reset, closed after an answer, cut within the first line.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of the answer that leave when it is cut within its first line.
const HALF_HEADER: usize = 14;

/// What a request may do to the connection it came on.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    reset: AtomicBool,
    half_header: AtomicBool,
    close_after: AtomicBool,
    answered: AtomicBool,
    closing: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Wire {
    /// The connection is reset as soon as it is dropped.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
    }

    /// Whether [`Wire::reset`] was asked for.
    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    /// A new request has come.
    pub(crate) fn begin(&self) {
        self.answered.store(false, Ordering::Release);
    }

    /// Only the first bytes of the answer leave.
    pub(crate) fn half_header(&self) {
        self.half_header.store(true, Ordering::Release);
    }

    /// The connection ends right after the next answer.
    pub(crate) fn close_after(&self) {
        self.close_after.store(true, Ordering::Release);
    }

    /// The answer's last byte has been handed over.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Release);
    }
}

/// The socket as hyper sees it.
pub(crate) struct Io {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Io {
    pub(crate) fn new(stream: TcpStream, wire: Arc<Wire>) -> Io {
        Io { stream, wire }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.wire.reset.load(Ordering::Acquire) {
            // A socket that is gone already needs no reset.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.wire.closing.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if self.wire.close_after.load(Ordering::Acquire) {
            *self.wire.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        let mut chunk = [0u8; 8192];
        let room = buf.remaining().min(chunk.len());
        let mut read = ReadBuf::new(&mut chunk[..room]);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.wire.half_header.load(Ordering::Acquire) {
            let half = &buf[..buf.len().min(HALF_HEADER)];
            std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, half))?;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.wire.half_header.load(Ordering::Acquire) {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &buf[..]);
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.wire.close_after.load(Ordering::Acquire) && self.wire.answered.load(Ordering::Acquire) {
            self.wire.closing.store(true, Ordering::Release);
            if let Some(reader) = self.wire.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.reset.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
