//! `POST /admin/v1/command`: the operator's commands on a running router.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::Value;

use crate::admin::{AdminCommand, AdminError, execute};
use crate::desk::Desk;
use crate::http::error::ApiError;
use crate::http::{auth, body_bytes};
use crate::payout;

pub(crate) async fn command(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    if !auth::is_admin(&desk, &headers) {
        return Err(ApiError::unauthenticated("the admin key of this router's home is needed here"));
    }
    let bytes = body_bytes(body).await?;
    let command: AdminCommand = serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::invalid("", format!("the body is not an admin command: {e}")))?;
    if command.asks_services() {
        let done = payout::command::carry_out(&desk.payday, &desk.office, desk.home.path(), command).await;
        return done.map(Json).map_err(refusal);
    }
    let done = tokio::task::spawn_blocking(move || execute(&desk.office, &desk.home, command)).await;
    match done {
        Ok(Ok(value)) => Ok(Json(value)),
        Ok(Err(e)) => Err(refusal(e)),
        Err(e) => Err(ApiError::internal(format!("the command did not finish: {e}"))),
    }
}

fn refusal(error: AdminError) -> ApiError {
    match error {
        AdminError::Caller(message) => ApiError::invalid("", message),
        AdminError::Office(_) | AdminError::Home(_) | AdminError::Vault(_) | AdminError::Service(_) => {
            ApiError::unavailable(error.to_string())
        }
    }
}
