//! What can be read of a leaf without decoding its payload, and the hash that chains bodies.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use counterfoil_identity::digest::context;
use counterfoil_spec::ids::{Hash, Kid};
use counterfoil_spec::time::Millis;
use minicbor::Decoder;

/// The hash by which the next body of a chain names this one.
#[must_use]
pub fn chain_hash(body: &[u8]) -> Hash {
    Hash::from_bytes(blake3::Hasher::new_from_context_key(&AUTHOR_CHAIN).update(body).finalize().into())
}

/// What `derive_key` would make of the context for each body anew: one compression in five.
static AUTHOR_CHAIN: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(context::AUTHOR_CHAIN));

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_hash_is_the_key_that_is_derived_from_a_body() {
        for len in [0, 1, 63, 64, 65, 217, 1023, 1024, 1025, 5000] {
            let body = vec![7; len];
            assert_eq!(
                *chain_hash(&body).as_bytes(),
                blake3::derive_key(context::AUTHOR_CHAIN, &body),
                "{len}"
            );
        }
    }
}
