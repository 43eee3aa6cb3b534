//! How messages lie on a control connection: a byte that says what follows, three bytes of length, and the bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::LONGEST_MESSAGE;

/// Bytes in front of each frame.
pub(crate) const HEAD: usize = 4;

/// What is in a frame. Kinds of later versions are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first one: see [`crate::Hello`].
    Hello(Bytes),
    /// A message of the node's.
    Message(Bytes),
    /// To be sent back as a pong.
    Ping(u64),
    /// A ping, sent back.
    Pong(u64),
    /// A kind that this version does not know.
    Unknown,
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a ping of {0} bytes instead of 8")]
    BadPing(usize),
}

impl Frame {
    /// Writes the frame behind what is in `out`.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        let (kind, body): (u8, &[u8]) = match self {
            Frame::Hello(body) => (1, body),
            Frame::Message(body) => (2, body),
            Frame::Ping(number) => (3, &number.to_be_bytes()),
            Frame::Pong(number) => (4, &number.to_be_bytes()),
            Frame::Unknown => return,
        };
        let length = u32::try_from(body.len()).expect("messages are checked against a limit of 64 KiB");
        let mut head = length.to_be_bytes();
        head[0] = kind;
        out.extend_from_slice(&head);
        out.extend_from_slice(body);
    }

    /// Reads one frame; `None` at a clean end. When dropped half-way, the stream is of no use any more.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
        let mut head = [0; HEAD];
        if from.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..]).await?;
        let [kind, length @ ..] = head;
        let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        if length > LONGEST_MESSAGE {
            return Err(FrameError::TooLong(length));
        }
        let mut body = BytesMut::zeroed(length);
        from.read_exact(&mut body).await?;
        let body = body.freeze();
        let number = || <[u8; 8]>::try_from(&body[..]).map(u64::from_be_bytes).map_err(|_| FrameError::BadPing(length));
        Ok(Some(match kind {
            1 => Frame::Hello(body),
            2 => Frame::Message(body),
            3 => Frame::Ping(number()?),
            4 => Frame::Pong(number()?),
            _ => Frame::Unknown,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn all(mut bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = Frame::read(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn encoded(frames: &[Frame]) -> BytesMut {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.put(&mut bytes));
        bytes
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[tokio::test]
    async fn the_bytes_of_frames_stay() {
        let frames = [
            Frame::Hello(Bytes::from_static(b"hello")),
            Frame::Message(Bytes::from_static(b"a message")),
            Frame::Message(Bytes::new()),
            Frame::Ping(0x0123_4567_89ab_cdef),
            Frame::Pong(1),
        ];
        let bytes = encoded(&frames);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        crate::golden::check("frames.txt", hex.as_bytes());
        assert_eq!(all(&bytes).await.unwrap(), frames);
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_later_kinds_are_skipped() {
        let longest = Frame::Message(Bytes::from(vec![7; LONGEST_MESSAGE]));
        assert_eq!(all(&encoded(std::slice::from_ref(&longest))).await.unwrap(), [longest]);
        assert!(matches!(all(&[2, 1, 0, 1]).await, Err(FrameError::TooLong(65537))));
        assert!(matches!(all(&[3, 0, 0, 1, 0]).await, Err(FrameError::BadPing(1))));
        assert_eq!(all(&[99, 0, 0, 2, 0, 0]).await.unwrap(), [Frame::Unknown]);
        assert!(matches!(all(&[2, 0, 0, 3, 0]).await, Err(FrameError::Io(_))));
        assert!(matches!(all(&[2, 0]).await, Err(FrameError::Io(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = block_on(all(&bytes));
        }

        #[test]
        fn messages_come_out_as_they_went_in(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10)) {
            let frames: Vec<_> = messages.into_iter().map(|message| Frame::Message(message.into())).collect();
            prop_assert_eq!(block_on(all(&encoded(&frames))).unwrap(), frames);
        }
    }
}
