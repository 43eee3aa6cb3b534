//! Reads request bodies: kept whole for a retry while the memory for that lasts, passed on while they come in where it
//! does not.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Cause, Failure};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::budget::{Budget, Permit};

/// How long a client may pause while it sends a body.
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// Bytes that are looked through for the model when the rest cannot be kept.
const START: usize = 64 * 1024;
/// By how much the memory for a body of unknown length grows.
const STEP: u64 = 256 * 1024;

/// A request body.
pub(crate) enum Received {
    /// All of it.
    Kept {
        /// The bytes.
        bytes: Bytes,
        /// Their share of the memory for bodies. Bodies that fit in the connection's own buffer take none.
        permit: Option<Permit>,
    },
    /// More than can be kept: its beginning, and what is still to come.
    Flowing {
        /// At most about 64 KiB.
        start: Bytes,
        /// The rest.
        rest: Incoming,
        /// Bytes of both, where the client said.
        length: Option<u64>,
        /// The share of the memory for bodies that the beginning takes, where it is more than about 64 KiB.
        permit: Option<Permit>,
    },
}

/// Reads a body. `most` bounds it; what is larger is refused before it is read where its length was told.
pub(crate) async fn receive(mut body: Incoming, most: u64, budget: &Budget) -> Result<Received, Failure> {
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let Some(first) = frame(&mut body).await? else {
        return Ok(Received::Kept { bytes: Bytes::new(), permit: None });
    };
    if body.is_end_stream() {
        // The usual case: the whole body came with the first read, and is used where it lies.
        return Ok(Received::Kept { bytes: first, permit: None });
    }
    match length {
        Some(length) => match budget.take(length) {
            Some(permit) => keep(body, first, length, permit).await,
            None => begin(body, first, Some(length)).await,
        },
        None => keep_unknown(body, first, most, budget).await,
    }
}

async fn keep(mut body: Incoming, first: Bytes, length: u64, permit: Permit) -> Result<Received, Failure> {
    // The length is below the budget, so it fits.
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(usize::MAX));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(next) = frame(&mut body).await? {
        whole.extend_from_slice(&next);
    }
    Ok(Received::Kept { bytes: whole.freeze(), permit: Some(permit) })
}

async fn keep_unknown(mut body: Incoming, first: Bytes, most: u64, budget: &Budget) -> Result<Received, Failure> {
    let Some(mut permit) = budget.take(STEP.max(first.len() as u64)) else {
        return begin(body, first, None).await;
    };
    let mut room = STEP.max(first.len() as u64);
    let mut whole = BytesMut::from(&first[..]);
    drop(first);
    while let Some(next) = frame(&mut body).await? {
        whole.extend_from_slice(&next);
        let size = whole.len() as u64;
        if size > most {
            return Err(too_large(most));
        }
        if size > room {
            // A buffer that grows doubles, so that is what is asked for.
            let more = room.max(size - room);
            if !permit.grow(more) {
                // What is here stays counted, or many of these together would take any amount.
                return Ok(Received::Flowing { start: whole.freeze(), rest: body, length: None, permit: Some(permit) });
            }
            room += more;
        }
    }
    Ok(Received::Kept { bytes: whole.freeze(), permit: Some(permit) })
}

async fn begin(mut body: Incoming, first: Bytes, length: Option<u64>) -> Result<Received, Failure> {
    let mut start = BytesMut::from(&first[..]);
    while start.len() < START {
        match frame(&mut body).await? {
            Some(next) => start.extend_from_slice(&next),
            None => break,
        }
    }
    Ok(Received::Flowing { start: start.freeze(), rest: body, length, permit: None })
}

/// The next bytes of a body; `None` at its end.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        let next = tokio::time::timeout(PAUSE_LONGEST, body.frame())
            .await
            .map_err(|_| Failure::new(Cause::Timeout408, "the request body stopped coming: no byte of it for 30 s"))?;
        match next {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Failure::new(Cause::BadRequest, format!("the request body broke off: {error}")));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

pub(crate) fn too_large(most: u64) -> Failure {
    Failure::new(Cause::TooLarge, format!("the request body is too large: at most {} MiB are taken", most >> 20))
}
