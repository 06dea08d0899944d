//! One node as the dealer knows it: what it offers, what was proposed to it, what it is ready for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counterfoil_session::RouterLane;
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::message::{NodeHello, Progress, Proposal};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use tokio::time::Instant;

use super::waits::Waits;
use super::window::Window;
use super::{Unfit, Visit};
use crate::placement::{Offer, Standing};
use crate::roster::Roster;

/// How long a node has to answer a proposal.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a node that did not take a proposal, or did not get ready, is asked for nothing more of that model.
const SPARED: Duration = Duration::from_secs(600);

/// A node that is here, or was.
#[derive(Debug, Default)]
pub(super) struct Seat {
    stay: Stay,
    max_weight_bytes: u64,
    /// The models that its policy names; all where it does not say.
    wants: Option<Vec<String>>,
    /// What it wants none of, as long as it stays.
    withdrawn: BTreeSet<ManifestId>,
    /// Until when it is asked for no more of a model than it is ready for.
    spared: BTreeMap<ManifestId, Instant>,
    /// To what its own consent tokens were narrower than what was proposed.
    narrowed: BTreeMap<ManifestId, Vec<Range>>,
    standings: BTreeMap<ManifestId, Standing>,
    /// Until when it has to answer what was proposed to it.
    answer_until: Option<Instant>,
    /// What it consented to and is not ready for.
    waits: Waits,
    /// What is proposed to it now, and what later.
    window: Window,
    /// Whether nothing was decided about it since it came.
    fresh: bool,
    /// Whether it was told that there is nothing for it.
    told_idle: bool,
}

#[derive(Debug, Default)]
enum Stay {
    /// Known from the log alone; until when.
    Remembered(Instant),
    /// Its lane is over; until when it keeps its part.
    Away(Instant),
    Here(RouterLane, Visit),
    #[default]
    Nowhere,
}

impl Seat {
    pub(super) fn remembered(until: Instant) -> Self {
        Self { stay: Stay::Remembered(until), fresh: true, ..Self::default() }
    }

    pub(super) fn come(&mut self, lane: RouterLane, visit: Visit, hello: NodeHello) {
        *self = Self {
            stay: Stay::Here(lane, visit),
            max_weight_bytes: hello.max_weight_bytes,
            wants: hello.wants,
            fresh: true,
            ..Self::default()
        };
    }

    /// Whether a node that is here goes on on this lane, with its next certificate.
    pub(super) fn is_succeeded_by(&self, lane: &RouterLane) -> bool {
        self.lane()
            .is_some_and(|own| own.end().is_none() && own.peer().generation() < lane.peer().generation())
    }

    /// It goes on on another lane. What it hosts stays; gives what is to be proposed there.
    pub(super) fn succeed(
        &mut self,
        lane: RouterLane,
        visit: Visit,
        hello: NodeHello,
    ) -> Vec<(ManifestId, Vec<Range>)> {
        self.stay = Stay::Here(lane, visit);
        self.max_weight_bytes = hello.max_weight_bytes;
        self.wants = hello.wants;
        self.answer_until = None;
        self.waits = Waits::default();
        self.window = Window::default();
        let standings = self.standings.iter().filter(|(_, standing)| !standing.proposed.is_empty());
        standings.map(|(manifest, standing)| (*manifest, standing.proposed.clone())).collect()
    }

    pub(super) fn go(&mut self, until: Instant) {
        self.stay = Stay::Away(until);
    }

    pub(super) fn is_visit(&self, visit: Visit) -> bool {
        matches!(&self.stay, Stay::Here(_, here) if *here == visit)
    }

    pub(super) fn lane(&self) -> Option<&RouterLane> {
        match &self.stay {
            Stay::Here(lane, _) => Some(lane),
            _ => None,
        }
    }

    pub(super) const fn away_until(&self) -> Option<Instant> {
        match &self.stay {
            Stay::Away(until) | Stay::Remembered(until) => Some(*until),
            _ => None,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.away_until().is_some_and(|until| until <= now)
    }

    pub(super) const fn is_remembered(&self) -> bool {
        matches!(self.stay, Stay::Remembered(_))
    }

    pub(super) const fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(super) const fn settle(&mut self) {
        self.fresh = false;
    }

    /// It may be asked for these. True where that is less than what was proposed, so that others must make up for it.
    pub(super) fn ready(&mut self, ranges: &[Range]) -> bool {
        let mut narrowed = false;
        let models: BTreeSet<ManifestId> = ranges.iter().map(|r| r.manifest).collect();
        for manifest in models {
            let own: Vec<Range> = ranges.iter().filter(|r| r.manifest == manifest).copied().collect();
            let standing = self.standings.entry(manifest).or_default();
            // A token that is renewed while a proposal is open says what was before.
            if standing.ready == own && standing.proposed != own {
                continue;
            }
            if standing.proposed != own {
                standing.proposed.clone_from(&own);
                self.narrowed.insert(manifest, own.clone());
                narrowed = true;
            }
            standing.ready = own;
            self.waits.end(&manifest);
            self.window.close(&manifest);
        }
        narrowed
    }

    /// It hosts nothing of a model; and will not, as long as it stays, unless that is what it was asked for.
    pub(super) fn withdraw(&mut self, manifest: ManifestId) {
        self.answer_until = None;
        self.waits.end(&manifest);
        self.window.forget(&manifest);
        let asked = self.standings.remove(&manifest).is_some_and(|s| s.proposed.is_empty());
        if !asked {
            self.withdrawn.insert(manifest);
        }
    }

    /// It did not take what was proposed: it stays with what it has, and is asked for no more for a while.
    pub(super) fn decline(&mut self, manifest: ManifestId, now: Instant) {
        self.answer_until = None;
        self.waits.end(&manifest);
        self.window.forget(&manifest);
        if let Some(standing) = self.standings.get_mut(&manifest) {
            standing.proposed.clone_from(&standing.ready);
        }
        self.spared.insert(manifest, now + SPARED);
    }

    /// Its operator allows something else from now on: what it declined or withdrew before may be asked for again.
    pub(super) fn change(&mut self, wants: Option<Vec<String>>) {
        self.wants = wants;
        self.withdrawn.clear();
        self.spared.clear();
        self.narrowed.clear();
    }

    /// A consent token of it was refused. Where it does not say for which models, or one for others would be refused as
    /// well, that holds for all that it has not consented to.
    pub(super) fn refused(&mut self, unfit: &Unfit, now: Instant) {
        let open = self.standings.iter().filter(|(m, s)| {
            s.proposed != s.ready
                && match unfit {
                    Unfit::Models(models) => models.contains(*m),
                    Unfit::All => !self.waits.has(m),
                }
        });
        let open: Vec<ManifestId> = open.map(|(manifest, _)| *manifest).collect();
        open.into_iter().for_each(|manifest| self.decline(manifest, now));
    }

    /// Whether there is a model that it may be asked for again from now on.
    pub(super) fn offer_again(&mut self, now: Instant) -> bool {
        let before = self.spared.len();
        self.spared.retain(|_, until| *until > now);
        self.spared.len() < before
    }

    /// It sent a consent token, and is waited for from here on.
    pub(super) fn answer(&mut self) {
        self.answer_until = None;
        let now = Instant::now();
        let open = self
            .standings
            .iter()
            .filter(|(m, s)| s.proposed != s.ready && !s.proposed.is_empty() && !self.window.holds_back(m));
        open.for_each(|(manifest, _)| self.waits.begin(*manifest, now));
    }

    /// It is at work on its answer: it has as long again.
    pub(super) fn wait_on(&mut self, progress: &Progress) {
        self.waits.heard(progress.manifest, (progress.shards, progress.bytes), Instant::now());
        //= spec/session.md#control-messages
        //# a router MUST NOT end the lane of a node for want of a consent token or of `Ready` within 60 seconds of a `Progress`.
        if let Some(until) = &mut self.answer_until {
            *until = Instant::now() + CONSENT_TIMEOUT;
        }
    }

    /// When to look at it again.
    pub(super) fn answer_until(&self) -> Option<Instant> {
        let again = self.spared.values().min().copied();
        [self.answer_until, self.waits.next(), again].into_iter().flatten().min()
    }

    /// Takes back the part of one that consented and gets no further. True where there was such a part.
    pub(super) fn expect_ready(&mut self, now: Instant) -> bool {
        let over = self.waits.over(now);
        for manifest in &over {
            let Some(lane) = self.lane() else { continue };
            tracing::warn!(node = %lane.node(), %manifest, "a node consented and does not get ready; others are asked");
            self.decline(*manifest, now);
        }
        !over.is_empty()
    }

    /// Ends the lane of one that has not answered in time.
    pub(super) fn expect_answer(&mut self) {
        if self.answer_until.is_some_and(|until| until <= Instant::now()) {
            self.answer_until = None;
            if let Some(lane) = self.lane() {
                lane.shut(Refusal::SessionIdle, "no consent token came for the proposal");
            }
        }
    }

    pub(super) fn ready_of(&self, manifest: &ManifestId) -> Vec<Range> {
        self.standings.get(manifest).map_or(Vec::new(), |s| s.ready.clone())
    }

    /// What it can hold at most, and where it stands with each model.
    pub(super) fn standing(&self) -> (u64, BTreeMap<ManifestId, Standing>) {
        (self.max_weight_bytes, self.standings.clone())
    }

    /// What was proposed to it; for one that has just come, or has not come back yet, what it hosted last.
    pub(super) fn proposed(&self, roster: &Roster, node: &NodeId, now: Seconds) -> Vec<Range> {
        if self.fresh {
            return roster.hosted(node, now);
        }
        self.standings.values().flat_map(|s| s.proposed.iter().copied()).collect()
    }

    /// What it offers to the placement.
    pub(super) fn offer<'a>(
        &self,
        node: NodeId,
        attested: Option<u64>,
        speed: u32,
        models: impl Iterator<Item = (ManifestId, &'a str)>,
    ) -> Offer {
        let mut allowed = Vec::new();
        for (manifest, name) in models.filter(|(manifest, _)| !self.withdrawn.contains(manifest)) {
            if self.spared.contains_key(&manifest) {
                allowed.extend(self.ready_of(&manifest));
                continue;
            }
            let named = self.wants.as_ref().is_none_or(|wants| wants.iter().any(|w| w == name));
            match self.narrowed.get(&manifest) {
                Some(ranges) => allowed.extend(ranges.iter().copied()),
                None if named => allowed.push(Range::whole(manifest)),
                None => {}
            }
        }
        Offer { node, bytes: self.max_weight_bytes.min(attested.unwrap_or(u64::MAX)), allowed, speed }
    }

    /// The same of one that is not here: what it hosted, and no more.
    pub(super) fn memory(node: NodeId, hosted: Vec<Range>, speed: u32) -> Offer {
        Offer { node, bytes: u64::MAX, allowed: hosted, speed }
    }

    /// Tells a node to which nothing was ever proposed that there is nothing for it, once, so that its operator does
    /// not wait.
    pub(super) fn tell_idle(&mut self, nothing: Proposal) {
        if self.told_idle || !self.standings.is_empty() {
            return;
        }
        let Some(lane) = self.lane() else { return };
        match lane.propose(nothing) {
            Ok(()) => self.told_idle = true,
            Err(e) => tracing::warn!(node = %lane.node(), error = %e, "a proposal could not be sent"),
        }
    }

    /// Proposes, as soon as it may; what is to be proposed counts as proposed.
    pub(super) fn propose(&mut self, proposal: Proposal) {
        let Some(lane) = self.lane() else { return };
        let (manifest, ranges) = (proposal.manifest, proposal.ranges.clone());
        if ranges.is_empty() {
            if let Err(e) = lane.propose(proposal) {
                tracing::warn!(node = %lane.node(), error = %e, "a proposal could not be sent");
                return;
            }
        } else {
            self.window.push(proposal);
        }
        self.standings.entry(manifest).or_default().proposed = ranges;
        self.propose_next();
    }

    /// Makes the proposals that waited, as far as may be.
    pub(super) fn propose_next(&mut self) {
        while let Stay::Here(lane, _) = &self.stay
            && let Some(next) = self.window.next()
        {
            let manifest = next.manifest;
            match lane.propose(next) {
                Ok(()) => {
                    self.answer_until.get_or_insert_with(|| Instant::now() + CONSENT_TIMEOUT);
                }
                Err(e) => {
                    tracing::warn!(node = %lane.node(), error = %e, "a proposal could not be sent");
                    self.window.close(&manifest);
                    if let Some(standing) = self.standings.get_mut(&manifest) {
                        standing.proposed.clone_from(&standing.ready);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
