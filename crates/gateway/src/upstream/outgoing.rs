//! A request on its way to a backend: its head, then its body.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Broken;

/// What is to be written to a connection.
pub(crate) struct Outgoing {
    ready: VecDeque<Bytes>,
    rest: Rest,
}

/// What is not here yet.
enum Rest {
    /// Nothing: all of it is here.
    None,
    /// The client is still sending it.
    Flowing { body: Incoming, is_chunked: bool },
    /// The other side does not want it.
    GivenUp,
}

impl Outgoing {
    /// A request of which everything is here.
    pub(crate) fn kept(head: Bytes, pieces: dialect::Pieces) -> Outgoing {
        let mut ready = VecDeque::with_capacity(4);
        ready.push_back(head);
        ready.extend(pieces);
        Outgoing { ready, rest: Rest::None }
    }

    /// A request whose body is passed on while it comes in, after `start`; in chunks where the head says so.
    pub(crate) fn flowing(head: Bytes, start: Bytes, body: Incoming, is_chunked: bool) -> Outgoing {
        let mut outgoing = Outgoing { ready: VecDeque::from([head]), rest: Rest::Flowing { body, is_chunked } };
        if !start.is_empty() {
            outgoing.push(start, is_chunked);
        }
        outgoing
    }

    /// Whether all of it was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.ready.is_empty() && matches!(self.rest, Rest::None)
    }

    /// Whether nothing is ready to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Nobody reads the rest.
    pub(super) fn give_up(&mut self) {
        self.ready.clear();
        self.rest = Rest::GivenUp;
    }

    /// Waits for more of a body that is still coming in; false when there is no more.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        loop {
            let Rest::Flowing { body, is_chunked } = &mut self.rest else { return Poll::Ready(Ok(false)) };
            let is_chunked = *is_chunked;
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if bytes.is_empty() {
                        continue;
                    }
                    self.push(bytes, is_chunked);
                }
                Some(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                None => {
                    self.rest = Rest::None;
                    if !is_chunked {
                        return Poll::Ready(Ok(false));
                    }
                    self.ready.push_back(Bytes::from_static(b"0\r\n\r\n"));
                }
            }
            return Poll::Ready(Ok(true));
        }
    }

    fn push(&mut self, bytes: Bytes, is_chunked: bool) {
        if is_chunked {
            self.ready.push_back(Bytes::from(format!("{:x}\r\n", bytes.len())));
            self.ready.push_back(bytes);
            self.ready.push_back(Bytes::from_static(b"\r\n"));
        } else {
            self.ready.push_back(bytes);
        }
    }

    /// Puts the first pieces into `slices` and tells how many.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        for (slice, piece) in slices.iter_mut().zip(&self.ready) {
            *slice = IoSlice::new(piece);
        }
        self.ready.len().min(slices.len())
    }

    /// So many bytes were written.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.ready.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.ready.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_goes() {
        let body = Bytes::from_static(b"body");
        let mut outgoing = Outgoing::kept(Bytes::from_static(b"head"), dialect::splice(&body, Vec::new()));
        for (written, left) in [(0, "headbody"), (3, "dbody"), (1, "body"), (2, "dy"), (2, "")] {
            outgoing.advance(written);
            let all: Vec<u8> = outgoing.ready.iter().flatten().copied().collect();
            assert_eq!(String::from_utf8(all).unwrap(), left);
        }
        assert!(outgoing.is_sent());
    }
}
