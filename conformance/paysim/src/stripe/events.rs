//! Events: kept for whoever asks, signed for whoever is told.

use serde_json::{Value, json};

use super::Stripe;
use crate::chance::Chance;
use crate::hook::Delivery;
use crate::sign::signature;

impl Stripe {
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
