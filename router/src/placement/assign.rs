//! Which node is to host which experts.
//!
//! 1. A node keeps what it holds, as far as it still may and can.
//! 2. Copies beyond what is wanted go, where a node holds a layer's part of which every expert has one too many.
//! 3. Coverage: layers that nobody holds are dealt out whole where a node has room for one, neighbouring layers to
//!    one node up to its fair share of the load, and expert by expert where nobody has the room.
//! 4. What found no room is rescued where moving or dropping another expert's copy makes room ([`super::rescue`]).
//! 5. Replicas, model by model in the order of demand, in the same way.
//! 6. Nodes that held nothing before take whole layers over from the most loaded ones, as long as that leaves the
//!    giver no less loaded than the taker.
//!
//! An expert leaves a node that stays only in the steps 2, 4 and 6. So where n equal nodes share a model evenly, one
//! that leaves moves exactly what it held, and one that joins takes over no more than 1/(n + 1) of all and one layer.

use std::collections::BTreeMap;

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};

use super::bits::Bits;
use super::ranges::Held;
use super::rescue::rescue;
use super::table::Table;
use super::{Shape, Uncovered};

/// A model that is to be hosted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Which, and what it consists of.
    pub shape: Shape,
    /// Bytes of each expert of each layer with experts: layers outside, experts inside.
    pub bytes: Vec<u64>,
    /// How much it is asked for, against the other models.
    pub demand: u32,
    /// How many nodes are to hold each expert.
    pub replicas: u32,
}

impl Needs {
    /// Bytes of one expert; the layer by its place among the layers with experts.
    pub(super) fn bytes_of(&self, layer: usize, expert: u32) -> u64 {
        let wide = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let at = layer.saturating_mul(wide(self.shape.experts)).saturating_add(wide(expert));
        self.bytes.get(at).copied().unwrap_or(u64::MAX)
    }
}

/// A node that can host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub node: NodeId,
    /// Bytes of weights that it may hold: the least of what it declared, what was attested and what policy allows.
    pub bytes: u64,
    /// What it allows, of all models.
    pub allowed: Vec<Range>,
    /// How fast it was measured to be, against the others.
    pub speed: u32,
}

/// What every node is to host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// For each node ascending, disjoint ranges, at most [`counterfoil_spec::limits::MAX_CONSENT_RANGES`] of a model;
    /// a node that is to host nothing is not in it.
    pub nodes: BTreeMap<NodeId, Vec<Range>>,
    /// The experts that no node has room for, by model.
    pub uncovered: BTreeMap<ManifestId, Vec<Uncovered>>,
}

/// Places the experts of all models on the nodes. The same input gives the same assignment, in whatever order it
/// comes; of two offers of one node, or two needs of one model, the first by value counts.
#[must_use]
pub fn assign(models: &[Needs], offers: &[Offer], current: &BTreeMap<NodeId, Vec<Range>>) -> Assignment {
    let mut models: Vec<&Needs> = models.iter().collect();
    models.sort_by_key(|m| (m.shape.manifest, m.demand, m.replicas, &m.bytes));
    models.dedup_by_key(|m| m.shape.manifest);
    // The most wanted first; of equals the one with the largest experts, which is the hardest to find room for.
    models.sort_by_key(|m| std::cmp::Reverse((m.demand, m.bytes.iter().max().copied(), m.shape.manifest)));
    let mut offers: Vec<&Offer> = offers.iter().collect();
    offers.sort_by_key(|o| (o.node, o.bytes, o.speed, &o.allowed));
    offers.dedup_by_key(|o| o.node);

    let mut table = Table::new(models, &offers);
    for (r, offer) in offers.iter().enumerate() {
        keep(&mut table, r, current.get(&offer.node).map_or(&[], Vec::as_slice));
    }
    trim(&mut table);
    for m in 0..table.models.len() {
        spread(&mut table, m, 1);
    }
    while rescue(&mut table) {}
    let most = table.models.iter().map(|m| m.replicas).max().unwrap_or(1);
    let most = most.min(u32::try_from(offers.len()).unwrap_or(u32::MAX));
    for copies in 2..=most {
        for m in 0..table.models.len() {
            if table.models.get(m).is_some_and(|needs| needs.replicas >= copies) {
                spread(&mut table, m, copies);
            }
        }
    }
    welcome(&mut table);
    // Copies that came since may have made room.
    while rescue(&mut table) {}
    written(&table, &offers)
}

/// A node keeps what it holds, in the order of models and layers, until it is full.
fn keep(table: &mut Table<'_>, r: usize, current: &[Range]) {
    for m in 0..table.models.len() {
        let Some(needs) = table.models.get(m) else { continue };
        let held = Held::of(&needs.shape, current);
        for (layer, experts) in &held.0 {
            let some = table.fitting(r, m, *layer, experts);
            if !some.is_empty() {
                table.add(r, m, *layer, &some);
            }
        }
        if let Some(room) = table.rooms.get_mut(r) {
            room.newcomer &= held.is_empty();
        }
    }
}

/// Takes layers' parts from the most loaded nodes where every expert in them has a copy too many.
fn trim(table: &mut Table<'_>) {
    let order: Vec<usize> = table.loads.iter().rev().map(|(_, r)| *r).collect();
    for r in order {
        for m in 0..table.models.len() {
            let wanted = table.models.get(m).map_or(1, |needs| needs.replicas.max(1));
            let parts: Vec<(usize, Bits)> = table.rooms.get(r).map_or(Vec::new(), |room| {
                room.held.get(m).map_or(Vec::new(), |h| h.0.iter().map(|(l, e)| (*l, e.clone())).collect())
            });
            for (layer, experts) in parts {
                let spare = experts.iter().all(|e| table.copies(m, layer, e) > wanted);
                if spare && table.may_give(r, m, layer, &experts) {
                    table.remove(r, m, layer, &experts);
                }
            }
        }
    }
}

/// Gives every expert of a model as many copies, as far as there is room.
fn spread(table: &mut Table<'_>, m: usize, copies: u32) {
    let fair = fair_strain(table, m, copies);
    let layers = table.models.get(m).map_or(0, |needs| needs.shape.moe_layers.len());
    let mut last: Option<usize> = None;
    for layer in 0..layers {
        let mut need = table.short(m, layer, copies);
        while !need.is_empty() {
            let load = table.weigh(m, table.bytes(m, layer, &need));
            let again = last.filter(|r| {
                table.rooms.get(*r).is_some_and(|room| room.strain(load) <= fair)
                    && table.can_take(*r, m, layer, &need)
            });
            let whole = again.or_else(|| table.idlest_for(m, layer, &need));
            let (r, part) = match whole {
                Some(r) => (r, need.clone()),
                None => match table.roomiest_for(m, layer, &need) {
                    Some(found) => found,
                    None => break,
                },
            };
            table.add(r, m, layer, &part);
            need.subtract(&part);
            last = Some(r);
        }
    }
}

/// The load for each unit of speed that nodes come to when what is placed, and the copies of a model that are
/// still missing, are shared evenly.
fn fair_strain(table: &Table<'_>, m: usize, copies: u32) -> u128 {
    let missing: u64 = (0..table.models.get(m).map_or(0, |n| n.shape.moe_layers.len()))
        .map(|layer| table.bytes(m, layer, &table.short(m, layer, copies)))
        .fold(0, u64::saturating_add);
    let rooms = table.idlest(m).filter_map(|r| table.rooms.get(r));
    let (load, speed) = rooms.fold((0, 0), |(load, speed), room| (load + room.load, speed + room.speed));
    (load + table.weigh(m, missing)) / u128::max(speed, 1)
}

/// Nodes that held nothing before take layers over from the most loaded ones.
fn welcome(table: &mut Table<'_>) {
    let newcomer = |r: &usize| table.rooms.get(*r).is_some_and(|room| room.newcomer && room.free > 0);
    let mut hungry: Vec<usize> = (0..table.rooms.len()).filter(newcomer).collect();
    for _ in 0..MAX_GIFTS {
        // The least loaded of them takes the next layer.
        hungry.sort_by_key(|r| std::cmp::Reverse((table.rooms.get(*r).map_or(0, |t| t.strain(0)), *r)));
        let Some(taker) = hungry.last().copied() else { return };
        match gift(table, taker) {
            Some((giver, m, layer, experts)) => {
                table.remove(giver, m, layer, &experts);
                table.add(taker, m, layer, &experts);
            }
            None => {
                hungry.pop();
            }
        }
    }
}

/// What a newcomer may take, and from whom.
fn gift(table: &Table<'_>, taker: usize) -> Option<(usize, usize, usize, Bits)> {
    let least = table.rooms.get(taker)?.strain(0);
    let loaded = table.loads.iter().rev().take_while(|(strain, _)| *strain > least).map(|(_, r)| *r);
    loaded.filter(|r| *r != taker).take(MAX_GIVERS).find_map(|giver| {
        let (m, layer, experts) = gift_of(table, giver, taker)?;
        Some((giver, m, layer, experts))
    })
}

/// The layer's part that a newcomer best takes from a node.
fn gift_of(table: &Table<'_>, giver: usize, taker: usize) -> Option<(usize, usize, Bits)> {
    let (giving, taking) = (table.rooms.get(giver)?, table.rooms.get(taker)?);
    let mut best: Option<(u8, usize, usize, &Bits)> = None;
    for (m, (theirs, mine)) in giving.held.iter().zip(&taking.held).enumerate() {
        for (layer, experts) in &theirs.0 {
            // What goes on where the taker's layers end, or lies at an end of the giver's, keeps ranges few.
            let joins = mine.0.contains_key(&layer.wrapping_sub(1)) || mine.0.contains_key(&(layer + 1));
            let ends = !theirs.0.contains_key(&(layer + 1));
            let score = u8::from(joins) * 2 + u8::from(ends);
            let load = table.weigh(m, table.bytes(m, *layer, experts));
            if best.as_ref().is_none_or(|(s, ..)| *s < score)
                && load > 0
                && taking.strain(load) <= giving.relief(load)
                && table.can_take(taker, m, *layer, experts)
                && table.may_give(giver, m, *layer, experts)
            {
                best = Some((score, m, *layer, experts));
            }
        }
    }
    best.map(|(_, m, layer, experts)| (m, layer, experts.clone()))
}

fn written(table: &Table<'_>, offers: &[&Offer]) -> Assignment {
    let mut out = Assignment::default();
    for (room, offer) in table.rooms.iter().zip(offers) {
        let parts = room.held.iter().zip(&table.models);
        let mut ranges: Vec<Range> = parts.flat_map(|(held, m)| held.ranges(&m.shape)).collect();
        ranges.sort_unstable();
        if !ranges.is_empty() {
            out.nodes.insert(offer.node, ranges);
        }
    }
    for (m, needs) in table.models.iter().enumerate() {
        let missing: Vec<Uncovered> = (needs.shape.moe_layers.iter().enumerate())
            .flat_map(|(at, layer)| {
                let short = table.short(m, at, 1);
                short.iter().map(|expert| Uncovered { layer: *layer, expert }).collect::<Vec<_>>()
            })
            .collect();
        if !missing.is_empty() {
            out.uncovered.insert(needs.shape.manifest, missing);
        }
    }
    out
}

/// How many of the most loaded nodes are asked for what a newcomer can take.
const MAX_GIVERS: usize = 256;
/// Layers' parts that newcomers take over in one placement.
const MAX_GIFTS: usize = 65_536;
