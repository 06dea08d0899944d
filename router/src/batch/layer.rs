//! The experts of one layer for all rows of a round.
//!
//! Each member deals its own rows to its own parties; what goes to the same node under the same consent token travels
//! in one frame. A node that fails, or refuses a segment, concerns the members whose rows those were: they ask
//! others, again together, and nothing of anybody else is computed twice.
//!
//! A frame that takes longer than 95 of 100 like it did is *hedged*: its rows are dealt to other nodes too, under a
//! budget; beyond the budget too, once it took several times as long. What answers first counts; the other answer is
//! dropped when it comes, its node is told that its forwards entered no sum, and none of them is billed. Until a node
//! that was hedged has answered, others are preferred to it, so one that is dead costs one such wait.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use counterfoil_model::{Combined, Part, Routing, Rows, combine};
use counterfoil_session::frame::{Combine, Encoding};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::budget::Budget;
use super::frame::{Frame, Piece, Start};
use super::late::{Due, FAR_TOO_LATE, Hedge, Landed, Lost, Out, until};
use super::round::Taking;
use crate::http::metrics::Metrics;
use crate::registry::PATIENCE_MOST;
use crate::work::{Address, Dealt, Unserved};

/// A frame that is out, by its number.
type Flight = std::pin::Pin<Box<dyn Future<Output = (usize, Landed)> + Send>>;

/// A layer that is under way.
pub(super) struct Layer<'a> {
    layer: u32,
    encoding: Encoding,
    metrics: &'a Metrics,
    budget: &'a mut Budget,
    normed: &'a Rows,
    /// Of each member, in the round's order.
    starts: Vec<Start>,
    routings: Vec<Routing>,
    answers: Vec<Vec<(Part, Combined)>>,
    flights: FuturesUnordered<Flight>,
    /// The frames that an answer is wanted for, by number; numbers count up.
    out: BTreeMap<usize, Out>,
    /// Those that somebody else answered first.
    lost: Lost,
    sent: usize,
    /// Parts that nobody could be sent.
    unsent: Vec<(Piece, Unserved)>,
}

/// Whose rows are sent: requests' own, or once more those of a frame.
type Parts = Vec<(usize, Dealt)>;

impl<'a> Layer<'a> {
    /// Sends every row on its way.
    pub(super) fn send(
        (layer, encoding): (u32, Encoding),
        (metrics, budget): (&'a Metrics, &'a mut Budget),
        (normed, routing): (&'a Rows, &Routing),
        taking: &mut [Taking<'_>],
    ) -> Self {
        let mut own = Self {
            layer,
            encoding,
            metrics,
            budget,
            normed,
            starts: Vec::with_capacity(taking.len()),
            routings: Vec::with_capacity(taking.len()),
            answers: taking.iter().map(|_| Vec::new()).collect(),
            flights: FuturesUnordered::new(),
            out: BTreeMap::new(),
            lost: Lost::default(),
            sent: 0,
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
        loop {
            let unsent = std::mem::take(&mut self.unsent);
            if !unsent.is_empty() {
                self.deal_again(taking, unsent).await;
                continue;
            }
            if self.out.is_empty() {
                break;
            }
            let due = self.out.values().filter_map(|out| Some(out.due.as_ref()?.at)).min();
            tokio::select! {
                biased;
                Some((number, landed)) = self.flights.next() => self.landed(taking, number, landed).await,
                () = until(due), if due.is_some() => self.hedge(taking),
            }
        }
        let mut late = std::mem::take(&mut self.flights);
        if !late.is_empty() {
            let mut lost = std::mem::take(&mut self.lost);
            tokio::spawn(async move {
                while let Some((number, landed)) = late.next().await {
                    lost.landed(number, landed);
                }
            });
        }
        self.add(taking)
    }

    fn add(self, taking: &mut [Taking<'_>]) -> Rows {
        let width = self.normed.width();
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

    /// A frame was answered, or will not be in time.
    async fn landed(&mut self, taking: &mut [Taking<'_>], number: usize, landed: Landed) {
        let Some(out) = self.out.remove(&number) else { return self.lost.landed(number, landed) };
        let result = landed.of(&out.frame);
        match (out.hedge_of, result) {
            (Some(of), result) => self.hedge_came(taking, of, out.frame, result).await,
            // The hedge may still come.
            (None, Err(why)) if out.hedge.is_some() => {
                for piece in &out.frame.pieces {
                    give_up(taking, piece, &why).await;
                }
                let hedge = out.hedge.map(|hedge| Hedge { alone: true, ..hedge });
                self.out.insert(number, Out { hedge, ..out });
            }
            (None, result) => {
                self.lose_hedges_of(number);
                out.hedge.iter().for_each(Hedge::is_unused);
                let mut failed = Vec::new();
                for (piece, result) in out.frame.take_apart(self.normed.width(), result) {
                    match result {
                        Ok(combined) => self.accept(taking, piece, combined),
                        Err(why) => failed.push((piece, why)),
                    }
                }
                self.deal_again(taking, failed).await;
            }
        }
    }

    /// A hedge was answered, or will not be.
    async fn hedge_came(
        &mut self,
        taking: &mut [Taking<'_>],
        of: usize,
        frame: Frame,
        result: Result<Combine, Unserved>,
    ) {
        let mut came = Vec::new();
        let mut failed = false;
        let host = Arc::clone(&frame.host);
        for (piece, result) in frame.take_apart(self.normed.width(), result) {
            match result {
                Ok(combined) => came.push((Arc::clone(&host), piece, combined)),
                Err(why) => {
                    failed = true;
                    // One that has enough to do was asked for more than its share.
                    if !why.is_crowded() {
                        give_up(taking, &piece, &why).await;
                    }
                }
            }
        }
        let Some(mut out) = self.out.remove(&of) else { return };
        let Some(hedge) = &mut out.hedge else { return };
        hedge.came.extend(came);
        hedge.missing = hedge.missing.saturating_sub(1);
        if !failed && hedge.missing > 0 {
            self.out.insert(of, out);
            return;
        }
        self.lose_hedges_of(of);
        let Some(hedge) = out.hedge.take() else { return };
        if !failed {
            self.metrics.hedges_first.one();
            if !hedge.alone {
                self.lost.0.insert(of, out.frame);
            }
            for (_, piece, combined) in hedge.came {
                self.accept(taking, piece, combined);
            }
            return;
        }
        hedge.is_unused();
        if hedge.alone {
            // Both ways have failed, and both nodes were given up.
            self.deal_anew(taking, out.frame.pieces);
        } else {
            self.out.insert(of, out);
        }
    }

    /// No answer of a frame's hedges is wanted any more.
    fn lose_hedges_of(&mut self, number: usize) {
        let lost = self.out.extract_if(.., |_, other| other.hedge_of == Some(number));
        self.lost.0.extend(lost.map(|(number, out)| (number, out.frame)));
    }

    fn accept(&mut self, taking: &mut [Taking<'_>], piece: Piece, combined: Combined) {
        if let Some(taking) = taking.get_mut(piece.member) {
            taking.member.work.count(&piece.dealt);
        }
        if let Some(answers) = self.answers.get_mut(piece.member) {
            answers.push((piece.dealt.part, combined));
        }
    }

    /// Gives up who failed, for the members concerned, and asks others.
    async fn deal_again(&mut self, taking: &mut [Taking<'_>], failed: Vec<(Piece, Unserved)>) {
        for (piece, why) in &failed {
            give_up(taking, piece, why).await;
        }
        self.deal_anew(taking, failed.into_iter().map(|(piece, _)| piece).collect());
    }

    fn deal_anew(&mut self, taking: &mut [Taking<'_>], pieces: Vec<Piece>) {
        let mut all = Vec::new();
        for piece in pieces {
            let Some(taking) = taking.get_mut(piece.member) else { continue };
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

    /// Sends the rows of every frame that is due to others too, as far as the budget goes and all have another node that
    /// owes nothing; what cannot be sent is looked at again after as long. A node that owes nothing yet and is very late
    /// is not waited for, whatever the budget says: for that, one frame of each node is sent twice at one time.
    fn hedge(&mut self, taking: &mut [Taking<'_>]) {
        let now = Instant::now();
        let due: Vec<usize> = self
            .out
            .iter()
            .filter(|(_, out)| out.due.as_ref().is_some_and(|due| due.at <= now))
            .map(|(n, _)| *n)
            .collect();
        for number in due {
            let Some(mut out) = self.out.remove(&number) else { continue };
            let due = out.due.take();
            let others = others(self.layer, taking, &out.frame);
            let is_far_too_late = due.as_ref().is_some_and(|due| due.beyond <= now);
            let may = |_: &_| self.budget.take() || (is_far_too_late && !out.frame.host.is_behind());
            let mut written = false;
            if let Some(parts) = others.filter(may) {
                let (frames, unsent) = address(self.layer, taking, parts);
                let whole = unsent.is_empty();
                let missing = frames.len();
                written = whole && frames.into_iter().all(|frame| self.fly(frame, Some(number)).is_ok());
                if written {
                    self.metrics.hedges.one();
                    let _ = out.owing.set(out.frame.host.owes());
                    out.hedge = Some(Hedge { missing, came: Vec::new(), alone: false });
                } else {
                    self.lose_hedges_of(number);
                }
            }
            if !written {
                out.due = due.map(|due| Due { at: now + due.after, ..due });
            }
            self.out.insert(number, out);
        }
    }

    /// Puts parts together by where they go, and writes the frames.
    fn post(&mut self, taking: &mut [Taking<'_>], parts: Parts) {
        let (frames, unsent) = address(self.layer, taking, parts);
        self.unsent.extend(unsent);
        for frame in frames {
            if let Err((frame, why)) = self.fly(frame, None) {
                self.unsent.extend(frame.pieces.into_iter().map(|p| (p, why.clone())));
            }
        }
    }

    /// Writes one frame.
    fn fly(&mut self, frame: Frame, hedge_of: Option<usize>) -> Result<(), (Frame, Unserved)> {
        let (host, forwards) = (Arc::clone(&frame.host), frame.forwards);
        let patience = if frame.replaceable { host.patience(forwards) } else { PATIENCE_MOST };
        let Ok(dispatch) = frame.dispatch((self.layer, self.encoding), self.normed, &self.starts) else {
            return Err((frame, Unserved::Shape));
        };
        self.metrics.dispatches.one();
        let started = Instant::now();
        let mut answer = match host.lane.dispatch(&host.token, &dispatch) {
            Ok(answer) => answer,
            Err(e) => return Err((frame, e.into())),
        };
        if hedge_of.is_none() {
            self.budget.earn();
        }
        let hedged = hedge_of.is_none() && frame.replaceable;
        let due = host.hedge_after(forwards).filter(|_| hedged && self.budget.is_any()).map(|after| Due {
            after,
            at: started + after,
            beyond: started + after * FAR_TOO_LATE,
        });
        let number = self.sent;
        self.sent += 1;
        let owing = Arc::new(OnceLock::new());
        let own = Arc::clone(&owing);
        self.out.insert(number, Out { frame, hedge_of, due, owing, hedge: None });
        self.flights.push(Box::pin(async move {
            let landed = match tokio::time::timeout(patience, &mut answer).await {
                Ok(result) => {
                    let result = result.inspect(|_| host.replied(forwards, answer.took()));
                    Landed::InTime(result.map_err(Unserved::from))
                }
                Err(_) => {
                    host.fell_silent();
                    Landed::Late(Box::pin(answer))
                }
            };
            // Its node owes nothing any more.
            drop(own);
            (number, landed)
        }));
        Ok(())
    }
}

async fn give_up(taking: &mut [Taking<'_>], piece: &Piece, why: &Unserved) {
    if let Some(taking) = taking.get_mut(piece.member) {
        taking.member.work.give_up(&piece.dealt, why).await;
    }
}

/// The rows of a frame dealt to other nodes; nothing where any of them has no other.
fn others(layer: u32, taking: &mut [Taking<'_>], frame: &Frame) -> Option<Parts> {
    let mut all = Vec::new();
    for piece in &frame.pieces {
        let work = &taking.get(piece.member)?.member.work;
        let parts = work.deal_around(layer, &piece.dealt)?;
        all.extend(parts.into_iter().map(|dealt| (piece.member, dealt)));
    }
    Some(all)
}

/// Puts parts together by where they go; beside that, those that cannot be sent.
fn address(layer: u32, taking: &mut [Taking<'_>], parts: Parts) -> (Vec<Frame>, Vec<(Piece, Unserved)>) {
    let mut frames: BTreeMap<usize, Frame> = BTreeMap::new();
    let mut unsent = Vec::new();
    for (member, dealt) in parts {
        let Some(taking) = taking.get_mut(member) else { continue };
        match taking.member.work.address(layer, &dealt) {
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
            Err(why) => unsent.push((Piece { member, slot: 0, dealt }, why)),
        }
    }
    (frames.into_values().collect(), unsent)
}
