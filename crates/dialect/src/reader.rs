//! Reads JSON from front to back without building anything from it.
//!
//! Checks the whole grammar (RFC 8259) except that strings need not be UTF-8: Go's decoder, and so Ollama, takes those too.

mod skip;
mod string;

use std::ops::Range;

use crate::BadBody;
pub(crate) use string::Str;
use string::{escape, plain_end};

/// How deep arrays and objects may be nested; far beyond any request, far below what overflows a stack in a backend.
pub(crate) const MOST_DEPTH: usize = 512;

/// Why a text is not JSON. Smaller than a [`BadBody`], because each string and number that is read may return one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends in the middle of a value.
    Cut,
    /// It is nested too deep.
    TooDeep,
    /// The byte at `at` cannot be there.
    Syntax { at: usize },
}

impl From<Fault> for BadBody {
    fn from(fault: Fault) -> BadBody {
        match fault {
            Fault::Cut => BadBody::Cut,
            Fault::TooDeep => BadBody::TooDeep,
            Fault::Syntax { at } => BadBody::Syntax { at },
        }
    }
}

/// A position in a text that is JSON so far.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Told about each value of a tree in the order of reading. The root has depth 0, its members and elements have 1.
pub(crate) trait Visit {
    /// The name of the member that comes next.
    fn key(&mut self, _depth: usize, _key: Str<'_>) {}
    /// A string.
    fn string(&mut self, _depth: usize, _string: Str<'_>) {}
    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self, _depth: usize) {}
    /// An array or object begins.
    fn open(&mut self, _depth: usize) {}
    /// The array or object of that depth ends.
    fn close(&mut self, _depth: usize) {}
}

struct Nobody;

impl Visit for Nobody {}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte, without taking it.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes to the next byte that is no blank.
    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes the opening brace or bracket that was peeked.
    pub(crate) fn enter(&mut self) {
        self.at += 1;
    }

    /// Goes to the value of the next member of the object that was entered; `None` takes the closing brace.
    pub(crate) fn next_member(&mut self, first: &mut bool) -> Result<Option<Member<'a>>, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_space();
            }
            _ if *first => {}
            _ => return Err(self.unexpected()),
        }
        *first = false;
        let start = self.at;
        let key = self.key()?;
        Ok(Some(Member { key, start }))
    }

    /// Whether the array that was entered has another element, which is then next; `false` takes the closing bracket.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_space();
                // A bracket after a comma would else be taken for the end.
                if self.peek() == Some(b']') {
                    return Err(self.unexpected());
                }
            }
            _ if *first => {}
            _ => return Err(self.unexpected()),
        }
        *first = false;
        Ok(true)
    }

    /// Reads one value at nesting `depth` and returns where it was.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Range<usize>, Fault> {
        self.visit(depth, &mut Nobody)
    }

    /// Reads one value at nesting `outer`, tells `visitor` what is in it, and returns where it was.
    pub(crate) fn visit<V: Visit>(&mut self, outer: usize, visitor: &mut V) -> Result<Range<usize>, Fault> {
        let start = self.at;
        // One bit for each open container: set for an object.
        let mut objects = [0u64; MOST_DEPTH / 64];
        let mut depth = 0;
        'value: loop {
            match self.peek() {
                Some(b'"') => {
                    let string = self.string()?;
                    visitor.string(depth, string);
                }
                Some(bracket @ (b'{' | b'[')) => {
                    if outer + depth >= MOST_DEPTH {
                        return Err(Fault::TooDeep);
                    }
                    let object = bracket == b'{';
                    visitor.open(depth);
                    let bit = 1 << (depth % 64);
                    if object {
                        objects[depth / 64] |= bit;
                    } else {
                        objects[depth / 64] &= !bit;
                    }
                    depth += 1;
                    self.at += 1;
                    self.skip_space();
                    match self.peek() {
                        Some(b'}') if object => {}
                        Some(b']') if !object => {}
                        _ if object => {
                            let key = self.key()?;
                            visitor.key(depth, key);
                            continue 'value;
                        }
                        _ => continue 'value,
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    visitor.scalar(depth);
                }
                Some(b't') => self.literal(b"true", depth, visitor)?,
                Some(b'f') => self.literal(b"false", depth, visitor)?,
                Some(b'n') => self.literal(b"null", depth, visitor)?,
                _ => return Err(self.unexpected()),
            }
            // A value has ended; so may the containers around it.
            loop {
                if depth == 0 {
                    return Ok(start..self.at);
                }
                self.skip_space();
                let inner = depth - 1;
                let object = objects[inner / 64] & (1 << (inner % 64)) != 0;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        if object {
                            let key = self.key()?;
                            visitor.key(depth, key);
                        }
                        continue 'value;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(self.unexpected()),
                }
                self.at += 1;
                depth = inner;
                visitor.close(depth);
            }
        }
    }

    /// Reads one value at nesting `depth`: a number that is not negative, its fraction cut off. `None` for all else.
    pub(crate) fn take_number(&mut self, depth: usize) -> Result<Option<u64>, Fault> {
        let is_number = matches!(self.peek(), Some(b'0'..=b'9' | b'-'));
        let range = self.value(depth)?;
        Ok(is_number.then(|| count(&self.bytes[range])).flatten())
    }

    /// Reads the string that was peeked.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Str<'a>, Fault> {
        let start = self.at + 1;
        let (mut at, mut shrink) = (start, 0);
        loop {
            at = plain_end(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Str { raw: &self.bytes[start..at], shrink });
                }
                Some(b'\\') => {
                    let (taken, saved) = escape(self.bytes, at)?;
                    at += taken;
                    shrink += saved;
                }
                Some(_) => return Err(Fault::Syntax { at }),
                None => return Err(Fault::Cut),
            }
        }
    }

    /// Takes blanks up to the end; anything else there is an error.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// What is wrong with the next byte: there is none, or it cannot be there.
    pub(crate) fn unexpected(&self) -> Fault {
        if self.at < self.bytes.len() { Fault::Syntax { at: self.at } } else { Fault::Cut }
    }

    fn key(&mut self) -> Result<Str<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        Ok(key)
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn literal<V: Visit>(&mut self, word: &[u8], depth: usize, visitor: &mut V) -> Result<(), Fault> {
        for &byte in word {
            if self.peek() != Some(byte) {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        visitor.scalar(depth);
        Ok(())
    }
}

/// A member of an object; the reader is at its value.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    /// Its name.
    pub(crate) key: Str<'a>,
    /// Where its name begins, quote included.
    pub(crate) start: usize,
}

/// A JSON number as a whole number; `None` for a negative one.
fn count(number: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(number).ok()?;
    if let Ok(whole) = number.parse() {
        return Some(whole);
    }
    let number: f64 = number.parse().ok()?;
    // The cast saturates, so that a huge number stays huge.
    (number >= 0.0 && !number.is_sign_negative()).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<(), Fault> {
        let mut reader = Reader::new(text.as_bytes());
        reader.value(0)?;
        reader.end()
    }

    #[test]
    fn only_json_is_taken() {
        for good in ["0", "-0.5e+10", "[]", "{}", " [1 , 2]".trim(), r#"{"a":[{}],"b":"\u00e9\n"}"#, "null", "1E5"] {
            assert_eq!(value(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("01", Fault::Syntax { at: 1 }),
            ("+1", Fault::Syntax { at: 0 }),
            ("1.", Fault::Cut),
            ("1.x", Fault::Syntax { at: 2 }),
            ("[1,]", Fault::Syntax { at: 3 }),
            ("[1 2]", Fault::Syntax { at: 3 }),
            (r#"{"a":1,}"#, Fault::Syntax { at: 7 }),
            (r#"{"a" 1}"#, Fault::Syntax { at: 5 }),
            ("{1:2}", Fault::Syntax { at: 1 }),
            ("[}", Fault::Syntax { at: 1 }),
            ("\"a\nb\"", Fault::Syntax { at: 2 }),
            (r#""\x""#, Fault::Syntax { at: 2 }),
            (r#""\u12g4""#, Fault::Syntax { at: 5 }),
            (r#""\u12"#, Fault::Cut),
            ("tru", Fault::Cut),
            ("trux", Fault::Syntax { at: 3 }),
            ("[", Fault::Cut),
            ("{\"a\":", Fault::Cut),
            ("", Fault::Cut),
        ] {
            assert_eq!(value(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(value(&nested(MOST_DEPTH)), Ok(()));
        assert_eq!(value(&nested(MOST_DEPTH + 1)), Err(Fault::TooDeep));
        assert_eq!(value(&"[".repeat(1_000_000)), Err(Fault::TooDeep));
    }
}
