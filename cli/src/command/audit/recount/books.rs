//! What a receipt's entry says of work and money, against the receipts of the work and the rule that shares tokens.

use std::collections::BTreeMap;

use counterfoil_audit::proofs::Judged;
use counterfoil_ledger::credits;
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::{Inference, Payload};
use counterfoil_spec::receipt::ReceiptBody;

use super::{Compared, Receipt};

/// Credits are shared in millionths of a token.
const MICRO_PER_TOKEN: u64 = 1_000_000;

/// Everything that needs nothing but the receipt.
pub(super) fn recount(receipt: &Receipt, logged: &Inference, judged: &Judged) -> Vec<Compared> {
    let mut out = vec![Compared { what: "work", outcome: work(logged, judged) }];
    out.push(Compared { what: "credits", outcome: shares(logged) });
    if let Some(shown) = &receipt.inference {
        let same = serde_json::to_value(Payload::from(logged.clone())).is_ok_and(|proved| proved == *shown);
        let outcome = match same {
            true => Ok("is the entry that is proved".to_owned()),
            false => Err("is not the entry that is proved; believe the proof".to_owned()),
        };
        out.push(Compared { what: "inference", outcome });
    }
    out
}

/// Whether the receipts of all work are there, and have the forwards that are credited.
fn work(logged: &Inference, judged: &Judged) -> Result<String, String> {
    let mut by_node = BTreeMap::<NodeId, u64>::new();
    let mut proved = 0;
    for (serial, work) in judged.proofs.iter().filter_map(|p| match &p.body.payload {
        Payload::Work(work) => Some((p.body.serial, work)),
        _ => None,
    }) {
        if !logged.works.contains(&serial) {
            continue;
        }
        proved += 1;
        let body: ReceiptBody = from_canonical(&work.receipt.body, MAX_LEAF_BYTES)
            .map_err(|e| format!("the receipt of {serial} cannot be read: {e}"))?;
        let sum = by_node.entry(body.node).or_default();
        *sum = sum.checked_add(body.forwards).ok_or("its forwards do not fit 64 bits")?;
    }
    if proved != logged.works.len() {
        return Err(format!("the entry names {} receipts, and {proved} are proved here", logged.works.len()));
    }
    by_node.retain(|_, forwards| *forwards > 0);
    let credited: BTreeMap<NodeId, u64> = logged.credits.iter().map(|c| (c.node, c.forwards)).collect();
    if by_node == credited {
        Ok(format!(
            "{proved} receipts have the {} forwards that are credited",
            credited.values().sum::<u64>()
        ))
    } else {
        Err("the receipts have other forwards than are credited".to_owned())
    }
}

/// Whether what was debited is what is shared, and shared by forwards.
fn shares(logged: &Inference) -> Result<String, String> {
    let overflow = || "tokens do not fit 64 bits".to_owned();
    let debited = logged.debits.iter().try_fold(0_u64, |sum, d| sum.checked_add(d.tokens.0));
    let debited = debited.ok_or_else(overflow)?;
    if logged.credits.is_empty() {
        return Ok(format!("nobody is credited; {debited} tokens were debited"));
    }
    let shared = logged.credits.iter().try_fold(0_u64, |sum, c| sum.checked_add(c.micro_tokens.0));
    let shared = shared.ok_or_else(overflow)?;
    // Nothing is debited from an account that is not metered.
    let tokens = if logged.debits.is_empty() { shared / MICRO_PER_TOKEN } else { debited };
    let forwards: Vec<_> = logged.credits.iter().map(|c| (c.node, c.forwards)).collect();
    match credits(TokenCount(tokens), &forwards) {
        Ok(due) if due == logged.credits => {
            Ok(format!("{tokens} tokens are shared among {} nodes by their forwards", due.len()))
        }
        _ => Err(format!("are not {tokens} tokens shared by forwards")),
    }
}
