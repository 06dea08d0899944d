//! Accounts: opening and listing them, and granting them periods of plans.

use counterfoil_audit::NewEntry;
use counterfoil_identity::random;
use counterfoil_ledger::Account;
use counterfoil_ledger::grant::{self, Funding, PlanPeriod};
use counterfoil_spec::country::Country;
use counterfoil_spec::ids::AccountId;
use counterfoil_spec::payload::AccountOpened;
use serde_json::{Value, json};

use super::AdminError;
use crate::office::{Office, entry};

pub(super) fn open(office: &Office, country: Option<Country>) -> Result<Value, AdminError> {
    let account = AccountId::from_bytes(random::bytes());
    let now = office.now().seconds();
    let lot = grant::free_lot(office.books().ledger.rules(), account, random::serial(), now);
    let mut entries = vec![entry(AccountOpened { account, metered: true, country })];
    let free_tokens = lot.as_ref().map_or(0, |l| l.tokens.0);
    entries.extend(lot.map(entry));
    let at = office.append_blocking(entries)?;
    Ok(json!({ "account": account, "country": country, "free_tokens": free_tokens, "entry": at.first }))
}

pub(super) fn list(office: &Office) -> Value {
    let now = office.now().seconds();
    let books = office.books();
    let accounts: Vec<Value> = books
        .ledger
        .accounts()
        .map(|(id, _)| json!({ "account": id, "balance": books.ledger.balance(id, now) }))
        .collect();
    json!({ "accounts": accounts })
}

pub(super) fn known(office: &Office, account: &AccountId) -> Result<(), AdminError> {
    match office.books().ledger.account(account) {
        Some(_) => Ok(()),
        None => Err(AdminError::Caller(format!(
            "there is no account {account}; `counterfoil account list` prints those that exist"
        ))),
    }
}

pub(super) fn show(office: &Office, account: &AccountId) -> Result<Value, AdminError> {
    known(office, account)?;
    let now = office.now().seconds();
    let books = office.books();
    let keys: Vec<Value> = books
        .ledger
        .account(account)
        .into_iter()
        .flat_map(|a| a.keys())
        .filter_map(|id| books.ledger.key_by_id(id))
        .map(|k| {
            json!({
                "key_id": k.key_id, "revoked": k.revoked, "expires": k.expires, "scope": k.scope,
                "country": k.country,
            })
        })
        .collect();
    let country = books.ledger.account(account).and_then(Account::country);
    let balance = books.ledger.balance(account, now);
    Ok(json!({ "account": account, "country": country, "balance": balance, "keys": keys }))
}

pub(super) fn subscribe(
    office: &Office,
    account: AccountId,
    plan: &str,
    paid: bool,
) -> Result<Value, AdminError> {
    known(office, &account)?;
    let now = office.now().seconds();
    let funding = if paid { Funding::Paid(random::serial()) } else { Funding::Unpaid };
    let period = PlanPeriod { account, plan, anchor: now, n: 0, lot: random::serial(), funding };
    let granted = grant::subscribe(office.books().ledger.rules(), &period).map_err(AdminError::caller)?;
    let lot = granted.lot.clone();
    let mut entries = Vec::new();
    if let Some((serial, payment)) = granted.payment {
        entries.push(NewEntry::new(serial, payment));
    }
    entries.push(entry(granted.lot));
    let at = office.append_blocking(entries)?;
    Ok(json!({ "account": account, "lot": lot, "payment_recorded": paid, "entry": at.first }))
}
