//! `counterfoil audit verify-proof`: proofs against pinned keys, without the log.

use std::io::Read as _;
use std::path::Path;

use counterfoil_audit::growth::{Growth, MAX_GROWTH_BYTES};
use counterfoil_audit::note::Note;
use counterfoil_audit::policy::{MAX_POLICY_BYTES, Policy, Witnessed};
use counterfoil_audit::proof::MAX_PROOF_BYTES;
use counterfoil_audit::proofs::{Given, Judged, MAX_PROOFS, Pins, Proved, Signatures, judge};
use counterfoil_audit::tile::read_limited;
use counterfoil_audit::verify::NOT_PROVED;
use counterfoil_audit::{TrustedKeys, TrustsNotes};
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::rule::FaultKind;
use serde_json::{Value, json};

use super::halves;
use super::prove::read_checkpoint;
use super::trusted::{HINT, trusted};
use crate::args::VerifyProofArgs;
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Judges the proofs in some files.
pub(super) fn run(args: &VerifyProofArgs, json: bool) -> Outcome {
    let key = trusted((&args.vkey, args.succession.as_deref()))?;
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    if args.file.len() > MAX_PROOFS {
        return Err(Failure::wrong_use(format!("at most {MAX_PROOFS} proofs at a time")));
    }
    let files = args.file.iter().map(|path| Ok((path.display().to_string(), read(path)?)));
    let files = files.collect::<Result<Vec<_>, Failure>>()?;
    if let Some(old) = &args.old {
        return growth(&files, old, &key, policy.as_ref(), json);
    }
    let leaf = args.leaf.as_deref().map(|path| {
        let there = read_limited(path, MAX_LEAF_BYTES)?;
        there.ok_or_else(|| Failure::wrong_use(format!("{}: there is no such file", path.display())))
    });
    let leaf = leaf.transpose()?;
    let given: Vec<Given<'_>> =
        files.iter().map(|(file, bytes)| Given { file, bytes, leaf: leaf.as_deref() }).collect();
    let net_id = args.net_id.as_deref().map(id).transpose()?;
    let mut judged = judge(&given, &Pins { key: &key, net_id, policy: policy.as_ref() });
    let receipts = halves::check(&mut judged, net_id);
    tell(&judged, receipts, json)?;
    if judged.ok { Ok(()) } else { Err(failed(&judged)) }
}

/// A policy in a file.
pub(crate) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let at = |e: &dyn std::fmt::Display| Failure::wrong_use(format!("{}: {e}", path.display()));
    let bytes = read_limited(path, MAX_POLICY_BYTES).map_err(|e| at(&e))?;
    let text = String::from_utf8(bytes.ok_or_else(|| at(&"there is no such file"))?).map_err(|e| at(&e))?;
    text.parse().map_err(|e| at(&e))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let limit = MAX_PROOF_BYTES.max(MAX_GROWTH_BYTES) + 1;
    let file: &mut dyn std::io::Read = if path == Path::new("-") {
        &mut std::io::stdin()
    } else {
        let at = |e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", path.display()));
        &mut std::fs::File::open(path).map_err(at)?
    };
    let mut bytes = Vec::new();
    file.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn failed(judged: &Judged) -> Failure {
    Failure::check(format!("{} of the proofs do not verify", judged.faults.len()))
}

fn tell(judged: &Judged, receipts: usize, json: bool) -> Outcome {
    if json {
        let mut value = serde_json::to_value(judged).map_err(Failure::store)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("receipts".into(), json!(receipts));
            object.insert("not_proved".into(), json!(NOT_PROVED));
        }
        output::json(&value);
        return Ok(());
    }
    for fault in &judged.faults {
        let index = fault.index.map(|i| format!(" entry {i}")).unwrap_or_default();
        let file = fault.file.as_deref().unwrap_or_default();
        output::line(&format!("{}{index} {file}: {}", fault.kind.name(), fault.detail));
    }
    if judged.faults.iter().any(|fault| fault.kind == FaultKind::NoTrustedSignature) {
        output::line(HINT);
    }
    for proved in &judged.proofs {
        output::line(&said(proved)?);
    }
    if receipts > 0 {
        output::line(&format!("receipts whose two halves were checked: {receipts}"));
    }
    Ok(())
}

fn said(proved: &Proved) -> Result<String, Failure> {
    let payload: Value = serde_json::to_value(&proved.body.payload).map_err(Failure::store)?;
    let kind = payload.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let signatures = match proved.signatures {
        Signatures::Verified => "its signatures verify",
        Signatures::Unchecked => "its own signatures were not checked (prove it with --keys)",
    };
    let witnessed = proved.witnessed.as_ref().map_or_else(
        || "Unwitnessed".to_owned(),
        |w: &Witnessed| format!("cosigned by {}", w.cosigned.keys().cloned().collect::<Vec<_>>().join(", ")),
    );
    Ok(format!(
        "entry {} ({kind}) is in the log of {} entries with root {}; {signatures}; {witnessed}",
        proved.index, proved.size, proved.root
    ))
}

fn growth(
    files: &[(String, Vec<u8>)],
    old: &Path,
    key: &TrustedKeys,
    policy: Option<&Policy>,
    json: bool,
) -> Outcome {
    let [(file, bytes)] = files else {
        return Err(Failure::wrong_use("--old is for one proof of consistency"));
    };
    let (note, earlier) = read_checkpoint(old)?;
    let refused = |fault: FaultKind, detail: String| {
        if json {
            let faults = json!([{ "fault": fault, "index": null, "file": file, "detail": detail }]);
            output::json(&json!({ "ok": false, "faults": faults }));
        } else {
            output::line(&format!("{} {file}: {detail}", fault.name()));
        }
        Failure::check("the proof of consistency does not verify")
    };
    if earlier.origin != key.origin() {
        let detail = format!("the earlier checkpoint is of {:?}", earlier.origin);
        return Err(refused(FaultKind::OriginNotPinned, detail));
    }
    key.check(&note).map_err(|e| refused(e.fault(), format!("the earlier checkpoint: {e}")))?;
    let proof = Growth::parse(bytes).map_err(|e| refused(e.fault(), e.to_string()))?;
    let checkpoint = proof.verify(&earlier.head, key).map_err(|e| refused(e.fault(), e.to_string()))?;
    let witnessed = match policy {
        Some(policy) => {
            let note = Note::parse(proof.note.as_bytes()).map_err(|e| refused(e.fault(), e.to_string()))?;
            let found = policy.judge(&note);
            if !found.quorum_met {
                let kind = FaultKind::QuorumNotMet;
                return Err(refused(kind, "its checkpoint does not meet the policy".to_owned()));
            }
            Some(found)
        }
        None => None,
    };
    let (from, to) = (earlier.head.size, checkpoint.head);
    if json {
        output::json(
            &json!({ "ok": true, "old": from, "size": to.size, "root": to.root, "witnessed": witnessed, "faults": [] }),
        );
    } else {
        output::line(&format!(
            "the log of {} entries with root {} begins with the {from} entries that it had",
            to.size, to.root
        ));
    }
    Ok(())
}
