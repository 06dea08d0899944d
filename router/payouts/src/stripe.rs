//! Stripe Connect: recipient accounts (v2), transfers to them, and signed webhooks.
//!
//! What is relied on, after Stripe's API reference: the first answer to an idempotency key is saved, an error 500 too,
//! and comes again with the header `Idempotent-Replayed`; keys may be forgotten from 24 hours on; transfers are listed
//! by `transfer_group`, which here is the payout's key.

mod billing;
mod hook;
mod recipient;

use hyper::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::https::{Answer, Ask, Base};
use crate::order::{Asked, Order, Payouts, Said, Unclear};
use crate::secret::Secret;

pub use billing::{Charge, Dispute, Invoice, Subscribed};

/// From this age of an intent on a key may be forgotten at the provider, so nothing is asked for again under it.
const KEY_LIFE_S: u64 = 20 * 3_600;
/// From this age on an error that is saved under a key, with no transfer listed, is the end of it.
const SETTLED_S: u64 = 3_600;
/// The version of the second API that the requests here are written for.
const VERSION: &str = "2025-09-30.clover";

/// Stripe's own address.
pub const BASE: &str = "https://api.stripe.com";

/// A client.
#[derive(Debug)]
pub struct Stripe {
    base: Base,
    key: Secret,
    secrets: Vec<Secret>,
}

impl Stripe {
    /// A client with the API key, and with the secrets that may sign its webhooks.
    #[must_use]
    pub const fn new(base: Base, key: Secret, secrets: Vec<Secret>) -> Self {
        Self { base, key, secrets }
    }

    async fn ask(
        &self,
        method: Method,
        path: String,
        body: Body,
        key: Option<&str>,
    ) -> Result<Answer, Unclear> {
        let authorization = Zeroizing::new(format!("Bearer {}", self.key.text()));
        let mut headers = vec![("stripe-version", VERSION)];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let (content_type, body) = match body {
            Body::Form(text) => ("application/x-www-form-urlencoded", text),
            Body::Json(value) => ("application/json", value.to_string()),
        };
        let ask = Ask { method, path, authorization, headers: &headers, content_type, body };
        self.base.ask(ask).await
    }

    /// Reads something; any answer but 200 is unclear.
    async fn read(&self, path: String) -> Result<Value, Unclear> {
        let answer = self.ask(Method::GET, path, Body::Form(String::new()), None).await?;
        if answer.status == 200 { Ok(answer.body) } else { Err(unclear(&answer)) }
    }

    /// The transfer of an order, where there is one.
    async fn find(&self, order: &Order) -> Result<Option<Said>, Unclear> {
        if let Some(reference) = &order.reference {
            return said(order, &self.read(format!("/v1/transfers/{}", escaped(reference))).await?).map(Some);
        }
        let path = format!("/v1/transfers?transfer_group={}&limit=100", escaped(&order.key));
        let found = self.read(path).await?;
        let found = found.get("data").and_then(Value::as_array);
        match found.map(Vec::as_slice) {
            None => Err(Unclear::Unreadable("a list without its transfers".to_owned())),
            Some([]) => Ok(None),
            Some([one]) => said(order, one).map(Some),
            Some(more) => Err(Unclear::Contradiction(format!("{} transfers in one group", more.len()))),
        }
    }

    async fn transfer(&self, order: &Order) -> Result<Said, Unclear> {
        let key = escaped(&order.key);
        let form = format!(
            "amount={}&currency={}&destination={}&transfer_group={key}&metadata%5Bpayout%5D={key}",
            order.cents,
            order.currency.to_ascii_lowercase(),
            escaped(&order.destination),
        );
        let path = "/v1/transfers".to_owned();
        let answer = self.ask(Method::POST, path, Body::Form(form), Some(&order.key)).await?;
        match answer.status {
            200 => said(order, &answer.body),
            400 | 402 | 404 if answer.text("/error/type") == Some("invalid_request_error") => {
                Ok(Said::Failed { reason: reason(&answer) })
            }
            // A saved answer: under this key nothing is carried out any more. What was is listed.
            500.. if answer.replayed && age_s(order) >= SETTLED_S => match self.find(order).await? {
                Some(said) => Ok(said),
                None => Ok(Said::Failed { reason: reason(&answer) }),
            },
            _ => Err(unclear(&answer)),
        }
    }
}

impl Payouts for Stripe {
    async fn advance(&self, order: &Order) -> Result<Said, Unclear> {
        if order.asked == Asked::Never {
            return self.transfer(order).await;
        }
        match self.find(order).await? {
            Some(said) => Ok(said),
            None if age_s(order) >= KEY_LIFE_S => Ok(Said::Failed { reason: "never_carried_out".to_owned() }),
            None => self.transfer(order).await,
        }
    }

    async fn balance(&self, currency: &str) -> Result<Option<u64>, Unclear> {
        let currency = currency.to_ascii_lowercase();
        let balance = self.read("/v1/balance".to_owned()).await?;
        let available = balance.get("available").and_then(Value::as_array).map(Vec::as_slice);
        let own = available.unwrap_or_default().iter();
        let own = own.filter(|part| part.get("currency").and_then(Value::as_str) == Some(&currency));
        // A negative balance pays nothing.
        Ok(Some(own.filter_map(|part| part.get("amount").and_then(Value::as_u64)).sum()))
    }
}

/// A body in the form of either API.
enum Body {
    Form(String),
    Json(Value),
}

const fn age_s(order: &Order) -> u64 {
    match order.asked {
        Asked::Never => 0,
        Asked::Perhaps { age_s } => age_s,
    }
}

/// What a transfer says of the order that it must be of.
fn said(order: &Order, transfer: &Value) -> Result<Said, Unclear> {
    let text = |at: &str| transfer.pointer(at).and_then(Value::as_str);
    let number = |at: &str| transfer.pointer(at).and_then(Value::as_u64);
    let Some(reference) = text("/id") else {
        return Err(Unclear::Unreadable("a transfer without an id".to_owned()));
    };
    let own = number("/amount") == Some(order.cents)
        && text("/currency") == Some(&order.currency.to_ascii_lowercase())
        && text("/destination") == Some(&order.destination)
        && text("/metadata/payout") == Some(&order.key);
    match number("/amount_reversed") {
        Some(returned) if own && returned <= order.cents => {
            Ok(Said::Paid { reference: reference.to_owned(), returned })
        }
        _ => Err(Unclear::Contradiction(reference.to_owned())),
    }
}

fn reason(answer: &Answer) -> String {
    let word = answer.text("/error/code").or_else(|| answer.text("/error/type"));
    word.unwrap_or("without a word").to_owned()
}

fn unclear(answer: &Answer) -> Unclear {
    let (status, reason) = (answer.status, reason(answer));
    match status {
        401 | 403 => Unclear::Unauthorised { status, reason },
        400 if answer.text("/error/type") == Some("idempotency_error") => Unclear::Contradiction(reason),
        _ => Unclear::Later { status, reason },
    }
}

/// A value of a form or a path: letters and digits as they are, all else escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
