//! Ed25519 keys and signatures.

use counterfoil_identity::{Refused, VerifyKey};
use counterfoil_spec::ids::{PublicKey, Signature};
use counterfoil_spec::refusal::Refusal;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};

#[derive(Deserialize)]
struct Key {
    key: PublicKey,
}

#[derive(Deserialize)]
struct Group {
    key: PublicKey,
    message: Hex,
}

#[derive(Deserialize)]
struct Signed {
    signature: Signature,
}

/// A key as it is first met.
pub(super) fn key(test: &Value) -> Judged {
    let test: Key = read(test)?;
    Ok(Verdict::of(strong(test.key)))
}

/// A signature under a key that is in order.
pub(super) fn signature(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Signed) = (read(group)?, read(test)?);
    Ok(match strong(group.key) {
        Ok(key) => Verdict::uncoded(key.verify(&group.message.0, &test.signature)),
        Err(refused) => Verdict::Skipped(refused.to_string()),
    })
}

/// A key that may be used.
pub(super) fn strong(key: PublicKey) -> Result<VerifyKey, Refused> {
    VerifyKey::from_wire(key)
        .map_err(|weak| Refused { refusal: Refusal::CertWeakKey, detail: weak.to_string() })
}
