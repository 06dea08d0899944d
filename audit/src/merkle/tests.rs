use std::convert::Infallible;

use data_encoding::{BASE64, HEXLOWER};
use proptest::prelude::*;

use super::*;

/// Eight leaves that every implementation of RFC 6962 is tried with, and the roots over the first 1 to 8 of them.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hash(hex: &str) -> Hash {
    hex.parse().unwrap()
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// Complete nodes, computed from the leaves each time.
fn node(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> {
    move |level, index| {
        let first = usize::try_from(index << level).unwrap();
        Ok(root_of(&leaves[first..first + (1 << level)]))
    }
}

fn path_in(leaves: &[Hash], index: u64) -> Vec<Hash> {
    inclusion_path(index, leaves.len() as u64, &mut node(leaves)).unwrap().unwrap()
}

fn path_between(leaves: &[Hash], old: u64) -> Vec<Hash> {
    consistency_path(old, leaves.len() as u64, &mut node(leaves)).unwrap().unwrap()
}

fn head(leaves: &[Hash]) -> Head {
    Head { size: leaves.len() as u64, root: root_of(leaves) }
}

#[test]
fn roots_of_the_well_known_leaves() {
    let mut tree = Frontier::default();
    assert_eq!(tree.root(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        tree.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()), |_, _, _| {});
        assert_eq!(tree.root(), hash(root));
    }
}

#[test]
fn completed_nodes_are_told_once_with_their_place() {
    let mut tree = Frontier::default();
    let mut seen = Vec::new();
    for leaf in leaves(4) {
        tree.push(leaf, |level, index, _| seen.push((level, index)));
    }
    assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0)]);
}

#[test]
fn every_leaf_of_small_trees_is_proved_and_its_neighbour_is_not() {
    for size in 1..40 {
        let leaves = leaves(size);
        let root = root_of(&leaves);
        for index in 0..size {
            let path = path_in(&leaves, index);
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert_eq!(verify_inclusion(index, size, &leaf, &path, &root), Ok(()));
            if size > 1 {
                let other = leaves[usize::try_from((index + 1) % size).unwrap()];
                let refused = verify_inclusion(index, size, &other, &path, &root);
                assert_eq!(refused, Err(ProofError::RootMismatch));
                let refused = verify_inclusion(index, size, &leaf, &path[1..], &root);
                assert!(refused.is_err(), "{index} of {size}");
            }
            let mut long = path.clone();
            long.push(root);
            assert_eq!(verify_inclusion(index, size, &leaf, &long, &root), Err(ProofError::ProofShape));
        }
        assert_eq!(inclusion_path(size, size, &mut node(&leaves)), Ok(None));
        assert_eq!(verify_inclusion(size, size, &leaves[0], &[], &root), Err(ProofError::ProofShape));
    }
}

#[test]
fn every_pair_of_small_trees_is_proved_and_another_root_is_not() {
    for new in 1..40 {
        let leaves = leaves(new);
        let whole = head(&leaves);
        for old in 0..=new {
            let part = head(&leaves[..usize::try_from(old).unwrap()]);
            let path = path_between(&leaves, old);
            assert_eq!(verify_consistency(&part, &whole, &path), Ok(()), "{old} in {new}");
            let forged = Head { root: leaf_hash(b"forged"), ..part };
            assert_eq!(verify_consistency(&forged, &whole, &path), Err(ProofError::RootMismatch));
            let mut long = path;
            long.push(whole.root);
            assert_eq!(verify_consistency(&part, &whole, &long), Err(ProofError::ProofShape));
        }
        let larger = Head { size: new + 1, ..whole };
        assert_eq!(verify_consistency(&larger, &whole, &[]), Err(ProofError::ProofShape));
    }
}

proptest! {
    #[test]
    fn changed_proof_of_a_large_tree_is_refused(size in 2u64..3000, pick in any::<u64>(), bit in 0usize..256) {
        let leaves = leaves(size);
        let (index, root) = (pick % size, root_of(&leaves));
        let mut path = path_in(&leaves, index);
        let leaf = leaves[usize::try_from(index).unwrap()];
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &path, &root), Ok(()));
        let place = usize::try_from(pick).unwrap_or_default() % path.len();
        let mut bytes = *path[place].as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        path[place] = Hash::from_bytes(bytes);
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &path, &root), Err(ProofError::RootMismatch));
    }
}

/// The vectors of transparency-dev/merkle, where they lie beside this repository.
#[test]
fn public_vectors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/merkle/testdata");
    let mut files = Vec::new();
    json_files(std::path::Path::new(folder), &mut files);
    if files.is_empty() {
        println!("skipped: {folder} is not there");
        return;
    }
    let mut checked = 0;
    for file in files {
        let vector: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        if let Some(accepted) = run_vector(&vector) {
            let refused = vector["wantErr"].as_bool().unwrap();
            assert_eq!(accepted, !refused, "{}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} vectors");
}

/// Every JSON file below a folder, however deep.
fn json_files(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            json_files(&entry, files);
        } else if entry.extension().is_some_and(|e| e == "json") {
            files.push(entry);
        }
    }
}

/// Whether a vector's proof is accepted; `None` where one of its roots is no 32 bytes long, which our types cannot say.
fn run_vector(vector: &serde_json::Value) -> Option<bool> {
    let bytes = |v: &serde_json::Value| BASE64.decode(v.as_str().unwrap_or_default().as_bytes()).unwrap();
    let number = |key: &str| vector[key].as_u64();
    let proof = vector["proof"].as_array().cloned().unwrap_or_default();
    let Some(path) = proof.iter().map(|p| Hash::from_slice(&bytes(p))).collect::<Option<Vec<_>>>() else {
        return Some(false);
    };
    if let Some(size) = number("treeSize") {
        let (leaf, root) =
            (Hash::from_slice(&bytes(&vector["leafHash"])), Hash::from_slice(&bytes(&vector["root"])));
        let (Some(leaf), Some(root)) = (leaf, root) else { return Some(false) };
        return Some(verify_inclusion(number("leafIdx")?, size, &leaf, &path, &root).is_ok());
    }
    let old = Head { size: number("size1")?, root: Hash::from_slice(&bytes(&vector["root1"]))? };
    let new = Head { size: number("size2")?, root: Hash::from_slice(&bytes(&vector["root2"]))? };
    Some(verify_consistency(&old, &new, &path).is_ok())
}
