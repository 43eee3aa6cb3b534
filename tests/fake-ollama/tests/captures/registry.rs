//! A registry on loopback that a stand-in pulls from: a few tiny models, and one with damaged content.

#![allow(clippy::unwrap_used, reason = "code of tests: what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

/// Bytes of the weights of the damaged model: enough to show how far they are.
const BIG: usize = 3 << 20;

/// Runs on a thread until the test ends.
pub(crate) struct Registry {
    pub(crate) port: u16,
}

impl Registry {
    pub(crate) fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that left is no reason to stop.
                drop(serve(stream.unwrap()));
            }
        });
        Registry { port }
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut range = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = text.split_once('-').unwrap();
            range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap()));
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Some(content) = content(path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let (status, part) = match range {
        Some((first, last)) => ("206 Partial Content", &content[first..=last]),
        None => ("200 OK", &content[..]),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nLocation: {path}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        part.len()
    )?;
    if method == "GET" { stream.write_all(part) } else { Ok(()) }
}

fn content(path: &str) -> Option<Vec<u8>> {
    let (_, rest) = path.split_once("/v2/library/")?;
    let (model, rest) = rest.split_once('/')?;
    let weights = if model == "big" { vec![0; BIG] } else { model.as_bytes().to_vec() };
    let known = matches!(model, "tiny" | "tiny-call" | "all-minilm" | "big");
    match rest.split_once('/') {
        Some(("manifests", _)) if known => {
            let claimed = if model == "big" { "0".repeat(64) } else { digest(&weights) };
            let layer = |kind: &str, digest: &str, size: usize| {
                format!("{{\"mediaType\":\"application/vnd.{kind}\",\"digest\":\"sha256:{digest}\",\"size\":{size}}}")
            };
            let config = layer("docker.container.image.v1+json", &digest(b"{}"), 2);
            let weights = layer("ollama.image.model", &claimed, weights.len());
            Some(format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{weights}]}}").into_bytes())
        }
        Some(("blobs", blob)) if known => Some(if blob.ends_with(&digest(b"{}")) { b"{}".to_vec() } else { weights }),
        _ => None,
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
