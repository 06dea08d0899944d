//! What is late: frames that wait for an answer, those that stand in for them, and those that lost the race.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use counterfoil_model::Combined;
use counterfoil_session::LaneError;
use counterfoil_session::frame::{Combine, Outcome};
use counterfoil_spec::message::UnusedForwards;
use tokio::time::Instant;

use super::frame::{Frame, Piece};
use crate::registry::{Host, Owing};
use crate::work::Unserved;

/// After so many times the wait after which a frame is hedged it is hedged beyond the budget.
pub(super) const FAR_TOO_LATE: u32 = 4;

/// A frame that is out.
pub(super) struct Out {
    pub(super) frame: Frame,
    /// The frame that it is the hedge of.
    pub(super) hedge_of: Option<usize>,
    /// When it is hedged.
    pub(super) due: Option<Due>,
    /// Filled while its node is waited for beyond that.
    pub(super) owing: Arc<OnceLock<Owing>>,
    pub(super) hedge: Option<Hedge>,
}

/// When a frame is hedged.
pub(super) struct Due {
    pub(super) at: Instant,
    /// How long its node may take before that.
    pub(super) after: Duration,
    /// From when on it is whatever the budget allows.
    pub(super) beyond: Instant,
}

/// What became of a frame's rows elsewhere.
pub(super) struct Hedge {
    /// Frames that have not answered yet.
    pub(super) missing: usize,
    pub(super) came: Vec<(Arc<Host>, Piece, Combined)>,
    /// Whether the frame itself failed, so that only this is left.
    pub(super) alone: bool,
}

impl Hedge {
    /// What came of it enters no sum.
    pub(super) fn is_unused(&self) {
        self.came.iter().for_each(|(host, piece, _)| unused(host, piece.slot, piece.dealt.forwards));
    }
}

/// Frames that somebody else answered first, by number.
#[derive(Debug, Default)]
pub(super) struct Lost(pub(super) BTreeMap<usize, Frame>);

impl Lost {
    /// One was answered all the same, or will not be in time.
    pub(super) fn landed(&mut self, number: usize, landed: Landed) {
        let Some(frame) = self.0.remove(&number) else { return };
        if let Ok(combine) = landed.of(&frame) {
            for (piece, segment) in frame.pieces.iter().zip(&combine.segments) {
                if matches!(segment.outcome, Outcome::Served(_)) {
                    unused(&frame.host, piece.slot, piece.dealt.forwards);
                }
            }
        }
    }
}

/// How the wait for an answer ended.
pub(super) enum Landed {
    /// With the answer, or for good.
    InTime(Result<Combine, Unserved>),
    /// With patience: the answer may still come.
    Late(Pin<Box<dyn Future<Output = Result<Combine, LaneError>> + Send>>),
}

impl Landed {
    /// What it means for a frame. An answer that comes later enters no sum, which its node is told then.
    pub(super) fn of(self, frame: &Frame) -> Result<Combine, Unserved> {
        let answer = match self {
            Self::InTime(result) => return result,
            Self::Late(answer) => answer,
        };
        // Waiting does not keep the lane open; there are as many at most as a lane has frames in flight.
        let host = Arc::downgrade(&frame.host);
        let asked: Vec<_> = frame.pieces.iter().map(|piece| (piece.slot, piece.dealt.forwards)).collect();
        tokio::spawn(async move {
            let Ok(combine) = answer.await else { return };
            let Some(host) = host.upgrade() else { return };
            for ((slot, forwards), segment) in asked.into_iter().zip(&combine.segments) {
                if matches!(segment.outcome, Outcome::Served(_)) {
                    unused(&host, slot, forwards);
                }
            }
        });
        Err(Unserved::Late)
    }
}

/// Tells a node that it made an answer for nothing. On a lane that is over there is nobody to be told; on one that is
/// congested the last receipt is right all the same.
//= spec/session.md#orders
//# Once another answer has come and enters no sum it MUST say `Unused` with the slot and the number of its forwards, while the order is open
fn unused(host: &Host, slot: u32, forwards: u64) {
    let _ = host.lane.unused(UnusedForwards { slot, forwards });
}

/// Waits for a moment, or for ever.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
