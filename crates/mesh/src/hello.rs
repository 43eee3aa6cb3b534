//! The first thing two nodes tell each other once both know who the other is: which versions they speak.

use minicbor::{Decode, Encode};

/// The versions of the protocol that this program speaks, oldest and newest.
pub const VERSIONS: (u16, u16) = (1, 1);

/// The longest hello that is read, in bytes. Room for what later versions add.
pub(crate) const LONGEST: usize = 1024;

/// What a node says of itself at the start of a control connection. Keys are never renumbered; unknown ones are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The oldest version it speaks.
    #[n(0)]
    #[cbor(default)]
    pub min: u16,
    /// The newest version it speaks.
    #[n(1)]
    #[cbor(default)]
    pub max: u16,
    /// What it can do beyond its version, one bit each. None is defined yet.
    #[n(2)]
    #[cbor(default)]
    pub features: u64,
    /// Drawn at each start: tells a node that was started again from one that only connects again.
    #[n(3)]
    #[cbor(default)]
    pub session: u64,
    /// The port it listens on, 0 if it does not say: where others can dial a node that dialled us.
    #[n(4)]
    #[cbor(default)]
    pub port: u16,
}

impl Hello {
    /// The newest version that both speak.
    pub fn agree(&self, other: &Hello) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing into memory does not fail")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Hello> {
        if bytes.len() > LONGEST {
            return None;
        }
        minicbor::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: Hello = Hello { min: 1, max: 2, features: 5, session: 0x0123_4567_89ab_cdef, port: 11441 };

    #[test]
    fn the_bytes_of_a_hello_stay() {
        let hex: String = HELLO.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        crate::golden::check("hello.txt", hex.as_bytes());
    }

    #[test]
    fn later_keys_are_skipped_and_missing_ones_are_zero() {
        // {0: 1, 1: 9, 77: [{"x": "y"}]}
        let later = [0xa3, 0x00, 0x01, 0x01, 0x09, 0x18, 0x4d, 0x81, 0xa1, 0x61, 0x78, 0x61, 0x79];
        assert_eq!(Hello::decode(&later), Some(Hello { min: 1, max: 9, ..Hello::default() }));
        assert_eq!(Hello::decode(&[0xa0]), Some(Hello::default()));
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let speaks = |min, max| Hello { min, max, ..Hello::default() };
        for (ours, theirs, agreed) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 9), Some(3)),
            ((1, 2), (3, 4), None),
            ((2, 2), (1, 1), None),
            ((1, 1), (0, 0), None),
        ] {
            assert_eq!(speaks(ours.0, ours.1).agree(&speaks(theirs.0, theirs.1)), agreed);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = Hello::decode(&bytes);
        }

        #[test]
        fn a_damaged_hello_does_no_harm(at in 0_usize..20, with: u8) {
            let mut bytes = HELLO.encode();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = Hello::decode(&bytes);
            let _ = Hello::decode(&bytes[..at]);
        }
    }
}
