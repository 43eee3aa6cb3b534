//! A connection for requests that no good client sends: bytes go out as they are.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::http::{Answer, Exchange, PATIENCE, read_head, split};

/// An open connection to a door.
pub struct Wire {
    stream: TcpStream,
    reader: Option<BufReader<TcpStream>>,
}

impl Wire {
    /// Connects to the server of `url`.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn open(url: &str) -> Wire {
        let stream = TcpStream::connect(split(url).0).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes the option");
        let reader = stream.try_clone().expect("a socket can be shared");
        Wire { stream, reader: Some(BufReader::new(reader)) }
    }

    /// Sends bytes; false if the other side takes no more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends bytes as far as they are taken; false once the other side has taken none for half a second.
    pub fn send_what_is_taken(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket takes a timeout");
        let is_taken = self.stream.write_all(bytes.as_ref()).is_ok();
        self.stream.set_write_timeout(None).expect("a socket takes a timeout");
        is_taken
    }

    /// Tells the other side that nothing more will be sent.
    pub fn send_no_more(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer, whole; `None` when the connection ends without one.
    pub fn answer(&mut self) -> Option<Answer> {
        let exchange = read_head(self.reader.take()?, "GET").ok()?;
        let (answer, reader) = exchange.finish_and_keep();
        self.reader = Some(reader);
        Some(answer)
    }

    /// The head of the next answer; the rest can be read from it.
    pub fn begin(mut self) -> Option<Exchange> {
        read_head(self.reader.take()?, "GET").ok()
    }

    /// All bytes until the other side closes.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Some(reader) = &mut self.reader {
            let _ = reader.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Sends `bytes` over a connection of their own and reads one answer.
pub fn raw(url: &str, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut wire = Wire::open(url);
    wire.send(bytes);
    wire.answer()
}
