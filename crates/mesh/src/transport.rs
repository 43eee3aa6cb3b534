//! What a node may ask of the mesh, whichever way the bytes go.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::{Hello, NodeKey};

/// The longest message that is carried, in bytes. Longer ones are refused here, and end the connection when received.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request to another node, and of an answer to one.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A request on its way. Dropping it, or the answer's body, cancels it at the other node within a round trip.
pub type Requesting = Pin<Box<dyn Future<Output = Result<Response<Incoming>, RequestError>> + Send>>;

/// Answers the requests of other nodes. Any function from (node, request) to [`Answering`] is one.
pub trait Serve: Send + Sync + 'static {
    /// Answers `request`, which came from the authenticated node `from`. Dropped when that node gives up.
    fn serve(&self, from: NodeKey, request: Request<Incoming>) -> Answering;
}

impl<F: Fn(NodeKey, Request<Incoming>) -> Answering + Send + Sync + 'static> Serve for F {
    fn serve(&self, from: NodeKey, request: Request<Incoming>) -> Answering {
        self(from, request)
    }
}

/// Carries messages and HTTP between this node and the other members. Starting is each implementation's own.
///
/// Nothing here waits but the two that return futures.
pub trait Transport: Send + Sync + 'static {
    /// This node.
    fn me(&self) -> NodeKey;

    /// Replaces the list of nodes that may be connected; this node's own key in it does nothing. Connections with nodes that
    /// are not on it any more are cut now: no message or request of theirs is passed on after this returns.
    fn allow(&self, nodes: BTreeSet<NodeKey>);

    /// Says where nodes may be found. At most [`crate::MOST_ADDRESSES`] addresses of unknown nodes are kept; the one not
    /// told of for longest gives way.
    fn dial(&self, hints: Vec<Hint>);

    /// Gives up on the present connections of `node` and dials it again: it is thought dead.
    fn hang_up(&self, node: NodeKey);

    /// Queues a message; queued is not delivered. Messages to one node arrive in order while its connection lasts.
    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), SendError>;

    /// Sends a request. Waits at most a second for a connection that is just being made, then for the answer's head.
    ///
    /// Scheme and host of its address mean nothing and may be missing. At most 256 requests to one node are under way;
    /// more wait. May be dropped: the other node is told.
    fn request(&self, to: NodeKey, request: Request<Body>) -> Requesting;

    /// All nodes on the list, in the order of their keys.
    fn peers(&self) -> Vec<Peer>;

    /// The addresses that were told but belong to no member as far as is known.
    fn strays(&self) -> Vec<Stray>;

    /// Sends what is queued (for at most half a second), closes everything and ends [`crate::Events`].
    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Where a node may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who is thought to listen there, if known.
    pub node: Option<NodeKey>,
    /// How it became known.
    pub source: Source,
}

/// How an address became known. All are equal, but for whom to try first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Announced on the local network, with this fleet's tag.
    Announced,
    /// Kept from earlier.
    Remembered,
    /// Told by another member.
    Peer,
    /// Typed by a person: never dropped for another, and the only one that may be a loopback address.
    Typed,
    /// Announced on the local network by what seems to be another fleet: tried last, and seldom.
    Foreign,
}

/// What happened on the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages to `node` can be sent from now on.
    Connected {
        /// Who.
        node: NodeKey,
        /// Where it listens, or, if it does not say, where its connection comes from.
        address: SocketAddr,
    },
    /// The connection with `node` is gone; what was queued for it is dropped. It is being dialled again while it is allowed.
    Closed {
        /// Who.
        node: NodeKey,
    },
    /// A message arrived. Counts as a sign of life.
    Message {
        /// Who sent it: proved, not claimed.
        from: NodeKey,
        /// What it says, at most [`LONGEST_MESSAGE`] bytes.
        message: Bytes,
    },
    /// Some byte came from `from`, on whichever connection. Said at most every quarter of a second per node.
    Heard {
        /// Who is alive.
        from: NodeKey,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The node is not on the list of those that may be connected.
    #[error("that node is no member of this fleet")]
    NotAMember,
    /// There is no connection at the moment.
    #[error("that node is not connected")]
    NotConnected,
    /// The node reads too slowly: its queue is full. Counted in [`Counts::refused`].
    #[error("that node does not keep up with its messages")]
    Full,
    /// The message has more than [`LONGEST_MESSAGE`] bytes.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The node is not on the list of those that may be connected.
    #[error("that node is no member of this fleet")]
    NotAMember,
    /// There is no connection, and none came within a second. Nothing was sent.
    #[error("that node is not connected")]
    NotConnected,
    /// The connection broke, or the node answered nonsense. It may have begun to work on the request.
    #[error("the connection to that node broke: {0}")]
    Lost(#[source] hyper::Error),
}

/// What is known of one allowed node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub node: NodeKey,
    /// Whether messages can be sent.
    pub connected: bool,
    /// Whether requests can be sent.
    pub data: bool,
    /// Where its present connection leads to.
    pub address: Option<SocketAddr>,
    /// All addresses it may be found at, those that worked last first: to be remembered, and told to others.
    pub addresses: Vec<SocketAddr>,
    /// The time a small message takes there and back, smoothed.
    pub rtt: Option<Duration>,
    /// What it said of itself.
    pub hello: Option<Hello>,
    /// What went over its connections since the start.
    pub counts: Counts,
    /// Why it could not be connected when that was last tried; `None` while it is.
    pub trouble: Option<Trouble>,
}

/// What went over the connections with one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages written.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages refused because the queue was full.
    pub refused: u64,
    /// Bytes written, requests included, encryption not.
    pub bytes_sent: u64,
    /// Bytes read, requests included, encryption not.
    pub bytes_received: u64,
    /// Connections that came up: two for a calm life.
    pub connections: u64,
}

/// An address that belongs to no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where.
    pub address: SocketAddr,
    /// How it became known.
    pub source: Source,
    /// Why nobody is connected there; `None` if it was not tried yet.
    pub trouble: Option<Trouble>,
}

/// Why an address leads to no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nothing answers: switched off, asleep, another network, or a firewall in between.
    #[error("nothing answers there")]
    Silent,
    /// The machine answers, but nothing listens on that port.
    #[error("the machine is there, but Herd does not run or uses another port")]
    Refused,
    /// What listens there does not have this fleet's secret.
    #[error("it belongs to another fleet, or is no Herd")]
    NotOurs,
    /// What listens there claims to be of this fleet, and is not.
    #[error("something there pretends to be of this fleet")]
    Pretender,
    /// A node listens there that is on no list of ours: removed, or not known here yet.
    #[error("the machine there is no member of this fleet")]
    NotAMember,
    /// Another member than the one looked for listens there.
    #[error("another machine has that address now")]
    OtherNode,
    /// It is this node's own address.
    #[error("that is this machine")]
    Oneself,
    /// It hung up at once: we are not on its list.
    #[error("it hung up: perhaps this machine was removed there, or is not known there yet")]
    HungUp,
    /// There is no version of the protocol that both speak.
    #[error("its version of Herd is too old or too new for this one")]
    Version,
}
