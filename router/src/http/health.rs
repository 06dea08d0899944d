//! `GET /health`, `/metrics` and `/v1/models`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use counterfoil_ledger::{Balances, Ledger, LedgerError};
use counterfoil_spec::claims::Range;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::engine::Engine;
use crate::http::error::ApiError;
use crate::placement::{Coverage, Shape};
use crate::registry::Host;

/// How many of the experts that nobody hosts are named.
const MISSING_SHOWN: usize = 8;

pub(crate) async fn health(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let nodes: Vec<Value> = desk.registry.all().iter().filter_map(|own| node(&desk, own)).collect();
    let deny_list = {
        let epoch = desk.office.denied().borrow().epoch;
        let taken = desk.herald.taken().borrow().values().filter(|own| **own >= epoch).count();
        json!({ "epoch": epoch, "taken_by": taken })
    };
    Json(json!({
        "deny_list": deny_list, "issuing_ca": crate::authority::health(&desk), "status": "ok", "models": desk.engines().map(|e| describe(&desk, e)).collect::<Vec<_>>(), "nodes": nodes,
        "router_id": desk.home.router_id(), "net_id": desk.home.net_id(),
        "log_vkey": desk.office.log_vkey(), "log_size": desk.office.log_size(),
        "torn_bytes_at_start": desk.office.opened().torn_bytes,
        "running": crate::desk::MAX_RUNNING - desk.running.available_permits(),
        "up_ms": desk.office.now().0.saturating_sub(desk.started.0),
    }))
}

/// A node with what it hosts, one consent token for each model.
fn node(desk: &Desk, own: &[Arc<Host>]) -> Option<Value> {
    let last = own.last()?;
    let mut experts = 0;
    let mut models = Vec::new();
    for engine in desk.engines() {
        let manifest = engine.manifest();
        let Some(host) = own.iter().rev().find(|h| h.models.contains(&manifest)) else { continue };
        let held = held(engine.shape(), &host.ranges(&manifest));
        experts += held;
        models.push(json!({
            "id": engine.name(), "experts": held, "cti": host.cti(),
            "consent_expires": host.permit.claims().expires,
        }));
    }
    Some(json!({
        "id": last.node(), "cti": last.cti(), "experts": experts, "models": models,
        "consent_expires": own.iter().map(|h| h.permit.claims().expires).min(),
        "certificate_expires": last.lane.peer().not_after(),
        "rtt_us": u64::try_from(last.lane.rtt().as_micros()).unwrap_or(u64::MAX),
    }))
}

/// How many experts of a model some ranges hold.
fn held(shape: &Shape, ranges: &[Range]) -> usize {
    Coverage::of(shape, &[ranges.to_vec()]).replicas.iter().flatten().filter(|n| **n > 0).count()
}

fn describe(desk: &Desk, engine: &Engine) -> Value {
    let coverage = desk.coverage(engine);
    let missing = coverage.missing(engine.shape());
    let reason = missing.first().map(ToString::to_string);
    let (replicas_min, replicas_median) = coverage.least_and_median();
    let nodes = desk.registry.ready(&engine.manifest(), desk.office.now().seconds()).len();
    json!({
        "id": engine.name(), "object": "model", "created": desk.started.0 / 1000, "owned_by": "counterfoil",
        "available": reason.is_none(), "reason": reason, "manifest": engine.manifest(),
        "family": engine.config().family.name(), "layers": engine.config().layers,
        "hosted": {
            "experts": engine.expert_bytes().len() - missing.len(), "experts_in_all": engine.expert_bytes().len(),
            "missing": missing.len(),
            "missing_first": missing.iter().take(MISSING_SHOWN).map(|u| [u.layer, u.expert]).collect::<Vec<_>>(),
            "replicas_min": replicas_min, "replicas_median": replicas_median, "nodes": nodes,
        },
        "experts": engine.config().experts, "top_k": engine.config().top_k, "context": engine.config().context,
    })
}

pub(crate) async fn models(State(desk): State<Arc<Desk>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": desk.engines().map(|e| describe(&desk, e)).collect::<Vec<_>>() }))
}

pub(crate) async fn model(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let engine = desk.engine(&id).ok_or_else(|| unknown_model(&desk, &id))?;
    let mut described = describe(&desk, engine);
    if let Some(hosted) = described.get_mut("hosted").and_then(Value::as_object_mut) {
        let layers = engine.shape().moe_layers.iter().zip(desk.coverage(engine).replicas);
        let layers = layers.map(|(layer, replicas)| json!({ "layer": layer, "replicas": replicas }));
        hosted.insert("layers".into(), layers.collect());
    }
    Ok(Json(described))
}

/// 404 for a model that is not offered.
pub(crate) fn unknown_model(desk: &Desk, id: &str) -> ApiError {
    let offered = desk.engines().map(|e| format!("{:?}", e.name())).collect::<Vec<_>>().join(", ");
    let message = format!("there is no model {id:?} here; this router offers {offered}");
    ApiError { param: Some("model".into()), ..ApiError::not_found(Some("model_not_found"), message) }
}

pub(crate) async fn metrics(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let mut text = desk.metrics.render();
    let gauges = [
        ("counterfoil_nodes", "Nodes that may be asked.", desk.registry.all().len() as u64),
        (
            "counterfoil_ca_seconds_left",
            "Seconds until the end of the issuing CA in use.",
            crate::authority::seconds_left(&desk),
        ),
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
    text.push_str(&books(desk.office.read(Ledger::balances)));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// The book of money by kind of account; only whether it is in balance where it is not.
fn books(balances: Result<Balances, LedgerError>) -> String {
    const IN_BALANCE: &str = "counterfoil_books_in_balance";
    const MONEY: &str = "counterfoil_books_money_micro";
    let mut out = format!(
        "# HELP {IN_BALANCE} Whether both books sum to zero.\n# TYPE {IN_BALANCE} gauge\n{IN_BALANCE} {}\n",
        u8::from(balances.is_ok())
    );
    let Ok(Balances { money, .. }) = balances else { return out };
    let mut kinds = BTreeMap::<&str, i128>::new();
    for (account, balance) in money {
        let sum = kinds.entry(account.kind()).or_default();
        *sum = sum.saturating_add(balance);
    }
    out.push_str(&format!(
        "# HELP {MONEY} Balances of the book of money, in millionths of the currency; what is owed is positive.\n# TYPE {MONEY} gauge\n"
    ));
    for (kind, balance) in kinds {
        out.push_str(&format!("{MONEY}{{account=\"{kind}\"}} {balance}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_ledger::MoneyAccount;
    use counterfoil_spec::ids::ProviderId;

    #[test]
    fn books_are_shown_where_they_are_in_balance() {
        let owed = |n| MoneyAccount::Provider(ProviderId::from_bytes([n; 32]));
        let money = vec![(MoneyAccount::Received, -9), (owed(1), 4), (owed(2), 5)];
        let text = books(Ok(Balances { tokens: Vec::new(), money }));
        let shown: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            shown,
            [
                "counterfoil_books_in_balance 1",
                "counterfoil_books_money_micro{account=\"provider\"} 9",
                "counterfoil_books_money_micro{account=\"received\"} -9",
            ]
        );
        let text = books(Err(LedgerError::Unbalanced(1)));
        let shown: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(shown, ["counterfoil_books_in_balance 0"]);
    }
}
