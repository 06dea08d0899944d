//! The check of PayPal's webhooks: PayPal is asked whether it sent them. The address of a certificate that comes with an
//! event is passed on and never fetched.

use hyper::Method;
use serde_json::{Value, json};

use super::{PayPal, unclear};
use crate::hook::{Event, HookError};

/// The headers that PayPal's judgement needs, with the names of its fields.
const HEADERS: [(&str, &str); 5] = [
    ("paypal-auth-algo", "auth_algo"),
    ("paypal-cert-url", "cert_url"),
    ("paypal-transmission-id", "transmission_id"),
    ("paypal-transmission-sig", "transmission_sig"),
    ("paypal-transmission-time", "transmission_time"),
];

impl PayPal {
    /// Asks PayPal whether it sent an event. `header` gives the value of a header by its name in lower case.
    ///
    /// # Errors
    /// [`HookError`]: nothing of it is to be believed.
    pub async fn hook(
        &self,
        header: impl Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<Event, HookError> {
        let event: Value = serde_json::from_slice(body).map_err(|_| HookError::Unreadable)?;
        let told = read(&event).ok_or(HookError::Unreadable)?;
        let mut asked = json!({ "webhook_id": self.webhook, "webhook_event": event });
        for (name, field) in HEADERS {
            let value = header(name).ok_or(HookError::Unsigned)?;
            if let Some(asked) = asked.as_object_mut() {
                asked.insert(field.to_owned(), value.into());
            }
        }
        let path = "/v1/notifications/verify-webhook-signature";
        let answer = self.ask(Method::POST, path, None, &asked).await?;
        match answer.text("/verification_status") {
            Some("SUCCESS") if answer.status == 200 => Ok(told),
            Some("FAILURE") if answer.status == 200 => Err(HookError::WrongSignature),
            _ => Err(unclear(&answer).into()),
        }
    }
}

fn read(event: &Value) -> Option<Event> {
    let text = |at: &str| event.pointer(at).and_then(Value::as_str).map(str::to_owned);
    Some(Event {
        id: text("/id")?,
        kind: text("/event_type")?,
        payout: text("/resource/payout_item/sender_item_id"),
        account: None,
        billed: None,
    })
}
