//! Sockets as every part of the program wants them: on loopback, on any free port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted. The system's own limit (often 4 096) cuts it; a thousand at once must fit.
const BACKLOG: i32 = 4096;

/// Listens on `port` of 127.0.0.1 (0: on a free one), without blocking.
pub(crate) fn listen(port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // A stub that comes back finds the connections of its former life still winding down.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A port of 127.0.0.1 that is free now. Somebody else may take it before it is used: whoever starts a server on it
/// tries again.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
