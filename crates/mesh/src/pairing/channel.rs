//! The conversation of two machines that are paired: first in clear, then sealed under the key that the code led to.

use std::io;
use std::time::Duration;

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::Code;
use super::words::{Clear, Sealed};
use crate::FleetSecret;

/// The longest thing said in clear, in bytes.
const LONGEST_CLEAR: usize = 4096;
/// The longest thing said sealed: a full roster has about a million bytes.
const LONGEST_SEALED: usize = 4 * 1024 * 1024;
/// How long each of the clear steps may take.
const STEP: Duration = Duration::from_secs(10);

/// Why the conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other machine said something that makes no sense")]
    Nonsense,
    #[error("the other machine took too long")]
    TooSlow,
}

/// Who of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Joiner,
    Offerer,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Joiner => Side::Offerer,
            Side::Offerer => Side::Joiner,
        }
    }

    fn proof(self) -> &'static str {
        match self {
            Side::Joiner => "herd pairing 1 joiner knows",
            Side::Offerer => "herd pairing 1 offerer knows",
        }
    }

    fn seal(self) -> &'static str {
        match self {
            Side::Joiner => "herd pairing 1 joiner seals",
            Side::Offerer => "herd pairing 1 offerer seals",
        }
    }
}

/// Says `what` in clear.
pub(super) async fn say(to: &mut (impl AsyncWrite + Unpin), what: &Clear) -> Result<Vec<u8>, Ended> {
    let bytes = encode(what);
    put(to, &bytes).await?;
    Ok(bytes)
}

/// What the other says in clear, and its bytes.
pub(super) async fn hear(from: &mut (impl AsyncRead + Unpin)) -> Result<(Clear, Vec<u8>), Ended> {
    let bytes = tokio::time::timeout(STEP, take(from, LONGEST_CLEAR)).await.map_err(|_| Ended::TooSlow)??;
    Ok((decode(&bytes)?, bytes))
}

/// One half of SPAKE2. The identities of both are fixed: who they are is said later, sealed.
pub(super) fn begin(side: Side, code: &Code) -> (Spake2<Ed25519Group>, Vec<u8>) {
    let password = Zeroizing::new(code.password());
    let (password, joiner, offerer) =
        (Password::new(password.as_bytes()), Identity::new(b"herd joiner"), Identity::new(b"herd offerer"));
    match side {
        Side::Joiner => Spake2::start_a(&password, &joiner, &offerer),
        Side::Offerer => Spake2::start_b(&password, &joiner, &offerer),
    }
}

/// What both know once SPAKE2 is done. Whether it is the same is what the proofs are for.
pub(super) struct Agreed {
    key: FleetSecret,
    /// The hash of what was said in clear.
    transcript: [u8; 32],
}

impl Agreed {
    /// `knock` and `share` are the bytes of the two halves as they were said.
    pub(super) fn new(key: &[u8], knock: &[u8], share: &[u8]) -> Result<Agreed, Ended> {
        let key: [u8; 32] = key.try_into().map_err(|_| Ended::Nonsense)?;
        let mut hash = Sha256::new();
        // Their lengths too, so that no byte can change sides.
        for said in [knock, share] {
            hash.update((said.len() as u64).to_be_bytes());
            hash.update(said);
        }
        Ok(Agreed { key: key.into(), transcript: hash.finalize().into() })
    }

    pub(super) fn proof(&self, side: Side) -> Clear {
        Clear::Proof { proof: self.key.derive(side.proof(), &[&self.transcript]).to_vec() }
    }

    pub(super) fn is_proved(&self, side: Side, proof: &[u8]) -> bool {
        proof.len() == 32 && self.key.proves(side.proof(), &[&self.transcript], proof)
    }

    /// What a joiner signs to show that it has the key it names, in this conversation and no other.
    pub(super) fn to_sign(&self) -> Vec<u8> {
        [b"herd pairing 1\0", &self.transcript[..]].concat()
    }

    /// From here on all is sealed.
    pub(super) fn seal<S>(&self, side: Side, stream: S) -> Channel<S> {
        let way = |side: Side| Way {
            cipher: ChaCha20Poly1305::new(Key::from_slice(&self.key.derive(side.seal(), &[&self.transcript]))),
            count: 0,
        };
        Channel { stream, out: way(side), inn: way(side.other()) }
    }
}

/// A sealed conversation.
pub(super) struct Channel<S> {
    stream: S,
    out: Way,
    inn: Way,
}

struct Way {
    cipher: ChaCha20Poly1305,
    count: u64,
}

impl Way {
    /// Each message has a number of its own, so none can be repeated, left out or moved.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.count.to_be_bytes());
        self.count += 1;
        nonce.into()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    pub(super) async fn say(&mut self, what: &Sealed) -> Result<(), Ended> {
        let bytes = Zeroizing::new(encode(what));
        let nonce = self.out.nonce();
        let sealed = self.out.cipher.encrypt(&nonce, &bytes[..]).map_err(|_| Ended::Nonsense)?;
        put(&mut self.stream, &sealed).await
    }

    /// What the other says; waits as long as it takes.
    pub(super) async fn hear(&mut self) -> Result<Sealed, Ended> {
        let sealed = take(&mut self.stream, LONGEST_SEALED).await?;
        let nonce = self.inn.nonce();
        let bytes = Zeroizing::new(self.inn.cipher.decrypt(&nonce, &sealed[..]).map_err(|_| Ended::Nonsense)?);
        decode(&bytes)
    }
}

fn encode(what: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(what).expect("writing into memory does not fail")
}

pub(super) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Ended> {
    minicbor::decode(bytes).map_err(|_| Ended::Nonsense)
}

async fn put(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Ended> {
    let length = u32::try_from(bytes.len()).map_err(|_| Ended::Nonsense)?;
    let mut all = length.to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    to.write_all(&all).await?;
    Ok(to.flush().await?)
}

async fn take(from: &mut (impl AsyncRead + Unpin), longest: usize) -> Result<Vec<u8>, Ended> {
    let length = from.read_u32().await? as usize;
    if length > longest {
        return Err(Ended::Nonsense);
    }
    // Room is made as it comes, not as it is promised.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}
