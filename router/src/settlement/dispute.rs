//! What providers contest of closed quarters, and what is answered.

use counterfoil_ledger::DisputeState;
use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::payload::{Correction, Dispute};
use serde_json::{Value, json};

use crate::admin::AdminError;
use crate::office::{Office, entry};

/// An entry is dated a little later than it is looked at, and one that comes too late stops the router's books.
pub(crate) const MARGIN_S: u64 = 60;

/// Logs that a share is contested.
pub(crate) fn contest(
    office: &Office,
    (quarter, provider): (String, ProviderId),
    claimed_cents: i64,
    reason: String,
) -> Result<Value, AdminError> {
    let raised = Dispute { quarter, provider, claimed: Cents(claimed_cents), reason };
    let now = office.now().seconds();
    office.read(|ledger| ledger.may_contest(&raised, now.plus(MARGIN_S))).map_err(AdminError::caller)?;
    let stands = office.read(|ledger| ledger.standing(&raised.quarter, &provider));
    let new = entry(raised.clone());
    let dispute = new.serial;
    let at = office.append_blocking(vec![new])?;
    Ok(json!({
        "dispute": dispute, "quarter": raised.quarter, "provider": provider, "stands_cents": stands,
        "claimed_cents": claimed_cents, "entry": at.first,
    }))
}

/// Logs the answer.
pub(crate) fn correct(
    office: &Office,
    dispute: Serial,
    cents: i64,
    reason: String,
) -> Result<Value, AdminError> {
    let answer = Correction { dispute, cents: Cents(cents), reason };
    office.read(|ledger| ledger.may_correct(&answer)).map_err(AdminError::caller)?;
    let at = office.append_blocking(vec![entry(answer)])?;
    let shown = office.read(|ledger| {
        ledger
            .dispute(&dispute)
            .map(|state| one(dispute, state, ledger.standing(&state.quarter, &state.provider)))
    });
    let mut shown = shown.unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("entry".to_owned(), at.first.into());
    }
    Ok(shown)
}

/// Every dispute, those without an answer first.
pub(crate) fn list(office: &Office) -> Value {
    office.read(|ledger| {
        let mut all: Vec<_> = ledger.disputes().collect();
        all.sort_by_key(|(_, state)| (state.answered.is_some(), state.since));
        let all = all.into_iter().map(|(id, d)| one(*id, d, ledger.standing(&d.quarter, &d.provider)));
        json!({ "disputes": all.collect::<Vec<_>>() })
    })
}

fn one(dispute: Serial, state: &DisputeState, stands: Cents) -> Value {
    json!({
        "dispute": dispute, "quarter": state.quarter, "provider": state.provider,
        "claimed_cents": state.claimed, "stands_cents": stands, "corrected_cents": state.answered,
    })
}
