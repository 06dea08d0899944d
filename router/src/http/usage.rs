//! `GET /v1/key` and `GET /v1/usage`: what a caller's own key is, and what its own account has and used.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use counterfoil_ledger::Account;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::http::auth;
use crate::http::error::ApiError;

//= spec/settlement.md#what-callers-are-told
//# A router MUST tell a caller of the key it sent and of that key's account, and of no other.
pub(crate) async fn key(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = auth::caller(&desk, &headers)?;
    let books = desk.office.books();
    let facts = caller.key_id.and_then(|id| books.ledger.key_by_id(&id));
    Ok(Json(json!({
        "key_id": caller.key_id,
        "account": caller.account,
        "expires": facts.and_then(|facts| facts.expires),
        "country": caller.country,
        "metered": books.ledger.account(&caller.account).is_some_and(Account::is_metered),
    })))
}

pub(crate) async fn usage(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = auth::caller(&desk, &headers)?;
    let now = desk.office.now().seconds();
    let books = desk.office.books();
    let rows = books.ledger.account(&caller.account).into_iter().flat_map(Account::usage);
    let rows: Vec<Value> = rows
        .map(|(day, manifest, used)| {
            let engine = desk.engines().find(|engine| engine.manifest() == *manifest);
            json!({
                "day": day.to_string(),
                "manifest": manifest,
                "model": engine.map(|engine| engine.name()),
                "requests": used.requests,
                "prompt_tokens": used.prompt,
                "completion_tokens": used.completion,
                "debited_tokens": used.debited,
            })
        })
        .collect();
    let balance = books.ledger.balance(&caller.account, now);
    Ok(Json(json!({ "account": caller.account, "balance": balance, "use": rows })))
}
