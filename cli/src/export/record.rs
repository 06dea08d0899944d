//! `records`: the kinds of facts that Regulation (EU) 2024/1689 names for records of high-risk systems, as far as a log
//! knows them. Which of them a system needs is for its provider or deployer to say.

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_spec::payload::{FinishReason, Payload};
use serde_json::{Map, Value, json};

use super::columns::{payload, receipt, word};
use super::instant::rfc3339;
use super::lines::to_line;

/// One line for each entry that is about use, models, consent, errors, people's interventions or keeping.
#[derive(Debug)]
pub(crate) struct Record;

/// Said first in every file.
const NOTICE: &str = "These lines may help a provider or deployer of a high-risk AI system to keep the records that \
Regulation (EU) 2024/1689 asks for. They claim no compliance with it, and are no legal advice. They hold no prompt, no output \
and no person's name; accounts are pseudonyms.";

/// Automatic recording of events.
const RECORDING: &str = "Article 12(1)";
/// Events that tell of risks and of substantial changes.
const RISKS: &str = "Article 12(2)(a)";
/// Events by which operation is monitored.
const MONITORING: &str = "Article 12(2)(c)";
/// The period of each use; the article asks it of systems of Annex III, point 1(a).
const PERIOD: &str = "Article 12(3)(a)";
/// What a provider keeps, and a deployer, at least six months.
const KEEPING: [&str; 2] = ["Article 19(1)", "Article 26(6)"];

impl Format for Record {
    fn name(&self) -> &'static str {
        "records"
    }

    fn file(&self) -> &'static str {
        "records.jsonl"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        //= spec/export.md#records-of-use
        //# It MUST say that it claims no compliance.
        let notice = json!({
            "record": "notice", "claims_compliance": false, "text": NOTICE, "log": header.origin,
            "from_entry": header.from, "to_entry": header.to,
        });
        out.piece(Piece::Frame, &to_line(&notice))
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let Some((record, helps, mut facts)) = facts(entry) else { return Ok(false) };
        let helps: Vec<&str> = helps.iter().copied().chain(KEEPING).collect();
        facts.insert("record".to_owned(), record.into());
        facts.insert("may_help_with".to_owned(), helps.into());
        facts.insert("entry".to_owned(), entry.index.into());
        facts.insert("leaf_hash".to_owned(), entry.leaf_hash.to_string().into());
        facts.insert("time".to_owned(), rfc3339(entry.body.time).into());
        out.piece(Piece::Row { row, entry: entry.index }, &to_line(&facts))?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

type Facts = (&'static str, &'static [&'static str], Map<String, Value>);

/// What kind of record an entry is, what it may help with, and what it says.
fn facts(entry: &Entry<'_>) -> Option<Facts> {
    let whole = |what: &'static str, helps: &'static [&'static str]| {
        let Value::Object(facts) = payload(&entry.body.payload) else { return None };
        Some((what, helps, facts))
    };
    match &entry.body.payload {
        Payload::Inference(_) => Some(("use", &[RECORDING, PERIOD, MONITORING], used(entry))),
        Payload::Work(_) => Some(("work", &[RECORDING, MONITORING], worked(entry))),
        Payload::Genesis(_) => whole("system", &[RECORDING]),
        Payload::ModelPublished(_) => whole("model", &[RECORDING, RISKS]),
        Payload::ConsentGranted(_) => whole("consent", &[RECORDING]),
        Payload::ConsentRevoked(_) => whole("consent-withdrawn", &[RECORDING, RISKS]),
        Payload::RefusalSeen(_) => whole("refusal", &[RISKS, MONITORING]),
        Payload::DenyListIssued(_) => whole("oversight", &[RISKS, MONITORING]),
        Payload::KeyCreated(_) => whole("access-given", &[RECORDING]),
        Payload::KeyRevoked(_) => whole("access-withdrawn", &[RECORDING, RISKS]),
        Payload::AccountOpened(_) => whole("account", &[RECORDING]),
        Payload::NodeEnrolled(_) => whole("node", &[RECORDING]),
        Payload::ProviderRegistered(_) => whole("provider", &[RECORDING]),
        Payload::CapacityAttested(_) => whole("measurement", &[MONITORING]),
        Payload::Tombstone(_) | Payload::Prune(_) => whole("retention", &[RECORDING]),
        Payload::Uptime(_) => whole("availability", &[MONITORING]),
        _ => None,
    }
}

fn used(entry: &Entry<'_>) -> Map<String, Value> {
    let Payload::Inference(p) = &entry.body.payload else { return Map::new() };
    let failed = matches!(p.finish, FinishReason::Failed | FinishReason::Crashed);
    let facts = json!({
        "request": entry.body.serial, "account": p.account, "key_id": p.key_id, "model": p.manifest,
        "started": rfc3339(p.started), "ended": rfc3339(p.ended), "finish": word(&p.finish), "error": failed,
        "failed_node": p.failed_node, "prompt_tokens": p.prompt_tokens, "completion_tokens": p.completion_tokens,
        "prompt_commitment": p.prompt_commitment, "output_commitment": p.output_commitment, "works": p.works,
    });
    object(facts)
}

fn worked(entry: &Entry<'_>) -> Map<String, Value> {
    let Payload::Work(p) = &entry.body.payload else { return Map::new() };
    let receipt = receipt(&entry.body.payload);
    let facts = json!({
        "request": p.request, "work": entry.body.serial,
        "node": receipt.as_ref().map(|r| r.node), "model": receipt.as_ref().map(|r| r.manifest),
        "consent": receipt.as_ref().map(|r| r.cti), "started": receipt.as_ref().map(|r| rfc3339(r.opened)),
        "ended": receipt.as_ref().map(|r| rfc3339(r.closed)), "forwards": receipt.as_ref().map(|r| r.forwards),
    });
    object(facts)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
