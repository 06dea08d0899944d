//! `GET /v1/receipts/{request}`: what the caller needs to find and check its own entry.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Payload;
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
    match &body.payload {
        Payload::Inference(inference) if inference.account == caller.account => {}
        _ => return Err(unknown()),
    }
    let salt = desk.vault.salt(&request).map_err(|e| internal(&e))?;
    Ok(Json(json!({
        "request_id": request, "entry": index, "salt": salt, "inference": body.payload,
        "leaf": HEXLOWER.encode(&leaf), "log_vkey": desk.office.log_vkey(), "net_id": desk.home.net_id(),
    })))
}
