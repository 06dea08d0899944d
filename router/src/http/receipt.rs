//! `GET /v1/receipts/{request}`: what the caller needs to check its own entry, and the work for it, without the log.
//!
//! ```text
//! { "request_id", "entry", "salt" | null, "inference", "leaf", "proof", "works": [{ "serial", "entry", "proof" }…],
//!   "log_vkey", "succession" | null, "net_id" }
//! ```
//!
//! A proof is a C2SP tlog-proof with the entry's leaf as its extra line. The salt is null once it was erased; then nobody can
//! hold a text against the entry. `log_vkey` and `net_id` are there to be compared with what was got elsewhere; `succession` leads
//! whoever knows an older key of the log to that one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use counterfoil_audit::proof::Proof;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{Inference, Payload};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::http::auth;
use crate::http::error::ApiError;

pub(crate) async fn receipt(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Path(request): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let caller = auth::caller(&desk, &headers)?;
    let request: Serial = request.parse().map_err(|e| ApiError::invalid("request", format!("{e}")))?;
    let unknown = || ApiError::not_found(None, format!("this account has no request {request}"));
    let internal = |e: &dyn std::fmt::Display| ApiError::internal(e.to_string());
    let (index, leaf, body) = {
        let books = desk.office.books();
        let index = books.entry_of(&request).map_err(|e| internal(&e))?.ok_or_else(unknown)?;
        let leaf = books.leaf(index).map_err(|e| internal(&e))?;
        let (_, body) = counterfoil_spec::entry::Leaf::read(&leaf).map_err(|e| internal(&e))?;
        (index, leaf, body)
    };
    //= spec/audit-log.md#receipts
    //# A router MUST answer for a request of another account, and for one that it does not know, alike.
    let inference = match &body.payload {
        Payload::Inference(inference) if inference.account == caller.account => inference.clone(),
        _ => return Err(unknown()),
    };
    let salt = desk.vault.salt(&request, inference.started).map_err(|e| internal(&e))?;
    let works = works(&desk, &inference)?;
    let office = Arc::clone(&desk.office);
    let indexes: Vec<u64> = std::iter::once(index).chain(works.iter().map(|(_, index)| *index)).collect();
    let proved = tokio::task::spawn_blocking(move || office.prove(&indexes)).await;
    let proved = proved
        .map_err(|e| internal(&e))?
        .map_err(|e| ApiError::unavailable(format!("the entry cannot be proved now: {e}")))?;
    let succession = desk.office.succession().map_err(|e| internal(&e))?.map(|s| s.to_string());
    let mut proofs = proved.iter().map(Proof::to_string);
    let proof = proofs.next();
    let works: Vec<Value> = works
        .iter()
        .zip(proofs)
        .map(|((serial, entry), proof)| json!({ "serial": serial, "entry": entry, "proof": proof }))
        .collect();
    Ok(Json(json!({
        "request_id": request, "entry": index, "salt": salt, "inference": body.payload,
        "leaf": HEXLOWER.encode(&leaf), "proof": proof, "works": works,
        "log_vkey": desk.office.log_vkey(), "succession": succession, "net_id": desk.home.net_id(),
    })))
}

/// The receipts that an entry names, with where they are in the log.
fn works(desk: &Desk, inference: &Inference) -> Result<Vec<(Serial, u64)>, ApiError> {
    let books = desk.office.books();
    let find = |serial: &Serial| {
        let index = books.work(serial).map_err(|e| ApiError::internal(e.to_string()))?;
        Ok(index.map(|index| (*serial, index)))
    };
    inference.works.iter().filter_map(|serial| find(serial).transpose()).collect()
}
