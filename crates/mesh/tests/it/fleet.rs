//! Nodes to test with.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use mesh::memory::Network;
use mesh::{
    Answering, Body, Event, Events, FleetSecret, Hint, Identity, Listen, Mesh, NodeKey, RequestError, Serve, Settings,
    Source, Transport,
};
use proto::{Clock, Moment};

/// Far more than anything here takes: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn clock() -> Clock {
    fn now() -> Moment {
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "the clock of a test")]
        let (start, now) = (*START.get_or_init(tokio::time::Instant::now), tokio::time::Instant::now());
        Moment::at(now.saturating_duration_since(start))
    }
    Clock::new(now, || 1_800_000_000_000)
}

pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    let empty = Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
    Request::get(path).body(empty).unwrap()
}

pub(crate) fn post(path: &str, bytes: impl Into<Bytes>) -> Request<Body> {
    Request::post(format!("http://herd{path}")).body(body(bytes)).unwrap()
}

/// Answers with what was asked: "who asked, method, path, body".
pub(crate) fn echo(from: NodeKey, request: Request<hyper::body::Incoming>) -> Answering {
    Box::pin(async move {
        let (head, asked) = request.into_parts();
        let asked = asked.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let mut answer = format!("{} {} {} ", from.short(), head.method, head.uri.path()).into_bytes();
        answer.extend_from_slice(&asked);
        Response::new(body(answer))
    })
}

/// A node of a test.
pub(crate) struct Node {
    pub(crate) key: NodeKey,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) events: Events,
    pub(crate) address: SocketAddr,
}

pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

pub(crate) fn secret() -> FleetSecret {
    FleetSecret::from([42; 32])
}

/// How bytes go between the nodes of a test.
#[derive(Clone)]
pub(crate) enum Net {
    Real,
    Memory(Network),
}

impl Net {
    pub(crate) fn memory() -> Net {
        Net::Memory(Network::new(7))
    }

    /// Starts node `number`, which answers requests by `serve`.
    pub(crate) async fn node(&self, number: u8, serve: impl Serve) -> Node {
        match self {
            Net::Real => real(number, secret(), serve).await,
            Net::Memory(network) => {
                let (memory, events) = network.start(&identity(number), clock(), Arc::new(serve));
                Node { key: memory.me(), address: memory.address(), transport: Arc::new(memory), events }
            }
        }
    }

    /// Two nodes that are connected.
    pub(crate) async fn pair(&self, one: u8, two: u8) -> (Node, Node) {
        let (mut one, mut two) = (self.node(one, echo).await, self.node(two, echo).await);
        one.allow(&[&two]);
        two.allow(&[&one]);
        one.dial(&two);
        assert_eq!(one.connected(two.key).await, two.address);
        assert_eq!(two.connected(one.key).await, one.address);
        (one, two)
    }
}

/// A node with real sockets on loopback, of the fleet with `secret`.
pub(crate) async fn real(number: u8, secret: FleetSecret, serve: impl Serve) -> Node {
    let (mesh, events) = Mesh::start(settings(number, secret), Arc::new(serve)).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], mesh.port()));
    Node { key: mesh.me(), transport: Arc::new(mesh), events, address }
}

pub(crate) fn settings(number: u8, secret: FleetSecret) -> Settings {
    Settings {
        identity: identity(number),
        secrets: secret.into(),
        port: 0,
        listen: Listen::Loopback,
        clock: clock(),
        features: 0,
    }
}

impl Node {
    pub(crate) fn allow(&self, others: &[&Node]) {
        self.transport.allow(others.iter().map(|other| other.key).collect::<BTreeSet<_>>());
    }

    pub(crate) fn dial(&self, other: &Node) {
        self.transport.dial(vec![Hint { address: other.address, node: None, source: Source::Typed }]);
    }

    /// The next event that is not just a sign of life.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                match self.events.next().await {
                    Some(Event::Heard { .. }) => {}
                    event => return event,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("something happens")
    }

    pub(crate) async fn connected(&mut self, other: NodeKey) -> SocketAddr {
        match self.next().await {
            Some(Event::Connected { node, address }) if node == other => address,
            event => panic!("{} instead of a connection with {other:?}: {event:?}", self.key),
        }
    }

    pub(crate) async fn closed(&mut self, other: NodeKey) {
        match self.next().await {
            Some(Event::Closed { node }) if node == other => {}
            event => panic!("{} instead of the loss of {other:?}: {event:?}", self.key),
        }
    }

    pub(crate) async fn message(&mut self) -> (NodeKey, Bytes) {
        match self.next().await {
            Some(Event::Message { from, message }) => (from, message),
            event => panic!("{} instead of a message: {event:?}", self.key),
        }
    }

    /// What `other` answers. Waits longer for a connection that is being made than a request itself does: machines that
    /// run tests are slow.
    pub(crate) async fn ask(&self, other: NodeKey, request: Request<Body>) -> Result<Bytes, RequestError> {
        let (head, asked) = request.into_parts();
        let asked = asked.collect().await.unwrap().to_bytes();
        let asking = async {
            loop {
                let request = Request::from_parts(head.clone(), body(asked.clone()));
                match self.transport.request(other, request).await {
                    Ok(answer) => return Ok(answer.into_body().collect().await.unwrap().to_bytes()),
                    Err(RequestError::NotConnected) if self.peer(other).connected => {}
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("an answer")
    }

    pub(crate) fn peer(&self, other: NodeKey) -> mesh::Peer {
        self.transport.peers().into_iter().find(|peer| peer.node == other).unwrap()
    }
}
