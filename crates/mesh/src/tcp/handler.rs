//! One connection as libp2p sees it: opens one stream of the connection's role, accepts one, and hands both out.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, ConnectionHandler, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandlerEvent, StreamProtocol, SubstreamProtocol};

use crate::links::Role;

/// How long a stream may take to be agreed on.
const AGREED_WITHIN: Duration = Duration::from_secs(3);

fn protocol(role: Role) -> StreamProtocol {
    StreamProtocol::new(match role {
        Role::Control => "/herd/control/1",
        Role::Data => "/herd/data/1",
    })
}

/// What a connection came to.
#[derive(Debug)]
pub(super) enum Came {
    /// Whoever dialled said what the connection is for.
    Role(Role),
    /// Both streams are there.
    Streams(Box<Streams>),
    /// It is of no use.
    Broken,
}

/// The two streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) role: Role,
    pub(super) inbound: Stream,
    pub(super) outbound: Stream,
}

pub(super) struct Handler {
    /// Known from the start by whoever dialled, from the first stream by the other.
    role: Option<Role>,
    asked: bool,
    inbound: Option<Stream>,
    outbound: Option<Stream>,
    /// Streams were accepted and opened; further ones are closed.
    accepted: bool,
    events: VecDeque<Came>,
}

impl Handler {
    pub(super) fn new(role: Option<Role>) -> Handler {
        Handler { role, asked: false, inbound: None, outbound: None, accepted: false, events: VecDeque::new() }
    }

    fn accept(&mut self, role: Role, stream: Stream) {
        if self.accepted || self.role.is_some_and(|known| known != role) {
            return;
        }
        self.accepted = true;
        self.inbound = Some(stream);
        if self.role.is_none() {
            self.role = Some(role);
            self.events.push_back(Came::Role(role));
        }
        self.complete();
    }

    fn complete(&mut self) {
        if let Some(role) = self.role
            && self.inbound.is_some()
            && let Some(outbound) = self.outbound.take()
            && let Some(inbound) = self.inbound.take()
        {
            self.events.push_back(Came::Streams(Box::new(Streams { role, inbound, outbound })));
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Came;
    type InboundProtocol = AnyRole;
    type OutboundProtocol = OneRole;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<AnyRole> {
        SubstreamProtocol::new(AnyRole, ()).with_timeout(AGREED_WITHIN)
    }

    // A connection lives until somebody closes it, not until it happens to be idle.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<OneRole, (), Came>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(role) = self.role
            && !self.asked
        {
            self.asked = true;
            let protocol = SubstreamProtocol::new(OneRole(role), ()).with_timeout(AGREED_WITHIN);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: std::convert::Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyRole, OneRole>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (role, stream), .. }) => {
                self.accept(role, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                self.outbound = Some(stream);
                self.complete();
            }
            ConnectionEvent::DialUpgradeError(_) => self.events.push_back(Came::Broken),
            _ => {}
        }
    }
}

/// Accepts a stream of either role.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyRole;

impl UpgradeInfo for AnyRole {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];
    fn protocol_info(&self) -> [StreamProtocol; 2] {
        Role::ALL.map(protocol)
    }
}

impl InboundUpgrade<Stream> for AnyRole {
    type Output = (Role, Stream);
    type Error = std::convert::Infallible;
    type Future = Ready<Result<(Role, Stream), std::convert::Infallible>>;
    fn upgrade_inbound(self, stream: Stream, agreed: StreamProtocol) -> Self::Future {
        let role = if agreed == protocol(Role::Control) { Role::Control } else { Role::Data };
        ready(Ok((role, stream)))
    }
}

/// Opens a stream of one role.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneRole(Role);

impl UpgradeInfo for OneRole {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 1];
    fn protocol_info(&self) -> [StreamProtocol; 1] {
        [protocol(self.0)]
    }
}

impl OutboundUpgrade<Stream> for OneRole {
    type Output = Stream;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Stream, std::convert::Infallible>>;
    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}
