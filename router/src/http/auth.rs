//! Who calls: a bearer key, or nobody where keyless use is allowed.

use axum::http::{HeaderMap, header};
use counterfoil_ledger::{Account, KeyFacts};
use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::KeyScope;

use crate::admin::key_hash;
use crate::desk::Desk;
use crate::home::API_KEY_PREFIX;
use crate::http::error::ApiError;

/// The caller of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who pays.
    pub(crate) account: AccountId,
    /// With which key.
    pub(crate) key_id: Option<Serial>,
    /// Where it is from, as the router's operator wrote it down for the key or its account; no address is looked at.
    pub(crate) country: Option<Country>,
}

/// Finds the caller. Where keyless use is allowed, a key of another form than this router's is passed over, because
/// clients of OpenAI's API insist on sending one; one of this router's form must be right.
pub(crate) fn caller(desk: &Desk, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let sent = bearer(headers);
    if let Some(facts) = sent.map(|key| key_in_force(desk, key)).transpose()?.flatten() {
        if facts.scope.is_some() {
            return Err(ApiError::forbidden(
                "this is an auditor's key: it reads the log and asks for nothing",
            ));
        }
        return Ok(Caller { account: facts.account, key_id: Some(facts.key_id), country: facts.country });
    }
    let ours = sent.is_some_and(|key| key.starts_with(API_KEY_PREFIX));
    match (desk.keyless.filter(|_| !ours), sent) {
        (Some(account), _) => {
            let country = desk.office.books().ledger.account(&account).and_then(Account::country);
            Ok(Caller { account, key_id: None, country })
        }
        (None, Some(_)) => {
            Err(ApiError::unauthenticated("this API key is not known here; check that it was copied whole"))
        }
        (None, None) => Err(ApiError::unauthenticated(
            "send `Authorization: Bearer KEY`; the router's operator makes keys",
        )),
    }
}

/// Whether whoever asks may read entries: an auditor, the operator, or anybody where no keys are needed.
///
/// # Errors
/// 401 for a key that is not in force, 403 for one that is no auditor's, and for none.
pub(crate) fn may_read_entries(desk: &Desk, headers: &HeaderMap) -> Result<(), ApiError> {
    //= spec/audit-log.md#over-http
    //# Entries MUST be given to an auditor's key, to the operator, and to callers on loopback where those need no key, and to nobody else.
    if desk.keyless.is_some() || is_admin(desk, headers) {
        return Ok(());
    }
    let facts = bearer(headers).map(|key| key_in_force(desk, key)).transpose()?.flatten();
    match facts.and_then(|facts| facts.scope) {
        Some(KeyScope::Auditor) => Ok(()),
        None => Err(ApiError::forbidden(
            "entries are for auditors, with a key of `account key create --auditor`; hash tiles and the checkpoint are public",
        )),
    }
}

/// What is known of a key, where it is one of ours; one that was revoked or has expired is refused.
fn key_in_force(desk: &Desk, key: &str) -> Result<Option<KeyFacts>, ApiError> {
    let facts = desk.office.books().ledger.key(&key_hash(key));
    if facts.is_some_and(|facts| !facts.in_force(desk.office.now().seconds())) {
        return Err(ApiError::unauthenticated("this API key was revoked or has expired; ask for a new one"));
    }
    Ok(facts)
}

/// Whether the operator's own key was sent.
pub(crate) fn is_admin(desk: &Desk, headers: &HeaderMap) -> bool {
    // Both are hashed first, so that the comparison tells nothing about the key.
    bearer(headers).is_some_and(|key| key_hash(key) == desk.admin_key_hash)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| key.trim())
}
