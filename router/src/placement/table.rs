//! The state of one placement: what each node holds, has left and carries, with the orders that a choice needs.
#![expect(clippy::indexing_slicing, reason = "models and nodes are numbered by the lists that are indexed")]

use std::cmp::Reverse;
use std::collections::BTreeSet;

use counterfoil_spec::claims::Range;
use counterfoil_spec::limits::MAX_CONSENT_RANGES;

use super::assign::{Needs, Offer};
use super::bits::Bits;
use super::ranges::Held;

/// Divisible by every number of replicas up to 16, so that a share of a load is exact.
const SHARES: u128 = 720_720;
/// Adding one run of experts to a layer can cut a rectangle that spans it, and add one.
const RANGES_PER_RUN: usize = 3;

/// What a node allows of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Nothing,
    All,
    Only(Held),
}

/// A node while it is filled.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) load: u128,
    pub(super) speed: u128,
    /// Whether it held nothing before.
    pub(super) newcomer: bool,
    allowed: Vec<Allowed>,
    pub(super) held: Vec<Held>,
    /// At least as many as the ranges of each model.
    ranges: Vec<usize>,
}

/// Everything that is being placed.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) models: Vec<&'a Needs>,
    pub(super) rooms: Vec<Room>,
    /// For each model, for each layer and expert, how many nodes hold it.
    copies: Vec<Vec<u32>>,
    /// For each model the nodes that allow some of it, the least loaded first.
    idle: Vec<BTreeSet<(u128, usize)>>,
    /// The same, the emptiest first.
    roomy: Vec<BTreeSet<(Reverse<u64>, usize)>>,
    /// All nodes by their load.
    pub(super) loads: BTreeSet<(u128, usize)>,
}

impl Room {
    /// Load for each unit of speed once there is so much more; what is balanced between nodes.
    pub(super) fn strain(&self, more: u128) -> u128 {
        (self.load + more) / self.speed
    }

    /// The same once there is so much less.
    pub(super) fn relief(&self, less: u128) -> u128 {
        self.load.saturating_sub(less) / self.speed
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(models: Vec<&'a Needs>, offers: &[&Offer]) -> Self {
        let rooms: Vec<Room> = offers.iter().map(|offer| room(offer, &models)).collect();
        let copies = models.iter().map(|m| vec![0; m.bytes.len()]).collect();
        let allows = |m: usize, room: &Room| room.allowed[m] != Allowed::Nothing;
        let idle = (0..models.len())
            .map(|m| (0..rooms.len()).filter(|r| allows(m, &rooms[*r])).map(|r| (0, r)).collect())
            .collect();
        let roomy = (0..models.len())
            .map(|m| {
                let open = (0..rooms.len()).filter(|r| allows(m, &rooms[*r]));
                open.map(|r| (Reverse(rooms[r].free), r)).collect()
            })
            .collect();
        let loads = (0..rooms.len()).map(|r| (0, r)).collect();
        Self { models, rooms, copies, idle, roomy, loads }
    }

    /// Bytes of some experts of a layer.
    pub(super) fn bytes(&self, m: usize, layer: usize, experts: &Bits) -> u64 {
        experts.iter().map(|e| self.size(m, layer, e)).fold(0, u64::saturating_add)
    }

    pub(super) fn size(&self, m: usize, layer: usize, expert: u32) -> u64 {
        self.models[m].bytes_of(layer, expert)
    }

    /// What some bytes of a model add to the load of a node.
    pub(super) fn weigh(&self, m: usize, bytes: u64) -> u128 {
        let needs = self.models[m];
        u128::from(bytes) * u128::from(needs.demand.max(1)) * SHARES / u128::from(needs.replicas.max(1))
    }

    pub(super) fn copies(&self, m: usize, layer: usize, expert: u32) -> u32 {
        self.copies[m].get(at(self.models[m], layer, expert)).copied().unwrap_or(0)
    }

    /// The experts of a layer that fewer than `wanted` nodes hold.
    pub(super) fn short(&self, m: usize, layer: usize, wanted: u32) -> Bits {
        (0..self.models[m].shape.experts).filter(|e| self.copies(m, layer, *e) < wanted).collect()
    }

    pub(super) fn allows(&self, r: usize, m: usize, layer: usize, expert: u32) -> bool {
        match &self.rooms[r].allowed[m] {
            Allowed::Nothing => false,
            Allowed::All => true,
            Allowed::Only(held) => held.has(layer, expert),
        }
    }

    /// Whether a node may take all of these: allowed, not held, within its bytes and its ranges.
    pub(super) fn can_take(&self, r: usize, m: usize, layer: usize, experts: &Bits) -> bool {
        self.bytes(m, layer, experts) <= self.rooms[r].free && self.may_hold(r, m, layer, experts)
    }

    /// The same without a look at bytes.
    pub(super) fn may_hold(&self, r: usize, m: usize, layer: usize, experts: &Bits) -> bool {
        let allowed = match &self.rooms[r].allowed[m] {
            Allowed::Nothing => false,
            Allowed::All => true,
            Allowed::Only(held) => experts.iter().all(|e| held.has(layer, e)),
        };
        let held = self.rooms[r].held[m].0.get(&layer).is_some_and(|h| h.meets(experts));
        allowed && !held && self.ranges_suffice(r, m, layer, experts)
    }

    fn ranges_suffice(&self, r: usize, m: usize, layer: usize, experts: &Bits) -> bool {
        self.within_ranges(r, m, experts) || {
            let mut held = self.rooms[r].held[m].clone();
            held.add(layer, experts);
            held.ranges(&self.models[m].shape).len() <= MAX_CONSENT_RANGES
        }
    }

    /// Whether a node's ranges stay few enough without these.
    pub(super) fn may_give(&self, r: usize, m: usize, layer: usize, experts: &Bits) -> bool {
        self.within_ranges(r, m, experts) || {
            let mut held = self.rooms[r].held[m].clone();
            held.remove(layer, experts);
            held.ranges(&self.models[m].shape).len() <= MAX_CONSENT_RANGES
        }
    }

    /// Whether a change of these experts leaves a node's ranges few enough in any case.
    fn within_ranges(&self, r: usize, m: usize, experts: &Bits) -> bool {
        self.rooms[r].ranges[m] + RANGES_PER_RUN * experts.runs().len() <= MAX_CONSENT_RANGES
    }

    /// The first of these experts, as many as a node may take.
    pub(super) fn fitting(&self, r: usize, m: usize, layer: usize, experts: &Bits) -> Bits {
        let mut free = self.rooms[r].free;
        let mut out = Bits::default();
        for expert in experts.iter() {
            let size = self.size(m, layer, expert);
            let held = self.rooms[r].held[m].has(layer, expert);
            if size <= free && !held && self.allows(r, m, layer, expert) {
                free -= size;
                out.insert(expert);
            }
        }
        if self.ranges_suffice(r, m, layer, &out) {
            return out;
        }
        let run: Bits = out.runs().first().map_or(Bits::default(), |(from, to)| (*from..=*to).collect());
        if self.ranges_suffice(r, m, layer, &run) { run } else { Bits::default() }
    }

    /// A node takes what [`Self::may_hold`] allowed and its bytes hold.
    pub(super) fn add(&mut self, r: usize, m: usize, layer: usize, experts: &Bits) {
        let bytes = self.bytes(m, layer, experts);
        let load = self.weigh(m, bytes);
        self.count(m, layer, experts, |copies| copies + 1);
        self.change(r, |room| {
            room.free = room.free.saturating_sub(bytes);
            room.load += load;
            room.ranges[m] += RANGES_PER_RUN * experts.runs().len();
            room.held[m].add(layer, experts);
        });
    }

    /// A node gives up what it holds.
    pub(super) fn remove(&mut self, r: usize, m: usize, layer: usize, experts: &Bits) {
        let bytes = self.bytes(m, layer, experts);
        let load = self.weigh(m, bytes);
        self.count(m, layer, experts, |copies| copies.saturating_sub(1));
        self.change(r, |room| {
            room.free = room.free.saturating_add(bytes);
            room.load = room.load.saturating_sub(load);
            room.ranges[m] += RANGES_PER_RUN * experts.runs().len();
            room.held[m].remove(layer, experts);
        });
    }

    /// The nodes that allow some of a model, the least loaded first.
    pub(super) fn idlest(&self, m: usize) -> impl Iterator<Item = usize> {
        self.idle[m].iter().map(|(_, r)| *r)
    }

    /// The first node by load that can take all of these.
    pub(super) fn idlest_for(&self, m: usize, layer: usize, experts: &Bits) -> Option<usize> {
        let bytes = self.bytes(m, layer, experts);
        let roomiest = self.roomy[m].first().map_or(0, |(free, _)| free.0);
        if bytes > roomiest {
            return None;
        }
        self.idle[m].iter().map(|(_, r)| *r).find(|r| self.can_take(*r, m, layer, experts))
    }

    /// The emptiest node that can take some of these, and which.
    pub(super) fn roomiest_for(&self, m: usize, layer: usize, experts: &Bits) -> Option<(usize, Bits)> {
        let least = experts.iter().map(|e| self.size(m, layer, e)).min()?;
        self.roomy[m].iter().take_while(|(free, _)| free.0 >= least).find_map(|(_, r)| {
            let some = self.fitting(*r, m, layer, experts);
            (!some.is_empty()).then_some((*r, some))
        })
    }

    fn count(&mut self, m: usize, layer: usize, experts: &Bits, change: impl Fn(u32) -> u32) {
        for expert in experts.iter() {
            let place = at(self.models[m], layer, expert);
            if let Some(copies) = self.copies[m].get_mut(place) {
                *copies = change(*copies);
            }
        }
    }

    fn change(&mut self, r: usize, change: impl FnOnce(&mut Room)) {
        let before = (self.rooms[r].strain(0), self.rooms[r].free);
        change(&mut self.rooms[r]);
        for m in 0..self.models.len() {
            let room = &mut self.rooms[r];
            if room.ranges[m] > MAX_CONSENT_RANGES {
                room.ranges[m] = room.held[m].ranges(&self.models[m].shape).len();
            }
        }
        let room = &self.rooms[r];
        let after = (room.strain(0), room.free);
        self.loads.remove(&(before.0, r));
        self.loads.insert((after.0, r));
        for m in 0..self.models.len() {
            if room.allowed[m] != Allowed::Nothing {
                self.idle[m].remove(&(before.0, r));
                self.idle[m].insert((after.0, r));
                self.roomy[m].remove(&(Reverse(before.1), r));
                self.roomy[m].insert((Reverse(after.1), r));
            }
        }
    }
}

fn room(offer: &Offer, models: &[&Needs]) -> Room {
    let allowed = models.iter().map(|m| allowed(&offer.allowed, m)).collect();
    Room {
        free: offer.bytes,
        load: 0,
        speed: u128::from(offer.speed.max(1)),
        newcomer: true,
        allowed,
        held: vec![Held::default(); models.len()],
        ranges: vec![0; models.len()],
    }
}

fn allowed(ranges: &[Range], needs: &Needs) -> Allowed {
    if ranges.iter().any(|r| r.covers(&whole(needs))) {
        return Allowed::All;
    }
    let held = Held::of(&needs.shape, ranges);
    if held.is_empty() { Allowed::Nothing } else { Allowed::Only(held) }
}

fn whole(needs: &Needs) -> Range {
    let (first, last) = (needs.shape.moe_layers.first(), needs.shape.moe_layers.last());
    Range {
        manifest: needs.shape.manifest,
        layers: (first.copied().unwrap_or(0), last.copied().unwrap_or(0)),
        experts: (0, needs.shape.experts.saturating_sub(1)),
    }
}

fn at(needs: &Needs, layer: usize, expert: u32) -> usize {
    let wide = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    layer.saturating_mul(wide(needs.shape.experts)).saturating_add(wide(expert))
}
