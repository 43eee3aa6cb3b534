//! Connections to backends, driven by whoever waits for their bytes.
//!
//! A connection has no task of its own: the request that uses it polls it, so bytes go from the backend's socket into
//! the client's response without a channel, a wake-up or a second thread between them. Idle connections belong to a
//! [`Pool`], one per worker thread, which looks after them in [`Pool::sweep`].

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use proto::{Address, Clock, Moment};
use tokio::net::TcpStream;

/// How long a backend may take to accept a connection. A live listener takes microseconds on loopback and a few
/// milliseconds on a local network; SYN retries begin at one second.
const CONNECT: Duration = Duration::from_secs(3);
/// Idle connections kept per backend and worker; the next one is closed.
const IDLE_MOST: usize = 256;
/// How long a connection may lie idle.
const IDLE_LONGEST: Duration = Duration::from_secs(60);
/// Bytes after which frames are no longer merged: what one write can take anyway.
const MERGE_MOST: usize = 64 * 1024;

/// Idle connections of one worker thread.
pub(crate) struct Pool {
    idle: Mutex<BTreeMap<Address, Vec<(Moment, Upstream)>>>,
    clock: Clock,
}

impl Pool {
    pub(crate) fn new(clock: Clock) -> Pool {
        Pool { idle: Mutex::new(BTreeMap::new()), clock }
    }

    /// A connection that was used before and is still good, the most recently used first.
    pub(crate) fn take(&self, address: &Address) -> Option<Upstream> {
        loop {
            let (_, mut upstream) = self.lock().get_mut(address)?.pop()?;
            if upstream.is_alive() {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection whose answer has been read to the end.
    pub(crate) fn give(&self, address: &Address, mut upstream: Upstream) {
        if !upstream.is_alive() {
            return;
        }
        upstream.reused = true;
        let now = self.clock.now();
        let mut idle = self.lock();
        match idle.get_mut(address) {
            Some(list) if list.len() < IDLE_MOST => list.push((now, upstream)),
            Some(_) => {}
            None => {
                idle.insert(address.clone(), vec![(now, upstream)]);
            }
        }
    }

    /// Closes what the other side has closed and what has been idle for long.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.lock().retain(|_, list| {
            list.retain_mut(|(since, upstream)| now.since(*since) < IDLE_LONGEST && upstream.is_alive());
            !list.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Address, Vec<(Moment, Upstream)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// hyper's side of a connection, to be polled by whoever uses it.
type Driven = Pin<Box<Connection<TokioIo<TcpStream>, Outgoing>>>;

/// A connection to a backend.
pub(crate) struct Upstream {
    // None once the connection is finished. A finished connection that is not dropped would make the next request on
    // it wait for ever.
    connection: Option<Driven>,
    send: SendRequest<Outgoing>,
    reused: bool,
}

impl Upstream {
    /// Connects. May be dropped half-way.
    pub(crate) async fn connect(address: &Address) -> Result<Upstream, Broken> {
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect((address.host.as_str(), address.port)))
            .await
            .map_err(|_| Broken::ConnectTimedOut)?
            .map_err(Broken::Connect)?;
        stream.set_nodelay(true).map_err(Broken::Connect)?;
        let (send, connection) = http1::Builder::new()
            .max_buf_size(MERGE_MOST * 2)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Broken::Http)?;
        Ok(Upstream { connection: Some(Box::pin(connection)), send, reused: false })
    }

    /// Whether it has served a request before: then a failure may only mean that the backend had just closed it.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of the answer. May be dropped half-way: then the connection is closed.
    pub(crate) async fn ask(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Broken> {
        let mut answer = pin!(self.send.send_request(request));
        let connection = &mut self.connection;
        poll_fn(|cx| {
            drive(connection, cx);
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(Broken::Http)
    }

    /// Polls an idle connection once: hyper tells that the other side has closed it only when asked.
    fn is_alive(&mut self) -> bool {
        drive(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.send.is_ready()
    }
}

fn drive(connection: &mut Option<Driven>, cx: &mut Context<'_>) {
    if let Some(live) = connection
        && live.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}

/// The body of an answer together with the connection that it comes from.
pub(crate) struct Inflow {
    upstream: Upstream,
    incoming: Incoming,
    merged: BytesMut,
    failure: Option<Broken>,
    ended: bool,
    whole: bool,
}

impl Inflow {
    pub(crate) fn new(upstream: Upstream, incoming: Incoming) -> Inflow {
        Inflow { upstream, incoming, merged: BytesMut::new(), failure: None, ended: false, whole: false }
    }

    /// All bytes that are there now, in one piece; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut first: Option<Bytes> = None;
        while !self.ended {
            drive(&mut self.upstream.connection, cx);
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(one) = &first else {
                        first = Some(data);
                        continue;
                    };
                    if self.merged.is_empty() {
                        self.merged.extend_from_slice(one);
                    }
                    self.merged.extend_from_slice(&data);
                    if self.merged.len() >= MERGE_MOST {
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failure = Some(Broken::Http(error));
                    self.ended = true;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.whole = true;
                }
                Poll::Pending => break,
            }
        }
        if !self.merged.is_empty() {
            first = Some(self.merged.split().freeze());
        }
        match first {
            // A failure is told at the next call, after the bytes that came before it.
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None => match self.failure.take() {
                Some(failure) => Poll::Ready(Some(Err(failure))),
                None if self.ended => Poll::Ready(None),
                None => Poll::Pending,
            },
        }
    }

    /// All bytes that are there now, in one piece; waits until there are some. May be dropped half-way.
    pub(crate) async fn bytes(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// The connection, if the body has been read to its end, for the next request.
    pub(crate) fn into_upstream(self) -> Option<Upstream> {
        self.whole.then_some(self.upstream)
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
    /// The connection broke, or what came is not HTTP.
    #[error("{}", http_words(.0))]
    Http(hyper::Error),
    /// The answer ended before anything was said.
    #[error("ended its answer without saying anything")]
    Silent,
    /// The node said that another backend should do it.
    #[error("does not answer any more")]
    Hung,
}

impl Broken {
    /// Whether a kept-alive connection may simply have been closed while the request was on its way.
    pub(crate) fn is_stale_connection(&self) -> bool {
        match self {
            Broken::Http(error) => {
                error.is_canceled() || error.is_closed() || error.is_incomplete_message() || is_gone(error)
            }
            _ => false,
        }
    }
}

/// Whether the other side went away, whatever hyper was doing then.
fn is_gone(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| matches!(io.kind(), BrokenPipe | ConnectionReset | ConnectionAborted | UnexpectedEof))
}

fn http_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || is_gone(error) {
        "closed the connection".to_owned()
    } else if error.is_parse() {
        "sent something that is not HTTP".to_owned()
    } else {
        error.to_string()
    }
}

/// The body of a request on its way to a backend.
pub(crate) enum Outgoing {
    /// Kept in memory: can be sent again.
    Kept {
        /// What is left to send.
        pieces: <dialect::Pieces as IntoIterator>::IntoIter,
        /// Bytes of it.
        left: u64,
    },
    /// Passed on while it comes in.
    Flowing {
        /// What was read to look for the model.
        start: Option<Bytes>,
        /// What is still to come from the client.
        rest: Incoming,
    },
}

impl Outgoing {
    /// A body of these pieces.
    pub(crate) fn kept(pieces: dialect::Pieces) -> Outgoing {
        Outgoing::Kept { left: pieces.len(), pieces: pieces.into_iter() }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Outgoing::Kept { pieces, left } => Poll::Ready(pieces.next().map(|piece| {
                *left = left.saturating_sub(piece.remaining() as u64);
                Ok(Frame::data(piece))
            })),
            Outgoing::Flowing { start, rest } => match start.take() {
                Some(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Pin::new(rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Kept { left, .. } => *left == 0,
            Outgoing::Flowing { start, rest } => start.as_ref().is_none_or(Bytes::is_empty) && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Kept { left, .. } => SizeHint::with_exact(*left),
            Outgoing::Flowing { start, rest } => {
                let ahead = start.as_ref().map_or(0, |bytes| bytes.len() as u64);
                match rest.size_hint().exact() {
                    Some(length) => SizeHint::with_exact(ahead + length),
                    None => SizeHint::new(),
                }
            }
        }
    }
}
