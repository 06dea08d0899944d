//! What a node holds of a model, layer by layer, and the consent ranges that say the same.

use std::collections::BTreeMap;

use counterfoil_spec::claims::Range;

use super::Shape;
use super::bits::Bits;

/// The experts that somebody holds of one model, by the place of their layer among the layers with experts; no set
/// is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held(pub(super) BTreeMap<usize, Bits>);

impl Held {
    /// The experts of a model that lie in some ranges.
    pub(super) fn of(shape: &Shape, ranges: &[Range]) -> Self {
        let own: Vec<&Range> = ranges.iter().filter(|r| r.manifest == shape.manifest).collect();
        let mut out = BTreeMap::new();
        for (at, layer) in shape.moe_layers.iter().enumerate() {
            let mut experts = Bits::default();
            for range in own.iter().filter(|r| (r.layers.0..=r.layers.1).contains(layer)) {
                let end = range.experts.1.min(shape.experts.saturating_sub(1));
                (range.experts.0..=end).for_each(|e| experts.insert(e));
            }
            if !experts.is_empty() {
                out.insert(at, experts);
            }
        }
        Self(out)
    }

    pub(super) fn add(&mut self, layer: usize, experts: &Bits) {
        self.0.entry(layer).or_default().unite(experts);
    }

    pub(super) fn remove(&mut self, layer: usize, experts: &Bits) {
        if let Some(held) = self.0.get_mut(&layer) {
            held.subtract(experts);
            if held.is_empty() {
                self.0.remove(&layer);
            }
        }
    }

    pub(super) fn has(&self, layer: usize, expert: u32) -> bool {
        self.0.get(&layer).is_some_and(|e| e.has(expert))
    }

    /// What is here and not there.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (layer, experts) in &other.0 {
            out.remove(*layer, experts);
        }
        out
    }

    /// What is here or there.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (layer, experts) in &other.0 {
            out.add(*layer, experts);
        }
        out
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// (layer's place, expert), ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        self.0.iter().flat_map(|(layer, experts)| experts.iter().map(|e| (*layer, e)))
    }

    /// The same as ascending, disjoint rectangles: neighbouring layers with the same run of experts share one.
    pub(super) fn ranges(&self, shape: &Shape) -> Vec<Range> {
        let mut open: BTreeMap<(u32, u32), (usize, u32, u32)> = BTreeMap::new();
        let mut out = Vec::new();
        let close = |experts: (u32, u32), (_, from, to): (usize, u32, u32)| Range {
            manifest: shape.manifest,
            layers: (from, to),
            experts,
        };
        for (at, experts) in &self.0 {
            let Some(number) = shape.moe_layers.get(*at).copied() else { continue };
            let runs = experts.runs();
            let over: Vec<_> = open
                .iter()
                .filter(|(run, (last, ..))| last + 1 != *at || !runs.contains(run))
                .map(|(run, _)| *run)
                .collect();
            for run in over {
                out.extend(open.remove(&run).map(|span| close(run, span)));
            }
            for run in runs {
                let span = open.entry(run).or_insert((*at, number, number));
                (span.0, span.2) = (*at, number);
            }
        }
        out.extend(open.into_iter().map(|(run, span)| close(run, span)));
        out.sort_unstable();
        out
    }
}
