//! The experts of one layer for all rows of a round.
//!
//! Each member deals its own rows to its own parties; what goes to the same node under the same consent token travels
//! in one frame. A node that fails, or refuses a segment, concerns the members whose rows those were: they ask
//! others, again together, and nothing of anybody else is computed twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_model::{Combined, Part, Routing, Rows, combine};
use counterfoil_session::frame::Combine;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::frame::{Frame, Piece, Start};
use super::round::Taking;
use crate::http::metrics::Metrics;
use crate::registry::{Host, PATIENCE_MOST};
use crate::work::{Address, Dealt, Unserved};

/// A frame that is out.
type Flight = std::pin::Pin<Box<dyn Future<Output = (Frame, Result<Combine, Unserved>)> + Send>>;

/// A layer that is under way.
pub(super) struct Layer<'a> {
    layer: u32,
    metrics: &'a Metrics,
    normed: &'a Rows,
    /// Of each member, in the round's order.
    starts: Vec<Start>,
    routings: Vec<Routing>,
    answers: Vec<Vec<(Part, Combined)>>,
    flights: FuturesUnordered<Flight>,
    /// Parts that nobody could be sent.
    unsent: Vec<(Piece, Unserved)>,
}

impl<'a> Layer<'a> {
    /// Sends every row on its way.
    pub(super) fn send(
        layer: u32,
        metrics: &'a Metrics,
        (normed, routing): (&'a Rows, &Routing),
        taking: &mut [Taking<'_>],
    ) -> Self {
        let mut own = Self {
            layer,
            metrics,
            normed,
            starts: Vec::with_capacity(taking.len()),
            routings: Vec::with_capacity(taking.len()),
            answers: taking.iter().map(|_| Vec::new()).collect(),
            flights: FuturesUnordered::new(),
            unsent: Vec::new(),
        };
        let mut rows = routing.iter();
        let (mut row, mut all) = (0, Vec::new());
        for (member, taking) in taking.iter_mut().enumerate() {
            own.starts.push(Start { row, position: taking.member.sequence.position() });
            row += taking.count;
            let mut routing = Routing::new();
            let pushed = rows.by_ref().take(taking.count).try_for_each(|(p, s)| routing.push(p, s));
            let dealt =
                pushed.map_err(Into::into).and_then(|()| taking.member.work.deal(layer, &routing, None));
            own.routings.push(routing);
            match dealt {
                Ok(parts) => all.extend(parts.into_iter().map(|dealt| (member, dealt))),
                Err(e) => taking.member.fail(e),
            }
        }
        own.post(taking, all);
        own
    }

    /// Waits for all answers and adds them: the sums of each member, in the round's order. Rows of one that failed
    /// are zeros.
    pub(super) async fn sums(mut self, taking: &mut [Taking<'_>]) -> Rows {
        let width = self.normed.width();
        loop {
            let failed = std::mem::take(&mut self.unsent);
            if !failed.is_empty() {
                self.deal_again(taking, failed).await;
                continue;
            }
            let Some((frame, result)) = self.flights.next().await else { break };
            let mut failed = Vec::new();
            for (piece, result) in frame.take_apart(width, result) {
                let Some(taking) = taking.get_mut(piece.member) else { continue };
                match result {
                    Ok(combined) => {
                        taking.member.work.count(&piece.dealt);
                        if let Some(answers) = self.answers.get_mut(piece.member) {
                            answers.push((piece.dealt.part, combined));
                        }
                    }
                    Err(why) => failed.push((piece, why)),
                }
            }
            if !failed.is_empty() {
                self.deal_again(taking, failed).await;
            }
        }
        let mut sums = Rows::default();
        for ((taking, routing), answers) in taking.iter_mut().zip(&self.routings).zip(&self.answers) {
            let answers: Vec<_> = answers.iter().map(|(part, combined)| (part, combined)).collect();
            let added = if taking.member.has_failed() {
                None
            } else {
                combine(routing, width, &answers).map_err(|e| taking.member.fail(e)).ok()
            };
            let added = added.unwrap_or_else(|| Rows::zeros(taking.count, width));
            // All are of one width.
            let _ = sums.append(&added);
        }
        sums
    }

    /// Gives up who failed, for the members concerned, and asks others.
    async fn deal_again(&mut self, taking: &mut [Taking<'_>], failed: Vec<(Piece, Unserved)>) {
        let mut all = Vec::new();
        for (piece, why) in failed {
            let Some(taking) = taking.get_mut(piece.member) else { continue };
            taking.member.work.give_up(&piece.dealt, &why).await;
            if taking.member.has_failed() {
                continue;
            }
            let part = &piece.dealt.part;
            match taking.member.work.deal(self.layer, &part.routing, Some(&part.rows)) {
                Ok(parts) => all.extend(parts.into_iter().map(|dealt| (piece.member, dealt))),
                Err(e) => taking.member.fail(e),
            }
        }
        self.post(taking, all);
    }

    /// Puts parts together by where they go, and writes the frames.
    fn post(&mut self, taking: &mut [Taking<'_>], parts: Vec<(usize, Dealt)>) {
        let mut frames: BTreeMap<usize, Frame> = BTreeMap::new();
        for (member, dealt) in parts {
            let Some(taking) = taking.get_mut(member) else { continue };
            match taking.member.work.address(self.layer, &dealt) {
                Ok(Address { host, slot, replaceable }) => {
                    let frame = frames.entry(Arc::as_ptr(&host).addr()).or_insert_with(|| Frame {
                        host,
                        pieces: Vec::new(),
                        forwards: 0,
                        replaceable: true,
                    });
                    frame.forwards += dealt.forwards;
                    frame.replaceable &= replaceable;
                    frame.pieces.push(Piece { member, slot, dealt });
                }
                Err(why) => self.unsent.push((Piece { member, slot: 0, dealt }, why)),
            }
        }
        for frame in frames.into_values() {
            match self.write(&frame) {
                Ok(answer) => self.flights.push(Box::pin(async move { (frame, answer.await) })),
                Err(why) => self.unsent.extend(frame.pieces.into_iter().map(|p| (p, why.clone()))),
            }
        }
    }

    /// Writes one frame; the future brings the answer.
    fn write(
        &self,
        frame: &Frame,
    ) -> Result<impl Future<Output = Result<Combine, Unserved>> + use<>, Unserved> {
        let host: Arc<Host> = Arc::clone(&frame.host);
        let forwards = frame.forwards;
        let patience = if frame.replaceable { host.patience(forwards) } else { PATIENCE_MOST };
        let dispatch = frame.dispatch(self.layer, self.normed, &self.starts).map_err(|_| Unserved::Shape)?;
        self.metrics.dispatches.one();
        let started = Instant::now();
        let answer = host.lane.dispatch(&host.token, &dispatch)?;
        Ok(async move {
            match tokio::time::timeout(patience, answer).await {
                Ok(combine) => {
                    host.replied(forwards, started.elapsed());
                    Ok(combine?)
                }
                Err(_) => Err(Unserved::Late),
            }
        })
    }
}
