//! A range of leaves under a root: the complete subtrees on both sides of it, and the root that follows.

use counterfoil_spec::ids::Hash;

use crate::merkle::{empty_root, node_hash};

/// The most subtrees that one side has: two for each bit of a size.
pub(crate) const MAX_SIDE: usize = 128;

/// The complete subtrees that cover leaves `from..to`, each the largest that is aligned there and fits, as
/// (level, index within the level).
pub(crate) fn subtrees(from: u64, to: u64) -> impl Iterator<Item = (u32, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|n| *n > 0)?;
        let level = at.trailing_zeros().min(left.ilog2());
        let index = at >> level;
        // The largest size is below 2⁶⁴, so the sum fits.
        at += 1 << level;
        Some((level, index))
    })
}

/// A tree put together from complete subtrees, left to right.
#[derive(Debug, Default)]
pub(crate) struct Edge(Vec<(u32, Hash)>);

impl Edge {
    /// Appends the root of a complete subtree of 2^`level` leaves, which is aligned there.
    pub(crate) fn push(&mut self, mut level: u32, mut hash: Hash) {
        while let Some((_, left)) = self.0.pop_if(|(l, _)| *l == level) {
            hash = node_hash(&left, &hash);
            level += 1;
        }
        self.0.push((level, hash));
    }

    /// The root over everything that was appended.
    pub(crate) fn root(&self) -> Hash {
        let mut from_right = self.0.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = from_right.next() else { return empty_root() };
        from_right.fold(last, |right, left| node_hash(&left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf_hash, root_of};

    fn node(leaves: &[Hash], level: u32, index: u64) -> Hash {
        let width = 1_usize << level;
        let at = usize::try_from(index).unwrap() * width;
        root_of(&leaves[at..at + width])
    }

    #[test]
    fn every_range_of_every_small_tree_gives_its_root() {
        let leaves: Vec<Hash> = (0..40_u8).map(|n| leaf_hash(&[n])).collect();
        for size in 0..=40_usize {
            let all = &leaves[..size];
            let end = u64::try_from(size).unwrap();
            for from in 0..=size {
                for to in from..=size {
                    let (first, behind) = (u64::try_from(from).unwrap(), u64::try_from(to).unwrap());
                    let mut edge = Edge::default();
                    subtrees(0, first).for_each(|(l, i)| edge.push(l, node(all, l, i)));
                    all[from..to].iter().for_each(|leaf| edge.push(0, *leaf));
                    subtrees(behind, end).for_each(|(l, i)| edge.push(l, node(all, l, i)));
                    assert_eq!(edge.root(), root_of(all), "{from}..{to} of {size}");
                }
            }
        }
    }

    #[test]
    fn sides_stay_within_their_limit() {
        let most = (1..64).map(|n| subtrees(1, (1 << n) + ((1 << n) - 1)).count()).max();
        assert_eq!(most, Some(126));
        assert_eq!(subtrees(0, u64::MAX).count(), 64);
        assert_eq!(subtrees(1, u64::MAX).count(), 126);
    }
}
