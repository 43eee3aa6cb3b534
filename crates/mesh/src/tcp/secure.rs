//! What every connection goes through before the rest of the program sees it: TCP, the gate, Noise, Yamux.
//!
//! libp2p would negotiate the names of these by a protocol of its own, in clear; ours are fixed, so that nobody reads them.

use std::io;
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _};
use libp2p::core::{ConnectedPoint, Transport as _};
use libp2p::{PeerId, noise, tcp, yamux};

use crate::gate::{self, Shut};
use crate::{Identity, Secrets, Trouble};

/// How long a connection may take from its first byte to being authenticated. A silent stranger is hung up on then.
const WITHIN: Duration = Duration::from_secs(5);
/// Streams of one connection, both directions: two are used. A peer that opens more loses the connection.
const MOST_STREAMS: usize = 8;

/// The way in and out.
pub(super) fn transport(identity: &Identity, secrets: Secrets) -> Result<Boxed<(PeerId, StreamMuxerBox)>, String> {
    let noise = noise::Config::new(&identity.keypair()).map_err(|error| error.to_string())?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let tcp = tcp.map_err(|error| io::Error::other(Failed(Why::Tcp(error))));
    let secured = tcp.and_then(move |socket, end| {
        let (noise, secrets) = (noise.clone(), secrets.clone());
        async move { secure(socket, &end, noise, &secrets).await.map_err(|error| io::Error::other(Failed(error))) }
    });
    Ok(libp2p::core::transport::timeout::TransportTimeout::new(secured, WITHIN).boxed())
}

async fn secure<S>(
    socket: S,
    end: &ConnectedPoint,
    noise: noise::Config,
    secrets: &Secrets,
) -> Result<(PeerId, StreamMuxerBox), Why>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MOST_STREAMS);
    let nonce = gate::nonce()?;
    if end.is_dialer() {
        let passed = gate::knock(socket, secrets, nonce).await?;
        let noise = noise.with_prologue(passed.prologue.to_vec());
        let (peer, io) = noise.upgrade_outbound(passed.io, "/noise").await?;
        Ok((peer, StreamMuxerBox::new(yamux.upgrade_outbound(io, "/yamux/1.0.0").await?)))
    } else {
        let passed = gate::open(socket, secrets, nonce).await?;
        let noise = noise.with_prologue(passed.prologue.to_vec());
        let (peer, io) = noise.upgrade_inbound(passed.io, "/noise").await?;
        Ok((peer, StreamMuxerBox::new(yamux.upgrade_inbound(io, "/yamux/1.0.0").await?)))
    }
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("no TCP connection: {0}")]
    Tcp(io::Error),
    #[error(transparent)]
    Gate(#[from] Shut),
    #[error(transparent)]
    Noise(#[from] noise::Error),
    #[error(transparent)]
    Yamux(#[from] io::Error),
}

/// The reason, kept where [`trouble`] finds it: an error inside an `io::Error` is found only as another error's source.
#[derive(Debug, thiserror::Error)]
#[error("no connection")]
struct Failed(#[source] Why);

/// What a failed dial means to a person.
pub(super) fn trouble(error: &io::Error) -> Trouble {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(why) = error.downcast_ref::<Why>() {
            return match why {
                Why::Gate(Shut::NotOurs) => Trouble::NotOurs,
                Why::Gate(Shut::Pretender) | Why::Noise(_) => Trouble::Pretender,
                Why::Tcp(error) if error.kind() == io::ErrorKind::ConnectionRefused => Trouble::Refused,
                Why::Tcp(_) | Why::Gate(_) | Why::Yamux(_) => Trouble::Silent,
            };
        }
        cause = error.source();
    }
    Trouble::Silent
}
