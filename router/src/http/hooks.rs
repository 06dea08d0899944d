//! `POST /webhooks/stripe` and `/webhooks/paypal`: payment services say that something happened. Whoever can reach the
//! router can post here, so what is not signed costs little and changes nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use counterfoil_payouts::{Event, HookError};

use crate::desk::Desk;
use crate::http::body_bytes;
use crate::http::error::ApiError;
use crate::payout::PayError;

/// The header of Stripe's signature.
const STRIPE_SIGNATURE: &str = "stripe-signature";

pub(crate) async fn stripe(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let _turn = desk.payday.turn().ok_or_else(busy)?;
    let bytes = body_bytes(body).await?;
    let header = headers.get(STRIPE_SIGNATURE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let event = desk.payday.stripe_event(header, &bytes, desk.office.now().seconds().0);
    heed(&desk, event).await
}

pub(crate) async fn paypal(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let _turn = desk.payday.turn().ok_or_else(busy)?;
    let bytes = body_bytes(body).await?;
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let event = desk.payday.paypal_event(header, &bytes).await;
    heed(&desk, event).await
}

fn busy() -> ApiError {
    ApiError::busy("too many events at one time; send it again")
}

async fn heed(
    desk: &Desk,
    event: Result<Result<Event, HookError>, PayError>,
) -> Result<StatusCode, ApiError> {
    let event = event.map_err(|e| ApiError::not_found(None, e.to_string()))?;
    let event = event.map_err(|e| match e {
        HookError::Unclear(_) => ApiError::unavailable(e.to_string()),
        _ => ApiError::invalid("", format!("this event is not believed: {e}")),
    })?;
    let heeded = desk.payday.heed(&desk.office, desk.home.path(), &event).await;
    heeded.map_err(|e| {
        let money = match &e {
            PayError::NotBooked(_) => Some("money came in that is not booked"),
            PayError::NotTaken(_) => Some("money went out that is not booked"),
            _ => None,
        };
        if let Some(money) = money {
            desk.metrics.payments_refused.one();
            tracing::error!(event = event.id, kind = event.kind, error = %e, "{money}");
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return ApiError { status, ..ApiError::invalid("", e.to_string()) };
        }
        tracing::warn!(event = event.id, kind = event.kind, error = %e, "an event of a payment service waits");
        ApiError::unavailable("it could not be looked at now; send it again")
    })?;
    Ok(StatusCode::NO_CONTENT)
}
