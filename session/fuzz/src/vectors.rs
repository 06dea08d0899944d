//! What the conformance vectors say of their network.

use data_encoding::HEXLOWER;
use serde_json::Value;

/// A field of the first group that has it, as bytes.
pub(crate) fn bytes(text: &str, field: &str) -> Vec<u8> {
    let document: Value = serde_json::from_str(text).expect("vectors are JSON");
    let groups = document["testGroups"].as_array().expect("vectors have groups");
    let found = groups.iter().find_map(|group| group[field].as_str()).expect("a group has this field");
    HEXLOWER.decode(found.as_bytes()).expect("lowercase hexadecimal")
}

pub(crate) const ENROLMENT: &str = include_str!("../../../conformance/vectors/enrolment.json");
pub(crate) const FRAMES: &str = include_str!("../../../conformance/vectors/frames.json");
