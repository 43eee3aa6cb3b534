//! Finds a port for Herd's door and says who has the usual one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Result, bail};
use parts::http;
use serde_json::Value;

const USUAL: u16 = 11435;

/// `wanted`, or else the usual port, or else the next free one. A wanted port that is taken is an error.
pub(crate) fn choose(wanted: Option<u16>) -> Result<u16> {
    let first = wanted.unwrap_or(USUAL);
    let Some(holder) = holder(first) else { return Ok(first) };
    if wanted.is_some() {
        bail!("port {first} is taken by {holder}; choose another with --port");
    }
    let Some(free) = (first + 1..first + 100).find(|&port| self::holder(port).is_none()) else {
        bail!("port {first} is taken by {holder}, and so are the 99 after it; choose one with --port");
    };
    println!("\nPort {first} is taken by {holder}: using {free} instead.");
    Ok(free)
}

/// Who holds `port` of this machine's loopback; `None` if nobody does.
fn holder(port: u16) -> Option<String> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Asked first: on macOS a port can be bound here although another program holds it for all addresses.
    let get = |path: &str| http::get(addr, path, Duration::from_millis(1500));
    match get("/api/version") {
        Ok((200, text)) => {
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let version = |key: &str| answer[key].as_str().map(|version| format!(" {version}"));
            Some(if let Some(herd) = version("herd") {
                format!("another Herd{herd}")
            } else if get("/fleet/status").is_ok_and(|(status, _)| status == 200) {
                "an ollama-herd".to_owned()
            } else {
                format!("an Ollama or something like it{}", version("version").unwrap_or_default())
            })
        }
        Ok(_) => Some("another web server".to_owned()),
        Err(_) => TcpListener::bind(addr).err().map(|_| "another program".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::choose;

    #[test]
    fn a_wanted_port_that_is_taken_is_refused_and_its_holder_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for (answer, holder) in [
            (r#"{"version":"0.33.0"}"#, "an Ollama or something like it 0.33.0"),
            (r#"{"version":"0.33.0","herd":"9.9.9"}"#, "another Herd 9.9.9"),
        ] {
            let error = std::thread::scope(|scope| {
                let asked = scope.spawn(|| choose(Some(port)).unwrap_err().to_string());
                while !asked.is_finished() {
                    let Ok((mut stream, _)) = listener.accept() else { continue };
                    let mut request = [0; 4096];
                    let read = stream.read(&mut request).unwrap();
                    let version = request[..read].starts_with(b"GET /api/version");
                    let status = if version { "200 OK" } else { "404 Not Found" };
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
                    if !version || answer.contains("herd") {
                        break;
                    }
                }
                asked.join().unwrap()
            });
            assert_eq!(error, format!("port {port} is taken by {holder}; choose another with --port"));
        }
    }
}
