//! The check of Stripe's webhooks: `t=<seconds>,v1=<HMAC-SHA256 in hex>,…` over `<seconds>.<body>`.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::Stripe;
use crate::hook::{Billed, Event, HookError};

/// How far a signature's time may lie from now, in seconds.
const TOLERANCE_S: u64 = 300;
/// Signatures that are looked at: one for each secret while they are changed.
const MAX_SIGNATURES: usize = 8;

impl Stripe {
    /// Checks the header `stripe-signature` of a webhook and reads its body.
    ///
    /// # Errors
    /// [`HookError`]: nothing of it is to be believed.
    pub fn hook(&self, header: &str, body: &[u8], now_s: u64) -> Result<Event, HookError> {
        let signed = Signed::read(header).ok_or(HookError::Unsigned)?;
        let off = signed.seconds.abs_diff(now_s);
        let genuine = self.secrets.iter().any(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.text().as_bytes());
            let mut message = format!("{}.", signed.seconds).into_bytes();
            message.extend_from_slice(body);
            // In constant time; which one it was is no secret.
            signed.signatures.iter().any(|signature| hmac::verify(&key, &message, signature).is_ok())
        });
        if !genuine {
            return Err(HookError::WrongSignature);
        }
        if off > TOLERANCE_S {
            return Err(HookError::OutOfTime(off));
        }
        event(body).ok_or(HookError::Unreadable)
    }
}

struct Signed {
    seconds: u64,
    signatures: Vec<Vec<u8>>,
}

impl Signed {
    fn read(header: &str) -> Option<Self> {
        let mut seconds = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.trim().split_once('=')? {
                ("t", text) if seconds.is_none() => seconds = Some(text.parse().ok()?),
                ("t", _) => return None,
                ("v1", text) if signatures.len() < MAX_SIGNATURES => {
                    signatures.push(HEXLOWER.decode(text.as_bytes()).ok()?);
                }
                // Other schemes are not for here; `v0` signs events of tests.
                _ => {}
            }
        }
        Some(Self { seconds: seconds?, signatures })
    }
}

fn event(body: &[u8]) -> Option<Event> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let kind = text("/type")?;
    // Events of the second API name their object; those of the first hold it.
    let account = text("/related_object/id").or_else(|| text("/data/object/id"));
    let account = account.filter(|id| id.starts_with("acct_"));
    let object = text("/data/object/id");
    let billed = match kind.as_str() {
        "invoice.paid" => object.map(Billed::Invoice),
        "charge.refunded" => object.map(Billed::Charge),
        dispute if dispute.starts_with("charge.dispute.") => object.map(Billed::Dispute),
        _ => None,
    };
    Some(Event { id: text("/id")?, kind, payout: text("/data/object/metadata/payout"), account, billed })
}
