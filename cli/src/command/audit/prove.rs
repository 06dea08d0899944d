//! `counterfoil audit prove`: proofs that travel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::growth::Growth;
use counterfoil_audit::note::{MAX_NOTE_BYTES, Note};
use counterfoil_audit::proof::{Proof, prove};
use counterfoil_audit::tile::read_limited;
use counterfoil_audit::{LogError, LogReader};
use counterfoil_identity::VerifyKey;
use counterfoil_spec::ids::{Kid, NodeId, Serial};
use counterfoil_spec::payload::{Payload, RotatedKey};
use serde_json::json;

use super::halves::node_of;
use crate::args::ProveArgs;
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Proofs are written with this ending, which the standard recommends.
const ENDING: &str = "tlog-proof";
/// How long a checkpoint that covers an entry is waited for, and how often it is looked for.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Makes the proofs that were asked for.
pub(super) fn run(folder: &Path, args: &ProveArgs, json: bool) -> Outcome {
    if let Some(old) = &args.consistency {
        return consistency(folder, old, args, json);
    }
    let mut reader = LogReader::open(folder).map_err(Failure::store)?;
    let mut indexes: BTreeSet<u64> = args.index.iter().copied().collect();
    if let Some(request) = &args.request {
        indexes.extend(of_request(&reader, &id(request)?, args.works)?);
    }
    if indexes.is_empty() {
        return Err(Failure::wrong_use("name entries by their indexes, or a request with --request"));
    }
    if let Some(last) = indexes.last().filter(|last| **last >= reader.size()) {
        return Err(Failure::wrong_use(format!("there is no entry {last}; the log has {}", reader.size())));
    }
    if args.keys {
        indexes.extend(introducing(&reader, &indexes)?);
    }
    let mut proofs = Vec::new();
    for index in indexes {
        let mut proof = covered(folder, index)?;
        reader.refresh().map_err(Failure::store)?;
        proof.leaf = match reader.leaf(index) {
            Ok(leaf) => (!args.without_entry).then_some(leaf),
            // The hash of its leaf is proved all the same, to whoever has the entry from elsewhere.
            Err(e @ LogError::Removed { .. }) => {
                output::aside(&format!("{e}; the proof is of the hash"));
                None
            }
            Err(e) => return Err(Failure::check(e)),
        };
        proofs.push((format!("{index}.{ENDING}"), json!(index), proof.to_string()));
    }
    give(&proofs, args, json)
}

/// The proof of an entry, and those of the entries that introduce the keys which signed it.
pub(crate) fn with_keys(folder: &Path, index: u64) -> Result<Vec<String>, Failure> {
    // The checkpoint comes first, so that the reader has all that it covers.
    let last = covered(folder, index)?;
    let reader = LogReader::open(folder).map_err(Failure::store)?;
    let mut indexes = introducing(&reader, &BTreeSet::from([index]))?;
    indexes.retain(|other| *other != index);
    indexes.sort_unstable();
    indexes.dedup();
    let proofs = indexes.into_iter().map(|index| covered(folder, index).map(|proof| (index, proof)));
    let mut proofs = proofs.collect::<Result<Vec<_>, _>>()?;
    proofs.push((index, last));
    let whole = proofs.into_iter().map(|(index, mut proof)| {
        proof.leaf = Some(reader.leaf(index).map_err(Failure::check)?);
        Ok(proof.to_string())
    });
    whole.collect()
}

/// Proves an entry; one that is durable and in no checkpoint yet is waited for, as a router that runs publishes it soon.
fn covered(folder: &Path, index: u64) -> Result<Proof, Failure> {
    let until = Instant::now() + PUBLISHED_WITHIN;
    loop {
        match prove(folder, index) {
            Err(LogError::OutOfRange { .. }) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            proved => return proved.map_err(failure),
        }
    }
}

fn failure(e: LogError) -> Failure {
    match e {
        LogError::OutOfRange { index, size } => Failure::wrong_use(format!(
            "the checkpoint covers {size} entries, and {index} is not among them yet; a router that runs, or starts, publishes it"
        )),
        LogError::Published { .. } => Failure::check(e),
        e => Failure::store(e),
    }
}

/// Prints one proof, or writes each into its file.
fn give(proofs: &[(String, serde_json::Value, String)], args: &ProveArgs, json: bool) -> Outcome {
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
        for (name, _, text) in proofs {
            std::fs::write(folder.join(name), text)?;
        }
    }
    if json {
        let list: Vec<_> = proofs
            .iter()
            .map(|(name, of, text)| match &args.out {
                Some(folder) => json!({ "of": of, "file": folder.join(name) }),
                None => json!({ "of": of, "proof": text }),
            })
            .collect();
        output::json(&json!({ "proofs": list }));
        return Ok(());
    }
    match (&args.out, proofs) {
        (Some(folder), _) => {
            proofs.iter().for_each(|(name, ..)| output::line(&folder.join(name).display().to_string()));
        }
        (None, [(_, _, text)]) => output::piece(text),
        (None, more) => {
            return Err(Failure::wrong_use(format!(
                "these are {} proofs, each a file of its own: say where with --out DIR",
                more.len()
            )));
        }
    }
    Ok(())
}

fn consistency(folder: &Path, old: &str, args: &ProveArgs, json: bool) -> Outcome {
    let size = match old.parse() {
        Ok(size) => size,
        Err(_) => read_checkpoint(Path::new(old))?.1.head.size,
    };
    let growth = Growth::prove(folder, size).map_err(|e| match e {
        LogError::OutOfRange { index, size } => Failure::check(format!(
            "Rollback: the log's checkpoint has {size} entries, fewer than the {index} that it had"
        )),
        e => failure(e),
    })?;
    give(&[(format!("from-{size}.txt"), json!(size), growth.to_string())], args, json)
}

/// A checkpoint in a file; its signatures are not looked at.
pub(super) fn read_checkpoint(path: &Path) -> Result<(Note, Checkpoint), Failure> {
    let at = |e: &dyn std::fmt::Display| Failure::wrong_use(format!("{}: {e}", path.display()));
    let bytes = read_limited(path, MAX_NOTE_BYTES)?.ok_or_else(|| at(&"there is no such file"))?;
    let note = Note::parse(&bytes).map_err(|e| at(&e))?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|e| at(&e))?;
    Ok((note, checkpoint))
}

/// The entry of a request, and where asked for those of the work that it names.
fn of_request(reader: &LogReader, request: &Serial, works: bool) -> Result<Vec<u64>, Failure> {
    let mut found = None;
    let mut receipts: BTreeMap<Serial, u64> = BTreeMap::new();
    let looked = reader.for_each(0, |index, _, body| match &body.payload {
        Payload::Inference(inference) if body.serial == *request => {
            found = Some((index, inference.works.clone()));
        }
        Payload::Work(work) if works && work.request == *request => {
            receipts.insert(body.serial, index);
        }
        _ => {}
    });
    looked.map_err(Failure::check)?;
    let (index, named) = found.ok_or_else(|| {
        Failure::wrong_use(format!("the log has no request {request}; an answer's `id` names its request"))
    })?;
    let named = if works { named } else { Vec::new() };
    let of_work = |serial: Serial| {
        let missing =
            || Failure::check(format!("entry {index} names a receipt {serial} that is not in the log"));
        receipts.get(&serial).copied().ok_or_else(missing)
    };
    std::iter::once(Ok(index)).chain(named.into_iter().map(of_work)).collect()
}

/// The entries that introduce the keys which signed these, and the receipts in them.
fn introducing(reader: &LogReader, indexes: &BTreeSet<u64>) -> Result<Vec<u64>, Failure> {
    let mut wanted: BTreeSet<Kid> = BTreeSet::new();
    let mut workers: BTreeSet<NodeId> = BTreeSet::new();
    let mut changed = Vec::new();
    let (mut keys, mut nodes): (BTreeMap<Kid, u64>, BTreeMap<NodeId, u64>) = Default::default();
    let looked = reader.for_each(0, |index, leaf, body| {
        if indexes.contains(&index) {
            wanted.extend(leaf.signatures.iter().map(|s| s.kid));
            if let Payload::Work(work) = &body.payload {
                workers.extend(node_of(&work.receipt));
            }
        }
        if matches!(&body.payload, Payload::KeyRotation(rotation) if rotation.of == RotatedKey::Log) {
            changed.push(index);
        }
        if let Payload::NodeEnrolled(node) = &body.payload
            && let Ok(key) = VerifyKey::from_wire(node.identity_key)
        {
            keys.insert(key.kid(), index);
            nodes.insert(node.node, index);
        }
    });
    looked.map_err(Failure::check)?;
    let signed = wanted.iter().filter_map(|kid| keys.get(kid));
    let worked = workers.iter().filter_map(|node| nodes.get(node));
    // Genesis introduces its author, the root and the log's first key; others follow that one by one.
    Ok(std::iter::once(0).chain(changed).chain(signed.chain(worked).copied()).collect())
}
