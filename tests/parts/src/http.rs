//! A small HTTP/1.1 client for one call at a time: what set-up and demonstration need, on the standard library alone.
//!
//! Plain HTTP, one connection per call, no redirects. Heads are bounded by 64 KiB, whole bodies by 16 MiB.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const HEAD_LIMIT: u64 = 64 << 10;
const BODY_LIMIT: u64 = 16 << 20;

/// An answer whose head has come in; reading it reads the body, with the chunks put together.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names (in lower case) and values, in the order they came.
    pub headers: Vec<(String, String)>,
    body: Body,
}

impl Answer {
    /// The first value of `name`, which is written in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The rest of the body as text; what is not UTF-8 is replaced. A body above 16 MiB is an error.
    pub fn text(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.take(BODY_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BODY_LIMIT {
            return Err(broken("the answer is larger than 16 MiB"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The next line of the body without its end; `None` after the last. Lines are bounded by 16 MiB.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.read(&mut byte)? == 1 {
            if byte[0] == b'\n' {
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if line.len() as u64 >= BODY_LIMIT {
                return Err(broken("a line is larger than 16 MiB"));
            }
            line.push(byte[0]);
        }
        Ok(if line.is_empty() { None } else { Some(String::from_utf8_lossy(&line).into_owned()) })
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

/// Asks `addr` and waits for the head of the answer. `patience` bounds the connecting and each silence afterwards.
pub fn call(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&addr, patience.min(Duration::from_secs(2)))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    request += "\r\n";
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    answer(BufReader::new(stream), method)
}

/// `GET path` from `addr`: status and body.
pub fn get(addr: SocketAddr, path: &str, patience: Duration) -> io::Result<(u16, String)> {
    let mut answer = call(addr, "GET", path, &[], &[], patience)?;
    let text = answer.text()?;
    Ok((answer.status, text))
}

fn answer(mut stream: BufReader<TcpStream>, method: &str) -> io::Result<Answer> {
    let mut head = (&mut stream).take(HEAD_LIMIT);
    let line = |head: &mut io::Take<&mut BufReader<TcpStream>>| -> io::Result<String> {
        let mut line = String::new();
        head.read_line(&mut line)?;
        if line.ends_with('\n') {
            Ok(line.trim_end().to_owned())
        } else {
            Err(broken("the head of the answer breaks off"))
        }
    };
    let first = line(&mut head)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| broken("not an HTTP/1 answer"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut head)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let frame = if method == "HEAD" || status == 204 || status == 304 {
        Frame::Length(0)
    } else if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        Frame::Chunks(Chunk::Head)
    } else if let Some(length) = find("content-length") {
        Frame::Length(length.parse().map_err(|_| broken("a content-length that is no number"))?)
    } else {
        Frame::UntilClose
    };
    Ok(Answer { status, headers, body: Body { stream, frame } })
}

#[derive(Debug)]
struct Body {
    stream: BufReader<TcpStream>,
    frame: Frame,
}

#[derive(Debug)]
enum Frame {
    /// That many bytes are left.
    Length(u64),
    UntilClose,
    Chunks(Chunk),
}

#[derive(Debug)]
enum Chunk {
    /// A line with the next chunk's size comes next.
    Head,
    /// That many bytes of the current chunk are left.
    Left(u64),
    End,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.frame {
            Frame::UntilClose => self.stream.read(buffer),
            Frame::Length(0) | Frame::Chunks(Chunk::End) => Ok(0),
            Frame::Length(left) => part(&mut self.stream, buffer, left),
            Frame::Chunks(Chunk::Head) => {
                let size = chunk_line(&mut self.stream)?;
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| broken("a chunk without a size"))?;
                if size == 0 {
                    while !chunk_line(&mut self.stream)?.is_empty() {}
                    self.frame = Frame::Chunks(Chunk::End);
                } else {
                    self.frame = Frame::Chunks(Chunk::Left(size));
                }
                self.read(buffer)
            }
            Frame::Chunks(Chunk::Left(left)) => {
                let read = part(&mut self.stream, buffer, left)?;
                if *left == 0 {
                    if !chunk_line(&mut self.stream)?.is_empty() {
                        return Err(broken("a chunk longer than it said"));
                    }
                    self.frame = Frame::Chunks(Chunk::Head);
                }
                Ok(read)
            }
        }
    }
}

fn part(stream: &mut impl Read, buffer: &mut [u8], left: &mut u64) -> io::Result<usize> {
    let read = stream.take(*left).read(buffer)?;
    if read == 0 && !buffer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body breaks off"));
    }
    *left -= read as u64;
    Ok(read)
}

fn chunk_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(1024).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(broken("the chunks break off")) }
}

fn broken(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::call;

    /// Serves `answer` once and returns what the client made of it: status and body or the error.
    fn exchange(answer: &'static str) -> Result<(u16, String), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = call(addr, "GET", "/", &[], &[], Duration::from_secs(10))
            .and_then(|mut answer| answer.text().map(|text| (answer.status, text)));
        server.join().unwrap();
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn bodies_are_read_however_they_are_framed() {
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi"),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4;x=y\r\n two\r\n0\r\n\r\n", "one two"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n", ""),
        ] {
            assert_eq!(exchange(answer), Ok((200, body.to_owned())), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_or_makes_no_sense_is_an_error() {
        for (answer, error) in [
            ("", "the head of the answer breaks off"),
            ("SSH-2.0-OpenSSH\r\n", "not an HTTP/1 answer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "the body breaks off"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "the chunks break off"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\none\r\n", "a chunk without a size"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nlonger\r\n", "a chunk longer than it said"),
        ] {
            assert_eq!(exchange(answer), Err(error.to_owned()), "{answer:?}");
        }
    }
}
