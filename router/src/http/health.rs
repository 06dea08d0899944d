//! `GET /health`, `/metrics` and `/v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::http::error::ApiError;

pub(crate) async fn health(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let manifest = desk.engine.manifest();
    let nodes: Vec<Value> = desk
        .registry
        .all()
        .iter()
        .map(|h| {
            json!({
                "id": h.node(), "cti": h.cti(), "experts": experts(&desk, &h.ranges(&manifest)),
                "consent_expires": h.permit.claims().expires,
                "certificate_expires": h.lane.peer().not_after(),
                "rtt_us": u64::try_from(h.lane.rtt().as_micros()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    Json(json!({
        "status": "ok", "models": [describe(&desk)], "nodes": nodes,
        "router_id": desk.home.router_id(), "net_id": desk.home.net_id(),
        "log_vkey": desk.office.log_vkey(), "log_size": desk.office.log_size(),
        "torn_bytes_at_start": desk.office.opened().torn_bytes,
        "running": crate::desk::MAX_RUNNING - desk.running.available_permits(),
        "up_ms": desk.office.now().0.saturating_sub(desk.started.0),
    }))
}

/// How many experts of the model some ranges hold.
fn experts(desk: &Desk, ranges: &[counterfoil_spec::claims::Range]) -> usize {
    let shape = desk.engine.shape();
    let held = |layer: u32, expert: u32| ranges.iter().any(|r| r.contains(&shape.manifest, layer, expert));
    shape.moe_layers.iter().map(|l| (0..shape.experts).filter(|e| held(*l, *e)).count()).sum()
}

fn describe(desk: &Desk) -> Value {
    let engine = &desk.engine;
    let reason = desk.plan().err().map(|e| e.to_string());
    json!({
        "id": engine.name(), "object": "model", "created": desk.started.0 / 1000, "owned_by": "counterfoil",
        "available": reason.is_none(), "reason": reason, "manifest": engine.manifest(),
        "family": engine.config().family.name(), "layers": engine.config().layers,
        "experts": engine.config().experts, "top_k": engine.config().top_k, "context": engine.config().context,
    })
}

pub(crate) async fn models(State(desk): State<Arc<Desk>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [describe(&desk)] }))
}

pub(crate) async fn model(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if id == desk.engine.name() {
        return Ok(Json(describe(&desk)));
    }
    Err(unknown_model(&desk, &id))
}

/// 404 for a model that is not offered.
pub(crate) fn unknown_model(desk: &Desk, id: &str) -> ApiError {
    let message = format!("there is no model {id:?} here; this router offers {:?}", desk.engine.name());
    ApiError { param: Some("model".into()), ..ApiError::not_found(Some("model_not_found"), message) }
}

pub(crate) async fn metrics(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let mut text = desk.metrics.render();
    let gauges = [
        ("counterfoil_nodes", "Nodes that may be asked.", desk.registry.all().len() as u64),
        ("counterfoil_log_entries", "Durable entries of the log.", desk.office.log_size()),
        (
            "counterfoil_running",
            "Requests that run.",
            (crate::desk::MAX_RUNNING - desk.running.available_permits()) as u64,
        ),
    ];
    for (name, help, value) in gauges {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
