//! Unpacks zstd frame by frame and block by block (RFC 8878), so that no more than a block waits for its end.

use std::io::{self, Write};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::budget::{Budget, Permit};

/// Bytes that a frame may look back: what RFC 9659 lets a content encoding ask for.
const WINDOW_MOST: u64 = 8 << 20;
/// Bytes of the largest block.
const BLOCK_MOST: usize = 128 << 10;
/// The first four bytes of a frame.
const MAGIC: u32 = 0xFD2F_B528;
/// The first four bytes of a frame that says nothing.
const SKIPPED: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// Unpacks frames that follow each other.
pub(super) struct Zstd {
    decoder: FrameDecoder,
    /// What is not decoded yet: at most a block and what came with its last byte.
    held: Vec<u8>,
    next: Next,
    budget: Budget,
    /// The memory for what a frame may look back at.
    window: Option<Permit>,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first frame.
    First,
    /// Another frame, or the end.
    Frame,
    Block {
        has_sum: bool,
    },
    /// So many bytes that say nothing.
    Skipped(u64),
}

impl Zstd {
    pub(super) fn new(budget: Budget) -> Zstd {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_MOST);
        Zstd { decoder, held: Vec::new(), next: Next::First, budget, window: None }
    }

    pub(super) fn feed(&mut self, packed: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(packed);
        let mut taken = 0;
        while let Some(bytes) = self.step(&held[taken..], out)? {
            taken += bytes;
        }
        held.drain(..taken);
        self.held = held;
        Ok(())
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        match self.next {
            Next::Frame if self.held.is_empty() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Decodes what `input` begins with and returns how long that is; `None` if it is not whole yet.
    fn step(&mut self, input: &[u8], out: &mut impl Write) -> io::Result<Option<usize>> {
        match self.next {
            Next::First | Next::Frame => self.frame(input),
            Next::Block { has_sum } => self.block(input, has_sum, out),
            Next::Skipped(left) => {
                let taken = left.min(input.len() as u64);
                self.next = if taken == left { Next::Frame } else { Next::Skipped(left - taken) };
                Ok((!input.is_empty() || left == 0).then_some(taken as usize))
            }
        }
    }

    fn frame(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let Some(magic) = input.first_chunk().map(|magic| u32::from_le_bytes(*magic)) else { return Ok(None) };
        if SKIPPED.contains(&magic) {
            let Some(length) = input[4..].first_chunk().map(|length| u32::from_le_bytes(*length)) else {
                return Ok(None);
            };
            self.next = Next::Skipped(length.into());
            return Ok(Some(8));
        }
        if magic != MAGIC {
            return Err(io::Error::other("a frame does not begin as it should"));
        }
        let Some(descriptor) = input.get(4) else { return Ok(None) };
        let length = head_length(*descriptor);
        let Some(head) = input.get(..length) else { return Ok(None) };
        // What was taken for the frame before goes back first.
        self.window = None;
        self.window = Some(self.budget.take(window(head).min(WINDOW_MOST)).ok_or(io::ErrorKind::OutOfMemory)?);
        self.decoder.reset(head).map_err(told)?;
        self.next = Next::Block { has_sum: descriptor & 4 != 0 };
        Ok(Some(length))
    }

    fn block(&mut self, input: &[u8], has_sum: bool, out: &mut impl Write) -> io::Result<Option<usize>> {
        let Some(head) = input.first_chunk::<3>() else { return Ok(None) };
        let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let (is_last, kind, size) = (head & 1 == 1, head >> 1 & 3, (head >> 3) as usize);
        if kind == 3 || size > BLOCK_MOST {
            return Err(io::Error::other("a block is larger than it may be"));
        }
        // A block of kind 1 is one byte many times.
        let content = if kind == 1 { 1 } else { size };
        let length = 3 + content + if is_last && has_sum { 4 } else { 0 };
        let Some(mut block) = input.get(..length) else { return Ok(None) };
        self.decoder.decode_blocks(&mut block, BlockDecodingStrategy::UptoBlocks(1)).map_err(told)?;
        self.decoder.collect_to_writer(out)?;
        if is_last {
            let sum = self.decoder.get_checksum_from_data();
            if sum.is_some() && sum != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("a frame's sum is wrong"));
            }
            self.next = Next::Frame;
        }
        Ok(Some(length))
    }
}

/// Bytes of a frame's head, the first four included (RFC 8878 section 3.1.1.1).
fn head_length(descriptor: u8) -> usize {
    let is_one_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(is_one_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    5 + usize::from(!is_one_segment) + dictionary + content_size
}

/// Bytes that a frame may look back at (RFC 8878 section 3.1.1.1.2); of one that is decoded in one piece, all of it. Whether
/// that is too much is judged elsewhere.
fn window(head: &[u8]) -> u64 {
    let is_one_segment = head[4] & 0x20 != 0;
    if !is_one_segment {
        let (exponent, mantissa) = (head[5] >> 3, u64::from(head[5] & 7));
        let base = 1_u64 << (10 + exponent);
        return base + base / 8 * mantissa;
    }
    let dictionary = [0, 1, 2, 4][usize::from(head[4] & 3)];
    let size = &head[5 + dictionary..];
    size.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) + if size.len() == 2 { 256 } else { 0 }
}

fn told(error: FrameDecoderError) -> io::Error {
    match error {
        FrameDecoderError::WindowSizeTooBig { .. } => {
            io::Error::other("it must be unpacked with more than 8 MiB in view, which RFC 9659 does not allow")
        }
        FrameDecoderError::DictNotProvided { .. } => io::Error::other("it was packed with a dictionary"),
        // The other texts speak of the decoder's own insides.
        _ => io::ErrorKind::InvalidData.into(),
    }
}
