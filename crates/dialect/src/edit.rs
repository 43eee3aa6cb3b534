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

/// An edited body: its pieces in order, none of them empty, sharing the memory of the body they were cut from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces(Inner);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inner {
    /// Nothing was edited: no list is needed.
    Whole(Bytes),
    Parts(Vec<Bytes>),
}

impl Pieces {
    /// Bytes of all pieces together: the exact content length.
    pub fn len(&self) -> u64 {
        self.as_slice().iter().map(|piece| piece.len() as u64).sum()
    }

    /// Whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.as_slice().iter().all(Bytes::is_empty)
    }

    fn as_slice(&self) -> &[Bytes] {
        match &self.0 {
            Inner::Whole(body) => std::slice::from_ref(body),
            Inner::Parts(parts) => parts,
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(body: Bytes) -> Pieces {
        Pieces(Inner::Whole(body))
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        match self.0 {
            Inner::Whole(body) => {
                IntoIter { whole: Some(body).filter(|body| !body.is_empty()), parts: Vec::new().into_iter() }
            }
            Inner::Parts(parts) => IntoIter { whole: None, parts: parts.into_iter() },
        }
    }
}

/// The pieces of an edited body, in order.
#[derive(Clone, Debug)]
pub struct IntoIter {
    whole: Option<Bytes>,
    parts: std::vec::IntoIter<Bytes>,
}

impl Iterator for IntoIter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.whole.take().or_else(|| self.parts.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.whole.is_some()) + self.parts.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for IntoIter {}

/// `body` with `edits` done, in whatever order they come.
///
/// Of edits that overlap, the one that begins first is done, or the longer one if they begin together; the others are
/// dropped. Insertions at the same place are done in the order given. A range beyond the end is cut off there.
pub fn splice(body: &Bytes, mut edits: Vec<Edit>) -> Pieces {
    if edits.is_empty() {
        return Pieces::from(body.clone());
    }
    // An insertion comes before a replacement that begins at the same byte, which would else swallow it.
    edits.sort_by_key(|edit| (edit.range.start, !edit.range.is_empty(), std::cmp::Reverse(edit.range.end)));
    let mut parts = Vec::with_capacity(edits.len() * 2 + 1);
    let mut push = |part: Bytes| {
        if !part.is_empty() {
            parts.push(part);
        }
    };
    let mut done = 0;
    for Edit { range, with } in edits {
        let (start, end) = (range.start.min(body.len()), range.end.min(body.len()));
        if start < done || end < start {
            continue;
        }
        push(body.slice(done..start));
        push(with);
        done = end;
    }
    push(body.slice(done..));
    Pieces(Inner::Parts(parts))
}

/// `text` as a JSON string, quoted and escaped.
pub fn json_string(text: &str) -> Bytes {
    Bytes::from(serde_json::to_vec(text).expect("a string has a JSON form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edits: &[(Range<usize>, &'static str)]) -> String {
        let body = Bytes::from_static(b"0123456789");
        let edits =
            edits.iter().map(|(range, with)| Edit { range: range.clone(), with: Bytes::from_static(with.as_bytes()) });
        let pieces = splice(&body, edits.collect());
        let length = pieces.len();
        assert!(pieces.clone().into_iter().all(|piece| !piece.is_empty()));
        let whole: Vec<u8> = pieces.into_iter().flatten().collect();
        assert_eq!(whole.len() as u64, length);
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn edits_are_done_in_order_and_once() {
        for (edits, expected) in [
            (&[][..], "0123456789"),
            (&[(2..4, "ab")], "01ab456789"),
            (&[(5..6, "x"), (2..4, "")], "014x6789"),
            (&[(0..10, "")], ""),
            (&[(3..3, "x"), (3..3, "y"), (3..4, "z")], "012xyz456789"),
            (&[(2..5, "z"), (2..2, "x")], "01xz56789"),
            (&[(2..8, "out"), (3..4, "in")], "01out89"),
            (&[(2..4, "short"), (2..8, "long")], "01long89"),
            (&[(8..99, "x"), (50..60, "y")], "01234567xy"),
            (&[(10..10, "x")], "0123456789x"),
        ] {
            assert_eq!(edited(edits), expected, "{edits:?}");
        }
    }

    #[test]
    fn a_body_without_edits_keeps_its_memory() {
        let body = Bytes::from(vec![b'x'; 100]);
        let mut pieces = splice(&body, Vec::new()).into_iter();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces.next().unwrap().as_ptr(), body.as_ptr());
        assert!(splice(&Bytes::new(), Vec::new()).is_empty());
        assert_eq!(splice(&Bytes::new(), Vec::new()).into_iter().count(), 0);
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(json_string("a\"b\\\n"), r#""a\"b\\\n""#);
    }
}
