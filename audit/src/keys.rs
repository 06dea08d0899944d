//! Reading the keys that genesis carries.

use counterfoil_identity::VerifyKey;
use counterfoil_spec::ids::PublicKey;

/// The Ed25519 key of an SPKI in DER; `None` for any other bytes and for a weak key.
pub(crate) fn from_spki(der: &[u8]) -> Option<VerifyKey> {
    let raw = der.last_chunk::<32>()?;
    let key = VerifyKey::from_wire(PublicKey::from_bytes(*raw)).ok()?;
    (key.spki_der() == der).then_some(key)
}
