//! The fleet's secret: whoever has it may knock at the mesh port. It says nothing about who may come in.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroize as _;

/// 32 random bytes that all members of a fleet share. Never shown, not even in `Debug`.
#[derive(Clone)]
pub struct FleetSecret([u8; 32]);

impl FleetSecret {
    /// A new secret, from the system's randomness.
    pub fn generate() -> Result<FleetSecret, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(FleetSecret(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A value that only those who have the secret can compute, for one purpose and its parts.
    ///
    /// All parts but the last must have a fixed length for their purpose, or two lists could mean the same bytes.
    pub(crate) fn derive(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mac = self.mac(purpose, parts);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&mac.finalize().into_bytes());
        bytes
    }

    /// Whether `given` is the start of what [`FleetSecret::derive`] makes; takes the same time for any wrong value.
    pub(crate) fn proves(&self, purpose: &str, parts: &[&[u8]], given: &[u8]) -> bool {
        !given.is_empty() && self.mac(purpose, parts).verify_truncated_left(given).is_ok()
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        // No purpose contains a zero byte, so none is the start of another.
        mac.update(&[0]);
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl Drop for FleetSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<[u8; 32]> for FleetSecret {
    fn from(bytes: [u8; 32]) -> FleetSecret {
        FleetSecret(bytes)
    }
}

impl From<zeroize::Zeroizing<[u8; 32]>> for FleetSecret {
    fn from(bytes: zeroize::Zeroizing<[u8; 32]>) -> FleetSecret {
        FleetSecret(*bytes)
    }
}

impl fmt::Debug for FleetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetSecret(hidden)")
    }
}

/// The secrets a node accepts, the current one first: while a fleet changes its secret there are two.
#[derive(Clone, Debug)]
pub struct Secrets(Vec<FleetSecret>);

impl Secrets {
    /// Most secrets accepted at once. Each costs one hash per stranger that knocks.
    pub const MOST: usize = 4;

    /// `None` if there is no secret or more than [`Secrets::MOST`].
    pub fn new(current_first: Vec<FleetSecret>) -> Option<Secrets> {
        (1..=Secrets::MOST).contains(&current_first.len()).then_some(Secrets(current_first))
    }

    /// The one to knock with.
    pub fn current(&self) -> &FleetSecret {
        &self.0[0]
    }

    /// All, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &FleetSecret> {
        self.0.iter()
    }
}

impl From<FleetSecret> for Secrets {
    fn from(only: FleetSecret) -> Secrets {
        Secrets(vec![only])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = FleetSecret::from([0xab; 32]);
        let text = format!("{secret:?} {:?}", Secrets::from(secret.clone()));
        assert!(!text.contains("171") && !text.to_lowercase().contains("ab, ab"), "{text}");
    }

    #[test]
    fn purposes_and_parts_are_kept_apart() {
        let secret = FleetSecret::from([1; 32]);
        let value = secret.derive("one", &[b"a", b"b"]);
        assert!(secret.proves("one", &[b"a", b"b"], &value[..16]));
        assert!(!secret.proves("one", &[b"a", b"c"], &value[..16]));
        assert!(!secret.proves("two", &[b"a", b"b"], &value[..16]));
        assert!(!secret.proves("one", &[b"a", b"b"], &[]));
        assert!(!FleetSecret::from([2; 32]).proves("one", &[b"a", b"b"], &value));
    }

    #[test]
    fn there_is_always_a_current_secret() {
        assert!(Secrets::new(Vec::new()).is_none());
        assert!(Secrets::new(vec![[0; 32].into(); 5]).is_none());
        assert_eq!(Secrets::new(vec![[3; 32].into(), [4; 32].into()]).unwrap().current().bytes(), &[3; 32]);
    }
}
