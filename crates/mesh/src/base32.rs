//! Bytes as text that survives being read aloud: 32 characters without i, l, o and u, in lower case.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `bytes` as text, five bits a character, the last one padded with zero bits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let (mut held, mut bits) = (0_u16, 0);
    for byte in bytes {
        held = held << 8 | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[usize::from(held >> bits & 31)]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[usize::from(held << (5 - bits) & 31)]));
    }
    text
}

/// The bytes that [`encode`] made `text` of; `None` for anything that it cannot have made.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(5) {
        return None;
    }
    let mut bytes = [0; N];
    let (mut held, mut bits, mut at) = (0_u16, 0, 0);
    for character in text.bytes() {
        held = held << 5 | u16::from(value(character)?);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *bytes.get_mut(at)? = u8::try_from(held >> bits).ok()?;
            at += 1;
            held &= (1 << bits) - 1;
        }
    }
    // One text for one value: padding that is not zero would be a second spelling.
    (held == 0).then_some(bytes)
}

/// The five bits that `character` stands for.
pub(crate) fn value(character: u8) -> Option<u8> {
    ALPHABET.iter().position(|known| *known == character).and_then(|at| u8::try_from(at).ok())
}

/// The character for the low five bits of `value`.
pub(crate) fn character(value: u8) -> char {
    char::from(ALPHABET[usize::from(value & 31)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_comes_back_as_the_same_bytes(bytes: [u8; 32], few: [u8; 5]) {
            prop_assert_eq!(decode::<32>(&encode(&bytes)), Some(bytes));
            prop_assert_eq!(decode::<5>(&encode(&few)), Some(few));
        }

        #[test]
        fn no_two_texts_mean_the_same(text in "[0-9a-z]{52}") {
            if let Some(bytes) = decode::<32>(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in ["", "0", "00000000000", "l000000u", "0000000\u{e9}", "ABCDEFGH"] {
            assert_eq!(decode::<5>(text), None, "{text}");
        }
    }
}
