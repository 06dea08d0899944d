//! The tree of a log: entries that are added, and proofs that are checked. `cargo bench -p counterfoil-audit`;
//! `counterfoil audit bench` measures a log on the disk, signatures included.
#![allow(clippy::unwrap_used, reason = "a bench stops at the unexpected")]

use std::convert::Infallible;

use counterfoil_audit::merkle::{Frontier, inclusion_path, leaf_hash, root_of, verify_inclusion};
use counterfoil_spec::ids::Hash;
use divan::{Bencher, black_box};

/// Bytes of a leaf with one inference, about.
const LEAF: [u8; 600] = [7; 600];

fn main() {
    divan::main();
}

#[divan::bench]
fn leaf() -> Hash {
    leaf_hash(black_box(&LEAF))
}

#[divan::bench]
fn push(bencher: Bencher<'_, '_>) {
    let mut tree = Frontier::default();
    let leaf = leaf_hash(&LEAF);
    bencher.bench_local(|| tree.push(leaf, |_, _, _| {}));
}

#[divan::bench(args = [1 << 10, 1 << 16])]
fn inclusion(bencher: Bencher<'_, '_>, size: u64) {
    let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    let root = root_of(&leaves);
    let at = |n: u64| leaves.get(usize::try_from(n).unwrap()).copied().unwrap();
    let mut node = |level: u32, index: u64| -> Result<Hash, Infallible> {
        let width = 1_u64 << level;
        Ok(root_of(&(index * width..(index + 1) * width).map(at).collect::<Vec<_>>()))
    };
    let path = inclusion_path(size / 3, size, &mut node).unwrap().unwrap();
    bencher.bench(|| verify_inclusion(size / 3, size, black_box(&at(size / 3)), &path, &root).unwrap());
}
