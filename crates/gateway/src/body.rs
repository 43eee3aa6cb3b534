//! Reads request bodies: kept whole for a retry while the memory for that lasts, passed on while they come in where it
//! does not.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Cause, Failure};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::budget::{Budget, Permit};
use crate::inflate::{self, Coding, Unpacker};

/// How long a client may pause while it sends a body.
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// Bytes that are looked through for the model when the rest cannot be kept.
const START: usize = 64 * 1024;
/// By how much the memory for a body of unknown length grows.
const STEP: u64 = 256 * 1024;
/// Memory that a packed body begins with: what an agent sends at first fits.
const STEP_UNPACKED: u64 = 64 * 1024;
/// Packed bytes that are unpacked at once, and unpacked ones after which others get their turn.
const PACKED: usize = 16 * 1024;
const BREATH: u64 = 1 << 20;

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
    let Some(mut whole) = Growing::new(STEP.max(first.len() as u64), most, budget) else {
        return begin(body, first, None).await;
    };
    let mut next = Some(first);
    while let Some(bytes) = next.take() {
        match whole.push(&bytes) {
            Ok(()) => {}
            Err(Full::TooLarge(failure)) => return Err(failure),
            Err(Full::NoRoom) => {
                // What is here stays counted, or many of these together would take any amount.
                let Growing { whole, permit, .. } = whole;
                return Ok(Received::Flowing { start: whole.freeze(), rest: body, length: None, permit: Some(permit) });
            }
        }
        drop(bytes);
        next = frame(&mut body).await?;
    }
    Ok(whole.into())
}

/// Reads a packed body and unpacks it while it comes in. `most` bounds it both as it comes and unpacked. There is no
/// passing on while it comes in: what does not fit into the memory for bodies is refused with 503.
pub(crate) async fn receive_packed(
    mut body: Incoming,
    coding: Coding,
    most: u64,
    budget: &Budget,
) -> Result<Received, Failure> {
    if body.size_hint().exact().is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let mut unpacker: Option<Unpacker> = None;
    while let Some(bytes) = frame(&mut body).await? {
        let Some(first) = bytes.first() else { continue };
        let unpacker = match &mut unpacker {
            Some(unpacker) => unpacker,
            none => {
                let growing = Growing::new(STEP_UNPACKED, most, budget).ok_or_else(inflate::no_room)?;
                none.insert(Unpacker::new(coding, *first, growing, budget))
            }
        };
        let mut unpacked = 0;
        for piece in bytes.chunks(PACKED) {
            unpacked += unpacker.feed(piece)?;
            if unpacked > BREATH {
                unpacked = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    match unpacker {
        Some(unpacker) => Ok(unpacker.finish()?.into()),
        None => Ok(Received::Kept { bytes: Bytes::new(), permit: None }),
    }
}

/// A body of unknown length that is kept, and its share of the memory for bodies.
pub(crate) struct Growing {
    whole: BytesMut,
    permit: Permit,
    /// Bytes that the permit stands for.
    room: u64,
    most: u64,
}

/// Why a body cannot be kept.
#[derive(Debug)]
pub(crate) enum Full {
    /// It is larger than any may be.
    TooLarge(Failure),
    /// Others take the memory.
    NoRoom,
}

impl Growing {
    /// An empty one of at most `most` bytes, that begins with memory for `room`; `None` if that is not there.
    pub(crate) fn new(room: u64, most: u64, budget: &Budget) -> Option<Growing> {
        Some(Growing { whole: BytesMut::new(), permit: budget.take(room)?, room, most })
    }

    /// Adds bytes. Where there was no room for them they are added all the same, and nothing more should be.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let size = self.whole.len() as u64 + bytes.len() as u64;
        if size > self.most {
            return Err(Full::TooLarge(too_large(self.most)));
        }
        self.whole.extend_from_slice(bytes);
        if size > self.room {
            // A buffer that grows doubles, so that is what is asked for.
            let more = self.room.max(size - self.room);
            if !self.permit.grow(more) {
                return Err(Full::NoRoom);
            }
            self.room += more;
        }
        Ok(())
    }
}

impl From<Growing> for Received {
    fn from(Growing { whole, permit, .. }: Growing) -> Received {
        Received::Kept { bytes: whole.freeze(), permit: Some(permit) }
    }
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
