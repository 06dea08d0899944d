//! Notes, cosignatures, proofs and policies of logs.

use counterfoil_audit::Succession;
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::growth::Growth;
use counterfoil_audit::note::{Note, NoteVerifier, WitnessKey};
use counterfoil_audit::policy::Policy;
use counterfoil_audit::proof::{Proof, ProofRefused};
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    log_vkey: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Witness {
    witness_vkey: String,
}

#[derive(Deserialize)]
struct Noted {
    note: Hex,
}

/// The key of a group, which is in order.
fn key<T: std::str::FromStr>(vkey: &str) -> Result<T, serde_json::Error>
where
    T::Err: std::fmt::Display,
{
    vkey.parse().map_err(serde::de::Error::custom)
}

/// A checkpoint under the key that is trusted.
pub(super) fn checkpoint(group: &Value, test: &Value) -> Judged {
    let (log, test): (Log, Noted) = (read(group)?, read(test)?);
    let key: NoteVerifier = key(&log.log_vkey)?;
    Ok(Verdict::uncoded(Checkpoint::open(&test.note.0, &key)))
}

/// A checkpoint that a witness cosigned.
pub(super) fn cosignature(group: &Value, test: &Value) -> Judged {
    let (witness, test): (Witness, Noted) = (read(group)?, read(test)?);
    let key: WitnessKey = key(&witness.witness_vkey)?;
    let time = Note::parse(&test.note.0).and_then(|note| key.time_of(&note));
    Ok(Verdict::uncoded(
        time.map_err(|e| e.to_string()).and_then(|time| time.ok_or("not cosigned".to_owned())),
    ))
}

#[derive(Deserialize)]
struct Proved {
    proof: Hex,
}

/// A proof that has its leaf with it.
pub(super) fn inclusion(group: &Value, test: &Value) -> Judged {
    let (log, test): (Log, Proved) = (read(group)?, read(test)?);
    let key: NoteVerifier = key(&log.log_vkey)?;
    let judged = Proof::parse(&test.proof.0).and_then(|proof| {
        let leaf = proof.leaf.as_deref().ok_or(ProofRefused::ProofShape("without a leaf"))?;
        proof.verify(leaf, &key)
    });
    Ok(Verdict::uncoded(judged))
}

#[derive(Deserialize)]
struct Grown {
    growth: Hex,
    old: Hex,
}

/// A proof of consistency from a checkpoint that is trusted.
pub(super) fn consistency(group: &Value, test: &Value) -> Judged {
    let (log, test): (Log, Grown) = (read(group)?, read(test)?);
    let key: NoteVerifier = key(&log.log_vkey)?;
    let judged = Checkpoint::open(&test.old.0, &key)
        .map_err(ProofRefused::from)
        .and_then(|old| Growth::parse(&test.growth.0)?.verify(&old.head, &key));
    Ok(Verdict::uncoded(judged))
}

#[derive(Deserialize)]
struct Held {
    policy: Hex,
    note: Hex,
}

/// A checkpoint against a policy.
pub(super) fn policy(test: &Value) -> Judged {
    let test: Held = read(test)?;
    let note = Note::parse(&test.note.0).map_err(serde::de::Error::custom)?;
    let policy = String::from_utf8(test.policy.0).map_err(|e| e.to_string());
    let policy = policy.and_then(|text| text.parse::<Policy>().map_err(|e| e.to_string()));
    let met = |policy: Policy| {
        let found = policy.judge(&note);
        if found.quorum_met { Ok(()) } else { Err(format!("no quorum: {:?}", found.cosigned)) }
    };
    Ok(Verdict::uncoded(policy.and_then(met)))
}

#[derive(Deserialize)]
struct Follows {
    succession: Hex,
    vkey: String,
}

/// A key that follows the one that is known.
pub(super) fn succession(group: &Value, test: &Value) -> Judged {
    let (log, test): (Log, Follows) = (read(group)?, read(test)?);
    let (known, next): (NoteVerifier, NoteVerifier) = (key(&log.log_vkey)?, key(&test.vkey)?);
    let proved = Succession::parse(&test.succession.0).map_err(|e| e.to_string());
    let leads = |proved: Succession| {
        let follows = proved.after(&known).is_some_and(|after| after.contains(&next));
        follows.then_some(()).ok_or_else(|| "it does not lead there".to_owned())
    };
    Ok(Verdict::uncoded(proved.and_then(leads)))
}
