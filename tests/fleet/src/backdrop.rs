//! An inference server that says what a test wants it to say, for answers that no stand-in gives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::http;

/// Decides an answer: path and body in, all of the answer's bytes out; `None` asks the stand-in behind.
type Say = dyn Fn(&str, &[u8]) -> Option<String> + Send + Sync;

/// A server in front of a stand-in that answers some paths itself. Its thread ends with the test program.
pub struct Backdrop {
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

impl Backdrop {
    /// Starts one in front of the server at `behind`; `headers` (whole lines) are added to all that comes from there.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start(
        behind: &str,
        headers: &'static str,
        say: impl Fn(&str, &[u8]) -> Option<String> + Send + Sync + 'static,
    ) -> Backdrop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
        let (behind, say): (String, Arc<Say>) = (behind.to_owned(), Arc::new(say));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behind, say) = (behind.clone(), say.clone());
                std::thread::spawn(move || serve(stream, &behind, headers, &*say));
            }
        });
        Backdrop { url }
    }
}

/// Answers one request. What goes wrong is seen by who asked.
fn serve(mut stream: TcpStream, behind: &str, headers: &str, say: &Say) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let (method, rest) = first.split_once(' ')?;
    let path = rest.split(' ').next()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = say(path, &body).or_else(|| {
        let json = [("Content-Type", "application/json")];
        let answer = http::send(&format!("{behind}{path}"), method, &json, &body).ok()?.finish();
        let content_type = answer.header("content-type").unwrap_or("text/plain");
        Some(format!(
            "HTTP/1.1 {} said\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{}",
            answer.status,
            answer.body.len(),
            answer.body
        ))
    })?;
    stream.write_all(answer.as_bytes()).ok()
}
