//! What all parts of a running mesh share, and the part of [`Transport`](crate::Transport) that is the same for every way of carrying bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Request;
use libp2p::swarm::ConnectionId;
use proto::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox::Inbox;
use crate::links::{Links, Role};
use crate::peers::{Peers, lock};
use crate::{Body, Hello, Hint, NodeKey, Peer, RequestError, Requesting, SendError, Serve, Stray, session};

/// How long a request waits for a connection that is being made.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// How long messages that are queued may take to be sent when the mesh stops.
pub(crate) const STOPPED_WITHIN: Duration = Duration::from_millis(500);

pub(crate) struct Shared {
    pub(crate) me: NodeKey,
    pub(crate) clock: Clock,
    pub(crate) hello: Hello,
    pub(crate) links: Mutex<Links>,
    /// Wakes whoever carries out the orders of `links`.
    pub(crate) orders: AtomicWaker,
    pub(crate) peers: Peers,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) serve: Arc<dyn Serve>,
    /// Owns every task of the mesh.
    pub(crate) tasks: TaskTracker,
    /// Sessions write what is queued, then end.
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stop: CancellationToken,
    /// Connections with streams, and what to cancel when one is gone.
    open: Mutex<BTreeMap<ConnectionId, CancellationToken>>,
}

/// Held by whoever carries out the orders of the links: when that ends, however it does, so does everything else.
pub(crate) struct Driving(pub(crate) Arc<Shared>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.stop.cancel();
        if std::thread::panicking() {
            // Nobody would be told otherwise: events end, and the node sees that its mesh is gone.
            self.0.tasks.close();
            self.0.inbox.end();
        }
    }
}

/// A connection whose two streams are there.
pub(crate) struct Opened<S> {
    pub(crate) node: NodeKey,
    pub(crate) role: Role,
    pub(crate) connection: ConnectionId,
    /// The other end of the connection.
    pub(crate) address: SocketAddr,
    pub(crate) dialled: bool,
    pub(crate) inbound: S,
    pub(crate) outbound: S,
}

impl Shared {
    pub(crate) fn new(me: NodeKey, clock: Clock, hello: Hello, serve: Arc<dyn Serve>) -> Shared {
        Shared {
            me,
            clock,
            hello,
            links: Mutex::new(Links::new(me, hello.session)),
            orders: AtomicWaker::new(),
            peers: Peers::default(),
            inbox: Arc::new(Inbox::new()),
            serve,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
            open: Mutex::default(),
        }
    }

    /// Changes the links, and wakes whoever carries out what follows from that.
    pub(crate) fn links<T>(&self, change: impl FnOnce(&mut Links, proto::Moment) -> T) -> T {
        let result = change(&mut lock(&self.links), self.clock.now());
        self.orders.wake();
        result
    }

    /// Uses a connection until it ends.
    pub(crate) fn opened<S>(self: &Arc<Self>, opened: Opened<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let gone = CancellationToken::new();
        lock(&self.open).insert(opened.connection, gone.clone());
        let (shared, connection, stop) = (self.clone(), opened.connection, self.stop.clone());
        self.tasks.spawn(async move {
            let session = async {
                match opened.role {
                    Role::Control => session::control(&shared, opened, &gone).await,
                    Role::Data => session::data(&shared, opened, &gone).await,
                }
            };
            stop.run_until_cancelled(session).await;
            lock(&shared.open).remove(&connection);
            shared.links(|links, _| links.close(connection));
        });
    }

    /// A connection is gone, or was never up.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        if let Some(gone) = lock(&self.open).remove(&connection) {
            gone.cancel();
        }
        self.links(|links, now| links.closed(connection, now));
    }

    pub(crate) fn allow(&self, mut nodes: BTreeSet<NodeKey>) {
        nodes.remove(&self.me);
        self.peers.allow(&self.inbox, &nodes);
        self.links(|links, now| links.allow(&nodes, now));
    }

    pub(crate) fn dial(&self, hints: Vec<Hint>) {
        self.links(|links, now| hints.iter().for_each(|hint| links.hint(hint.address, hint.node, hint.source, now)));
    }

    pub(crate) fn hang_up(&self, node: NodeKey) {
        self.links(|links, now| links.hang_up(node, now));
    }

    pub(crate) fn send(&self, to: NodeKey, message: Bytes) -> Result<(), SendError> {
        self.peers.get(to).ok_or(SendError::NotAMember)?.send(message)
    }

    pub(crate) fn request(&self, to: NodeKey, request: Request<Body>) -> Requesting {
        let peer = self.peers.get(to);
        Box::pin(async move {
            let peer = peer.ok_or(RequestError::NotAMember)?;
            let mut newest = peer.newest_data.subscribe();
            let deadline = tokio::time::sleep(CONNECTED_WITHIN);
            tokio::pin!(deadline);
            let mut request = addressed(request);
            loop {
                let up = async {
                    let sender = newest.wait_for(Option::is_some).await.ok();
                    sender.and_then(|sender| sender.clone())
                };
                let mut sender = tokio::select! {
                    sender = up => sender.ok_or(RequestError::NotConnected)?,
                    () = peer.removed.cancelled() => return Err(RequestError::NotAMember),
                    () = &mut deadline => return Err(RequestError::NotConnected),
                };
                let answer = tokio::select! {
                    answer = sender.try_send_request(request) => answer,
                    () = peer.removed.cancelled() => return Err(RequestError::NotAMember),
                };
                request = match answer {
                    Ok(response) => return Ok(response),
                    // Nothing was sent: the connection ended before this request's turn, and the next one may take it.
                    Err(mut unsent) => match unsent.take_message() {
                        Some(request) => request,
                        None => return Err(RequestError::Lost(unsent.into_error())),
                    },
                };
                // The ended connection is still the newest until its task has noticed.
                tokio::select! {
                    changed = newest.changed() => changed.map_err(|_| RequestError::NotConnected)?,
                    () = &mut deadline => return Err(RequestError::NotConnected),
                }
            }
        })
    }

    /// Writes what is queued, closes everything, and waits until no task is left.
    pub(crate) fn end(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.links(|links, _| links.end());
            self.draining.cancel();
            self.stop.cancelled().await;
            self.tasks.close();
            self.tasks.wait().await;
            self.inbox.end();
        })
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let peers = self.peers.all();
        let links = lock(&self.links);
        let view = |peer: &Arc<crate::peers::Peer>| {
            let mut view = peer.view();
            view.addresses = links.addresses(view.node);
            view.trouble = links.trouble(view.node).filter(|_| !view.connected);
            view
        };
        peers.iter().map(view).collect()
    }

    pub(crate) fn strays(&self) -> Vec<Stray> {
        lock(&self.links).strays()
    }
}

/// HTTP/2 wants to know the scheme and the host of every request, which mean nothing here.
fn addressed(mut request: Request<Body>) -> Request<Body> {
    if request.uri().authority().is_none() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(http::uri::Authority::from_static("node"));
        parts.path_and_query.get_or_insert(http::uri::PathAndQuery::from_static("/"));
        *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    }
    request
}
