//! A number for a text, so that texts can be told apart without being kept.

/// Bytes of a text that count, with its length: openings of prompts are long and differ early.
const MOST: usize = 1024;
/// The multiplier of FNV-1a with 64 bits (RFC 9923).
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// Its start.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// A number for the first 1024 bytes of `text` and its length, going on from `before`. The same on every machine and in
/// every version; not for secrets, and not against people who look for collisions.
pub fn fingerprint(before: u64, text: &[u8]) -> u64 {
    let mut hash = BASIS ^ before.wrapping_mul(PRIME);
    let (words, rest) = text[..text.len().min(MOST)].as_chunks::<8>();
    // Eight bytes a step: FNV's mixing, but not FNV, and an eighth of its time.
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash = (hash ^ text.len() as u64).wrapping_mul(PRIME);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart() {
        let texts: [&[u8]; 7] = [b"", b"a", b"b", b"ab", b"12345678", b"12345679", b"123456781"];
        let mut numbers: Vec<u64> = texts.iter().map(|text| fingerprint(0, text)).collect();
        numbers.push(fingerprint(1, b"a"));
        numbers.push(fingerprint(0, &[b'x'; 2000]));
        numbers.push(fingerprint(0, &[b'x'; 2001]));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), texts.len() + 3);
    }

    #[test]
    fn it_is_the_same_everywhere() {
        assert_eq!(fingerprint(0, b"You are a helpful assistant."), 0xdec4_225a_d083_1d29);
    }
}
