//! Who calls: a bearer key, or nobody where keyless use is allowed.

use axum::http::{HeaderMap, header};
use counterfoil_spec::ids::{AccountId, Serial};

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
}

/// Finds the caller. Where keyless use is allowed, a key of another form than this router's is passed over, because
/// clients of OpenAI's API insist on sending one; one of this router's form must be right.
pub(crate) fn caller(desk: &Desk, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let sent = bearer(headers);
    if let Some(facts) = sent.and_then(|key| desk.office.books().ledger.key(&key_hash(key))) {
        if facts.in_force(desk.office.now().seconds()) {
            return Ok(Caller { account: facts.account, key_id: Some(facts.key_id) });
        }
        return Err(ApiError::unauthenticated("this API key was revoked or has expired; ask for a new one"));
    }
    let ours = sent.is_some_and(|key| key.starts_with(API_KEY_PREFIX));
    match (desk.keyless.filter(|_| !ours), sent) {
        (Some(account), _) => Ok(Caller { account, key_id: None }),
        (None, Some(_)) => {
            Err(ApiError::unauthenticated("this API key is not known here; check that it was copied whole"))
        }
        (None, None) => Err(ApiError::unauthenticated(
            "send `Authorization: Bearer KEY`; the router's operator makes keys",
        )),
    }
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
