//! The body of an answer that comes from another node.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Facts;
use crate::upstream::Broken;

/// Bytes that are merged into one piece, at most.
const MERGED_MOST: usize = 64 * 1024;

/// The body of an answer from another node; dropping it cancels the request there.
pub(crate) struct AwayInflow {
    body: Incoming,
    failure: Option<Broken>,
    ended: bool,
    /// What the node said at the end.
    facts: Option<Facts>,
}

impl AwayInflow {
    pub(super) fn new(body: Incoming) -> AwayInflow {
        AwayInflow { body, failure: None, ended: false, facts: None }
    }

    /// All bytes that are there now, in one piece; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(failure) = self.failure.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(failure)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut first = Bytes::new();
        let mut merged = BytesMut::new();
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Ready(Some(Err(_))) => {
                    self.failure = Some(Broken::Closed);
                    break;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    // The usual case: one frame is there, and nothing is copied.
                    Ok(data) if first.is_empty() => first = data,
                    Ok(data) => {
                        if merged.is_empty() {
                            merged.reserve(first.len() + data.len());
                            merged.extend_from_slice(&first);
                        }
                        merged.extend_from_slice(&data);
                        if merged.len() >= MERGED_MOST {
                            break;
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.facts = Facts::read(&trailers);
                        }
                    }
                },
            }
        }
        let bytes = if merged.is_empty() { first } else { merged.freeze() };
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        match (self.failure.take(), self.ended) {
            (Some(failure), _) => {
                self.ended = true;
                Poll::Ready(Some(Err(failure)))
            }
            (None, true) => Poll::Ready(None),
            (None, false) => Poll::Pending,
        }
    }

    /// All bytes that are there now, in one piece; waits until there are some. May be dropped half-way.
    pub(crate) async fn bytes(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// What the node said of the answer at its end.
    pub(crate) fn take_facts(&mut self) -> Option<Facts> {
        self.facts.take()
    }
}
