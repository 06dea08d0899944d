//! Recipient accounts: made here, filled in by their holder on Stripe's own page, and ready when Stripe says so.

use hyper::Method;
use serde_json::{Value, json};

use super::{Body, Stripe, escaped, unclear};
use crate::order::Unclear;

impl Stripe {
    /// Makes a recipient account; once for each key. Its id.
    ///
    /// # Errors
    /// [`Unclear`]; the same key may be used again.
    pub async fn create_recipient(&self, key: &str) -> Result<String, Unclear> {
        let capabilities = json!({ "stripe_balance": { "stripe_transfers": { "requested": true } } });
        let wanted = json!({
            "configuration": { "recipient": { "capabilities": capabilities } },
            "dashboard": "express",
            "defaults": { "responsibilities": { "fees_collector": "application", "losses_collector": "application" } },
            "include": ["configuration.recipient"],
        });
        let path = "/v2/core/accounts".to_owned();
        let answer = self.ask(Method::POST, path, Body::Json(wanted), Some(key)).await?;
        match answer.text("/id") {
            Some(id) if answer.status == 200 => Ok(id.to_owned()),
            _ => Err(unclear(&answer)),
        }
    }

    /// The page on which the holder of an account answers what Stripe asks; it can be used once and for some minutes.
    ///
    /// # Errors
    /// [`Unclear`].
    pub async fn onboarding_link(&self, account: &str, back: &str) -> Result<String, Unclear> {
        let onboarding = json!({ "configurations": ["recipient"], "refresh_url": back, "return_url": back });
        let use_case = json!({ "type": "account_onboarding", "account_onboarding": onboarding });
        let wanted = json!({ "account": account, "use_case": use_case });
        let path = "/v2/core/account_links".to_owned();
        let answer = self.ask(Method::POST, path, Body::Json(wanted), None).await?;
        match answer.text("/url") {
            Some(url) if answer.status == 200 => Ok(url.to_owned()),
            _ => Err(unclear(&answer)),
        }
    }

    /// Whether an account can be sent transfers now.
    ///
    /// # Errors
    /// [`Unclear`].
    pub async fn is_ready(&self, account: &str) -> Result<bool, Unclear> {
        let path = format!("/v2/core/accounts/{}?include=configuration.recipient", escaped(account));
        let shown = self.read(path).await?;
        let status = shown
            .pointer("/configuration/recipient/capabilities/stripe_balance/stripe_transfers/status")
            .and_then(Value::as_str);
        Ok(status == Some("active"))
    }
}
