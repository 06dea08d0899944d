//! One node as the dealer knows it: what it offers, what was proposed to it, what it is ready for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use counterfoil_session::RouterLane;
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::message::{NodeHello, Proposal};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use tokio::time::Instant;

use super::Visit;
use crate::placement::{Offer, Standing};
use crate::roster::Roster;

/// How long a node has to answer a proposal.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(120);

/// A node that is here, or was.
#[derive(Debug, Default)]
pub(super) struct Seat {
    stay: Stay,
    max_weight_bytes: u64,
    /// The models that its policy names; all where it does not say.
    wants: Option<Vec<String>>,
    /// What it wants none of, as long as it stays.
    declined: BTreeSet<ManifestId>,
    /// To what its own consent tokens were narrower than what was proposed.
    narrowed: BTreeMap<ManifestId, Vec<Range>>,
    standings: BTreeMap<ManifestId, Standing>,
    /// Until when it has to answer what was proposed to it.
    answer_until: Option<Instant>,
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
            let renewed = standing.ready == own && standing.proposed != own;
            if !renewed && standing.proposed != own {
                standing.proposed.clone_from(&own);
                self.narrowed.insert(manifest, own.clone());
                narrowed = true;
            }
            standing.ready = own;
        }
        narrowed
    }

    /// It hosts nothing of a model; and will not, as long as it stays, unless that is what it was asked for.
    pub(super) fn decline(&mut self, manifest: ManifestId) {
        self.answer_until = None;
        let asked = self.standings.remove(&manifest).is_some_and(|s| s.proposed.is_empty());
        if !asked {
            self.declined.insert(manifest);
        }
    }

    /// It sent a consent token.
    pub(super) const fn answer(&mut self) {
        self.answer_until = None;
    }

    /// It is at work on its answer: it has as long again.
    pub(super) fn wait_on(&mut self) {
        //= spec/session.md#control-messages
        //# a router MUST NOT end the lane of a node for want of a consent token or of `Ready` within 60 seconds of a `Progress`.
        if let Some(until) = &mut self.answer_until {
            *until = Instant::now() + CONSENT_TIMEOUT;
        }
    }

    pub(super) const fn answer_until(&self) -> Option<Instant> {
        self.answer_until
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
        for (manifest, name) in models.filter(|(manifest, _)| !self.declined.contains(manifest)) {
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

    /// Proposes; what is on its way counts as proposed.
    pub(super) fn propose(&mut self, proposal: Proposal) {
        let (manifest, ranges) = (proposal.manifest, proposal.ranges.clone());
        let Some(lane) = self.lane() else { return };
        match lane.propose(proposal) {
            Ok(()) => {
                if !ranges.is_empty() {
                    self.answer_until.get_or_insert_with(|| Instant::now() + CONSENT_TIMEOUT);
                }
                self.standings.entry(manifest).or_default().proposed = ranges;
            }
            Err(e) => tracing::warn!(node = %lane.node(), error = %e, "a proposal could not be sent"),
        }
    }
}
