//! Proofs of entries and of growth as they come, and one that was made for the entry that came.
#![no_main]

use counterfoil_audit::growth::Growth;
use counterfoil_audit::merkle::{inclusion_path, root_of};
use counterfoil_audit::proof::Proof;
use counterfoil_audit_fuzz::{changed, hashes, log, note};

const LEAVES: u8 = 7;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(proof) = Proof::parse(input) {
        assert_eq!(proof.to_string().as_bytes(), input);
        let leaf = proof.leaf.as_deref().unwrap_or_default();
        assert!(proof.verify(leaf, log().verifier()).is_err(), "nobody signed this");
    }
    if let Ok(growth) = Growth::parse(input) {
        assert_eq!(growth.to_string().as_bytes(), input);
    }
    let place = input.first().map_or(0, |byte| byte % LEAVES);
    let all = hashes(LEAVES, place, input);
    let mut node = |level: u32, index: u64| {
        let from = usize::try_from(index << level).expect("a small tree");
        Ok::<_, ()>(root_of(&all[from..from + (1 << level)]))
    };
    let path =
        inclusion_path(u64::from(place), u64::from(LEAVES), &mut node).expect("no store").expect("inside");
    let proof = Proof { index: place.into(), path, note: note(&all), leaf: Some(input.to_vec()) };
    let text = proof.to_string();
    let read = Proof::parse(text.as_bytes());
    assert_eq!(read.is_ok(), input.len() <= counterfoil_spec::limits::MAX_LEAF_BYTES);
    let Ok(read) = read else { return };
    assert!(read.verify(input, log().verifier()).is_ok());
    if let Ok(other) = Proof::parse(&changed(text.as_bytes())) {
        let leaf = other.leaf.clone().unwrap_or_default();
        assert!(other.verify(&leaf, log().verifier()).is_err(), "a bit was changed");
    }
});
