//! A byte stream cut into frames. Memory grows with what has arrived, never with what a header announces.

use super::header::{FrameError, FrameHeader, HEADER_BYTES};

/// Bytes of a stream that are not yet used up.
#[derive(Debug, Default)]
pub struct Intake {
    bytes: Vec<u8>,
    /// Where the unread part begins.
    start: usize,
    /// Where it ends; the rest of `bytes` is space.
    end: usize,
}

/// Space that is offered to the stream at least.
const LEAST: usize = 64 * 1024;

impl Intake {
    /// Space for the stream to write into; then say how much with [`Self::filled`]. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.bytes.len() - self.end < LEAST / 2 && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < LEAST / 2 {
            // Doubling: at most as much again as has arrived.
            let len = (self.bytes.len() * 2).max(LEAST);
            self.bytes.resize(len, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `n` bytes of the space as arrived.
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// The next whole frame, or `None` until more has arrived. A header is judged as soon as it is there.
    ///
    /// # Errors
    /// [`FrameError`] for a header that no frame may have; the stream cannot go on.
    pub fn take(&mut self) -> Result<Option<(FrameHeader, &[u8])>, FrameError> {
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some(head) = unread.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = FrameHeader::read(head)?;
        let whole = HEADER_BYTES + header.body_bytes();
        let Some(body) = unread.get(HEADER_BYTES..whole) else { return Ok(None) };
        self.start += whole;
        Ok(Some((header, body)))
    }

    /// Whether part of a frame has arrived.
    #[must_use]
    pub const fn is_within_frame(&self) -> bool {
        self.start != self.end
    }
}
