//! Stripe's paths. The first API is written in forms, the second in JSON.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Account, Checked, Order, Stripe, problem, refused};
use crate::form;
use crate::reply::Reply;
use crate::serve::{Shared, lock};

/// All of them.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v2/core/accounts", post(create_account))
        .route("/v2/core/accounts/{id}", get(show_account))
        .route("/v2/core/account_links", post(create_link))
        .route("/v1/transfers", post(create_transfer).get(list_transfers))
        .route("/v1/transfers/{id}", get(show_transfer))
        .route("/v1/transfers/{id}/reversals", post(create_reversal))
        .route("/v1/balance", get(show_balance))
        .route("/v1/events", get(list_events))
        .route("/v1/events/{id}", get(show_event))
        .route("/v1/invoices/{id}", get(show_invoice))
        .route("/v1/invoice_payments", get(list_payments))
        .route("/v1/charges/{id}", get(show_charge))
        .route("/v1/disputes", get(list_disputes))
        .route("/v1/disputes/{id}", get(show_dispute))
        .route("/v1/checkout/sessions", post(create_session))
}

/// What is answered, whichever way it came about.
fn either(checked: Checked<Reply>) -> Reply {
    checked.unwrap_or_else(|refusal| refusal)
}

fn authorised(headers: &HeaderMap) -> Checked<()> {
    let shown = headers.get("authorization").and_then(|v| v.to_str().ok());
    if shown == Some(&format!("Bearer {}", Stripe::KEY)) {
        return Ok(());
    }
    Err(refused(401, "invalid_request_error", None, "Invalid API Key provided"))
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get("idempotency-key").and_then(|v| v.to_str().ok())
}

fn missing(what: &str) -> Reply {
    let text = format!("No such object: '{what}'");
    refused(404, "invalid_request_error", Some("resource_missing"), &text)
}

fn fields(body: &str) -> Checked<BTreeMap<String, String>> {
    form::fields(body).ok_or_else(|| refused(400, "invalid_request_error", None, "Invalid request body"))
}

fn required(fields: &BTreeMap<String, String>, name: &str) -> Checked<String> {
    fields.get(name).cloned().ok_or_else(|| {
        let text = format!("Missing required param: {name}.");
        refused(400, "invalid_request_error", Some("parameter_missing"), &text)
    })
}

fn amount(fields: &BTreeMap<String, String>) -> Checked<u64> {
    let text = required(fields, "amount")?;
    text.parse::<u64>().ok().filter(|amount| *amount > 0).ok_or_else(|| {
        let text = format!("Invalid integer: {text}");
        refused(400, "invalid_request_error", Some("parameter_invalid_integer"), &text)
    })
}

async fn create_transfer(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    let order = authorised(&headers).and_then(|()| {
        let fields = fields(&body)?;
        if required(&fields, "currency")? != "usd" {
            return Err(refused(400, "invalid_request_error", None, "Invalid currency"));
        }
        let written = fields.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name.to_owned(), value.clone()))
        });
        Ok(Order {
            destination: required(&fields, "destination")?,
            amount: amount(&fields)?,
            group: fields.get("transfer_group").cloned().unwrap_or_default(),
            metadata: written.collect(),
        })
    });
    let order = match order {
        Ok(order) => order,
        Err(refusal) => return refusal,
    };
    let stripe = &mut lock(&shared).stripe;
    if !stripe.accounts.contains_key(&order.destination) {
        return missing(&order.destination);
    }
    stripe.keyed(key(&headers), ("/v1/transfers".to_owned(), body), |stripe| stripe.transfer(&order))
}

async fn create_reversal(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Reply {
    let cents = match authorised(&headers).and_then(|()| amount(&fields(&body)?)) {
        Ok(cents) => cents,
        Err(refusal) => return refusal,
    };
    let stripe = &mut lock(&shared).stripe;
    if !stripe.transfers.contains_key(&id) {
        return missing(&id);
    }
    let path = format!("/v1/transfers/{id}/reversals");
    stripe.keyed(key(&headers), (path, body), |stripe| {
        let left = stripe.transfers.get(&id).map_or(0, |t| t.amount - t.reversed);
        if cents > left || stripe.reverse(&id, cents) != cents {
            let text = "The reversal is larger than what can be taken back.";
            return (400, problem("invalid_request_error", Some("balance_insufficient"), text));
        }
        let reversal = stripe.fresh("trr");
        let body = json!({ "id": reversal, "object": "transfer_reversal", "amount": cents, "transfer": id });
        (200, body)
    })
}

async fn show_transfer(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    either(authorised(&headers).map(|()| match lock(&shared).stripe.transfer_object(&id) {
        Value::Null => missing(&id),
        found => Reply::Json(200, found),
    }))
}

async fn list_transfers(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let wanted = fields(query.as_deref().unwrap_or_default())?;
        let group = wanted.get("transfer_group");
        let stripe = &lock(&shared).stripe;
        let found = stripe.transfers.iter().filter(|(_, t)| group.is_none_or(|g| *g == t.group)).rev();
        let found: Vec<Value> = found.map(|(id, _)| stripe.transfer_object(id)).collect();
        Ok(Reply::Json(200, list("/v1/transfers", found)))
    }))
}

async fn show_balance(State(shared): State<Shared>, headers: HeaderMap) -> Reply {
    either(authorised(&headers).map(|()| {
        let cents = lock(&shared).stripe.available;
        let available = json!([{ "amount": cents, "currency": "usd", "source_types": { "card": cents } }]);
        Reply::Json(
            200,
            json!({ "object": "balance", "available": available, "livemode": false, "pending": [] }),
        )
    }))
}

async fn list_events(State(shared): State<Shared>, headers: HeaderMap) -> Reply {
    either(authorised(&headers).map(|()| {
        let events = lock(&shared).stripe.listed_events().into_iter().cloned().collect();
        Reply::Json(200, list("/v1/events", events))
    }))
}

async fn show_event(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    either(authorised(&headers).map(|()| {
        let shared = lock(&shared);
        let event = shared.stripe.listed_events().into_iter().find(|e| e.get("id") == Some(&json!(id)));
        event.map_or_else(|| missing(&id), |event| Reply::Json(200, event.clone()))
    }))
}

async fn show_invoice(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    shown(&headers, &id, |id| lock(&shared).stripe.invoice_object(id))
}

async fn show_charge(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    shown(&headers, &id, |id| lock(&shared).stripe.charge_object(id))
}

async fn show_dispute(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    shown(&headers, &id, |id| lock(&shared).stripe.dispute_object(id))
}

fn shown(headers: &HeaderMap, id: &str, find: impl FnOnce(&str) -> Value) -> Reply {
    either(authorised(headers).map(|()| match find(id) {
        Value::Null => missing(id),
        found => Reply::Json(200, found),
    }))
}

async fn list_disputes(State(shared): State<Shared>, RawQuery(query): RawQuery, headers: HeaderMap) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let charge = required(&fields(query.as_deref().unwrap_or_default())?, "charge")?;
        Ok(Reply::Json(200, list("/v1/disputes", lock(&shared).stripe.disputes_of(&charge))))
    }))
}

async fn list_payments(State(shared): State<Shared>, RawQuery(query): RawQuery, headers: HeaderMap) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let wanted = fields(query.as_deref().unwrap_or_default())?;
        required(&wanted, "payment[type]")?;
        let intent = required(&wanted, "payment[payment_intent]")?;
        Ok(Reply::Json(200, list("/v1/invoice_payments", lock(&shared).stripe.payments_of(&intent))))
    }))
}

async fn create_account(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        let requested = asked.pointer(&format!("{TRANSFERS}/requested"));
        if requested != Some(&json!(true)) {
            let text = "configuration.recipient with stripe_transfers must be requested here.";
            return Err(refused(400, "invalid_request_error", None, text));
        }
        let stripe = &mut lock(&shared).stripe;
        Ok(stripe.keyed(key(&headers), ("/v2/core/accounts".to_owned(), body), |stripe| {
            let id = stripe.fresh("acct");
            stripe.accounts.insert(id.clone(), Account { balance: 0, active: false });
            (200, stripe.account_object(&id))
        }))
    }))
}

async fn show_account(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    either(authorised(&headers).map(|()| match lock(&shared).stripe.account_object(&id) {
        Value::Null => missing(&id),
        found => Reply::Json(200, found),
    }))
}

async fn create_link(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        let account = asked.get("account").and_then(Value::as_str).unwrap_or_default();
        let complete = asked.pointer("/use_case/account_onboarding/refresh_url").is_some();
        if asked.pointer("/use_case/type") != Some(&json!("account_onboarding")) || !complete {
            return Err(refused(400, "invalid_request_error", None, "use_case is not whole"));
        }
        let stripe = &mut lock(&shared).stripe;
        if !stripe.accounts.contains_key(account) {
            return Err(missing(account));
        }
        let url = format!("https://connect.stripe.com/setup/{}", stripe.fresh("link"));
        let link = json!({
            "object": "v2.core.account_link", "account": account, "livemode": false, "url": url,
            "use_case": asked.get("use_case"),
        });
        Ok(Reply::Json(200, link))
    }))
}

async fn create_session(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Reply {
    either(authorised(&headers).and_then(|()| {
        let mode = required(&fields(&body)?, "mode")?;
        let stripe = &mut lock(&shared).stripe;
        Ok(stripe.keyed(key(&headers), ("/v1/checkout/sessions".to_owned(), body), |stripe| {
            let id = stripe.fresh("cs_test");
            let url = format!("https://checkout.stripe.com/c/pay/{id}");
            (
                200,
                json!({ "id": id, "object": "checkout.session", "mode": mode, "status": "open", "url": url }),
            )
        }))
    }))
}

impl Stripe {
    fn account_object(&self, id: &str) -> Value {
        let Some(account) = self.accounts.get(id) else { return Value::Null };
        let status = if account.active { "active" } else { "restricted" };
        let transfers = json!({ "requested": true, "status": status });
        json!({
            "id": id, "object": "v2.core.account", "applied_configurations": ["recipient"], "livemode": false,
            "configuration": { "recipient": { "applied": true, "capabilities": {
                "stripe_balance": { "stripe_transfers": transfers } } } },
        })
    }
}

fn list(url: &str, of: Vec<Value>) -> Value {
    json!({ "object": "list", "url": url, "has_more": false, "data": of })
}

/// Where the capability to be sent transfers stands in an account.
const TRANSFERS: &str = "/configuration/recipient/capabilities/stripe_balance/stripe_transfers";
