//! Who a node is: its Ed25519 key pair, and the public half by which all others know it.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use libp2p::PeerId;
use zeroize::Zeroizing;

use crate::base32;

/// The identity of a node: its Ed25519 public key.
///
/// The order of keys is the order of their bytes; it decides who dials whom. Shown as 52 characters, see [`NodeKey::short`]
/// for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey([u8; 32]);

/// What a peer id of libp2p says before the key: an identity hash of 36 bytes that hold a key of type Ed25519.
const PEER_ID_START: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl NodeKey {
    /// The 32 bytes of the public key.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// The first eight characters: enough to tell the machines of one fleet apart, never enough to trust one.
    pub fn short(self) -> String {
        let mut text = base32::encode(&self.0);
        text.truncate(8);
        text
    }

    /// Whether this key signed `message`. Keys that anybody could sign for are refused.
    pub fn signed(self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// The key that is inside a peer id; `None` for peers with keys of other kinds.
    pub(crate) fn of(peer: PeerId) -> Option<NodeKey> {
        let bytes = peer.to_bytes();
        bytes.strip_prefix(&PEER_ID_START)?.try_into().ok().map(NodeKey)
    }

    /// The peer id that libp2p knows this node by; `None` if the bytes are no public key.
    pub(crate) fn peer(self) -> Option<PeerId> {
        let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(libp2p::identity::PublicKey::from(key).to_peer_id())
    }
}

impl From<[u8; 32]> for NodeKey {
    fn from(bytes: [u8; 32]) -> NodeKey {
        NodeKey(bytes)
    }
}

impl From<NodeKey> for [u8; 32] {
    fn from(key: NodeKey) -> [u8; 32] {
        key.0
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.short())
    }
}

/// A text that is not a node's key: 52 of the characters 0-9 and a-z without i, l, o and u.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's key is 52 letters and digits")]
pub struct NotAKey;

impl FromStr for NodeKey {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<NodeKey, NotAKey> {
        base32::decode(text).map(NodeKey).ok_or(NotAKey)
    }
}

/// A node's own key pair. Its private half is shown nowhere, not even in `Debug`.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity whose private key is `seed`: equal seeds are equal nodes.
    pub fn from_seed(seed: &[u8; 32]) -> Identity {
        Identity(SigningKey::from_bytes(seed))
    }

    /// A new identity, from the system's randomness.
    pub fn generate() -> Result<Identity, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        Ok(Identity::from_seed(&seed))
    }

    /// The public half.
    pub fn key(&self) -> NodeKey {
        NodeKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`. Whoever calls makes sure that it starts with what it is for.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The private key as it is kept in the file.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The same key pair for libp2p.
    pub(crate) fn keypair(&self) -> libp2p::identity::Keypair {
        libp2p::identity::Keypair::ed25519_from_bytes(*self.seed()).expect("32 bytes are a private key")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.key().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_to_libp2p_and_as_text() {
        let identity = Identity::from_seed(&[7; 32]);
        let key = identity.key();
        assert_eq!(key.peer(), Some(identity.keypair().public().to_peer_id()));
        assert_eq!(NodeKey::of(key.peer().unwrap()), Some(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(format!("{key:?} {identity:?}"), format!("NodeKey({0}) Identity({0})", key.short()));
    }

    #[test]
    fn only_the_own_key_signs() {
        let (one, two) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = one.sign(b"words");
        assert!(one.key().signed(b"words", &signature));
        assert!(!one.key().signed(b"other words", &signature));
        assert!(!two.key().signed(b"words", &signature));
    }

    // The neutral element as a public key: a signature of all zeros but its first point would be true for any message.
    #[test]
    fn keys_that_anybody_can_sign_for_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!NodeKey::from(neutral).signed(b"anything", &signature));
    }
}
