//! Where the bytes of an answer come from.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::away::{AwayInflow, Facts};
use crate::upstream::{Broken, Inflow, Upstream};

/// Where the bytes of an answer come from.
pub(crate) enum Source {
    /// A backend of this node.
    Backend(Inflow),
    /// Another node.
    Node(AwayInflow),
}

impl Source {
    /// All bytes that are there now, in one piece; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match self {
            Source::Backend(inflow) => inflow.poll_bytes(cx),
            Source::Node(inflow) => inflow.poll_bytes(cx),
        }
    }

    /// All bytes that are there now, in one piece; waits until there are some. May be dropped half-way.
    pub(crate) async fn bytes(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// The connection to the backend, if it can serve another request.
    pub(crate) fn into_upstream(self) -> Option<Upstream> {
        match self {
            Source::Backend(inflow) => inflow.into_upstream(),
            Source::Node(_) => None,
        }
    }

    /// What another node said of the answer at its end.
    pub(crate) fn take_facts(&mut self) -> Option<Facts> {
        match self {
            Source::Backend(_) => None,
            Source::Node(inflow) => inflow.take_facts(),
        }
    }
}
