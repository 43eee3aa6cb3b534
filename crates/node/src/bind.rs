//! Takes the door's port, or says who has it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::settings::Host;

/// How long who has the port may take to say who it is.
const ASK: Duration = Duration::from_millis(700);

/// Listens at every address of `host`. The second one is left out where the machine does not have it (no IPv6).
pub(crate) fn listeners(host: Host, port: u16) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for ip in host.addresses() {
        // Asked first, because some systems let two programs listen at what clients take for one address.
        if port != 0
            && let Some(owner) = owner(SocketAddr::new(*ip, port))
        {
            bail!("port {port} is taken: {owner}. Stop it, or start this one with `--port N`");
        }
        match listen(SocketAddr::new(*ip, port)) {
            Ok(listener) => {
                port = listener.local_addr().context("reading the address of the door")?.port();
                listeners.push(listener);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!(
                    "port {port} is taken by a program that does not answer. Stop it, or start this one with `--port N`"
                );
            }
            Err(error) if listeners.is_empty() => {
                return Err(error).with_context(|| format!("listening at {}", SocketAddr::new(*ip, port)));
            }
            Err(error) => tracing::warn!(address = %ip, %error, "not listening there"),
        }
    }
    Ok(listeners)
}

pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Not on Windows: there the option lets two programs take one port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Who answers at `address`, in words; `None` when nobody does.
fn owner(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, ASK).ok()?;
    Some(
        ask(&mut stream, address.ip()).unwrap_or_else(|| "a program listens there that does not speak HTTP".to_owned()),
    )
}

fn ask(stream: &mut TcpStream, ip: IpAddr) -> Option<String> {
    stream.set_read_timeout(Some(ASK)).ok()?;
    stream.set_write_timeout(Some(ASK)).ok()?;
    let host = if ip.is_ipv6() { "[::1]" } else { "127.0.0.1" };
    write!(stream, "GET /api/version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let _ = stream.take(16 * 1024).read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    if !answer.starts_with("http/") {
        return None;
    }
    Some(if answer.contains("x-fleet-instance") || answer.contains("\"herd\":") {
        "another Herd answers there".to_owned()
    } else if answer.contains("herd_version") || answer.contains("server: uvicorn") {
        "an ollama-herd answers there".to_owned()
    } else if answer.contains("\"version\":") {
        "an Ollama answers there".to_owned()
    } else {
        "another web server answers there".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = taken.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Fleet-Instance: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let error = listeners(Host::V4, port).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains("another Herd") && error.contains(&port.to_string()), "{error}");
    }

    #[test]
    fn any_free_port_can_be_asked_for() {
        let listeners = listeners(Host::V4, 0).unwrap();
        assert_ne!(listeners[0].local_addr().unwrap().port(), 0);
    }
}
