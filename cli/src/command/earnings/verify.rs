//! `counterfoil earnings verify STATEMENT`: a provider's statement against the log's key alone, and against the log where there is one.

use std::path::Path;

use counterfoil_audit::proofs::{Given, Judged, Pins, Signatures, judge};
use counterfoil_audit::tile::read_limited;
use counterfoil_audit::verify::NOT_PROVED;
use counterfoil_identity::VerifyKey;
use counterfoil_ledger::settle::{AsOf, Quarter, leaf_hash, root_from_path};
use counterfoil_router::{clock, settlement};
use counterfoil_spec::payload::{Payload, Statement};
use serde::Deserialize;
use serde_json::{Value, json};

use super::statement::{PREDICATE_TYPE, Told};
use crate::args::VerifyEarningsArgs;
use crate::command::account::id;
use crate::command::audit::trusted;
use crate::dsse::{self, Envelope};
use crate::exit::{Failure, Outcome};
use crate::output;

/// The longest file: a statement carries proofs of a few entries.
const MAX_STATEMENT_BYTES: usize = 4 * 1024 * 1024;
/// More leaves than any tree of providers has.
const MAX_PROVIDERS: usize = 1 << 32;

/// What is wrong with a statement: a fault's name, and in words.
struct Wrong(&'static str, String);

impl Wrong {
    fn shape(detail: impl std::fmt::Display) -> Self {
        Self("ProofShape", detail.to_string())
    }
}

/// Checks a statement in a file.
pub(super) fn run(home: &Path, file: &Path, args: &VerifyEarningsArgs, json: bool) -> Outcome {
    let vkey = args.vkey.as_deref().ok_or_else(|| {
        Failure::wrong_use("say whose log it is with --vkey KEY, got from elsewhere than the statement")
    })?;
    let key = trusted((vkey, args.succession.as_deref()))?;
    let bytes = read_limited(file, MAX_STATEMENT_BYTES).map_err(|e| at(file, &e))?;
    let bytes = bytes.ok_or_else(|| at(file, &"there is no such file"))?;
    let mut wrong = Vec::new();
    let read = dsse::read(&bytes).ok_or_else(|| Wrong::shape("not a signed statement"));
    let told = read.and_then(|envelope| told(&envelope).map(|told| (envelope, told)));
    let told = match told {
        Ok((envelope, told)) => {
            proved(&envelope, &told, &Pins { key: &key, net_id: None, policy: None }, &mut wrong);
            Some(told)
        }
        Err(shape) => {
            wrong.push(shape);
            None
        }
    };
    let with_log = args.at.log_dir.is_some();
    if let (Some(told), true, true) = (&told, with_log, wrong.is_empty()) {
        against_log(home, told, args, &mut wrong)?;
    }
    tell(file, told.as_ref(), &wrong, with_log, json)
}

fn at(file: &Path, e: &dyn std::fmt::Display) -> Failure {
    Failure::wrong_use(format!("{}: {e}", file.display()))
}

fn told(envelope: &Envelope) -> Result<Told, Wrong> {
    let statement: Value = serde_json::from_slice(&envelope.payload).map_err(Wrong::shape)?;
    let field = |name: &str| statement.get(name).and_then(Value::as_str);
    if field("_type") != Some(dsse::STATEMENT_TYPE) || field("predicateType") != Some(PREDICATE_TYPE) {
        return Err(Wrong::shape("not a statement of earnings"));
    }
    Told::deserialize(statement.get("predicate").unwrap_or(&Value::Null)).map_err(Wrong::shape)
}

//= spec/settlement.md#the-statement
//# Who is given one and trusts the log's key alone MUST check the proofs, that the key which entry 0 introduces as the author's made the
//# signature, that the totals are those of the quarter's entry, and that leaf and path lead to its root.
/// Everything that needs nothing but the log's key.
fn proved(envelope: &Envelope, told: &Told, pins: &Pins<'_>, wrong: &mut Vec<Wrong>) {
    let names: Vec<String> = (0..told.proofs.len()).map(|n| format!("proof {n}")).collect();
    let given: Vec<_> = told
        .proofs
        .iter()
        .zip(&names)
        .map(|(proof, file)| Given { file, bytes: proof.as_bytes(), leaf: None })
        .collect();
    let judged = judge(&given, pins);
    let faults = judged.faults.iter();
    wrong.extend(faults.map(|f| Wrong(f.kind.name(), f.detail.clone())));
    match author(&judged) {
        Some(key)
            if key.verify(&dsse::pre_authentication(&envelope.payload), &envelope.signature).is_ok() => {}
        _ => wrong.push(Wrong("BadStatementSignature", NOT_THE_LOGS.to_owned())),
    }
    let entry = judged.proofs.iter().find(|p| p.index == told.entry && p.signatures == Signatures::Verified);
    match entry.map(|entry| &entry.body.payload) {
        Some(Payload::Statement(booked)) => wrong.extend(against_entry(told, booked)),
        _ => {
            wrong.push(Wrong::shape(format!("it does not prove that entry {} closes a quarter", told.entry)))
        }
    }
}

/// The author's key, as the log's first entry introduces it.
fn author(judged: &Judged) -> Option<VerifyKey> {
    judged.proofs.iter().find(|p| p.index == 0).and_then(|first| match &first.body.payload {
        Payload::Genesis(genesis) => VerifyKey::from_wire(genesis.author_key).ok(),
        _ => None,
    })
}

fn against_entry(told: &Told, booked: &Statement) -> Vec<Wrong> {
    let totals = [
        ("its quarter", told.quarter == booked.quarter),
        ("its pool", told.pool_cents == booked.pool),
        ("its revenue", told.revenue_micro == booked.revenue),
        ("its range of entries", (told.first_entry, told.end_entry) == (booked.first, booked.end)),
        ("its number of providers", told.providers == booked.providers),
    ];
    let mut wrong: Vec<_> = totals
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(what, _)| {
            Wrong("ConservationViolated", format!("{what} is not what the quarter's entry says"))
        })
        .collect();
    let place = |n: u64| usize::try_from(n).ok().filter(|n| *n <= MAX_PROVIDERS);
    let root = place(told.place)
        .zip(place(booked.providers))
        .and_then(|(place, size)| root_from_path(&leaf_hash(&told.leaf()), place, size, &told.path));
    if root != Some(booked.root) {
        wrong.push(Wrong("LeafHashMismatch", NOT_IN_TREE.to_owned()));
    }
    wrong
}

/// The same quarter, recomputed from the whole log.
fn against_log(
    home: &Path,
    told: &Told,
    args: &VerifyEarningsArgs,
    wrong: &mut Vec<Wrong>,
) -> Result<(), Failure> {
    let quarter: Quarter = id(&told.quarter)?;
    let reader = super::reader(home, &args.at)?;
    let found = settlement::recompute(&reader, quarter, AsOf::Final(clock::now().seconds()));
    let found = found.map_err(Failure::check)?;
    match &found.booked {
        Some((entry, booked)) if *entry == told.entry && against_entry(told, booked).is_empty() => {
            if !found.closed.agrees_with(booked) {
                wrong.push(Wrong("ConservationViolated", super::differs(booked, &found.closed)));
            }
        }
        _ => wrong.push(Wrong("LeafHashMismatch", "this log has another entry there".to_owned())),
    }
    let same = found.closed.shares.iter().any(|share| {
        let figures = (share.provider, share.onboarded, share.cents, share.micro_tokens, share.weighted);
        figures == (told.provider, told.onboarded, told.total_cents, told.micro_tokens, told.weighted)
            && share.uptime_s == told.uptime_s
    });
    if !same {
        let detail = format!("the log gives provider {} other figures", told.provider);
        wrong.push(Wrong("ConservationViolated", detail));
    }
    Ok(())
}

fn tell(file: &Path, told: Option<&Told>, wrong: &[Wrong], with_log: bool, json: bool) -> Outcome {
    let faults: Vec<_> = wrong.iter().map(|Wrong(fault, detail)| format!("{fault}: {detail}")).collect();
    if json {
        output::json(&json!({
            "ok": faults.is_empty(), "faults": faults, "log_checked": with_log && faults.is_empty(),
            "quarter": told.map(|t| &t.quarter), "provider": told.map(|t| t.provider),
            "total_cents": told.map(|t| t.total_cents), "entry": told.map(|t| t.entry), "not_proved": NOT_PROVED,
        }));
    } else if let (Some(told), true) = (told, faults.is_empty()) {
        output::line(&format!(
            "{} of {} USD for {} is one of {} shares that entry {} of the log commits to{}.",
            told.provider,
            output::cents(told.total_cents.0),
            told.quarter,
            told.providers,
            told.entry,
            if with_log { ", and what the log gives" } else { "" }
        ));
        if !with_log {
            output::line("That the share follows from the work is checked with the log: --log DIR");
        }
    } else {
        faults.iter().for_each(|fault| output::line(fault));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::check(format!("the statement in {} does not hold: {} faults", file.display(), faults.len())))
}

const NOT_THE_LOGS: &str =
    "not signed by the key that writes this log: the statement was changed, or is somebody else's";
const NOT_IN_TREE: &str = "the provider's figures are not among those that the quarter's entry commits to";
