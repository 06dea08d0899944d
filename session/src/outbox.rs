//! The sending half of a lane. Whoever has a frame writes it at once, without a task in between; what the stream
//! does not take yet waits here for the lane's reader task, which flushes it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use quinn::SendStream;

use crate::frame::{FrameHeader, FramePool};
use crate::token::Seal;

/// Bytes that may wait beyond what QUIC's own window holds.
pub(crate) const MAX_BACKLOG_BYTES: usize = 32 * 1024 * 1024;

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendRefused {
    /// The stream is gone; the connection says why.
    Gone,
    /// So many bytes wait already.
    Full(usize),
}

/// The sending half of a lane.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Guards the stream and the order of frames on it; held only while frames are handed over.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stream: SendStream,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    flusher: Option<Waker>,
    counter: u64,
    pool: FramePool,
    gone: bool,
}

impl Outbox {
    pub(crate) fn new(stream: SendStream) -> Self {
        let inner = Inner {
            stream,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            flusher: None,
            counter: 0,
            pool: FramePool::default(),
            gone: false,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Sends a frame that carries no MAC.
    pub(crate) fn send(&self, frame: Bytes) -> Result<(), SendRefused> {
        self.locked().send(frame)
    }

    /// Space for a frame of `len` bytes, for [`Self::send_sealed`]; its first 40 are taken.
    pub(crate) fn frame(&self, len: usize) -> BytesMut {
        self.locked().pool.take(len)
    }

    /// Numbers, seals and sends a frame that was made in [`Self::frame`].
    pub(crate) fn send_sealed(
        &self,
        seal: &Seal,
        mut header: FrameHeader,
        frame: BytesMut,
    ) -> Result<(), SendRefused> {
        let mut inner = self.locked();
        inner.counter += 1;
        seal.apply(&mut header, inner.counter);
        let frame = inner.pool.finish(&header, frame);
        inner.send(frame)
    }

    /// Writes what waits and asks to be polled again once there is more; never completes.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) {
        let mut inner = self.locked();
        if !inner.flusher.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            inner.flusher = Some(cx.waker().clone());
        }
        inner.flush(cx);
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        let mut inner = self.locked();
        inner.gone = true;
        // An error means that the stream was closed before, which is what is wanted.
        let _ = inner.stream.finish();
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn send(&mut self, frame: Bytes) -> Result<(), SendRefused> {
        if self.gone {
            return Err(SendRefused::Gone);
        }
        let waited = !self.backlog.is_empty();
        if waited && self.backlog_bytes + frame.len() > MAX_BACKLOG_BYTES {
            return Err(SendRefused::Full(self.backlog_bytes));
        }
        self.backlog_bytes += frame.len();
        self.backlog.push_back(frame);
        if !waited {
            self.flush(&mut Context::from_waker(Waker::noop()));
            if !self.backlog.is_empty()
                && let Some(flusher) = &self.flusher
            {
                flusher.wake_by_ref();
            }
        }
        if self.gone { Err(SendRefused::Gone) } else { Ok(()) }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        while !self.gone && !self.backlog.is_empty() {
            let chunks = self.backlog.make_contiguous();
            let polled = pin!(self.stream.write_chunks(chunks)).poll(cx);
            match polled {
                Poll::Pending => return,
                Poll::Ready(Ok(written)) => {
                    self.backlog_bytes = self.backlog_bytes.saturating_sub(written.bytes);
                    self.backlog.drain(..written.chunks);
                }
                Poll::Ready(Err(_)) => {
                    self.gone = true;
                    self.backlog.clear();
                    self.backlog_bytes = 0;
                }
            }
        }
    }
}
