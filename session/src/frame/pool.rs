//! Buffers for frames on their way out, used again once the transport has let go of them.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{FrameHeader, HEADER_BYTES};

/// Buffers that wait for reuse at most.
const MAX_KEPT: usize = 8;
/// What a new buffer holds: a few frames of a token.
const LEAST_BYTES: usize = 64 * 1024;
/// A longer frame gets memory of its own, which is given back at once: to send it costs far more than to allocate it,
/// and a router with thousands of lanes must not keep the largest frame of each.
const MOST_BYTES: usize = 256 * 1024;

/// The buffers of one lane's frames. A frame is cut off the front of a buffer; the rest stays here, and when every
/// frame that was cut off is gone, the whole is there again.
#[derive(Debug, Default)]
pub(crate) struct FramePool {
    kept: VecDeque<BytesMut>,
}

impl FramePool {
    /// Space for a frame of `len` bytes, beginning with 40 that the header will overwrite.
    pub(crate) fn take(&mut self, len: usize) -> BytesMut {
        let mut frame = self.reclaimed(len).unwrap_or_else(|| {
            BytesMut::with_capacity(if len > MOST_BYTES { len } else { len.max(LEAST_BYTES) })
        });
        frame.put_bytes(0, HEADER_BYTES);
        frame
    }

    /// Writes the header and gives the frame; what is left of its buffer is kept.
    pub(crate) fn finish(&mut self, header: &FrameHeader, mut frame: BytesMut) -> Bytes {
        if let Some(head) = frame.first_chunk_mut::<HEADER_BYTES>() {
            *head = header.to_bytes();
        }
        let whole = frame.split();
        if whole.len() <= MOST_BYTES && self.kept.len() < MAX_KEPT {
            self.kept.push_back(frame);
        }
        whole.freeze()
    }

    /// The first buffer with enough room, the one that has rested longest before the others.
    fn reclaimed(&mut self, len: usize) -> Option<BytesMut> {
        let at = self.kept.iter_mut().position(|buffer| buffer.try_reclaim(len))?;
        self.kept.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u32) -> FrameHeader {
        FrameHeader::control(len)
    }

    #[test]
    fn a_frame_is_its_header_and_what_was_put_behind_it() {
        let mut pool = FramePool::default();
        let mut frame = pool.take(HEADER_BYTES + 3);
        frame.put_slice(b"abc");
        let frame = pool.finish(&header(3), frame);
        assert_eq!(frame.first_chunk::<HEADER_BYTES>(), Some(&header(3).to_bytes()));
        assert_eq!(frame.get(HEADER_BYTES..), Some(b"abc".as_slice()));
    }

    #[test]
    fn a_buffer_is_used_again_once_its_frames_are_gone() {
        let mut pool = FramePool::default();
        let len = LEAST_BYTES / 2 + 1;
        let fill = |mut frame: BytesMut| {
            frame.put_bytes(1, len - HEADER_BYTES);
            frame
        };
        let first = fill(pool.take(len));
        let place = first.as_ptr();
        let first = pool.finish(&header(0), first);
        // The first frame still lies in the first buffer, whose rest is too small.
        let second = fill(pool.take(len));
        assert_ne!(second.as_ptr(), place);
        let second = pool.finish(&header(0), second);
        assert_eq!(pool.kept.len(), 2);
        drop(first);
        let third = pool.take(len);
        assert_eq!((third.as_ptr(), pool.kept.len()), (place, 1));
        drop(second);
    }

    #[test]
    fn only_so_many_buffers_are_kept_and_none_of_the_largest() {
        let mut pool = FramePool::default();
        let len = LEAST_BYTES / 2 + 1;
        let frames: Vec<Bytes> = (0..2 * MAX_KEPT)
            .map(|_| {
                let mut frame = pool.take(len);
                frame.put_bytes(1, len - HEADER_BYTES);
                pool.finish(&header(0), frame)
            })
            .collect();
        assert_eq!((frames.len(), pool.kept.len()), (2 * MAX_KEPT, MAX_KEPT));
        let mut pool = FramePool::default();
        let mut frame = pool.take(MOST_BYTES + 1);
        frame.put_bytes(1, MOST_BYTES + 1 - HEADER_BYTES);
        assert_eq!(pool.finish(&header(0), frame).len(), MOST_BYTES + 1);
        assert_eq!(pool.kept.len(), 0);
    }
}
