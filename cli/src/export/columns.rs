//! What an entry is about and how much, in columns: those of `csv` and `parquet`.

use counterfoil_audit::export::Entry;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::time::{Millis, Seconds};
use serde_json::Value;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Number,
    /// Milliseconds since 1970.
    Time,
    /// Text.
    Text,
}

/// Whether every row has a value in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Yes.
    Always,
    /// Where the entry's kind has one.
    Sometimes,
}

/// The columns in their order.
pub(super) const COLUMNS: [(&str, Kind, Fill); COUNT] = [
    ("entry", Kind::Number, Fill::Always),
    ("leaf_hash", Kind::Text, Fill::Always),
    ("time", Kind::Time, Fill::Always),
    ("kind", Kind::Text, Fill::Always),
    ("author", Kind::Text, Fill::Always),
    ("seq", Kind::Number, Fill::Always),
    ("serial", Kind::Text, Fill::Always),
    ("request", Kind::Text, Fill::Sometimes),
    ("account", Kind::Text, Fill::Sometimes),
    ("key_id", Kind::Text, Fill::Sometimes),
    ("node", Kind::Text, Fill::Sometimes),
    ("manifest", Kind::Text, Fill::Sometimes),
    ("started", Kind::Time, Fill::Sometimes),
    ("ended", Kind::Time, Fill::Sometimes),
    ("finish", Kind::Text, Fill::Sometimes),
    ("prompt_tokens", Kind::Number, Fill::Sometimes),
    ("cached_tokens", Kind::Number, Fill::Sometimes),
    ("completion_tokens", Kind::Number, Fill::Sometimes),
    ("forwards", Kind::Number, Fill::Sometimes),
    ("tokens", Kind::Number, Fill::Sometimes),
    ("amount_micro", Kind::Number, Fill::Sometimes),
    ("payload", Kind::Text, Fill::Always),
];

/// How many columns there are.
pub(super) const COUNT: usize = 22;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// None.
    Empty,
    /// Of a column of numbers or times.
    Number(u64),
    /// Of a column of text.
    Text(String),
}

/// What an entry of one kind says in the columns that not all have.
#[derive(Debug, Default)]
struct Facts {
    request: Option<String>,
    account: Option<String>,
    key_id: Option<String>,
    node: Option<String>,
    manifest: Option<String>,
    started: Option<Millis>,
    ended: Option<Millis>,
    finish: Option<String>,
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    forwards: Option<u64>,
    tokens: Option<u64>,
    amount_micro: Option<u64>,
}

/// An entry's values, in the columns' order.
pub(super) fn cells(entry: &Entry<'_>) -> [Cell; COUNT] {
    let body = entry.body;
    let facts = facts(entry);
    let text = |text: Option<String>| text.map_or(Cell::Empty, Cell::Text);
    let number = |n: Option<u64>| n.map_or(Cell::Empty, Cell::Number);
    let time = |t: Option<Millis>| t.map_or(Cell::Empty, |t| Cell::Number(t.0));
    [
        Cell::Number(entry.index),
        Cell::Text(entry.leaf_hash.to_string()),
        Cell::Number(body.time.0),
        Cell::Text(body.payload.name().to_owned()),
        Cell::Text(body.author.to_string()),
        Cell::Number(body.seq),
        Cell::Text(body.serial.to_string()),
        text(facts.request),
        text(facts.account),
        text(facts.key_id),
        text(facts.node),
        text(facts.manifest),
        time(facts.started),
        time(facts.ended),
        text(facts.finish),
        number(facts.prompt_tokens),
        number(facts.cached_tokens),
        number(facts.completion_tokens),
        number(facts.forwards),
        number(facts.tokens),
        number(facts.amount_micro),
        Cell::Text(payload(&body.payload).to_string()),
    ]
}

/// What the payload says, without its kind.
pub(super) fn payload(payload: &Payload) -> Value {
    let mut value = serde_json::to_value(payload).unwrap_or_default();
    value.get_mut("payload").map(Value::take).unwrap_or_default()
}

/// A word as JSON would write it, such as that of a finish reason.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The body of a receipt; none where it is not in its form.
pub(super) fn receipt(payload: &Payload) -> Option<ReceiptBody> {
    let Payload::Work(work) = payload else { return None };
    from_canonical(&work.receipt.body, MAX_LEAF_BYTES).ok()
}

fn facts(entry: &Entry<'_>) -> Facts {
    let text = |value: &dyn std::fmt::Display| Some(value.to_string());
    let mut facts = Facts::default();
    match &entry.body.payload {
        Payload::Inference(p) => {
            facts.request = text(&entry.body.serial);
            facts.account = text(&p.account);
            facts.key_id = p.key_id.map(|k| k.to_string());
            facts.node = p.failed_node.map(|n| n.to_string());
            facts.manifest = text(&p.manifest);
            (facts.started, facts.ended) = (Some(p.started), Some(p.ended));
            facts.finish = Some(word(&p.finish));
            facts.prompt_tokens = Some(p.prompt_tokens.0);
            facts.cached_tokens = Some(p.cached_tokens.0);
            facts.completion_tokens = Some(p.completion_tokens.0);
        }
        Payload::Work(p) => {
            facts.request = text(&p.request);
            if let Some(receipt) = receipt(&entry.body.payload) {
                facts.node = text(&receipt.node);
                facts.manifest = text(&receipt.manifest);
                (facts.started, facts.ended) = (Some(receipt.opened), Some(receipt.closed));
                facts.forwards = Some(receipt.forwards);
            }
        }
        Payload::Lot(p) => {
            facts.account = text(&p.account);
            (facts.started, facts.ended) = (Some(instant(p.starts)), Some(instant(p.expires)));
            facts.tokens = Some(p.tokens.0);
        }
        Payload::Payment(p) => {
            facts.account = text(&p.account);
            (facts.started, facts.ended) = (Some(instant(p.period_start)), Some(instant(p.period_end)));
            facts.amount_micro = Some(p.amount.0);
        }
        Payload::KeyCreated(p) => {
            facts.account = text(&p.account);
            facts.key_id = text(&p.key_id);
        }
        Payload::AccountOpened(p) => facts.account = text(&p.account),
        Payload::KeyRevoked(p) => facts.key_id = text(&p.key_id),
        Payload::Refund(p) => facts.amount_micro = Some(p.amount.0),
        Payload::Chargeback(p) => facts.amount_micro = Some(p.amount.0),
        Payload::Statement(p) => facts.amount_micro = Some(p.revenue.0),
        Payload::ModelPublished(p) => facts.manifest = text(&p.manifest),
        Payload::NodeEnrolled(p) => facts.node = text(&p.node),
        Payload::CapacityAttested(p) => facts.node = text(&p.node),
        Payload::ConsentGranted(p) => facts.node = text(&p.node),
        Payload::ConsentRevoked(p) => facts.node = text(&p.node),
        Payload::RefusalSeen(p) => facts.node = p.node.map(|n| n.to_string()),
        _ => {}
    }
    facts
}

const fn instant(seconds: Seconds) -> Millis {
    seconds.millis()
}
