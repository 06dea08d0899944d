//! What customers paid: invoices of subscriptions, the charges that paid them, and disputes of those, as Stripe has them now.

use serde_json::Value;

use super::{Stripe, escaped};
use crate::order::Unclear;

/// Of what something is missing.
const INVOICE: &str = "an invoice without what is asked of it";

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Whether it was paid.
    pub paid: bool,
    /// What was paid, with taxes.
    pub paid_cents: u64,
    /// What it is for; absent where its subscription's metadata name no `account`, as with other things that are sold through
    /// the same account of Stripe's.
    pub subscribed: Option<Subscribed>,
}

/// What an invoice of a subscription is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Three letters, as Stripe writes them.
    pub currency: String,
    /// What was to be paid, with taxes; below zero where more was credited.
    pub total_cents: i64,
    /// The same without taxes.
    pub net_cents: i64,
    /// What the subscription's metadata call `account`.
    pub account: String,
    /// The same for `plan`; empty where they do not.
    pub plan: String,
    /// The period of its one line, in Unix seconds; absent where it has another number of lines.
    pub period: Option<(u64, u64)>,
}

/// A charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Three letters, as Stripe writes them.
    pub currency: String,
    /// The invoice that it paid; absent where it paid none.
    pub invoice: Option<String>,
    /// What was charged.
    pub cents: u64,
    /// All that was given back of it.
    pub refunded_cents: u64,
    /// Its disputes.
    pub disputes: Vec<Dispute>,
}

/// A dispute of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// Stripe's id of it.
    pub id: String,
    /// Three letters, as Stripe writes them.
    pub currency: String,
    /// What it holds back of the charge now; nothing once it was won, or where it never withdrew anything.
    pub held_cents: u64,
}

impl Stripe {
    /// An invoice as it is now.
    ///
    /// # Errors
    /// [`Unclear`].
    pub async fn invoice(&self, id: &str) -> Result<Invoice, Unclear> {
        let shown = self.read(format!("/v1/invoices/{}", escaped(id))).await?;
        Ok(Invoice {
            paid: text(&shown, "/status", INVOICE)? == "paid",
            paid_cents: number(&shown, "/amount_paid", INVOICE)?,
            subscribed: subscribed(&shown)?,
        })
    }

    /// A charge as it is now, with the invoice that it paid.
    ///
    /// # Errors
    /// [`Unclear`].
    pub async fn charge(&self, id: &str) -> Result<Charge, Unclear> {
        let shown = self.read(format!("/v1/charges/{}", escaped(id))).await?;
        let about = "a charge without what is asked of it";
        let intent = shown.pointer("/payment_intent").and_then(Value::as_str);
        let invoice = match intent {
            Some(intent) => self.invoice_of(intent).await?,
            None => None,
        };
        let disputed = shown.pointer("/disputed").and_then(Value::as_bool) != Some(false);
        let disputes = if disputed { self.disputes_of(id).await? } else { Vec::new() };
        Ok(Charge {
            currency: text(&shown, "/currency", about)?.to_owned(),
            invoice,
            cents: number(&shown, "/amount", about)?,
            refunded_cents: number(&shown, "/amount_refunded", about)?,
            disputes,
        })
    }

    /// The id of a dispute's charge.
    ///
    /// # Errors
    /// [`Unclear`].
    pub async fn disputed_charge(&self, dispute: &str) -> Result<String, Unclear> {
        let shown = self.read(format!("/v1/disputes/{}", escaped(dispute))).await?;
        text(&shown, "/charge", "a dispute without its charge").map(str::to_owned)
    }

    async fn disputes_of(&self, charge: &str) -> Result<Vec<Dispute>, Unclear> {
        let found = self.read(format!("/v1/disputes?charge={}&limit=100", escaped(charge))).await?;
        let whole = found.get("has_more").and_then(Value::as_bool) == Some(false);
        let disputes = found.get("data").and_then(Value::as_array).filter(|_| whole);
        let disputes =
            disputes.ok_or_else(|| Unclear::Unreadable("a list without all its disputes".to_owned()))?;
        disputes.iter().map(dispute).collect()
    }

    async fn invoice_of(&self, intent: &str) -> Result<Option<String>, Unclear> {
        let (kind, of) = ("payment%5Btype%5D=payment_intent", "payment%5Bpayment_intent%5D");
        let path = format!("/v1/invoice_payments?{kind}&{of}={}&limit=2", escaped(intent));
        let found = self.read(path).await?;
        match found.get("data").and_then(Value::as_array).map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => Ok(Some(text(one, "/invoice", "a payment without its invoice")?.to_owned())),
            Some(_) => Err(Unclear::Unreadable("a charge that paid several invoices".to_owned())),
            None => Err(Unclear::Unreadable("a list without its payments".to_owned())),
        }
    }
}

/// What is read here of an invoice of other things is nothing that it might not have.
fn subscribed(shown: &Value) -> Result<Option<Subscribed>, Unclear> {
    let metadata = |name: &str| {
        let at = format!("/parent/subscription_details/metadata/{name}");
        shown.pointer(&at).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let account = metadata("account");
    if account.is_empty() {
        return Ok(None);
    }
    let lines = shown.pointer("/lines/data").and_then(Value::as_array).map(Vec::as_slice);
    let whole = shown.pointer("/lines/has_more").and_then(Value::as_bool) != Some(true);
    let period = match lines {
        Some([line]) if whole => {
            Some((number(line, "/period/start", INVOICE)?, number(line, "/period/end", INVOICE)?))
        }
        _ => None,
    };
    Ok(Some(Subscribed {
        currency: text(shown, "/currency", INVOICE)?.to_owned(),
        total_cents: signed(shown, "/total", INVOICE)?,
        net_cents: signed(shown, "/total_excluding_tax", INVOICE)?,
        account,
        plan: metadata("plan"),
        period,
    }))
}

fn dispute(shown: &Value) -> Result<Dispute, Unclear> {
    let about = "a dispute without what is asked of it";
    let cents = number(shown, "/amount", about)?;
    let held_cents = match text(shown, "/status", about)? {
        // What only warned, or was kept from becoming a dispute, has withdrawn nothing.
        "won" | "prevented" | "warning_needs_response" | "warning_under_review" | "warning_closed" => 0,
        "needs_response" | "under_review" | "lost" | "appeal_needs_response" | "appeal_under_review" => cents,
        other => {
            let state = format!("a dispute in the state {other:?}, which is not known here");
            return Err(Unclear::Unreadable(state));
        }
    };
    let currency = text(shown, "/currency", about)?.to_owned();
    Ok(Dispute { id: text(shown, "/id", about)?.to_owned(), currency, held_cents })
}

fn text<'a>(value: &'a Value, at: &str, about: &str) -> Result<&'a str, Unclear> {
    value.pointer(at).and_then(Value::as_str).ok_or_else(|| Unclear::Unreadable(format!("{about}: {at}")))
}

fn signed(value: &Value, at: &str, about: &str) -> Result<i64, Unclear> {
    value.pointer(at).and_then(Value::as_i64).ok_or_else(|| Unclear::Unreadable(format!("{about}: {at}")))
}

fn number(value: &Value, at: &str, about: &str) -> Result<u64, Unclear> {
    value.pointer(at).and_then(Value::as_u64).ok_or_else(|| Unclear::Unreadable(format!("{about}: {at}")))
}
