//! A lane's own code without its transport: what both sides do with a dispatch and its combine, in one thread, with
//! bytes handed over by a copy. Here one sees what that code costs and allocates, apart from QUIC.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use counterfoil_consent::{ActiveGrant, ReplayWindow, Usage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;

use super::{BenchError, MANIFEST, NAME, SLOT};
use crate::frame::{Combine, Dispatch, FrameHeader, FramePool, Intake, Kind};
use crate::lane::Desk;
use crate::sandbox::{Sandbox, machine_clock};
use crate::token::{Exporter, Seal, Seals};

/// Both ends.
pub struct Parts {
    router: End,
    node: End,
    desk: Desk,
    combine: Combine,
    seals: Seals,
    dispatch: Dispatch,
    seal: Arc<Seal>,
    grant: ActiveGrant,
    now: Now,
}

/// One end's way out and in.
#[derive(Default)]
struct End {
    pool: FramePool,
    counter: u64,
    window: ReplayWindow,
    intake: Intake,
}

impl Parts {
    /// Two ends that share a secret and a consent token.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new() -> Result<Self, BenchError> {
        let net = Sandbox::new(machine_clock())?;
        let member = net.member()?;
        let (_, permit) = net.consent(&member, &net.proposal(MANIFEST, NAME)).ok_or(BenchError::Gone)?;
        let (order, now) = (net.order(&permit, SLOT), Arc::clone(&net.now));
        let key = net.router_key.public();
        let grant = permit.check_open(&order, &key, &net.domain.net_id(), now(), &Usage::new());
        let grant = grant.map_err(|refused| BenchError::Echo(refused.to_string()))?;
        let (exporter, desk, mut seals) = (Exporter::fixed(), Desk::default(), Seals::default());
        let seal = desk.add_token(&exporter, &permit).ok_or(BenchError::Gone)?;
        seals.add(&exporter, &permit).ok_or(BenchError::Gone)?;
        let (router, node) = (End::default(), End::default());
        let (combine, dispatch) = (Combine::default(), Dispatch::default());
        Ok(Self { router, node, desk, combine, seals, dispatch, seal, grant, now })
    }

    /// A dispatch to the node, and `answer` from it back; what the router's caller gets. Give it back with
    /// [`Self::restore`].
    ///
    /// # Errors
    /// The refusal of the first check that fails.
    pub fn round(&mut self, dispatch: &Dispatch, answer: &Combine) -> Result<Combine, Refusal> {
        let mut frame = self.router.pool.take(dispatch.frame_bytes());
        dispatch.encode(&mut frame).map_err(|e| e.refusal())?;
        let seq = self.desk.ask(dispatch).map_err(|_| Refusal::Busy)?;
        let waiting = Context::from_waker(Waker::noop());
        if self.desk.poll_answer(seq, &waiting).is_ready() {
            return Err(Refusal::SessionInternal);
        }
        let frame = self.router.sealed(&self.seal, Kind::Dispatch, seq, frame);
        self.node.arrive(&frame);
        drop(frame);

        let taken = self.node.intake.take().map_err(|e| e.refusal())?;
        let (header, body) = taken.ok_or(Refusal::SessionShape)?;
        let seal = Arc::clone(self.seals.check(&header)?);
        if !self.node.window.accept(header.counter) {
            return Err(Refusal::Replay);
        }
        self.dispatch.decode(body).map_err(|e| e.refusal())?;
        granted(&self.grant, &self.dispatch, &self.now)?;
        let mut frame = self.node.pool.take(answer.frame_bytes());
        answer.encode(&mut frame).map_err(|e| e.refusal())?;
        let frame = self.node.sealed(&seal, Kind::Combine, header.seq, frame);
        self.router.arrive(&frame);
        drop(frame);

        let taken = self.router.intake.take().map_err(|e| e.refusal())?;
        let (header, body) = taken.ok_or(Refusal::SessionShape)?;
        self.desk.check_mac(&header)?;
        if !self.router.window.accept(header.counter) {
            return Err(Refusal::Replay);
        }
        self.combine.decode(body).map_err(|e| e.refusal())?;
        if !self.desk.answer(header.seq, &mut self.combine) {
            return Err(Refusal::SessionOrder);
        }
        match self.desk.poll_answer(seq, &waiting) {
            Poll::Ready(Some((combine, _))) => Ok(combine),
            _ => Err(Refusal::SessionInternal),
        }
    }

    /// Gives a combine back, so that its buffers are used again.
    pub fn restore(&self, combine: Combine) {
        self.desk.restore(combine);
    }

    /// The time that one forward pass spends in what makes it accountable: both MACs made and checked, both counters,
    /// and the grant. The mean of `count` in a row.
    ///
    /// # Errors
    /// The refusal of the first check that fails.
    pub fn checks(&mut self, dispatch: &Dispatch, count: u32) -> Result<Duration, Refusal> {
        let started = Instant::now();
        for _ in 0..count {
            for end in [&mut self.router, &mut self.node] {
                let mut header = FrameHeader { kind: Kind::Dispatch, ..FrameHeader::control(0) };
                end.counter += 1;
                self.seal.apply(&mut header, end.counter);
                self.seals.check(black_box(&header))?;
                if !end.window.accept(header.counter) {
                    return Err(Refusal::Replay);
                }
            }
            granted(&self.grant, black_box(dispatch), &self.now)?;
        }
        Ok(started.elapsed().checked_div(count).unwrap_or_default())
    }
}

impl End {
    fn sealed(&mut self, seal: &Seal, kind: Kind, seq: u32, frame: BytesMut) -> Bytes {
        self.counter += 1;
        let len = u32::try_from(frame.len() - crate::frame::HEADER_BYTES).unwrap_or(u32::MAX);
        let mut header = FrameHeader { kind, seq, ..FrameHeader::control(len) };
        seal.apply(&mut header, self.counter);
        self.pool.finish(&header, frame)
    }

    fn arrive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.intake.space();
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            if let Some(space) = space.get_mut(..now.len()) {
                space.copy_from_slice(now);
            }
            self.intake.filled(now.len());
            bytes = later;
        }
    }
}

/// The node's check of what a dispatch asks for against its grant.
pub(super) fn granted(grant: &ActiveGrant, dispatch: &Dispatch, now: &Now) -> Result<(), Refusal> {
    if !grant.in_time(now()) {
        return Err(Refusal::Deadline);
    }
    let within = dispatch.experts.iter().all(|e| grant.allows(dispatch.layer, u32::from(e.expert)));
    if within { Ok(()) } else { Err(Refusal::Scope) }
}
