//! The RFC 6962 tree over provider leaves: root, and the path that leads from one leaf to it.

use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::Hash;
use counterfoil_spec::statement::ProviderLeaf;
use sha2::{Digest, Sha256};

/// SHA-256(00 ‖ canonical bytes of the leaf).
#[must_use]
pub fn leaf_hash(leaf: &ProviderLeaf) -> Hash {
    hash(0, &[&to_canonical(leaf)])
}

/// The root over leaf hashes in their order; SHA-256 of nothing where there are none.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::from_bytes(Sha256::digest(b"").into()),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split_point(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The hashes beside the way from one leaf up to the root, lowest first; `None` for a place outside the tree.
#[must_use]
pub fn path(leaves: &[Hash], place: usize) -> Option<Vec<Hash>> {
    if place >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split_point(leaves.len()));
    let (mut below, beside) = match place.checked_sub(left.len()) {
        None => (path(left, place)?, root(right)),
        Some(place) => (path(right, place)?, root(left)),
    };
    below.push(beside);
    Some(below)
}

/// The paths of all leaves, in their order.
#[must_use]
pub fn paths(leaves: &[Hash]) -> Vec<Vec<Hash>> {
    let mut paths = vec![Vec::new(); leaves.len()];
    climb(leaves, &mut paths);
    paths
}

/// Adds to each path what stands beside it below this root, which is returned.
fn climb(leaves: &[Hash], paths: &mut [Vec<Hash>]) -> Hash {
    if leaves.len() < 2 {
        return root(leaves);
    }
    let split = split_point(leaves.len());
    let ((left, right), (left_paths, right_paths)) = (leaves.split_at(split), paths.split_at_mut(split));
    let (left, right) = (climb(left, left_paths), climb(right, right_paths));
    left_paths.iter_mut().for_each(|path| path.push(right));
    right_paths.iter_mut().for_each(|path| path.push(left));
    node(&left, &right)
}

/// The root that a leaf and its path lead to in a tree of `size` leaves; `None` where the path has another length
/// than such a tree gives it.
#[must_use]
pub fn root_from_path(leaf: &Hash, place: usize, size: usize, path: &[Hash]) -> Option<Hash> {
    if place >= size {
        return None;
    }
    if size == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (beside, below) = path.split_last()?;
    let split = split_point(size);
    match place.checked_sub(split) {
        None => Some(node(&root_from_path(leaf, place, split, below)?, beside)),
        Some(place) => Some(node(beside, &root_from_path(leaf, place, size - split, below)?)),
    }
}

/// The largest power of two below a size of at least two.
const fn split_point(size: usize) -> usize {
    size.next_power_of_two() / 2
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash(1, &[left.as_bytes(), right.as_bytes()])
}

fn hash(prefix: u8, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([prefix]);
    for part in parts {
        hasher.update(part);
    }
    Hash::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u8) -> Vec<Hash> {
        (0..n).map(|i| hash(0, &[&[i]])).collect()
    }

    #[test]
    fn empty_tree_is_the_hash_of_nothing() {
        assert_eq!(root(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn three_leaves_split_after_the_second() {
        let three = leaves(3);
        assert_eq!(root(&three), node(&node(&three[0], &three[1]), &three[2]));
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        for size in 1..=17_u8 {
            let all = leaves(size);
            let top = root(&all);
            for (place, leaf) in all.iter().enumerate() {
                let path = path(&all, place).unwrap();
                assert_eq!(paths(&all)[place], path);
                assert_eq!(root_from_path(leaf, place, all.len(), &path), Some(top));
                let mut longer = path.clone();
                longer.push(top);
                assert_eq!(root_from_path(leaf, place, all.len(), &longer), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_eq!(root_from_path(leaf, place, all.len(), shorter), None);
                    assert_ne!(root_from_path(&top, place, all.len(), &path), Some(top));
                }
            }
            assert_eq!(path(&all, all.len()), None);
            assert_eq!(root_from_path(&all[0], all.len(), all.len(), &[]), None);
        }
    }
}
