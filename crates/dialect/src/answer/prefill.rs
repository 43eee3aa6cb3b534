//! Leaves out of an answer what the client itself wrote as its beginning and the backend says once more.

use super::json::{escaped, unescaped};

/// What is not yet clear. At most as much is kept as the beginning is long.
#[derive(Debug)]
pub(super) struct Prefill {
    /// What the answer would have to go on with if it repeats the beginning.
    expected: String,
    /// What was said so far, as it came: the inside of a JSON string.
    pub(super) held: String,
    /// The log probabilities that came with it: elements without brackets.
    pub(super) likely: String,
}

/// What a piece of the answer's text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// More of the beginning, so far.
    Unclear,
    /// The end of the beginning, and this after it: the inside of a JSON string.
    Repeated(String),
    /// Something else: what was held is the answer's own.
    Own,
}

impl Prefill {
    pub(super) fn new(beginning: &str) -> Prefill {
        Prefill { expected: beginning.to_owned(), held: String::new(), likely: String::new() }
    }

    /// Takes the next piece of the text. After anything but [`Piece::Unclear`] there is nothing more to ask.
    pub(super) fn take(&mut self, piece: &str, likely: &str) -> Piece {
        let text = unescaped(piece);
        if let Some(rest) = text.strip_prefix(&*self.expected) {
            return Piece::Repeated(escaped(rest));
        }
        let Some(rest) = self.expected.strip_prefix(&*text) else { return Piece::Own };
        self.expected = rest.to_owned();
        self.held.push_str(piece);
        if !self.likely.is_empty() && !likely.is_empty() {
            self.likely.push(',');
        }
        self.likely.push_str(likely);
        Piece::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_known_by_what_it_says() {
        for (beginning, pieces, expected) in [
            ("This reply", &["This reply comes"][..], Piece::Repeated(" comes".to_owned())),
            ("This reply", &["This reply"], Piece::Repeated(String::new())),
            ("This reply", &["Th", "", "is", " reply", " x"], Piece::Repeated(String::new())),
            ("<\"é\n", &[r#"\u003c\""#, r"\u00e9", r#"\n\"on"#], Piece::Repeated(r#"\"on"#.to_owned())),
            ("ha", &["hahaha"], Piece::Repeated("haha".to_owned())),
            ("This reply", &["This re"], Piece::Unclear),
            ("This reply", &["This ", "time"], Piece::Own),
            ("This reply", &["this reply"], Piece::Own),
            ("😀", &[r"\ud83d"], Piece::Own),
        ] {
            let mut prefill = Prefill::new(beginning);
            let mut last = Piece::Unclear;
            for piece in pieces {
                last = prefill.take(piece, "");
                if last != Piece::Unclear {
                    break;
                }
                assert!(unescaped(&prefill.held).len() < beginning.len());
            }
            assert_eq!(last, expected, "{beginning:?}: {pieces:?}");
        }
    }
}
