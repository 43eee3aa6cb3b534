//! Names of things that must not be confused with each other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A backend's name on its node: `ollama`, `llama-server`, `vllm-2`, or what the owner called it.
///
/// Cheap to clone. Stable while the backend keeps its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendId(Arc<str>);

impl BackendId {
    /// Names a backend.
    pub fn new(name: impl Into<Arc<str>>) -> BackendId {
        BackendId(name.into())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request at one door: 20 characters that sort by time.
///
/// The first nine characters are the Unix time in milliseconds (45 bits, enough until the year 3084), the other eleven
/// (55 bits) tell requests of the same millisecond and of different doors apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; RequestId::LEN]);

impl RequestId {
    /// Characters of an id.
    pub const LEN: usize = 20;

    // No i, l, o, u: what is read aloud or copied by hand must not be mistaken.
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// The id of a request that came in at `unix_ms`; `unique` must differ between requests of the same millisecond.
    pub fn new(unix_ms: u64, unique: u64) -> RequestId {
        let mut text = [0; RequestId::LEN];
        let (mut time, mut rest) = (unix_ms, unique);
        for slot in text[..9].iter_mut().rev() {
            *slot = Self::ALPHABET[(time & 31) as usize];
            time >>= 5;
        }
        for slot in text[9..].iter_mut().rev() {
            *slot = Self::ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        RequestId(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only letters and digits are ever put in")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_requests_have_larger_ids() {
        let ids = [RequestId::new(0, 9), RequestId::new(1, 0), RequestId::new(1, 1), RequestId::new(1 << 40, 0)];
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1] && pair[0].as_str() < pair[1].as_str()));
        assert_eq!(ids[0].as_str().len(), RequestId::LEN);
    }
}
