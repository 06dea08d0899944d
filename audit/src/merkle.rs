//! RFC 6962 trees: hashing as entries arrive, and proofs of inclusion and consistency as pure functions.
//!
//! ```text
//! leaf hash = SHA-256(00 ‖ leaf)      node hash = SHA-256(01 ‖ left ‖ right)      empty tree = SHA-256()
//! ```
//!
//! Proof checking follows RFC 9162 §2.1.3.2 and §2.1.4.2. A *node* is named by its level (0 for leaves) and its
//! index within the level; only roots of complete subtrees have such names.

use counterfoil_spec::ids::Hash;
use sha2::{Digest, Sha256};

/// Hashes in the longest proof: one for each bit of a size.
pub const MAX_PROOF_HASHES: usize = 64;

/// Why a proof was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The wrong number of hashes, or positions outside the tree.
    #[error("the proof has the wrong length or names a position outside the tree")]
    ProofShape,
    /// The hashes lead to another root.
    #[error("the proof leads to another root than the one given")]
    RootMismatch,
}

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut h = Sha256::new();
    h.update([0]);
    h.update(leaf);
    Hash::from_bytes(h.finalize().into())
}

/// The hash of two subtrees side by side.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut h = Sha256::new();
    h.update([1]);
    h.update(left.as_bytes());
    h.update(right.as_bytes());
    Hash::from_bytes(h.finalize().into())
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::from_bytes(Sha256::digest([]).into())
}

/// The right edge of a growing tree: the roots of its maximal complete subtrees. Its memory is logarithmic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Largest subtree first; one for each bit that is set in `size`.
    roots: Vec<Hash>,
}

impl Frontier {
    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The right edge of a tree of `size` leaves, from its complete nodes.
    ///
    /// # Errors
    /// Whatever `node` reports.
    pub fn of<E>(size: u64, node: &mut dyn FnMut(u32, u64) -> Result<Hash, E>) -> Result<Self, E> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let roots = levels.map(|level| node(level, (size >> level) - 1)).collect::<Result<_, E>>()?;
        Ok(Self { size, roots })
    }

    /// Appends a leaf and calls `completed(level, index, hash)` for it and for every node that it completes.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, &Hash)) {
        let mut hash = leaf;
        let mut index = self.size;
        let mut level = 0;
        completed(level, index, &hash);
        while index & 1 == 1 {
            let Some(left) = self.roots.pop() else { break };
            hash = node_hash(&left, &hash);
            index >>= 1;
            level += 1;
            completed(level, index, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut from_right = self.roots.iter().rev();
        let Some(last) = from_right.next() else { return empty_root() };
        from_right.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The root over given leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(*leaf, |_, _, _| {});
    }
    tree.root()
}

/// The largest power of two below `n`; `n` is at least 2.
const fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Reads complete nodes by (level, index) and puts ranges together from them.
struct Source<'a, E> {
    node: &'a mut dyn FnMut(u32, u64) -> Result<Hash, E>,
}

impl<E> Source<'_, E> {
    /// The root over leaves `low..high`; `low` is a multiple of the smallest power of two that is not below the length.
    fn range(&mut self, low: u64, high: u64) -> Result<Hash, E> {
        let len = high - low;
        if len.is_power_of_two() {
            let level = len.trailing_zeros();
            return (self.node)(level, low >> level);
        }
        let middle = low + split(len);
        let left = self.range(low, middle)?;
        Ok(node_hash(&left, &self.range(middle, high)?))
    }

    fn inclusion(&mut self, index: u64, low: u64, high: u64, path: &mut Vec<Hash>) -> Result<(), E> {
        if high - low <= 1 {
            return Ok(());
        }
        let middle = low + split(high - low);
        let sibling = if index < middle {
            self.inclusion(index, low, middle, path)?;
            self.range(middle, high)?
        } else {
            self.inclusion(index, middle, high, path)?;
            self.range(low, middle)?
        };
        path.push(sibling);
        Ok(())
    }

    fn consistency(&mut self, old: u64, low: u64, high: u64, path: &mut Vec<Hash>) -> Result<(), E> {
        if old == high {
            if low != 0 {
                path.push(self.range(low, high)?);
            }
            return Ok(());
        }
        let middle = low + split(high - low);
        let other = if old <= middle {
            self.consistency(old, low, middle, path)?;
            self.range(middle, high)?
        } else {
            self.consistency(old, middle, high, path)?;
            self.range(low, middle)?
        };
        path.push(other);
        Ok(())
    }
}

/// The audit path of leaf `index` in the tree of `size` leaves; `None` where `index` is outside it.
///
/// # Errors
/// Whatever `node` reports; it is asked for complete nodes within `size` only.
pub fn inclusion_path<E>(
    index: u64,
    size: u64,
    node: &mut dyn FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let mut path = Vec::new();
    Source { node }.inclusion(index, 0, size, &mut path)?;
    Ok(Some(path))
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new`; `None` where `old > new`.
///
/// # Errors
/// Whatever `node` reports; it is asked for complete nodes within `new` only.
pub fn consistency_path<E>(
    old: u64,
    new: u64,
    node: &mut dyn FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old > new {
        return Ok(None);
    }
    let mut path = Vec::new();
    if old != 0 && old != new {
        Source { node }.consistency(old, 0, new, &mut path)?;
    }
    Ok(Some(path))
}

/// The root over the first `size` leaves of a tree.
///
/// # Errors
/// Whatever `node` reports; it is asked for complete nodes within `size` only.
pub fn root_at<E>(size: u64, node: &mut dyn FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    if size == 0 { Ok(empty_root()) } else { Source { node }.range(0, size) }
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with this root.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size || path.len() > MAX_PROOF_HASHES {
        return Err(ProofError::ProofShape);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::ProofShape);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::ProofShape);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::RootMismatch) }
}

/// The size and root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Head {
    /// How many leaves.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: Hash,
}

/// Checks that the tree of `old` is a prefix of the tree of `new`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(old: &Head, new: &Head, path: &[Hash]) -> Result<(), ProofError> {
    if old.size > new.size || path.len() > MAX_PROOF_HASHES {
        return Err(ProofError::ProofShape);
    }
    if old.size == new.size || old.size == 0 {
        if !path.is_empty() {
            return Err(ProofError::ProofShape);
        }
        let same = if old.size == new.size { old.root == new.root } else { old.root == empty_root() };
        return if same { Ok(()) } else { Err(ProofError::RootMismatch) };
    }
    let mut hashes = path.iter();
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A complete old tree is its own first hash.
    let first = if old.size.is_power_of_two() { Some(&old.root) } else { hashes.next() };
    let Some(first) = first else { return Err(ProofError::ProofShape) };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return Err(ProofError::ProofShape);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::ProofShape);
    }
    if old_hash == old.root && new_hash == new.root { Ok(()) } else { Err(ProofError::RootMismatch) }
}

#[cfg(test)]
mod tests;
