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
    let done = tokio::task::spawn_blocking(move || execute(&desk.office, &desk.home, command)).await;
    match done {
        Ok(Ok(value)) => Ok(Json(value)),
        Ok(Err(AdminError::Caller(message))) => Err(ApiError::invalid("", message)),
        Ok(Err(e @ (AdminError::Office(_) | AdminError::Home(_) | AdminError::Vault(_)))) => {
            Err(ApiError::unavailable(e.to_string()))
        }
        Err(e) => Err(ApiError::internal(format!("the command did not finish: {e}"))),
    }
}
