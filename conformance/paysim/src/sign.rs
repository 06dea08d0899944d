//! Stripe's webhook signature: `t=<seconds>,v1=<HMAC-SHA256 in hex>` over `<seconds>.<body>`
//! (docs.stripe.com/webhooks, "Verify webhook signatures manually").

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

/// The header of a body that is signed with a secret at a second.
#[must_use]
pub fn signature(secret: &str, seconds: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={seconds},v1={}", HEXLOWER.encode(context.sign().as_ref()))
}
