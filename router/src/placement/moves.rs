//! The way from what nodes host to what they are to host: nobody lets go of an expert before another node that keeps
//! it can be asked for it.

use std::collections::BTreeMap;

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::limits::MAX_CONSENT_RANGES;

use super::Shape;
use super::assign::Needs;
use super::ranges::Held;

/// A node as it stands with one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What was proposed to it last and not declined.
    pub proposed: Vec<Range>,
    /// What it can be asked for now.
    pub ready: Vec<Range>,
}

/// A proposal to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// To whom.
    pub node: NodeId,
    /// Which model.
    pub manifest: ManifestId,
    /// All that it is to host of the model from then on; where that is nothing, it is asked to let the model go.
    pub ranges: Vec<Range>,
}

/// What nodes stand at: for each node how many bytes it may hold, and where it stands with each model.
pub type Standings = BTreeMap<NodeId, (u64, BTreeMap<ManifestId, Standing>)>;

/// The proposals that bring nodes nearer to an assignment now. A node that still works on a proposal gets no other
/// one of the same model; when it is ready, this is asked again. It gives nothing once all stand as assigned.
#[must_use]
pub fn moves(models: &[Needs], standings: &Standings, target: &BTreeMap<NodeId, Vec<Range>>) -> Vec<Move> {
    let mut out: Vec<Move> = Vec::new();
    let mut blocked = None;
    let mut working = false;
    for needs in models {
        let keepers = Keepers::of(&needs.shape, standings, target);
        for (node, (bytes, own)) in standings {
            let standing = own.get(&needs.shape.manifest).cloned().unwrap_or_default();
            let have = Held::of(&needs.shape, &standing.proposed);
            let want = Held::of(&needs.shape, target.get(node).map_or(&[], Vec::as_slice));
            let ready = Held::of(&needs.shape, &standing.ready);
            if have != ready {
                working = true;
                continue;
            }
            if want == have {
                continue;
            }
            // What is proposed here of another model counts as if it were held already.
            let soon =
                |m: &&Needs| out.iter().find(|next| next.node == *node && next.manifest == m.shape.manifest);
            let others = models.iter().filter(|m| m.shape != needs.shape).map(|m| {
                let proposed = own.get(&m.shape.manifest).map_or(&[][..], |s| s.proposed.as_slice());
                bytes_of(m, &Held::of(&m.shape, soon(&m).map_or(proposed, |next| &next.ranges)))
            });
            let others = others.fold(0, u64::saturating_add);
            let fits = |held: &Held| bytes_of(needs, held).saturating_add(others) <= *bytes;
            let to = |held: &Held| Move {
                node: *node,
                manifest: needs.shape.manifest,
                ranges: held.ranges(&needs.shape),
            };
            let (lost, both) = (have.without(&want), have.with(&want));
            if !fits(&want) {
                continue;
            }
            if lost.iter().all(|(layer, expert)| keepers.has(node, layer, expert)) {
                out.push(to(&want));
                continue;
            }
            let next = to(&both);
            if both == have || !fits(&both) || next.ranges.len() > MAX_CONSENT_RANGES {
                blocked.get_or_insert(to(&want));
            } else {
                out.push(next);
            }
        }
    }
    if out.is_empty() && !working {
        // Two full nodes that are to swap would wait for each other for ever.
        out.extend(blocked);
    }
    out
}

/// Who keeps an expert and can be asked for it.
struct Keepers(BTreeMap<(usize, u32), (u32, Option<NodeId>)>);

impl Keepers {
    fn of(shape: &Shape, standings: &Standings, target: &BTreeMap<NodeId, Vec<Range>>) -> Self {
        let mut out = BTreeMap::new();
        for (node, (_, own)) in standings {
            let Some(standing) = own.get(&shape.manifest) else { continue };
            let ready = Held::of(shape, &standing.ready);
            let want = Held::of(shape, target.get(node).map_or(&[], Vec::as_slice));
            for (layer, expert) in ready.iter().filter(|(layer, expert)| want.has(*layer, *expert)) {
                let (count, last) = out.entry((layer, expert)).or_insert((0, None));
                *count += 1;
                *last = Some(*node);
            }
        }
        Self(out)
    }

    /// Whether another node than this one does.
    fn has(&self, but: &NodeId, layer: usize, expert: u32) -> bool {
        self.0.get(&(layer, expert)).is_some_and(|(count, last)| *count > 1 || *last != Some(*but))
    }
}

fn bytes_of(needs: &Needs, held: &Held) -> u64 {
    held.iter().map(|(layer, expert)| needs.bytes_of(layer, expert)).fold(0, u64::saturating_add)
}
