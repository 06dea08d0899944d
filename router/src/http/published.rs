//! `GET /log/checkpoint` and `GET /log/tile/…`: the published log. Hashes are public; entries are for those who may
//! call without a key on loopback, and for the operator.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{self, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use counterfoil_audit::tile::{TileId, TileKind};

use crate::desk::Desk;
use crate::http::auth;
use crate::http::error::ApiError;

pub(crate) async fn checkpoint(State(desk): State<Arc<Desk>>) -> Result<Response, ApiError> {
    let bytes = read(&desk.office.log_folder().join("checkpoint")).await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, bytes).into_response())
}

pub(crate) async fn tile(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    extract::Path(path): extract::Path<String>,
) -> Result<Response, ApiError> {
    let Some(id) = TileId::parse(&format!("tile/{path}")) else {
        return Err(ApiError::not_found(None, "that is not a tile's path; C2SP tlog-tiles has their form"));
    };
    let is_entries = matches!(id.kind, TileKind::Entries);
    if is_entries && desk.keyless.is_none() && !auth::is_admin(&desk, &headers) {
        return Err(ApiError {
            status: StatusCode::FORBIDDEN,
            ..ApiError::unauthenticated("entries are for auditors; hash tiles and the checkpoint are public")
        });
    }
    let bytes = read(&desk.office.log_folder().join(id.path())).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CACHE_CONTROL,
            if is_entries { "private, no-store" } else { "public, max-age=31536000, immutable" },
        ),
    ];
    Ok((headers, bytes).into_response())
}

async fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    tokio::fs::read(path).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => ApiError::not_found(None, "the log has not published that"),
        _ => ApiError::internal(format!("the log cannot be read: {e}")),
    })
}
