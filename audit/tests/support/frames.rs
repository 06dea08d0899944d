//! Segments as somebody changes them by hand.

use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::segment::{self, Frame, HEADER_BYTES};
use counterfoil_spec::ids::Hash;

/// What to put in the place of an entry.
pub enum Put {
    Leaf(Vec<u8>),
    Removed(Hash),
}

/// A segment that begins with an entry, with some of its entries changed.
pub fn changed(bytes: &[u8], first: u64, change: impl Fn(u64, &Frame<'_>) -> Option<Put>) -> Vec<u8> {
    let mut out = bytes[..HEADER_BYTES].to_vec();
    let (mut at, mut index) = (HEADER_BYTES, first);
    while at < bytes.len() {
        let frame = segment::parse(&bytes[at..]);
        let is_entry = matches!(frame, Frame::Entry { .. } | Frame::Removed { .. });
        match change(index, &frame).filter(|_| is_entry) {
            Some(Put::Leaf(leaf)) => segment::push_entry(&mut out, &leaf),
            Some(Put::Removed(hash)) => segment::push_removed(&mut out, &hash),
            None => out.extend_from_slice(&bytes[at..at + frame.bytes()]),
        }
        index += u64::from(is_entry);
        at += frame.bytes();
    }
    out
}

/// The same with the hashes of some entries in their place.
pub fn without(bytes: &[u8], first: u64, gone: &[u64]) -> Vec<u8> {
    changed(bytes, first, |index, frame| match frame {
        Frame::Entry { leaf, .. } if gone.contains(&index) => Some(Put::Removed(leaf_hash(leaf))),
        _ => None,
    })
}
