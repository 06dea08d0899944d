//! Events: kept for whoever asks, signed for whoever is told.

use serde_json::{Value, json};

use super::Stripe;
use crate::chance::Chance;
use crate::hook::Delivery;
use crate::sign::signature;

/// What somebody pays for.
const INVOICE: &str = "in";

impl Stripe {
    /// An invoice of a subscription was paid; its id. The account and the plan are what the one who made the
    /// subscription wrote on it.
    pub fn invoice_paid(&mut self, account: &str, plan: &str, cents: u64, period: (u64, u64)) -> String {
        let (id, charge) = (self.fresh(INVOICE), self.fresh("ch"));
        self.available += cents;
        let metadata = json!({ "account": account, "plan": plan });
        let object = json!({
            "id": id, "object": "invoice", "amount_paid": cents, "total_excluding_tax": cents, "currency": "usd",
            "status": "paid", "charge": charge,
            "parent": { "type": "subscription_details", "subscription_details": { "metadata": metadata } },
            "lines": { "object": "list", "data": [
                { "object": "line_item", "period": { "start": period.0, "end": period.1 } } ] },
        });
        self.emit("invoice.paid", object);
        id
    }

    /// A charge was given back, in all so many cents.
    pub fn refund(&mut self, invoice: &str, cents: u64) {
        self.available = self.available.saturating_sub(cents);
        let object = json!({
            "id": self.fresh("ch"), "object": "charge", "invoice": invoice, "amount_refunded": cents,
            "currency": "usd",
        });
        self.emit("charge.refunded", object);
    }

    /// A payer's bank took a charge back.
    pub fn dispute(&mut self, invoice: &str, cents: u64) {
        self.available = self.available.saturating_sub(cents);
        let object = json!({
            "id": self.fresh("du"), "object": "dispute", "amount": cents, "currency": "usd", "status": "lost",
            "metadata": { "invoice": invoice },
        });
        self.emit("charge.dispute.funds_withdrawn", object);
    }

    /// The events from the last one back, as Stripe lists them.
    pub(super) fn listed_events(&self) -> Vec<&Value> {
        self.events.iter().rev().collect()
    }

    pub(super) fn emit(&mut self, kind: &str, object: Value) {
        let event = json!({
            "id": self.fresh("evt"), "object": "event", "api_version": "2025-09-30.clover", "created": self.tick(),
            "data": { "object": object }, "livemode": false, "pending_webhooks": 1, "request": null, "type": kind,
        });
        self.events.push(event.clone());
        self.outbox.put(event);
    }

    pub(crate) fn deliveries(&mut self, seconds: u64, chance: &mut Chance) -> Vec<Delivery> {
        let sign = |event: Value| {
            let body = event.to_string();
            // While a secret is changed there is a signature by each.
            let each = self.secrets.iter().map(|secret| signature(secret, seconds, body.as_bytes()));
            let header = each.reduce(|all, one| {
                let added = one.split_once(',').map_or("", |(_, scheme)| scheme);
                format!("{all},{added}")
            });
            let headers = vec![
                ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
                ("stripe-signature".to_owned(), header.unwrap_or_default()),
            ];
            Delivery { headers, body }
        };
        self.outbox.take(chance).into_iter().map(sign).collect()
    }
}
