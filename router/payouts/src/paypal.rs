//! PayPal Payouts: a batch of one item for each payout, and webhooks that PayPal itself verifies.
//!
//! What is relied on, after PayPal's reference: a `sender_batch_id`, which here is the payout's key, is carried out once
//! within 30 days, and a second request with it is refused with a link to the first; after an answer 5nn the same
//! request may be repeated. `PayPal-Request-Id` alone does not keep a payout from being made twice.

mod hook;

use data_encoding::BASE64;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::https::{Answer, Ask, Base};
use crate::order::{Asked, Order, Payouts, Said, Unclear};
use crate::secret::Secret;

/// For so long a key is carried out once; a day less than what PayPal says.
const KEY_LIFE_DAYS: u64 = 29;
const DAY_S: u64 = 86_400;

/// PayPal's own address.
pub const BASE: &str = "https://api-m.paypal.com";

/// A client.
#[derive(Debug)]
pub struct PayPal {
    base: Base,
    client: String,
    secret: Secret,
    webhook: String,
    /// The token of the last request. Who needs one while another is asked for waits for that.
    token: Mutex<Option<Secret>>,
}

impl PayPal {
    /// A client with its id and secret, and with the id of the webhook that events come to.
    #[must_use]
    pub fn new(base: Base, client: String, secret: Secret, webhook: String) -> Self {
        Self { base, client, secret, webhook, token: Mutex::new(None) }
    }

    /// Asks with a token; once more with a fresh one where the first is over.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Answer, Unclear> {
        let token = self.token(None).await?;
        let answer = self.ask_with(&token, method.clone(), path, key, body).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let token = self.token(Some(&token)).await?;
        self.ask_with(&token, method, path, key, body).await
    }

    async fn ask_with(
        &self,
        token: &Secret,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Answer, Unclear> {
        let authorization = Zeroizing::new(format!("Bearer {}", token.text()));
        let headers: Vec<_> = key.map(|key| ("paypal-request-id", key)).into_iter().collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (path, content_type) = (path.to_owned(), "application/json");
        self.base.ask(Ask { method, path, authorization, headers: &headers, content_type, body }).await
    }

    /// A token that is not the one that was refused.
    async fn token(&self, refused: Option<&Secret>) -> Result<Secret, Unclear> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| Some(*token) != refused) {
            return Ok(token.clone());
        }
        let pair = Zeroizing::new(format!("{}:{}", self.client, self.secret.text()));
        let authorization = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
        let ask = Ask {
            method: Method::POST,
            path: "/v1/oauth2/token".to_owned(),
            authorization,
            headers: &[],
            content_type: "application/x-www-form-urlencoded",
            body: "grant_type=client_credentials".to_owned(),
        };
        let answer = self.base.ask(ask).await?;
        let token = answer.text("/access_token").filter(|_| answer.status == 200).and_then(Secret::new);
        let token = token.ok_or_else(|| unclear(&answer))?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Where a batch stands that holds the order's item alone.
    async fn look(&self, order: &Order, batch: &str) -> Result<Said, Unclear> {
        if !batch.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Unclear::Unreadable("a batch id that is none".to_owned()));
        }
        let path = format!("/v1/payments/payouts/{batch}");
        let answer = self.ask(Method::GET, &path, None, &Value::Null).await?;
        if answer.status != 200 {
            return Err(unclear(&answer));
        }
        said(order, batch, &answer)
    }

    async fn create(&self, order: &Order) -> Result<Said, Unclear> {
        let value = format!("{}.{:02}", order.cents / 100, order.cents % 100);
        let body = json!({
            "sender_batch_header": { "sender_batch_id": order.key },
            "items": [{
                "recipient_type": "EMAIL", "receiver": order.destination, "sender_item_id": order.key,
                "amount": { "currency": order.currency, "value": value },
            }],
        });
        let answer = self.ask(Method::POST, "/v1/payments/payouts", Some(&order.key), &body).await?;
        let name = answer.text("/name").unwrap_or_default();
        match answer.status {
            201 => {
                let batch = answer.text("/batch_header/payout_batch_id").unwrap_or_default();
                Ok(Said::Pending { reference: batch.to_owned() })
            }
            400 if name == "USER_BUSINESS_ERROR" => {
                let link = answer.text("/details/0/link/0/href").and_then(|href| href.rsplit('/').next());
                let batch = link.ok_or_else(|| unclear(&answer))?;
                self.look(order, batch).await
            }
            // A body that cannot be valid never was; money may have been short only this time.
            400 if name == "VALIDATION_ERROR" => Ok(Said::Failed { reason: name.to_owned() }),
            422 if order.asked == Asked::Never => Ok(Said::Failed { reason: name.to_owned() }),
            _ => Err(unclear(&answer)),
        }
    }
}

impl Payouts for PayPal {
    async fn advance(&self, order: &Order) -> Result<Said, Unclear> {
        match (&order.reference, order.asked) {
            (Some(batch), _) => self.look(order, batch).await,
            (None, Asked::Perhaps { age_s }) if age_s / DAY_S >= KEY_LIFE_DAYS => {
                Err(Unclear::TooOld(age_s / DAY_S))
            }
            (None, _) => self.create(order).await,
        }
    }

    async fn balance(&self, _currency: &str) -> Result<Option<u64>, Unclear> {
        Ok(None)
    }
}

/// What a batch says of the order that it must be of.
fn said(order: &Order, batch: &str, answer: &Answer) -> Result<Said, Unclear> {
    let reference = batch.to_owned();
    if answer.text("/batch_header/sender_batch_header/sender_batch_id") != Some(&order.key) {
        return Err(Unclear::Contradiction(reference));
    }
    let items = answer.body.get("items").and_then(Value::as_array).map(Vec::as_slice);
    let item = match (items, answer.text("/batch_header/batch_status")) {
        (_, Some("DENIED" | "CANCELED")) => return Ok(Said::Failed { reason: "batch_denied".to_owned() }),
        (Some([one]), _) => one,
        (None | Some([]), _) => return Ok(Said::Pending { reference }),
        _ => return Err(Unclear::Contradiction(reference)),
    };
    let text = |at: &str| item.pointer(at).and_then(Value::as_str);
    let value = format!("{}.{:02}", order.cents / 100, order.cents % 100);
    if text("/payout_item/amount/value") != Some(&value)
        || text("/payout_item/amount/currency") != Some(&order.currency)
        || text("/payout_item/receiver") != Some(&order.destination)
    {
        return Err(Unclear::Contradiction(reference));
    }
    match text("/transaction_status") {
        Some("SUCCESS") => Ok(Said::Paid { reference, returned: 0 }),
        Some("FAILED") => Ok(Said::Failed { reason: text("/errors/name").unwrap_or("FAILED").to_owned() }),
        Some("RETURNED" | "REFUNDED" | "REVERSED") => Ok(Said::Paid { reference, returned: order.cents }),
        Some("PENDING" | "UNCLAIMED" | "ONHOLD" | "BLOCKED") => Ok(Said::Pending { reference }),
        other => Err(Unclear::Unreadable(format!("a status {other:?}"))),
    }
}

fn unclear(answer: &Answer) -> Unclear {
    let word = answer.text("/name").or_else(|| answer.text("/error")).unwrap_or("without a word");
    let (status, reason) = (answer.status, word.to_owned());
    match status {
        401 | 403 => Unclear::Unauthorised { status, reason },
        _ => Unclear::Later { status, reason },
    }
}
