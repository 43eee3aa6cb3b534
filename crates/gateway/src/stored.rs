//! Keeps Responses for the next turn of their conversations, in memory and on this node only.
//!
//! A client that names an earlier response gets it continued by whichever backend serves: what was said before is put in
//! front of the request's own input. No backend is asked to store anything.

mod answer;
mod keeping;
mod shelf;
mod tokens;

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use dialect::{Cause, Failure, Scan, Turn};
use proto::RequestId;

pub(crate) use answer::answer;
pub(crate) use keeping::Keeping;
use shelf::Shelf;
pub(crate) use tokens::{count, is_count};

use crate::body::{Received, too_large};
use crate::budget::Budget;
use crate::door::{Door, Limits};

/// Of the bytes for all stored responses, how much one may take: a quarter of that again for its response object. What is
/// larger is not stored.
const SHARE: u64 = 8;
/// Of the same, what the inputs of requests that are being answered may take; more are answered, and not stored.
const PENDING: u64 = 2;

/// The responses that are kept.
pub(crate) struct Responses {
    shelf: Mutex<Shelf>,
    /// Memory for the inputs of requests that are being answered.
    pending: Budget,
    turn_most: u64,
    secret: RandomState,
}

impl Responses {
    pub(crate) fn new(limits: &Limits) -> Arc<Responses> {
        Arc::new(Responses {
            shelf: Mutex::new(Shelf::new(limits.responses, limits.response_bytes)),
            pending: Budget::new(limits.response_bytes / PENDING),
            turn_most: limits.response_bytes / SHARE,
            secret: RandomState::new(),
        })
    }

    /// What the id of the response to `request` is made of. Who knows a request's id cannot guess it: 128 bits of it come
    /// from a keyed hash whose key no one knows.
    pub(crate) fn id(&self, request: &RequestId) -> String {
        let hash = |half: u8| self.secret.hash_one((request.as_str(), half));
        format!("{request}{:016x}{:016x}", hash(0), hash(1))
    }

    /// A response, which counts as used now. `owner`: the key that it was made with, where the client needed one; another
    /// key finds nothing.
    pub(crate) fn get(&self, owner: Option<&str>, id: &str) -> Option<Arc<Turn>> {
        self.with(|shelf| shelf.get(&label(owner, id)))
    }

    fn put(&self, owner: Option<&str>, turn: Turn) {
        if turn.bytes() <= self.turn_most {
            let label = label(owner, turn.id()).into_owned();
            self.with(|shelf| shelf.put(label, turn));
        }
    }

    fn remove(&self, owner: Option<&str>, id: &str) -> bool {
        self.with(|shelf| shelf.remove(&label(owner, id)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        work(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Under which name a response is on the shelf.
fn label<'a>(owner: Option<&str>, id: &'a str) -> Cow<'a, str> {
    match owner {
        Some(owner) => Cow::Owned(format!("{owner}\0{id}")),
        // Nobody without a key finds those of a key.
        None => Cow::Borrowed(id.split('\0').next().unwrap_or(id)),
    }
}

/// The request with all that was said before it, where it continues an earlier response; what it asks for besides that
/// nobody keeps is refused by name.
pub(crate) fn continued(
    door: &Door,
    received: Received,
    scan: Scan,
    owner: Option<&str>,
) -> Result<(Received, Scan), Failure> {
    if let Some(field) = scan.storing.refused {
        let text = format!("`{field}` is not supported: answers are kept for `previous_response_id` only");
        return Err(Failure::new(Cause::BadRequest, text));
    }
    let Some(previous) = &scan.storing.previous else { return Ok((received, scan)) };
    let turn = door.responses().get(owner, &previous.text);
    let turn = turn.ok_or_else(|| dialect::previous_not_found(&previous.text))?;
    let Received::Kept { bytes, .. } = &received else { return Ok((received, scan)) };
    let Some(whole) = turn.continued(bytes, &scan.storing) else { return Ok((received, scan)) };
    let most = door.settings().limits.body;
    if whole.len() as u64 > most {
        return Err(too_large(most));
    }
    let permit = door.budget().take(whole.len() as u64).ok_or_else(|| {
        let text =
            "other large requests fill the memory for request bodies, and this one has a long history: try again";
        let mut failure = Failure::new(Cause::Busy, text);
        failure.retry_after_s = Some(1);
        failure
    })?;
    let scan = dialect::scan_responses(&whole).map_err(|bad| Failure::from_bad_body(&bad, proto::Api::Responses))?;
    Ok((Received::Kept { bytes: whole, permit: Some(permit) }, scan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_shelf_of_its_own() {
        let labels = [label(None, "resp_1"), label(Some("nas"), "resp_1"), label(Some("phone"), "resp_1")];
        assert!(labels.iter().enumerate().all(|(at, one)| labels[..at].iter().all(|other| other != one)));
        for guess in ["nas\0resp_1", "\0resp_1", "phone\0resp_1"] {
            assert!(labels[1..].iter().all(|label| *label != self::label(None, guess)), "{guess:?}");
        }
        assert_eq!(label(None, "resp_1"), "resp_1");
    }
}
