//! Connections to backends, driven by whoever waits for their bytes.
//!
//! A connection has no task and no buffers of its own: the request that uses it writes and reads the socket itself, so
//! bytes go from the backend's socket into the client's response without a channel, a wake-up or a second thread
//! between them, and a stream that waits for its next token holds no buffer. HTTP/1.1 as RFC 9112 has it, for a client
//! that never pipelines, never upgrades and does not care for trailers.

mod decode;
mod head;
mod outgoing;
mod pool;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use proto::Address;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use decode::Decoder;
pub(crate) use head::{Length, request_head};
pub(crate) use outgoing::Outgoing;
pub(crate) use pool::Pool;

/// How long a backend may take to accept a connection. A live listener takes microseconds on loopback and a few
/// milliseconds on a local network; SYN retries begin at one second.
const CONNECT: Duration = Duration::from_secs(3);
/// Bytes of an answer's head; a longer one is an error.
const HEAD_MOST: usize = 64 * 1024;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// Pieces that are written at once.
const WRITE: usize = 16;

thread_local! {
    // One for all connections of a worker: what is read is decoded at once into memory of its own size.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A connection to a backend.
pub(crate) struct Upstream {
    stream: TcpStream,
    /// Whether it has served a request before: then a failure may only mean that the backend had just closed it.
    reused: bool,
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Without those that belong to the connection.
    pub(crate) headers: HeaderMap,
}

impl Upstream {
    /// Connects. May be dropped half-way.
    pub(crate) async fn connect(address: &Address) -> Result<Upstream, Broken> {
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect((address.host.as_str(), address.port)))
            .await
            .map_err(|_| Broken::ConnectTimedOut)?
            .map_err(Broken::Connect)?;
        stream.set_nodelay(true).map_err(Broken::Connect)?;
        Ok(Upstream { stream, reused: false })
    }

    /// Sends a request and waits for the head of the answer. May be dropped half-way: then the connection is closed.
    ///
    /// `has_no_body` says that the answer has none whatever its headers say, as those to HEAD.
    pub(crate) async fn ask(mut self, mut outgoing: Outgoing, has_no_body: bool) -> Result<(Head, Inflow), Asked> {
        let reused = self.reused;
        let mut partial = BytesMut::new();
        let answered = poll_fn(|cx| {
            let written = self.poll_write(cx, &mut outgoing);
            // Read also while writing: a server may refuse a body without reading it to the end.
            match (written, self.poll_head(cx, &mut partial, has_no_body)) {
                (_, Poll::Ready(Ok(answer))) => Poll::Ready(Ok(answer)),
                (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
                (_, Poll::Pending) => Poll::Pending,
            }
        })
        .await;
        match answered {
            Ok((head, decoder, first)) => {
                let is_sent = outgoing.is_sent();
                let inflow = Inflow { upstream: self, decoder, first, failure: None, ended: false, is_sent };
                Ok((head, inflow))
            }
            Err(broken) => {
                // Nothing of an answer came, so nobody has begun to work on the request.
                let is_stale = reused && partial.is_empty() && matches!(broken, Broken::Closed | Broken::Io(_));
                Err(Asked { broken, is_stale })
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, outgoing: &mut Outgoing) -> Poll<Result<(), Broken>> {
        loop {
            if outgoing.is_empty() && !ready!(outgoing.poll_more(cx))? {
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); WRITE];
            let count = outgoing.slices(&mut slices);
            let written = match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(written)) => written,
                // It may have answered and closed; the answer, if there is one, tells more.
                Poll::Ready(Err(error)) if is_gone(&error) => {
                    outgoing.give_up();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Io(error))),
                Poll::Pending => return Poll::Pending,
            };
            outgoing.advance(written);
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        partial: &mut BytesMut,
        has_no_body: bool,
    ) -> Poll<Result<(Head, Decoder, Bytes), Broken>> {
        loop {
            let parsed = ready!(self.poll_read(cx, |bytes| {
                if partial.is_empty() {
                    // The usual case: the whole head, and perhaps all of the body, came with one read.
                    if let Some(parsed) = head::parse(bytes, has_no_body)? {
                        return Ok(Some(parsed));
                    }
                }
                partial.extend_from_slice(bytes);
                match head::parse(partial, has_no_body)? {
                    None if partial.len() > HEAD_MOST => Err(Broken::NotHttp),
                    parsed => Ok(parsed),
                }
            }))??;
            if let Some((head, mut decoder, rest)) = parsed {
                let mut first = BytesMut::new();
                decoder.decode(&rest, &mut first)?;
                return Poll::Ready(Ok((head, decoder, first.freeze())));
            }
        }
    }

    /// Reads once and hands over what came; nothing is an end.
    fn poll_read<T>(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8]) -> T) -> Poll<Result<T, Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => Poll::Ready(Err(Broken::Closed)),
                Ok(()) => Poll::Ready(Ok(take(buffer.filled()))),
                Err(error) if is_gone(&error) => Poll::Ready(Err(Broken::Closed)),
                Err(error) => Poll::Ready(Err(Broken::Io(error))),
            }
        })
    }

    /// Whether an idle connection is still open and silent.
    fn is_alive(&mut self) -> bool {
        // Costs no system call unless something has happened.
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending()
    }
}

/// Why there was no answer, and whether that may be only because the connection was an old one.
pub(crate) struct Asked {
    pub(crate) broken: Broken,
    pub(crate) is_stale: bool,
}

/// The body of an answer together with the connection that it comes from.
pub(crate) struct Inflow {
    upstream: Upstream,
    decoder: Decoder,
    /// What came with the head.
    first: Bytes,
    failure: Option<Broken>,
    ended: bool,
    is_sent: bool,
}

impl Inflow {
    /// All bytes that are there now, in one piece; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        if let Some(failure) = self.failure.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(failure)));
        }
        loop {
            if self.ended || self.decoder.is_done() {
                self.ended = true;
                return Poll::Ready(None);
            }
            let mut decoded = BytesMut::new();
            let decoder = &mut self.decoder;
            let read = ready!(self.upstream.poll_read(cx, |bytes| decoder.decode(bytes, &mut decoded)));
            let failure = match read {
                Ok(Ok(())) => None,
                Ok(Err(broken)) => Some(broken),
                Err(Broken::Closed) if self.decoder.ends_with_the_connection() => {
                    self.ended = true;
                    None
                }
                Err(broken) => Some(broken),
            };
            if decoded.is_empty() {
                match failure {
                    Some(failure) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(failure)));
                    }
                    None => continue,
                }
            }
            // A failure is told at the next call, after the bytes that came before it.
            self.failure = failure;
            return Poll::Ready(Some(Ok(decoded.freeze())));
        }
    }

    /// All bytes that are there now, in one piece; waits until there are some. May be dropped half-way.
    pub(crate) async fn bytes(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// The connection, if it can serve another request.
    pub(crate) fn into_upstream(mut self) -> Option<Upstream> {
        let is_clean = self.is_sent && self.decoder.is_reusable() && self.first.is_empty();
        self.upstream.reused = true;
        is_clean.then_some(self.upstream)
    }
}

/// Why a backend did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection was refused or could not be made.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// Nobody accepted the connection.
    #[error("cannot connect: no answer within 3 s")]
    ConnectTimedOut,
    /// The other side closed the connection.
    #[error("closed the connection")]
    Closed,
    /// The connection failed in another way.
    #[error("cannot be talked to: {0}")]
    Io(std::io::Error),
    /// What came is not HTTP.
    #[error("sent something that is not HTTP")]
    NotHttp,
    /// The client's body broke off while it was passed on.
    #[error("did not get the whole request: the client broke off")]
    Client,
    /// The answer ended before anything was said.
    #[error("ended its answer without saying anything")]
    Silent,
    /// The node said that another backend should do it.
    #[error("does not answer any more")]
    Hung,
}

/// Whether the other side went away.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted | UnexpectedEof)
}
