//! Keeps the end of a stream.

/// Bytes of the end that are kept: the finish, usage and timings records of llama-server, the longest, take 1 KiB.
const KEPT: usize = 2048;

/// The last 2 KiB of what was pushed, in at most 4 KiB of memory.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// More than is asked for, so that bytes are moved only once in a while.
    bytes: Vec<u8>,
    total: u64,
}

impl Tail {
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        if self.bytes.len() + bytes.len() > 2 * KEPT {
            let old = self.bytes.len().saturating_sub(KEPT);
            self.bytes.drain(..old);
        }
        let length = self.bytes.len() + bytes.len();
        if length > self.bytes.capacity() {
            self.grow(length);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for `length` bytes: little for a short answer, all at once for a longer one.
    #[cold]
    fn grow(&mut self, length: usize) {
        let capacity = if length <= KEPT / 4 { KEPT / 4 } else { 2 * KEPT };
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }

    /// The last bytes, and whether any came before them.
    pub(super) fn last(&self) -> (&[u8], bool) {
        (&self.bytes[self.bytes.len().saturating_sub(KEPT)..], self.total > KEPT as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_same_however_it_came() {
        let whole: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
        for step in [1, 7, 100, 2047, 2048, 2049, 5000, 20_000] {
            for length in [0, 1, 2047, 2048, 2049, 4096, 4097, 20_000] {
                let mut tail = Tail::default();
                whole[..length].chunks(step).for_each(|chunk| tail.push(chunk));
                assert_eq!(
                    tail.last(),
                    (&whole[length.saturating_sub(KEPT)..length], length > KEPT),
                    "{step} {length}"
                );
                assert!(tail.bytes.capacity() <= 2 * KEPT);
            }
        }
    }
}
