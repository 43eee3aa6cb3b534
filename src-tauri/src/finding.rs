//! Looks who has the door's port before a node is started there.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::Value;

use crate::client::{Fault, exchange};

/// Who has the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody: a node can be started.
    Nobody,
    /// A Herd, at this address.
    Herd(SocketAddr),
    /// Another program, in words.
    Other(String),
}

/// Asks at each of `addresses`.
pub(crate) async fn look(addresses: &[SocketAddr]) -> Found {
    for &address in addresses {
        match exchange(address, Method::GET, "/api/version", None, None).await {
            Ok(version) if version["herd"].is_string() => return Found::Herd(address),
            Ok(version) => return Found::Other(named(address, &version).await),
            Err(Fault::Said { .. }) => return Found::Other("another web server".to_owned()),
            Err(Fault::NotUnderstood) => return Found::Other("another program".to_owned()),
            Err(Fault::TimedOut) => return Found::Other("a program that does not answer".to_owned()),
            Err(Fault::Refused) => {}
        }
    }
    Found::Nobody
}

/// The program that answers with `version` when asked for its version.
async fn named(address: SocketAddr, version: &Value) -> String {
    if exchange(address, Method::GET, "/fleet/status", None, None).await.is_ok_and(|status| status.is_object()) {
        return "ollama-herd".to_owned();
    }
    match version["version"].as_str() {
        Some(number) => {
            format!("Ollama {}", number.chars().filter(|c| c.is_ascii_graphic()).take(20).collect::<String>())
        }
        None => "another web server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request for the version with `version`, and each other with 404.
    async fn server(version: &'static str) -> (SocketAddr, tokio::task::JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 2048];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let is_version = String::from_utf8_lossy(&request[..read]).starts_with("GET /api/version");
                let (status, body) = if is_version { ("200 OK", version) } else { ("404 Not Found", "{}") };
                let answer = match version {
                    "" => "SSH-2.0\r\n".to_owned(),
                    _ => format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    ),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, tasks)
    }

    #[tokio::test]
    async fn who_has_the_port_is_named() {
        for (version, expected) in [
            (r#"{"version":"0.31.2","herd":"0.1.0"}"#, None),
            (r#"{"version":"0.31.2"}"#, Some("Ollama 0.31.2")),
            (r#"{"other":1}"#, Some("another web server")),
            ("", Some("another program")),
        ] {
            let (address, _server) = server(version).await;
            let expected = expected.map_or(Found::Herd(address), |name| Found::Other(name.to_owned()));
            assert_eq!(look(&[address]).await, expected, "{version}");
        }
    }

    #[tokio::test]
    async fn a_free_port_is_free() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(look(&[free]).await, Found::Nobody);
    }
}
