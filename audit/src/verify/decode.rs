//! What threads do with a batch: hash its leaves, decode them, and check signatures.

use std::ops::Range;

use counterfoil_identity::VerifyKey;
use counterfoil_spec::encode::append_canonical;
use counterfoil_spec::entry::{Body, EntrySignature, append_leaf, entry_signing_input};
use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::limits::MAX_LEAF_SIGNATURES;
use minicbor::Decoder;

use super::feed::{EntryItem, Item, RemovedItem};
use crate::glance::chain_hash;
use crate::merkle::leaf_hash;

/// A run of a log, and what has been learnt of it.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) items: Vec<Item>,
    /// Those that were removed included.
    pub(super) entries: usize,
    /// One for each entry among `items`, in order.
    pub(super) decoded: Vec<Decoded>,
    /// Those of all entries; each entry has a range of it.
    pub(super) signatures: Vec<EntrySignature>,
    /// What is to be checked.
    pub(super) checks: Vec<Check>,
    /// Which of `checks` failed.
    pub(super) failed: Vec<usize>,
    /// Whether they were checked.
    pub(super) checked: bool,
}

/// One signature to check.
pub(super) struct Check {
    pub(super) index: u64,
    pub(super) body: Range<usize>,
    pub(super) signature: EntrySignature,
    pub(super) key: VerifyKey,
}

/// One leaf, hashed and, where it can be, read.
pub(super) struct Decoded {
    pub(super) hash: Hash,
    pub(super) entry: Result<Parsed, String>,
    /// Whether the rules are to see it.
    pub(super) sound: bool,
}

/// A leaf in canonical form.
pub(super) struct Parsed {
    pub(super) body: Body,
    /// The body's bytes within the batch's.
    pub(super) span: Range<usize>,
    pub(super) chain: Hash,
    /// Within the batch's signatures.
    pub(super) signatures: Range<usize>,
}

impl Batch {
    pub(super) fn entry(&mut self, item: EntryItem) {
        self.items.push(Item::Entry(item));
        self.entries += 1;
    }

    pub(super) fn removed(&mut self, item: RemovedItem) {
        self.items.push(Item::Removed(item));
        self.entries += 1;
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.entries = 0;
        self.decoded.clear();
        self.signatures.clear();
        self.checks.clear();
        self.failed.clear();
        self.checked = false;
    }

    /// Hashes and decodes every leaf. `scratch` is any buffer; it is reused.
    pub(super) fn decode(&mut self, scratch: &mut Vec<u8>) {
        for item in &self.items {
            let Item::Entry(EntryItem { span, .. }) = item else { continue };
            let leaf = self.bytes.get(span.clone()).unwrap_or_default();
            let first = self.signatures.len();
            let entry = read(leaf, &mut self.signatures, scratch).map(|(body, at, chain)| Parsed {
                body,
                span: span.start + at.start..span.start + at.end,
                chain,
                signatures: first..self.signatures.len(),
            });
            self.decoded.push(Decoded { hash: leaf_hash(leaf), entry, sound: true });
        }
    }

    /// Checks the signatures in `checks`.
    pub(super) fn check(&mut self, net_id: &NetId, origin: &str) {
        self.checked = true;
        for (at, check) in self.checks.iter().enumerate() {
            let body = self.bytes.get(check.body.clone()).unwrap_or_default();
            let EntrySignature { role, kid, sig } = &check.signature;
            let input = entry_signing_input(net_id, origin, *role, kid, body);
            if check.key.verify(&input, sig).is_err() {
                self.failed.push(at);
            }
        }
    }
}

/// Reads a leaf that must be in canonical form; its signatures are appended to `signatures`.
fn read(
    leaf: &[u8],
    signatures: &mut Vec<EntrySignature>,
    scratch: &mut Vec<u8>,
) -> Result<(Body, Range<usize>, Hash), String> {
    let first = signatures.len();
    let at = read_leaf(leaf, signatures).map_err(|e| format!("malformed leaf: {e}"))?;
    let bytes = leaf.get(at.clone()).unwrap_or_default();
    scratch.clear();
    append_leaf(bytes, signatures.get(first..).unwrap_or_default(), scratch);
    if scratch != leaf {
        return Err("the leaf is not in canonical form".to_owned());
    }
    let body: Body = minicbor::decode(bytes).map_err(|e| format!("malformed entry: {e}"))?;
    scratch.clear();
    append_canonical(&body, scratch);
    if scratch != bytes {
        return Err("the entry is not in canonical form".to_owned());
    }
    Ok((body, at, chain_hash(bytes)))
}

fn read_leaf(
    leaf: &[u8],
    signatures: &mut Vec<EntrySignature>,
) -> Result<Range<usize>, minicbor::decode::Error> {
    let mut d = Decoder::new(leaf);
    if d.array()? != Some(2) {
        return Err(minicbor::decode::Error::message("a leaf has two members"));
    }
    let len = d.bytes()?.len();
    let end = d.position();
    let count = d.array()?.and_then(|n| usize::try_from(n).ok());
    let Some(count @ 1..=MAX_LEAF_SIGNATURES) = count else {
        return Err(minicbor::decode::Error::message("a leaf has one to four signatures"));
    };
    for _ in 0..count {
        signatures.push(d.decode()?);
    }
    Ok(end - len..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_spec::encode::to_canonical;
    use counterfoil_spec::entry::{ENTRY_VERSION, Leaf, Role};
    use counterfoil_spec::ids::{Kid, Serial, Signature};
    use counterfoil_spec::payload::KeyRevoked;
    use counterfoil_spec::time::Millis;

    fn sample() -> Vec<u8> {
        let body = Body {
            version: ENTRY_VERSION,
            author: Kid::from_bytes([1; 8]),
            seq: 3,
            prev: Hash::from_bytes([2; 32]),
            time: Millis(4),
            serial: Serial::from_bytes([5; 16]),
            payload: KeyRevoked { key_id: Serial::from_bytes([6; 16]) }.into(),
            anchor: None,
        };
        let sig = Signature::from_bytes([7; 64]);
        let signature = EntrySignature { role: Role::Router, kid: Kid::from_bytes([1; 8]), sig };
        to_canonical(&Leaf { body: to_canonical(&body), signatures: vec![signature] })
    }

    /// The borrowed reader here and `Leaf::read` of the contract accept the same bytes.
    #[test]
    fn agrees_with_the_contract_on_every_flipped_bit() {
        let leaf = sample();
        for at in 0..leaf.len() {
            for bit in 0..8 {
                let mut bad = leaf.clone();
                bad[at] ^= 1 << bit;
                let ours = read(&bad, &mut Vec::new(), &mut Vec::new()).ok().map(|(body, ..)| body);
                let theirs = Leaf::read(&bad).ok().map(|(_, body)| body);
                assert_eq!(ours, theirs, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn body_is_found_within_its_leaf() {
        let leaf = sample();
        let mut signatures = Vec::new();
        let (body, at, chain) = read(&leaf, &mut signatures, &mut Vec::new()).unwrap();
        let (want, want_body) = Leaf::read(&leaf).unwrap();
        assert_eq!(body, want_body);
        assert_eq!(leaf[at], want.body[..]);
        assert_eq!(signatures, want.signatures);
        assert_eq!(chain, chain_hash(&want.body));
    }

    #[test]
    fn trailing_byte_is_refused() {
        let mut leaf = sample();
        leaf.push(0);
        let refused = read(&leaf, &mut Vec::new(), &mut Vec::new()).map(|_| ());
        assert_eq!(refused, Err("the leaf is not in canonical form".to_owned()));
    }
}
