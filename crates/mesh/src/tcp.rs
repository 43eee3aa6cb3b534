//! The mesh over TCP: gate, Noise and Yamux, two connections per pair of nodes.
//!
//! [`Mesh::start`] listens and spawns one task that drives libp2p; each connection and each session has a task of its own.
//! All end with [`Transport::stop`], or when the last clone of the handle is dropped.

mod behaviour;
mod handler;
mod secure;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, TransportError};
use proto::Clock;

use self::behaviour::Behaviour;
use crate::shared::{Driving, STOPPED_WITHIN, Shared};
use crate::{
    Body, Events, Hello, Hint, Identity, NodeKey, Peer, Requesting, Secrets, SendError, Serve, Stray, Transport,
    VERSIONS,
};

/// Ports tried after the wanted one if that is taken.
const MORE_PORTS: u16 = 15;

/// What a mesh needs to know to start.
pub struct Settings {
    /// Who this node is.
    pub identity: Identity,
    /// The secrets of its fleet.
    pub secrets: Secrets,
    /// The port to listen on; the next free one of the fifteen above it if it is taken; 0 for any.
    pub port: u16,
    /// The addresses to listen on.
    pub listen: Listen,
    /// The node's clock.
    pub clock: Clock,
    /// Bits of [`Hello::features`] to announce.
    pub features: u64,
}

/// The addresses to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// All of this machine's, those included that it gets later.
    Everywhere,
    /// Only those that other machines cannot reach.
    Loopback,
}

/// Why the mesh did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The wanted port and those above it are taken, or may not be used.
    #[error("cannot listen on port {port} or one of the next: {source}")]
    Port {
        /// The wanted port.
        port: u16,
        /// What the system said of the last one tried.
        source: io::Error,
    },
    /// The system has no randomness.
    #[error("no randomness: {0}")]
    NoRandomness(getrandom::Error),
    /// The keys cannot be used.
    #[error("the identity cannot be used: {0}")]
    Keys(String),
}

/// The mesh of this node. Cheap to clone.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
    port: u16,
    _ends: Arc<Ends>,
}

/// Ends the mesh when the last handle is dropped.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.inbox.end();
    }
}

impl Mesh {
    /// Listens, and connects to nobody before [`Transport::allow`]. Requests of others go to `serve`. Needs a tokio runtime with time and I/O.
    pub async fn start(settings: Settings, serve: Arc<dyn Serve>) -> Result<(Mesh, Events), StartError> {
        let mut session = [0; 8];
        getrandom::fill(&mut session).map_err(StartError::NoRandomness)?;
        let me = settings.identity.key();
        let transport = secure::transport(&settings.identity, settings.secrets).map_err(StartError::Keys)?;
        // The port is part of the hello, which sessions send: so it is found out before anything else.
        let port = free_port(settings.port, settings.listen)
            .map_err(|source| StartError::Port { port: settings.port, source })?;
        let hello = Hello {
            min: VERSIONS.0,
            max: VERSIONS.1,
            features: settings.features,
            session: u64::from_be_bytes(session),
            port: port.number,
        };
        let shared = Arc::new(Shared::new(me, settings.clock, hello, serve));
        let tasks = shared.tasks.clone();
        let executor = move |task: Pin<Box<dyn Future<Output = ()> + Send>>| drop(tasks.spawn(task));
        let config = swarm::Config::with_executor(executor).with_max_negotiating_inbound_streams(4);
        let peer = settings.identity.keypair().public().to_peer_id();
        let mut swarm = Swarm::new(transport, Behaviour::new(shared.clone()), peer, config);
        let (number, listening) = (port.number, port.listen(&mut swarm));
        listening.map_err(|source| StartError::Port { port: number, source })?;
        let port = number;
        shared.tasks.spawn(drive(swarm, shared.clone()));
        let events = Events::new(shared.inbox.clone(), settings.clock);
        Ok((Mesh { _ends: Arc::new(Ends(shared.clone())), shared, port }, events))
    }

    /// The port that this node listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What this node says of itself to others.
    pub fn hello(&self) -> Hello {
        self.shared.hello
    }
}

impl Transport for Mesh {
    fn me(&self) -> NodeKey {
        self.shared.me
    }

    fn allow(&self, nodes: BTreeSet<NodeKey>) {
        self.shared.allow(nodes);
    }

    fn dial(&self, hints: Vec<Hint>) {
        self.shared.dial(hints);
    }

    fn hang_up(&self, node: NodeKey) {
        self.shared.hang_up(node);
    }

    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), SendError> {
        self.shared.send(to, message)
    }

    fn request(&self, to: NodeKey, request: Request<Body>) -> Requesting {
        self.shared.request(to, request)
    }

    fn peers(&self) -> Vec<Peer> {
        self.shared.peers()
    }

    fn strays(&self) -> Vec<Stray> {
        self.shared.strays()
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.shared.clone().end()
    }
}

/// Drives libp2p until the mesh stops.
async fn drive(mut swarm: Swarm<Behaviour>, shared: Arc<Shared>) {
    let _driving = Driving(shared.clone());
    loop {
        tokio::select! {
            event = swarm.select_next_some() => heed(event),
            () = shared.draining.cancelled() => break,
            () = shared.stop.cancelled() => return,
        }
    }
    // Sessions write what is queued and end; then their connections are closed, which says goodbye to the other end.
    let drained = async {
        while !crate::peers::lock(&shared.links).is_idle() {
            heed(swarm.select_next_some().await);
        }
    };
    let _ = tokio::time::timeout(STOPPED_WITHIN, drained).await;
}

fn heed(event: SwarmEvent<()>) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => tracing::debug!(%address, "the mesh listens"),
        SwarmEvent::ListenerClosed { reason: Err(error), .. } | SwarmEvent::ListenerError { error, .. } => {
            tracing::warn!(%error, "the mesh has trouble listening");
        }
        _ => {}
    }
}

/// A port that is free at the moment, and the addresses to take it on.
struct Port {
    number: u16,
    ips: [IpAddr; 2],
    /// Keeps the port from others until we listen ourselves.
    held: Option<TcpListener>,
}

fn free_port(wanted: u16, listen: Listen) -> io::Result<Port> {
    let ips = match listen {
        Listen::Everywhere => [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        Listen::Loopback => [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
    };
    let last = if wanted == 0 { 0 } else { wanted.saturating_add(MORE_PORTS) };
    let mut result = Err(io::Error::from(io::ErrorKind::AddrInUse));
    for number in wanted..=last {
        // libp2p shares ports on purpose (SO_REUSEPORT), and so would a second Herd of the same user take half of the
        // connections of the first. This socket does not share.
        result = TcpListener::bind(SocketAddr::new(ips[0], number));
        if result.is_ok() {
            break;
        }
    }
    let held = result?;
    Ok(Port { number: held.local_addr()?.port(), ips, held: Some(held) })
}

impl Port {
    fn listen(mut self, swarm: &mut Swarm<Behaviour>) -> io::Result<()> {
        drop(self.held.take());
        let [four, six] = self.ips.map(|ip| multiaddr(SocketAddr::new(ip, self.number)));
        swarm.listen_on(four).map_err(io_error)?;
        if let Err(error) = swarm.listen_on(six).map_err(io_error) {
            tracing::debug!(%error, "the mesh listens without IPv6");
        }
        Ok(())
    }
}

fn io_error(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => error,
        TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
    }
}

fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
