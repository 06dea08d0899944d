//! `GET /log/checkpoint`, `/log/witnessed`, `/log/succession` and `/log/tile/…`: the published log. Hashes are public, and so is how
//! its keys followed each other; entries are for auditors, for the operator, and for those who may call without a key on loopback.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{self, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use counterfoil_audit::tile::{TileId, TileKind, read_tile};
use counterfoil_audit::{checkpoint, succession, witnessed};

use crate::desk::Desk;
use crate::http::auth;
use crate::http::error::ApiError;

/// The newest checkpoint, with the cosignatures of it that a quorum has made.
pub(crate) async fn checkpoint(State(desk): State<Arc<Desk>>) -> Result<Response, ApiError> {
    let folder = desk.office.log_folder();
    let newest = read(&folder.join(checkpoint::FILE)).await?;
    let cosigned = tokio::fs::read(folder.join(witnessed::FILE)).await.unwrap_or_default();
    Ok(note(if cosigned.starts_with(&newest) { cosigned } else { newest }))
}

/// The newest checkpoint that a quorum of witnesses has cosigned.
pub(crate) async fn witnessed(State(desk): State<Arc<Desk>>) -> Result<Response, ApiError> {
    Ok(note(read(&desk.office.log_folder().join(witnessed::FILE)).await?))
}

/// How the log's keys followed each other, once its key was changed.
pub(crate) async fn succession(State(desk): State<Arc<Desk>>) -> Result<Response, ApiError> {
    Ok(note(read(&desk.office.log_folder().join(succession::FILE)).await?))
}

fn note(bytes: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, bytes).into_response()
}

pub(crate) async fn tile(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    extract::Path(path): extract::Path<String>,
) -> Result<Response, ApiError> {
    let Some(id) = TileId::parse(&format!("tile/{path}")) else {
        return Err(ApiError::not_found(None, "that is not a tile's path; C2SP tlog-tiles has their form"));
    };
    let is_entries = matches!(id.kind, TileKind::Entries | TileKind::Kept);
    if is_entries {
        auth::may_read_entries(&desk, &headers)?;
    }
    //= spec/audit-log.md#over-http
    //# A router MUST serve the partial tiles of every size that it published a checkpoint of, cut from the wider tile that
    //# took their place.
    let folder = desk.office.log_folder().to_owned();
    let read = tokio::task::spawn_blocking(move || read_tile(&folder, id)).await;
    let bytes = read
        .map_err(|e| ApiError::internal(e.to_string()))?
        .map_err(|e| ApiError::internal(format!("the log cannot be read: {e}")))?
        .ok_or_else(unpublished)?;
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
        std::io::ErrorKind::NotFound => unpublished(),
        _ => ApiError::internal(format!("the log cannot be read: {e}")),
    })
}

fn unpublished() -> ApiError {
    ApiError::not_found(None, "the log has not published that")
}
