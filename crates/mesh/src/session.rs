//! The work on one connection: messages on a control connection, HTTP/2 on a data connection.
//!
//! A session begins when both streams of its connection are there and ends with either of them, when the node is removed,
//! or when the mesh stops. Whoever started it closes the connection then.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use libp2p::swarm::ConnectionId;
use proto::Moment;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frame::{Frame, FrameError, HEAD};
use crate::hello;
use crate::peers::{Peer, lock};
use crate::shared::{Opened, Shared};
use crate::{Hello, Trouble};

/// How often the round trip is measured.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long what had arrived before a connection ended may wait to be taken.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes that are written at once, about.
const BATCH: usize = 32 * 1024;

/// What may be in flight to one reader of a stream before that reader must have read some of it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Requests at once on one connection, per direction; more wait.
const MOST_STREAMS: u32 = 256;
/// Streams times their window: so that readers who stall never stop the others (measured, November 2026).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS;
/// Frames on the wire: large enough for bodies, small enough that a token does not wait behind one for long.
const FRAME: u32 = 16 * 1024;
/// A connection with requests that answers no ping for this long fails them.
const PING_DATA: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
/// All headers of a request together.
const MOST_HEADERS: u32 = 32 * 1024;

/// Carries messages until the connection ends.
pub(crate) async fn control<S>(shared: &Arc<Shared>, opened: Opened<S>, gone: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Opened { node, connection, address, dialled, inbound, mut outbound, .. } = opened;
    let Some(peer) = shared.peers.get(node) else { return };
    let mut inbound = BufReader::with_capacity(8 * 1024, Counted::new(inbound, shared, &peer));
    // The deadline for becoming ready closes the connection if this takes too long.
    let theirs = match greet(&shared.hello, &mut inbound, &mut outbound).await {
        Ok(theirs) => theirs,
        Err(error) => {
            tracing::debug!(node = %node.short(), %error, "a control connection ended before it began");
            return;
        }
    };
    if shared.hello.agree(&theirs).is_none() {
        shared.links(|links, _| links.note(node, Trouble::Version));
        return;
    }
    let mut address = address;
    let listens_at = (theirs.port != 0 && !dialled).then(|| {
        address.set_port(theirs.port);
        address
    });
    peer.began(&shared.inbox, connection, address, theirs);
    shared.links(|links, now| links.up(connection, listens_at, now));

    let pinged = Mutex::new(None);
    // More unanswered pings than this are hostile: the newest are not answered.
    let (pong, pongs) = mpsc::channel(4);
    let read = read(shared, &peer, &mut inbound, pong, &pinged);
    tokio::pin!(read);
    let more_to_read = tokio::select! {
        () = &mut read => false,
        () = write(shared, &peer, connection, outbound, pongs, &pinged) => true,
        () = peer.removed.cancelled() => false,
        () = gone.cancelled() => true,
    };
    if more_to_read {
        let _ = tokio::time::timeout(LAST_WORDS, peer.removed.run_until_cancelled(read)).await;
    }
    peer.ended(&shared.inbox, connection);
}

async fn greet(
    ours: &Hello,
    inbound: &mut (impl AsyncRead + Unpin),
    outbound: &mut (impl AsyncWrite + Unpin),
) -> Result<Hello, FrameError> {
    let mut bytes = BytesMut::new();
    Frame::Hello(ours.encode().into()).put(&mut bytes);
    outbound.write_all(&bytes).await?;
    outbound.flush().await?;
    let nonsense = || std::io::Error::new(std::io::ErrorKind::InvalidData, "no hello at the start");
    match Frame::read(&mut inbound.take((HEAD + hello::LONGEST) as u64)).await? {
        Some(Frame::Hello(bytes)) => Hello::decode(&bytes).ok_or_else(|| nonsense().into()),
        _ => Err(nonsense().into()),
    }
}

/// Reads until the stream ends. Waits when the inbox is full: then the sender's queue fills, and it is told so.
async fn read(
    shared: &Shared,
    peer: &Peer,
    inbound: &mut (impl AsyncRead + Unpin),
    pong: mpsc::Sender<u64>,
    pinged: &Mutex<Option<(u64, Moment)>>,
) {
    loop {
        match Frame::read(inbound).await {
            Ok(Some(Frame::Message(message))) => {
                peer.counters.received.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                shared.inbox.message(peer.node, message).await;
            }
            Ok(Some(Frame::Ping(number))) => {
                let _ = pong.try_send(number);
            }
            Ok(Some(Frame::Pong(number))) => {
                let sent = lock(pinged).take_if(|(asked, _)| *asked == number);
                if let Some((_, sent)) = sent {
                    peer.measured(shared.clock.now().since(sent));
                }
            }
            Ok(Some(Frame::Hello(_) | Frame::Unknown)) => {}
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(node = %peer.node.short(), %error, "a control connection broke");
                return;
            }
        }
    }
}

/// Writes what is queued while this is the connection to write to. Ends when the stream breaks, or all is written and the mesh stops.
async fn write<S: AsyncWrite + Unpin>(
    shared: &Shared,
    peer: &Peer,
    connection: ConnectionId,
    outbound: S,
    mut pongs: mpsc::Receiver<u64>,
    pinged: &Mutex<Option<(u64, Moment)>>,
) {
    let mut outbound = outbound;
    let mut writer = peer.writer.subscribe();
    let mut number = 0_u64;
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bytes = BytesMut::new();
    loop {
        let mine = *writer.borrow_and_update() == Some(connection);
        let mut messages = 0;
        tokio::select! {
            biased;
            Some(number) = pongs.recv() => Frame::Pong(number).put(&mut bytes),
            _ = ping.tick() => {
                number += 1;
                *lock(pinged) = Some((number, shared.clock.now()));
                Frame::Ping(number).put(&mut bytes);
            }
            changed = writer.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            message = peer.next_to_write(), if mine => {
                Frame::Message(message).put(&mut bytes);
                messages += 1;
                while bytes.len() < BATCH && let Some(message) = peer.try_next_to_write() {
                    Frame::Message(message).put(&mut bytes);
                    messages += 1;
                }
            }
            () = shared.draining.cancelled() => {
                let _ = outbound.shutdown().await;
                return;
            }
        }
        let length = bytes.len() as u64;
        if outbound.write_all_buf(&mut bytes).await.is_err() || outbound.flush().await.is_err() {
            return;
        }
        peer.counters.sent.fetch_add(messages, std::sync::atomic::Ordering::Relaxed);
        peer.counters.bytes_sent.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Carries requests both ways until the connection ends.
pub(crate) async fn data<S>(shared: &Arc<Shared>, opened: Opened<S>, gone: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Opened { node, connection, inbound, outbound, .. } = opened;
    let Some(peer) = shared.peers.get(node) else { return };
    let ended = CancellationToken::new();
    // Whatever was spawned for this connection ends with it.
    let _ended = ended.clone().drop_guard();
    let spawner = Spawner { tasks: shared.tasks.clone(), ended };

    let handshake = hyper::client::conn::http2::Builder::new(spawner.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(MOST_HEADERS)
        .keep_alive_interval(PING_DATA.0)
        .keep_alive_timeout(PING_DATA.1)
        .handshake(TokioIo::new(Counted::new(outbound, shared, &peer)));
    let (sender, client) = tokio::select! {
        handshake = handshake => match handshake {
            Ok(both) => both,
            Err(_) => return,
        },
        () = peer.removed.cancelled() => return,
    };
    let service = service_fn(|request| {
        let answering = shared.serve.serve(node, request);
        async { Ok::<_, std::convert::Infallible>(answering.await) }
    });
    let server = hyper::server::conn::http2::Builder::new(spawner)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(MOST_HEADERS)
        .max_concurrent_streams(MOST_STREAMS)
        .keep_alive_interval(PING_DATA.0)
        .keep_alive_timeout(PING_DATA.1)
        .serve_connection(TokioIo::new(Counted::new(inbound, shared, &peer)), service);

    peer.data_began(connection, sender);
    shared.links(|links, now| links.up(connection, None, now));
    let ended = tokio::select! {
        ended = client => ended,
        ended = server => ended,
        () = peer.removed.cancelled() => Ok(()),
        () = gone.cancelled() => Ok(()),
        () = shared.draining.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(node = %node.short(), %error, "a data connection broke");
    }
    peer.data_ended(connection);
}

/// Runs what hyper spawns, for as long as the connection lasts.
#[derive(Clone)]
struct Spawner {
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move { ended.run_until_cancelled(task).await.map(drop) });
    }
}

/// A stream whose bytes are counted, and taken as signs of life.
struct Counted<S> {
    stream: S,
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

impl<S> Counted<S> {
    fn new(stream: S, shared: &Arc<Shared>, peer: &Arc<Peer>) -> Counted<S> {
        Counted { stream, shared: shared.clone(), peer: peer.clone() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        if read > 0 {
            self.peer.counters.bytes_received.fetch_add(read, std::sync::atomic::Ordering::Relaxed);
            self.peer.heard(&self.shared.inbox);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.peer.counters.bytes_sent.fetch_add(written as u64, std::sync::atomic::Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
