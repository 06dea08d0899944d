//! PayPal's paths.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Item, ItemStatus, PayPal, problem};
use crate::form;
use crate::reply::Reply;
use crate::serve::{Shared, lock};

/// All of them.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/oauth2/token", post(token))
        .route("/v1/payments/payouts", post(create_batch))
        .route("/v1/payments/payouts/{id}", get(show_batch))
        .route("/v1/payments/payouts-item/{id}", get(show_item))
        .route("/v1/payments/payouts-item/{id}/cancel", post(cancel_item))
        .route("/v1/notifications/verify-webhook-signature", post(verify))
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    let pair = BASE64.encode(format!("{}:{}", PayPal::CLIENT, PayPal::SECRET).as_bytes());
    let shown = headers.get("authorization").and_then(|v| v.to_str().ok());
    if shown != Some(&format!("Basic {pair}")) {
        let body = json!({ "error": "invalid_client", "error_description": "Client Authentication failed" });
        return Reply::Json(401, body);
    }
    let grant = form::fields(&body).and_then(|fields| fields.get("grant_type").cloned());
    if grant.as_deref() != Some("client_credentials") {
        let body =
            json!({ "error": "unsupported_grant_type", "error_description": "unsupported grant_type" });
        return Reply::Json(400, body);
    }
    let paypal = &mut lock(&shared).paypal;
    let token = paypal.fresh("A21");
    paypal.tokens.push(token.clone());
    Reply::Json(200, json!({ "access_token": token, "token_type": "Bearer", "expires_in": 32_400 }))
}

fn authorised(paypal: &PayPal, headers: &HeaderMap) -> Result<(), Reply> {
    let shown = headers.get("authorization").and_then(|v| v.to_str().ok());
    let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
    if token.is_some_and(|token| paypal.tokens.iter().any(|known| known == token)) {
        return Ok(());
    }
    let body =
        json!({ "error": "invalid_token", "error_description": "Token signature verification failed" });
    Err(Reply::Json(401, body))
}

async fn create_batch(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    let paypal = &mut lock(&shared).paypal;
    if let Err(refusal) = authorised(paypal, &headers) {
        return refusal;
    }
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let sender = asked.pointer("/sender_batch_header/sender_batch_id").and_then(Value::as_str);
    let items = asked.get("items").and_then(Value::as_array);
    let items: Option<Vec<Item>> = items.and_then(|items| items.iter().map(item).collect());
    match (sender, items) {
        (Some(sender), Some(items)) if !items.is_empty() => paypal.batch(sender, items),
        _ => problem(400, "VALIDATION_ERROR", "Invalid request - see details"),
    }
}

fn item(asked: &Value) -> Option<Item> {
    let text = |at: &str| asked.pointer(at).and_then(Value::as_str);
    let (whole, part) = text("/amount/value")?.split_once('.')?;
    let cents = whole.parse::<u64>().ok()?.checked_mul(100)?;
    let part = if part.len() == 2 { part.parse::<u64>().ok()? } else { return None };
    let right = text("/amount/currency") == Some("USD") && text("/recipient_type") == Some("EMAIL");
    let cents = cents.checked_add(part).filter(|cents| right && *cents > 0)?;
    Some(Item {
        batch: String::new(),
        sender_item_id: text("/sender_item_id")?.to_owned(),
        receiver: text("/receiver")?.to_owned(),
        cents,
        status: ItemStatus::Pending,
    })
}

fn found(object: Value) -> Reply {
    match object {
        Value::Null => problem(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found."),
        object => Reply::Json(200, object),
    }
}

async fn show_batch(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let paypal = &lock(&shared).paypal;
    authorised(paypal, &headers).map_or_else(|refusal| refusal, |()| found(paypal.batch_object(&id)))
}

async fn show_item(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let paypal = &lock(&shared).paypal;
    authorised(paypal, &headers).map_or_else(|refusal| refusal, |()| found(paypal.item_object(&id)))
}

async fn cancel_item(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let paypal = &mut lock(&shared).paypal;
    if let Err(refusal) = authorised(paypal, &headers) {
        return refusal;
    }
    match paypal.items.get(&id).map(|item| item.status) {
        None => found(Value::Null),
        Some(ItemStatus::Unclaimed) => {
            paypal.become_of(&id, ItemStatus::Returned);
            found(paypal.item_object(&id))
        }
        Some(_) => {
            problem(400, "ITEM_INCORRECT_STATUS", "You can only cancel items that are in UNCLAIMED state.")
        }
    }
}

/// PayPal's own judgement of an event: its signature is known to nobody else here.
async fn verify(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    let paypal = &lock(&shared).paypal;
    if let Err(refusal) = authorised(paypal, &headers) {
        return refusal;
    }
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    let transmission = text("transmission_id");
    let sent = paypal.transmissions.get(transmission);
    let genuine = sent.is_some()
        && sent == asked.get("webhook_event")
        && text("webhook_id") == PayPal::WEBHOOK
        && text("transmission_sig") == format!("sig-of-{transmission}")
        && text("auth_algo") == "SHA256withRSA";
    let status = if genuine { "SUCCESS" } else { "FAILURE" };
    Reply::Json(200, json!({ "verification_status": status }))
}
