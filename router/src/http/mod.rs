//! The HTTP API: OpenAI's chat completions, the published log, health, counters and a page.

pub(crate) mod admin_call;
pub(crate) mod auth;
pub(crate) mod chat;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod page;
pub(crate) mod published;
pub(crate) mod receipt;
pub(crate) mod refusals;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod usage;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use counterfoil_spec::limits::MAX_HTTP_BODY_BYTES;

use crate::desk::Desk;
use crate::http::error::ApiError;

/// All paths of the API.
pub(crate) fn api(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .route("/v1/models", get(health::models))
        .route("/v1/models/{id}", get(health::model))
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/receipts/{request}", get(receipt::receipt))
        .route("/v1/key", get(usage::key))
        .route("/v1/usage", get(usage::usage))
        .route("/log/checkpoint", get(published::checkpoint))
        .route("/log/witnessed", get(published::witnessed))
        .route("/log/succession", get(published::succession))
        .route("/log/tile/{*path}", get(published::tile))
        .route("/webhooks/stripe", post(hooks::stripe))
        .route("/webhooks/paypal", post(hooks::paypal))
        .route("/admin/v1/command", post(admin_call::command))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&desk), origin::local_only))
        .with_state(desk)
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(None, format!("there is nothing at {}; the API is under /v1", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError {
        status: axum::http::StatusCode::METHOD_NOT_ALLOWED,
        ..ApiError::invalid("", format!("{method} is not a method of {}", uri.path()))
    }
}

/// Reads a body up to the limit.
pub(crate) async fn body_bytes(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, MAX_HTTP_BODY_BYTES)
        .await
        .map_err(|_| ApiError::too_large(MAX_HTTP_BODY_BYTES))
}
