//! `ocsf`: requests and the operator's changes as API Activity, class 6003 of category 6 of the Open Cybersecurity
//! Schema Framework, version 1.3.0. Addresses of callers are not in the log: a source endpoint has the id of whoever acted.

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_spec::payload::{FinishReason, Payload};
use serde_json::{Value, json};

use super::columns::{payload, word};
use super::lines::to_line;

/// The schema's version.
const SCHEMA: &str = "1.3.0";
/// The class.
const API_ACTIVITY: u64 = 6003;

/// One event for each entry that somebody's call made.
#[derive(Debug, Default)]
pub(crate) struct Events {
    origin: String,
}

/// What was done, in the class's own numbers.
#[derive(Debug, Clone, Copy)]
enum Activity {
    Create = 1,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl Activity {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Other => "Other",
        }
    }
}

impl Format for Events {
    fn name(&self) -> &'static str {
        "ocsf"
    }

    fn file(&self) -> &'static str {
        "activity.jsonl"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, header: &Header, _out: &mut dyn Sink) -> Result<(), ExportError> {
        self.origin.clone_from(&header.origin);
        Ok(())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let Some(activity) = activity(&entry.body.payload) else { return Ok(false) };
        out.piece(Piece::Row { row, entry: entry.index }, &to_line(&self.event(activity, entry)))?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

impl Events {
    fn event(&self, activity: Activity, entry: &Entry<'_>) -> Value {
        let (body, number) = (entry.body, activity as u64);
        let who = actor(entry);
        let mut event = json!({
            "category_uid": 6, "category_name": "Application Activity",
            "class_uid": API_ACTIVITY, "class_name": "API Activity",
            "activity_id": number, "activity_name": activity.name(),
            "type_uid": API_ACTIVITY * 100 + number, "type_name": format!("API Activity: {}", activity.name()),
            "time": body.time, "severity_id": 1, "severity": "Informational",
            "status_id": 1, "status": "Success",
            "actor": { "user": { "uid": who } },
            "api": {
                "operation": operation(&body.payload), "service": { "name": "counterfoil" },
                "request": { "uid": body.serial },
            },
            "src_endpoint": { "uid": who, "svc_name": "counterfoil" },
            "metadata": {
                "version": SCHEMA, "uid": entry.leaf_hash, "sequence": entry.index, "log_name": self.origin,
                "product": { "name": "Counterfoil", "vendor_name": "Counterfoil" },
            },
            "unmapped": payload(&body.payload),
        });
        let Some(fields) = event.as_object_mut() else { return event };
        if let Payload::Inference(p) = &body.payload {
            fields.insert("start_time".to_owned(), p.started.0.into());
            fields.insert("end_time".to_owned(), p.ended.0.into());
            fields.insert("duration".to_owned(), p.ended.0.saturating_sub(p.started.0).into());
            fields.insert("resources".to_owned(), json!([{ "uid": p.manifest, "type": "model" }]));
        }
        if let Some(reason) = failure(&body.payload) {
            fields.insert("status_id".to_owned(), 2.into());
            fields.insert("status".to_owned(), "Failure".into());
            fields.insert("status_detail".to_owned(), reason.into());
            fields.insert("severity_id".to_owned(), 2.into());
            fields.insert("severity".to_owned(), "Low".into());
        }
        event
    }
}

/// Who acted: the account of a request, else the key that wrote the entry.
fn actor(entry: &Entry<'_>) -> String {
    match &entry.body.payload {
        Payload::Inference(p) => p.account.to_string(),
        _ => entry.body.author.to_string(),
    }
}

/// What the kind of an entry is as an activity; none for what no call makes.
const fn activity(payload: &Payload) -> Option<Activity> {
    match payload {
        Payload::Genesis(_)
        | Payload::NodeEnrolled(_)
        | Payload::JoinToken(_)
        | Payload::ConsentGranted(_)
        | Payload::ModelPublished(_)
        | Payload::AccountOpened(_)
        | Payload::KeyCreated(_)
        | Payload::Lot(_)
        | Payload::Payment(_)
        | Payload::Inference(_)
        | Payload::Statement(_)
        | Payload::Earnings(_)
        | Payload::Dispute(_)
        | Payload::Payout(_) => Some(Activity::Create),
        Payload::Rules(_)
        | Payload::DenyListIssued(_)
        | Payload::ProviderRegistered(_)
        | Payload::PayoutDestination(_)
        | Payload::PspReport(_)
        | Payload::Refund(_)
        | Payload::Chargeback(_)
        | Payload::Correction(_) => Some(Activity::Update),
        Payload::ConsentRevoked(_)
        | Payload::KeyRevoked(_)
        | Payload::ProviderOffboarded(_)
        | Payload::Prune(_)
        | Payload::Tombstone(_) => Some(Activity::Delete),
        Payload::RefusalSeen(_) => Some(Activity::Other),
        _ => None,
    }
}

const fn operation(payload: &Payload) -> &'static str {
    match payload {
        Payload::Inference(_) => "chat.completions",
        other => other.name(),
    }
}

fn failure(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Inference(p) if matches!(p.finish, FinishReason::Failed | FinishReason::Crashed) => {
            Some(word(&p.finish))
        }
        Payload::RefusalSeen(p) => Some(word(&p.refusal)),
        _ => None,
    }
}
