//! What can be read of a leaf without decoding its payload, and the hash that chains bodies.

use counterfoil_identity::digest::context;
use counterfoil_spec::ids::{Hash, Kid};
use counterfoil_spec::time::Millis;
use minicbor::Decoder;

/// The hash by which the next body of a chain names this one.
#[must_use]
pub fn chain_hash(body: &[u8]) -> Hash {
    Hash::from_bytes(blake3::derive_key(context::AUTHOR_CHAIN, body))
}

/// The fixed members of an entry.
pub(crate) struct Glance<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) kind: u16,
    pub(crate) author: Kid,
    pub(crate) seq: u64,
    pub(crate) time: Millis,
}

/// Reads the fixed members of a leaf; `None` where it is not one. Canonical form is not checked.
pub(crate) fn glance(leaf: &[u8]) -> Option<Glance<'_>> {
    let mut d = Decoder::new(leaf);
    d.array().ok()?;
    let body = d.bytes().ok()?;
    let mut d = Decoder::new(body);
    d.map().ok()?;
    let key = |d: &mut Decoder<'_>, want| (d.u8().ok()? == want).then_some(());
    key(&mut d, 1)?;
    d.u64().ok()?;
    key(&mut d, 2)?;
    let kind = d.u16().ok()?;
    key(&mut d, 3)?;
    let author = d.decode().ok()?;
    key(&mut d, 4)?;
    let seq = d.u64().ok()?;
    key(&mut d, 5)?;
    d.bytes().ok()?;
    key(&mut d, 6)?;
    let time = d.decode().ok()?;
    Some(Glance { body, kind, author, seq, time })
}
