//! The strings of JSON: where they end, and what they say.

use std::borrow::Cow;

use super::Fault;

/// A string that was read.
#[derive(Clone, Copy)]
pub(crate) struct Str<'a> {
    /// What is between the quotes, as it came.
    pub(crate) raw: &'a [u8],
    /// How many bytes fewer the string has without its escapes; zero only if it has none.
    pub(crate) shrink: usize,
}

impl<'a> Str<'a> {
    /// The string without escapes; what is not UTF-8, or half a surrogate pair, becomes U+FFFD as in Go.
    pub(crate) fn text(self) -> Cow<'a, str> {
        if self.shrink == 0 { String::from_utf8_lossy(self.raw) } else { Cow::Owned(unescaped(self.raw)) }
    }

    /// Bytes of [`text`](Str::text).
    pub(crate) fn len(self) -> u64 {
        (self.raw.len() - self.shrink) as u64
    }
}

/// Where the first quote, backslash or control character at or after `at` is, or the end.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    // Eight bytes at a time: a search that only knows quotes and backslashes would need a second pass for control
    // characters, and most strings are short.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = special(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ').unwrap_or(rest.len())
}

/// The top bit of each byte of `word` that is a quote, a backslash or a control character. Bits above the lowest one set
/// may be wrong (a subtraction borrows from them), so only the lowest counts.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let is_control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    (is_zero(quote) | is_zero(backslash) | is_control) & TOPS
}

/// Bytes of the escape at `at`, and how many of them its character does not need.
pub(super) fn escape(bytes: &[u8], at: usize) -> Result<(usize, usize), Fault> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok((2, 1)),
        Some(b'u') => {
            for i in at + 2..at + 6 {
                match bytes.get(i) {
                    Some(digit) if digit.is_ascii_hexdigit() => {}
                    Some(_) => return Err(Fault::Syntax { at: i }),
                    None => return Err(Fault::Cut),
                }
            }
            let needs = match code_unit(&bytes[at + 2..]) {
                0..0x80 => 1,
                // Half a surrogate pair: half of four.
                0x80..0x800 | 0xd800..0xe000 => 2,
                _ => 3,
            };
            Ok((6, 6 - needs))
        }
        Some(_) => Err(Fault::Syntax { at: at + 1 }),
        None => Err(Fault::Cut),
    }
}

/// The number that four hexadecimal digits are.
fn code_unit(digits: &[u8]) -> u16 {
    digits.iter().take(4).fold(0, |unit, &digit| unit << 4 | (digit as char).to_digit(16).unwrap_or(0) as u16)
}

/// `raw`, whose escapes were checked, without them.
fn unescaped(raw: &[u8]) -> String {
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            text.push(byte);
            at += 1;
            continue;
        }
        let letter = raw.get(at + 1).copied().unwrap_or(b'\\');
        at += 2;
        if letter != b'u' {
            text.push(match letter {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => other,
            });
            continue;
        }
        let first = code_unit(raw.get(at..).unwrap_or_default());
        at += 4;
        let pair = raw.get(at..).and_then(|rest| rest.strip_prefix(b"\\u")).map(|second| [first, code_unit(second)]);
        let character = match pair.map(|units| char::decode_utf16(units).next()) {
            Some(Some(Ok(wide))) if wide as u32 > 0xffff => {
                at += 6;
                wide
            }
            _ => char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
        };
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;

    #[test]
    fn strings_come_out_as_go_reads_them() {
        for (raw, text) in [
            (&br#""plain""#[..], "plain"),
            (br#""a\"b\\c\/d\b\f\n\r\t""#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
            (br#""\u0041\u00e9\u4e2d""#, "Aé中"),
            (br#""\ud83d\ude00!""#, "😀!"),
            (br#""\ud83dx""#, "\u{fffd}x"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (b"\"\xff\"", "\u{fffd}"),
            (b"\"\xff\\n\"", "\u{fffd}\n"),
        ] {
            let string = Reader::new(raw).string().unwrap();
            assert_eq!(string.text(), text);
        }
        let emoji = Reader::new(br#""\ud83d\ude00 \n\u00e9""#).string().unwrap();
        assert_eq!(emoji.len(), "😀 \né".len() as u64);
    }

    #[test]
    fn the_end_of_plain_text_is_found_at_every_offset() {
        for byte in 0..=255u8 {
            let special = byte == b'"' || byte == b'\\' || byte < b' ';
            for offset in 0..20 {
                let mut bytes = [b'\x7f'; 24];
                bytes[offset] = byte;
                assert_eq!(plain_end(&bytes, 0), if special { offset } else { 24 }, "{byte} at {offset}");
            }
        }
    }
}
