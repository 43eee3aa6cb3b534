//! The gate in front of everything: three short messages by which both ends prove that they have the fleet's secret, before
//! either says who it is.
//!
//! ```text
//! dialer → listener   nonce (16)  proof (16)     a knock; a wrong one gets no byte back
//! listener → dialer   nonce (16)  proof (32)     no fake listener ever learns who knocked
//! dialer → listener               proof (32)     the knock was not a recording
//! ```
//!
//! All of it looks random, and so do the first [`MASKED`] bytes that follow in each direction: the handshake of Noise, which
//! would otherwise show who the listener is to somebody who relays the gate. Nothing names a key: a listener tries each of
//! the (at most four) secrets that it accepts, so a fleet can change its secret without a tag that could be recognised.
//! Ends when passed or refused; the caller bounds the time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{FleetSecret, Secrets};

/// Bytes after the gate that are masked in each direction. The longer side of a Noise handshake has about 250.
const MASKED: usize = 512;

const NONCE: usize = 16;
const KNOCK: usize = NONCE + 16;
const ANSWER: usize = NONCE + 32;

/// Why the gate stayed shut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Shut {
    /// The connection broke.
    #[error("the connection broke at the gate: {0}")]
    Broken(io::Error),
    /// Whoever knocked does not have our secret.
    #[error("somebody without the fleet's secret knocked")]
    Stranger,
    /// Whoever listens hung up on our knock: it is of another fleet, or no Herd.
    #[error("what listens there is of another fleet, or no Herd")]
    NotOurs,
    /// Whoever listens answered, without having the secret.
    #[error("what listens there pretends to be of this fleet")]
    Pretender,
    /// The system has no randomness for a nonce.
    #[error("no randomness: {0}")]
    NoRandomness(getrandom::Error),
}

/// A connection whose two ends share a secret.
pub(crate) struct Passed<S> {
    pub(crate) io: Masked<S>,
    /// Binds what follows to this gate: the prologue of Noise.
    pub(crate) prologue: [u8; 32],
}

/// Passes the gate as the one who dialled.
pub(crate) async fn knock<S>(mut socket: S, secrets: &Secrets, nonce: [u8; NONCE]) -> Result<Passed<S>, Shut>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let secret = secrets.current();
    let mut knock = [0; KNOCK];
    knock[..NONCE].copy_from_slice(&nonce);
    knock[NONCE..].copy_from_slice(&secret.derive("herd mesh 1 knock", &[&nonce])[..KNOCK - NONCE]);
    socket.write_all(&knock).await.map_err(Shut::Broken)?;
    socket.flush().await.map_err(Shut::Broken)?;

    let mut answer = [0; ANSWER];
    // Whoever does not know our secret just hangs up, with data unread: that is an end or a reset here.
    socket.read_exact(&mut answer).await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Shut::NotOurs,
        _ => Shut::Broken(error),
    })?;
    let (theirs, proof) = answer.split_at(NONCE);
    if !secret.proves("herd mesh 1 answer", &[&nonce, theirs], proof) {
        return Err(Shut::Pretender);
    }
    socket.write_all(&secret.derive("herd mesh 1 entry", &[&nonce, theirs])).await.map_err(Shut::Broken)?;
    socket.flush().await.map_err(Shut::Broken)?;
    Ok(passed(socket, secret, &nonce, theirs, Side::Dialer))
}

/// Passes the gate as the one who listens. Until the other end has proved itself, it gets no byte.
pub(crate) async fn open<S>(mut socket: S, secrets: &Secrets, nonce: [u8; NONCE]) -> Result<Passed<S>, Shut>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut knock = [0; KNOCK];
    socket.read_exact(&mut knock).await.map_err(Shut::Broken)?;
    let (theirs, proof) = knock.split_at(NONCE);
    let knows = |secret: &&FleetSecret| secret.proves("herd mesh 1 knock", &[theirs], proof);
    let secret = secrets.iter().find(knows).ok_or(Shut::Stranger)?;

    let mut answer = [0; ANSWER];
    answer[..NONCE].copy_from_slice(&nonce);
    answer[NONCE..].copy_from_slice(&secret.derive("herd mesh 1 answer", &[theirs, &nonce]));
    socket.write_all(&answer).await.map_err(Shut::Broken)?;
    socket.flush().await.map_err(Shut::Broken)?;

    let mut entry = [0; 32];
    socket.read_exact(&mut entry).await.map_err(Shut::Broken)?;
    if !secret.proves("herd mesh 1 entry", &[theirs, &nonce], &entry) {
        return Err(Shut::Stranger);
    }
    Ok(passed(socket, secret, theirs, &nonce, Side::Listener))
}

/// 16 bytes that never come twice.
pub(crate) fn nonce() -> Result<[u8; NONCE], Shut> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(Shut::NoRandomness)?;
    Ok(nonce)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialer,
    Listener,
}

fn passed<S>(io: S, secret: &FleetSecret, dialers: &[u8], listeners: &[u8], side: Side) -> Passed<S> {
    let mask = |purpose| {
        let mut mask = Box::new([0; MASKED]);
        for (number, block) in (0_u8..).zip(mask.chunks_mut(32)) {
            block.copy_from_slice(&secret.derive(purpose, &[dialers, listeners, &[number]]));
        }
        Mask { bytes: Some(mask), used: 0 }
    };
    let (to_listener, to_dialer) = (mask("herd mesh 1 mask to listener"), mask("herd mesh 1 mask to dialer"));
    let (reads, writes) = match side {
        Side::Dialer => (to_dialer, to_listener),
        Side::Listener => (to_listener, to_dialer),
    };
    Passed { io: Masked { io, reads, writes }, prologue: secret.derive("herd mesh 1 prologue", &[dialers, listeners]) }
}

/// A connection whose first bytes in each direction look random; the rest passes as it is.
pub(crate) struct Masked<S> {
    io: S,
    reads: Mask,
    writes: Mask,
}

struct Mask {
    bytes: Option<Box<[u8; MASKED]>>,
    used: usize,
}

impl Mask {
    /// What is left of the mask; empty when used up.
    fn left(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[self.used..])
    }

    fn advance(&mut self, by: usize) {
        self.used = (self.used + by).min(MASKED);
        if self.used == MASKED {
            self.bytes = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Masked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let read = std::task::ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let masked = read.min(this.reads.left().len());
        for (byte, mask) in buf.iter_mut().zip(&this.reads.left()[..masked]) {
            *byte ^= mask;
        }
        this.reads.advance(masked);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Masked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let left = this.writes.left();
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_write(cx, buf);
        }
        let mut masked = [0; MASKED];
        let now = buf.len().min(left.len());
        for (slot, (byte, mask)) in masked.iter_mut().zip(buf.iter().zip(left)) {
            *slot = byte ^ mask;
        }
        let written = std::task::ready!(Pin::new(&mut this.io).poll_write(cx, &masked[..now]))?;
        this.writes.advance(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.writes.left().is_empty() {
            return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

    use super::*;

    fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
        let (one, two) = tokio::io::duplex(64);
        (one.compat(), two.compat())
    }

    fn secrets(bytes: &[u8]) -> Secrets {
        Secrets::new(bytes.iter().map(|byte| [*byte; 32].into()).collect()).unwrap()
    }

    #[tokio::test]
    async fn who_shares_a_secret_passes_whatever_its_place() {
        for (dialer, listener) in [(&[1][..], &[1][..]), (&[1], &[2, 1]), (&[2, 1], &[1, 2])] {
            let (here, there) = pipe();
            let (dialer, listener) = (secrets(dialer), secrets(listener));
            let (here, there) = tokio::join!(knock(here, &dialer, [3; NONCE]), open(there, &listener, [4; NONCE]));
            let (mut here, mut there) = (here.unwrap(), there.unwrap());
            assert_eq!(here.prologue, there.prologue);
            let sent: Vec<u8> = (0..3000_u16).map(|number| number.to_be_bytes()[1]).collect();
            let mut got = [vec![0; 3000], vec![0; 3000]];
            let [to_there, to_here] = &mut got;
            let (mut hr, mut hw) = futures_util::io::AsyncReadExt::split(&mut here.io);
            let (mut tr, mut tw) = futures_util::io::AsyncReadExt::split(&mut there.io);
            let (a, b, c, d) =
                tokio::join!(hw.write_all(&sent), tr.read_exact(to_there), tw.write_all(&sent), hr.read_exact(to_here));
            a.and(b).and(c).and(d).unwrap();
            assert!(got.iter().all(|got| *got == sent));
        }
    }

    #[tokio::test]
    async fn a_stranger_gets_no_byte() {
        let whole = [0x55; KNOCK];
        for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &whole, &[0; 500]] {
            let (mut here, there) = pipe();
            let stranger = async {
                // The listener may hang up before all was said.
                let _ = here.write_all(said).await;
                let _ = here.close().await;
                let mut heard = Vec::new();
                let _ = here.read_to_end(&mut heard).await;
                heard
            };
            let listener = async { open(there, &secrets(&[1]), [4; NONCE]).await.is_err() };
            assert_eq!(tokio::join!(stranger, listener), (Vec::new(), true));
        }
    }

    #[tokio::test]
    async fn a_recorded_knock_gets_noise_and_no_further() {
        let (mut here, there) = pipe();
        let secret = FleetSecret::from([1; 32]);
        let mut knock = [9; KNOCK];
        knock[NONCE..].copy_from_slice(&secret.derive("herd mesh 1 knock", &[&[9; NONCE]])[..16]);
        let replay = async {
            here.write_all(&knock).await.unwrap();
            let mut answer = [0; ANSWER];
            here.read_exact(&mut answer).await.unwrap();
            here.write_all(&[7; 32]).await.unwrap();
            here.read(&mut [0; 1]).await.unwrap_or(0)
        };
        let listener = async { matches!(open(there, &secret.clone().into(), [4; NONCE]).await, Err(Shut::Stranger)) };
        assert_eq!(tokio::join!(replay, listener), (0, true));
    }

    #[tokio::test]
    async fn a_fake_listener_learns_nothing_of_the_dialer() {
        let (here, mut there) = pipe();
        let fake = async {
            let mut knock = [0; KNOCK];
            there.read_exact(&mut knock).await.unwrap();
            there.write_all(&[1; ANSWER]).await.unwrap();
            there.read(&mut [0; 1]).await.unwrap()
        };
        let dialer = async { matches!(knock(here, &secrets(&[1]), [4; NONCE]).await, Err(Shut::Pretender)) };
        assert_eq!(tokio::join!(fake, dialer), (0, true));
        let (here, there) = pipe();
        drop(there);
        assert!(knock(here, &secrets(&[1]), [4; NONCE]).await.is_err());
    }

    // What older nodes send and expect: these bytes never change, a new gate gets a new name.
    #[test]
    fn the_bytes_of_the_gate_stay() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let secret = FleetSecret::from([1; 32]);
        let (dialer, listener) = ([2; NONCE], [3; NONCE]);
        let lines = [
            hex(&secret.derive("herd mesh 1 knock", &[&dialer])[..16]),
            hex(&secret.derive("herd mesh 1 answer", &[&dialer, &listener])),
            hex(&secret.derive("herd mesh 1 entry", &[&dialer, &listener])),
            hex(&passed((), &secret, &dialer, &listener, Side::Dialer).prologue),
            hex(&passed((), &secret, &dialer, &listener, Side::Dialer).io.writes.left()[..64]),
            hex(&passed((), &secret, &dialer, &listener, Side::Dialer).io.reads.left()[..64]),
        ];
        crate::golden::check("gate.txt", lines.join("\n").as_bytes());
    }
}
