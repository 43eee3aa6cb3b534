//! Reads the JSON of records without building anything, and writes JSON piece by piece.
//!
//! Strings stay as they stood between their quotes, escapes and all: most go from record to record unchanged.

use std::ops::Range;

use crate::reader::Reader;

/// Tells `each` the members of an object, keys and values as written. False if `text` is no whole JSON object; what was
/// told until then is to be forgotten.
#[inline]
pub(super) fn members<'a>(text: &'a str, mut each: impl FnMut(&'a str, &'a str)) -> bool {
    let mut reader = Reader::new(text.as_bytes());
    reader.skip_space();
    if reader.peek() != Some(b'{') {
        return false;
    }
    reader.enter();
    let mut first = true;
    loop {
        match reader.next_member(&mut first) {
            Ok(Some(member)) => {
                let key = member.start + 1..member.start + 1 + member.key.raw.len();
                let Ok(value) = reader.value(1) else { return false };
                each(part(text, key), part(text, value));
            }
            Ok(None) => return reader.end().is_ok(),
            Err(_) => return false,
        }
    }
}

/// Tells `each` the elements of an array, as written. False if `text` is no whole JSON array.
#[inline]
pub(super) fn elements<'a>(text: &'a str, mut each: impl FnMut(&'a str)) -> bool {
    let mut reader = Reader::new(text.as_bytes());
    reader.skip_space();
    if reader.peek() != Some(b'[') {
        return false;
    }
    reader.enter();
    let mut first = true;
    loop {
        match reader.next_element(&mut first) {
            Ok(true) => {
                let Ok(value) = reader.value(1) else { return false };
                each(part(text, value));
            }
            Ok(false) => return reader.end().is_ok(),
            Err(_) => return false,
        }
    }
}

/// The reader's ranges begin and end at ASCII characters, so none is ever inside a character.
fn part(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

/// What is between the quotes of a JSON string; `None` for other values.
#[inline]
pub(super) fn string(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// As [`string`], `None` also for an empty one.
#[inline]
pub(super) fn filled(value: &str) -> Option<&str> {
    string(value).filter(|inner| !inner.is_empty())
}

/// A JSON number that is not negative, its fraction cut off.
pub(super) fn count(value: &str) -> Option<u64> {
    if let Ok(whole) = value.parse() {
        return Some(whole);
    }
    let number: f64 = value.parse().ok()?;
    // The cast saturates, so that a huge number stays huge.
    (number.is_finite() && number >= 0.0).then_some(number as u64)
}

/// The text that the inside of a JSON string means.
pub(super) fn unescaped(inner: &str) -> String {
    if !inner.contains('\\') {
        return inner.to_owned();
    }
    let quoted = format!("\"{inner}\"");
    match Reader::new(quoted.as_bytes()).string() {
        Ok(string) => string.text().into_owned(),
        // Only pieces that do not fit together: each record was checked before.
        Err(_) => inner.to_owned(),
    }
}

/// Appends `text` as the inside of a JSON string.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control)]);
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

/// `text` as the inside of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 16);
    push_escaped(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends a whole number.
#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends texts and numbers one after another.
macro_rules! push {
    ($out:expr, $($piece:expr),+ $(,)?) => {{
        $($crate::answer::json::Piece::push_to($piece, $out);)+
    }};
}
pub(super) use push;

/// What [`push!`] can append.
pub(super) trait Piece {
    /// Appends it.
    fn push_to(self, out: &mut Vec<u8>);
}

impl Piece for &str {
    #[inline]
    fn push_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Piece for &String {
    #[inline]
    fn push_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Piece for u64 {
    #[inline]
    fn push_to(self, out: &mut Vec<u8>) {
        push_number(out, self);
    }
}

/// Whether `text` is one whole JSON object.
pub(super) fn is_object(text: &str) -> bool {
    members(text, |_, _| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_there_and_back() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}é😀", "\\u0041"] {
            let inner = escaped(text);
            assert_eq!(unescaped(&inner), text);
            assert_eq!(serde_json::from_str::<String>(&format!("\"{inner}\"")).unwrap(), text);
        }
        // What a Go server escapes, and a pair that came in one piece.
        assert_eq!(unescaped(r"\u003c\ud83d\ude00"), "<😀");
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 9, 10, 12345, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        for (text, number) in [("12", Some(12)), ("1.9", Some(1)), ("-1", None), ("1e3", Some(1000)), ("null", None)] {
            assert_eq!(count(text), number, "{text}");
        }
    }
}
