//! JSON as Go's encoder writes it, and small ids that look like Ollama's.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Appends `text` as a JSON string. Go escapes `<`, `>` and `&` too, so that the text may stand in HTML.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(out, "\\u{:04x}", u32::from(letter)).expect("writing to a String cannot fail");
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// `value` as one line of JSON with Go's escapes.
pub(crate) fn json(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut line = String::with_capacity(plain.len() + 32);
    for letter in plain.chars() {
        match letter {
            // Outside of strings JSON has none of these, so no parsing is needed.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(line, "\\u{:04x}", u32::from(letter)).expect("writing to a String cannot fail");
            }
            _ => line.push(letter),
        }
    }
    line
}

/// SHA-256 of `bytes` in 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
    }
    out
}

/// A number that differs from call to call; ids only need to look different.
pub(crate) fn draw() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut seed = NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// `digits` hexadecimal digits (at most 32).
pub(crate) fn draw_hex(digits: usize) -> String {
    let mut out = format!("{:016x}{:016x}", draw(), draw());
    out.truncate(digits);
    out
}

/// `length` letters and digits, as the engine names its tool calls.
pub(crate) fn draw_letters(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..length).map(|_| char::from(LETTERS[usize::try_from(draw() % 62).unwrap_or(0)])).collect()
}

/// The bytes of standard base64 in `text`; `Err` holds the position of the first wrong byte.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    let trimmed = text.trim_end_matches('=');
    for (at, byte) in trimmed.bytes().enumerate() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(at),
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).unwrap_or(0));
        }
    }
    if text.len().is_multiple_of(4) { Ok(out) } else { Err(text.len()) }
}

/// Standard base64 of `bytes`, with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = [0u8; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = (u32::from(three[0]) << 16) | (u32::from(three[1]) << 8) | u32::from(three[2]);
        for sextet in 0..4 {
            if sextet <= group.len() {
                let index = usize::try_from((bits >> (18 - 6 * sextet)) & 63).unwrap_or(0);
                out.push(char::from(LETTERS[index]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn markup_is_escaped_like_go_does() {
        let mut out = String::new();
        push_string(&mut out, "a<b>&\"\n\u{1}");
        assert_eq!(out, r#""a\u003cb\u003e\u0026\"\n\u0001""#);
        assert_eq!(json(&json!({"a": "<x>"})), r#"{"a":"\u003cx\u003e"}"#);
    }

    #[test]
    fn base64_comes_back() {
        for text in ["", "a", "ab", "abc", "abcd", "\u{ff}\u{0}"] {
            assert_eq!(from_base64(&to_base64(text.as_bytes())), Ok(text.as_bytes().to_vec()), "{text:?}");
        }
        assert_eq!(from_base64("***"), Err(0));
    }
}
