//! An answer on its way to be kept: looked at as it goes by, and kept when its last record has.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Capture, Storing, Turn};

use super::Responses;
use crate::budget::Permit;

/// Of the bytes that one turn may take, how much may be its response object.
const OBJECT_SHARE: u64 = 4;

/// What looks at one answer.
pub(crate) struct Keeping {
    capture: Capture,
    streamed: bool,
    /// The items of the request's input, and their share of memory; `None` if the answer is not to be kept.
    input: Option<(Bytes, Permit)>,
    responses: Arc<Responses>,
    owner: Option<Arc<str>>,
}

impl Keeping {
    /// What is to be done with the answer to a request of that `body`: `None` if nothing. `is_translated` says that the
    /// answer was written here, and so says already what it continues and whether it is stored.
    pub(crate) fn new(
        responses: &Arc<Responses>,
        owner: Option<Arc<str>>,
        body: &[u8],
        storing: &Storing,
        is_translated: bool,
        streamed: bool,
    ) -> Option<Box<Keeping>> {
        let stores = storing.store != Some(false);
        if is_translated && !stores {
            return None;
        }
        let input = stores.then(|| pending(responses, body, storing)).flatten();
        let most = usize::try_from(responses.turn_most / OBJECT_SHARE).unwrap_or(usize::MAX);
        let mut capture = Capture::new(streamed, most);
        if !is_translated {
            let previous = storing.previous.as_ref().map(|previous| previous.text.as_str());
            capture = capture.saying(previous, stores);
        }
        Some(Box::new(Keeping { capture, streamed, input, responses: responses.clone(), owner }))
    }

    /// Takes the first bytes of the answer, perhaps `all` of it, and returns those for the client.
    pub(crate) fn begin(&mut self, first: Bytes, is_all: bool) -> Bytes {
        if !is_all {
            return self.pass(first);
        }
        if self.streamed {
            return self.end(first, true);
        }
        let whole = self.capture.whole(first);
        self.settle();
        whole
    }

    /// Takes the next bytes and returns those for the client.
    pub(crate) fn pass(&mut self, bytes: Bytes) -> Bytes {
        let bytes = self.capture.feed(bytes);
        self.settle();
        bytes
    }

    /// Takes the `last` bytes of an answer and returns those for the client; `is_well` says that it ended as it should.
    pub(crate) fn end(&mut self, last: Bytes, is_well: bool) -> Bytes {
        let last = if last.is_empty() { last } else { self.pass(last) };
        let held = self.capture.finish();
        if is_well {
            self.settle();
        }
        match (last.is_empty(), held.is_empty()) {
            (_, true) => last,
            (true, _) => held,
            _ => [last, held].concat().into(),
        }
    }

    /// Keeps the response if it has gone by: before the client has it, for the next turn may follow at once.
    fn settle(&mut self) {
        let Some(response) = self.capture.taken() else { return };
        let turn = self.input.take().and_then(|(input, _)| Turn::new(input, response));
        if let Some(turn) = turn {
            self.responses.put(self.owner.as_deref(), turn);
        }
    }
}

/// A copy of the input: the body itself goes as soon as it is answered.
fn pending(responses: &Responses, body: &[u8], storing: &Storing) -> Option<(Bytes, Permit)> {
    let length = storing.input.as_ref()?.len() as u64;
    if length > responses.turn_most {
        return None;
    }
    // A text that becomes a message is some bytes longer.
    let permit = responses.pending.take(length + 128)?;
    Some((dialect::input_items(body, storing)?, permit))
}
