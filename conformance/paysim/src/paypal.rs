//! PayPal Payouts: a token, batches of items, what becomes of items, and events with their verification.

mod routes;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::fault::{Fault, Faults};
use crate::hook::{Delivery, Outbox};
use crate::reply::Reply;

pub(crate) use routes::routes;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemStatus {
    /// Not carried out yet.
    Pending,
    /// The receiver has it.
    Success,
    /// It could not be sent; the money did not leave.
    Failed,
    /// The receiver has no account; the money waits for 30 days.
    Unclaimed,
    /// The money came back.
    Returned,
}

impl ItemStatus {
    const fn text(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Unclaimed => "UNCLAIMED",
            Self::Returned => "RETURNED",
        }
    }

    const fn event(self) -> &'static str {
        match self {
            Self::Pending => "PAYMENT.PAYOUTS-ITEM.HELD",
            Self::Success => "PAYMENT.PAYOUTS-ITEM.SUCCEEDED",
            Self::Failed => "PAYMENT.PAYOUTS-ITEM.FAILED",
            Self::Unclaimed => "PAYMENT.PAYOUTS-ITEM.UNCLAIMED",
            Self::Returned => "PAYMENT.PAYOUTS-ITEM.RETURNED",
        }
    }
}

/// Money for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Of which batch.
    pub batch: String,
    /// The sender's own id of it.
    pub sender_item_id: String,
    /// An e-mail address.
    pub receiver: String,
    /// Cents.
    pub cents: u64,
    /// What became of it.
    pub status: ItemStatus,
}

/// All that PayPal knows.
#[derive(Debug)]
pub struct PayPal {
    /// Cents that the sender can spend.
    pub available: u64,
    /// Items by id.
    pub items: BTreeMap<String, Item>,
    /// Batches by id, with the sender's own id of each.
    pub batches: BTreeMap<String, String>,
    tokens: Vec<String>,
    transmissions: BTreeMap<String, Value>,
    outbox: Outbox,
    faults: Faults,
    chance: Chance,
    base: String,
    made: u64,
}

impl PayPal {
    /// The id that asks for tokens.
    pub const CLIENT: &str = "paysim-client";
    /// Its secret.
    pub const SECRET: &str = "paysim-secret";
    /// The webhook that events are sent to.
    pub const WEBHOOK: &str = "5WH2048";

    pub(crate) fn new(faults: Faults, base: String, chance: Chance) -> Self {
        Self {
            available: 0,
            items: BTreeMap::new(),
            batches: BTreeMap::new(),
            tokens: Vec::new(),
            transmissions: BTreeMap::new(),
            outbox: Outbox::default(),
            faults,
            chance,
            base,
            made: 0,
        }
    }

    /// From here on faults are drawn from this.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Ends every token.
    pub fn end_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Carries items on by chance: those that wait are sent, fail or find no account; of those that found none some
    /// are claimed and some come back; of those that were sent a few come back too.
    pub fn go_on(&mut self) {
        let ids: Vec<String> = self.items.keys().cloned().collect();
        for id in ids {
            let Some(status) = self.items.get(&id).map(|item| item.status) else { continue };
            let next = match status {
                ItemStatus::Pending => match self.chance.below(10) {
                    0..=5 => ItemStatus::Success,
                    6 | 7 => ItemStatus::Failed,
                    _ => ItemStatus::Unclaimed,
                },
                ItemStatus::Unclaimed if self.chance.per_mille(500) => ItemStatus::Returned,
                ItemStatus::Unclaimed => ItemStatus::Success,
                ItemStatus::Success if self.chance.per_mille(100) => ItemStatus::Returned,
                other => other,
            };
            self.become_of(&id, next);
        }
    }

    /// Decides an item; money that was not delivered comes back.
    pub fn become_of(&mut self, id: &str, status: ItemStatus) {
        let Some(item) = self.items.get_mut(id).filter(|item| item.status != status) else { return };
        item.status = status;
        if matches!(status, ItemStatus::Failed | ItemStatus::Returned) {
            self.available += item.cents;
        }
        let resource = self.item_object(id);
        let event = json!({
            "id": self.fresh("WH-"), "event_version": "1.0", "resource_type": "payouts_item",
            "event_type": status.event(), "resource": resource,
        });
        self.outbox.put(event);
    }

    /// What receivers have, by the sender's own ids of items.
    #[must_use]
    pub fn paid(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for item in self.items.values().filter(|item| item.status == ItemStatus::Success) {
            *sums.entry(item.sender_item_id.clone()).or_default() += item.cents;
        }
        sums
    }

    /// Takes a batch in: at most once for the sender's own id of it.
    fn batch(&mut self, sender_batch_id: &str, wanted: Vec<Item>) -> Reply {
        match self.faults.draw() {
            Some(Fault::LostRequest) => return Reply::Cut,
            Some(Fault::TooMany) => return problem(429, "RATE_LIMIT_REACHED", "Too many requests."),
            Some(Fault::KeyInUse) => return problem(409, "RESOURCE_CONFLICT", "A request is in progress."),
            Some(Fault::ErrorBefore) => {
                return problem(500, "INTERNAL_ERROR", "An internal service error has occurred.");
            }
            Some(Fault::ErrorAfter) => {
                let _ = self.take(sender_batch_id, wanted);
                return problem(500, "INTERNAL_ERROR", "An internal service error has occurred.");
            }
            Some(Fault::LostAnswer) => {
                let _ = self.take(sender_batch_id, wanted);
                return Reply::Cut;
            }
            None => {}
        }
        self.take(sender_batch_id, wanted)
    }

    fn take(&mut self, sender_batch_id: &str, wanted: Vec<Item>) -> Reply {
        if let Some((id, _)) = self.batches.iter().find(|(_, sender)| *sender == sender_batch_id) {
            let href = format!("{}/v1/payments/payouts/{id}", self.base);
            let link = json!({ "href": href, "rel": "self", "method": "GET", "encType": "application/json" });
            let body = json!({
                "name": "USER_BUSINESS_ERROR", "message": "User business error.", "debug_id": "d3b06",
                "details": [{
                    "field": "SENDER_BATCH_ID", "location": "body",
                    "issue": "Batch with given sender_batch_id already exists", "link": [link],
                }],
                "links": [],
            });
            return Reply::Json(400, body);
        }
        let sum: u64 = wanted.iter().map(|item| item.cents).sum();
        let Some(left) = self.available.checked_sub(sum) else {
            let text = "Sender does not have sufficient funds. Please add funds and retry.";
            return problem(422, "INSUFFICIENT_FUNDS", text);
        };
        self.available = left;
        let id = self.fresh("B");
        self.batches.insert(id.clone(), sender_batch_id.to_owned());
        for item in wanted {
            let item_id = self.fresh("I");
            self.items.insert(item_id, Item { batch: id.clone(), ..item });
        }
        let header = json!({
            "payout_batch_id": id, "batch_status": "PENDING",
            "sender_batch_header": { "sender_batch_id": sender_batch_id },
        });
        Reply::Json(201, json!({ "batch_header": header, "links": [] }))
    }

    fn batch_object(&self, id: &str) -> Value {
        let Some(sender) = self.batches.get(id) else { return Value::Null };
        let own = self.items.iter().filter(|(_, item)| item.batch == id);
        let items: Vec<Value> = own.map(|(id, _)| self.item_object(id)).collect();
        let header = json!({
            "payout_batch_id": id, "batch_status": "SUCCESS",
            "sender_batch_header": { "sender_batch_id": sender },
        });
        json!({ "batch_header": header, "items": items, "links": [] })
    }

    fn item_object(&self, id: &str) -> Value {
        let Some(item) = self.items.get(id) else { return Value::Null };
        let value = format!("{}.{:02}", item.cents / 100, item.cents % 100);
        json!({
            "payout_item_id": id, "payout_batch_id": item.batch, "transaction_status": item.status.text(),
            "payout_item": {
                "recipient_type": "EMAIL", "amount": { "currency": "USD", "value": value },
                "receiver": item.receiver, "sender_item_id": item.sender_item_id,
            },
        })
    }

    pub(crate) fn deliveries(&mut self, chance: &mut Chance) -> Vec<Delivery> {
        let events = self.outbox.take(chance);
        events.into_iter().map(|event| self.deliver(event)).collect()
    }

    fn deliver(&mut self, event: Value) -> Delivery {
        let transmission = self.fresh("tx-");
        let header = |name: &str, value: &str| (format!("paypal-{name}"), value.to_owned());
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            header("auth-algo", "SHA256withRSA"),
            header("cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-paysim"),
            header("transmission-id", &transmission),
            header("transmission-sig", &format!("sig-of-{transmission}")),
            header("transmission-time", "2026-10-01T00:00:00Z"),
        ];
        let body = event.to_string();
        self.transmissions.insert(transmission, event);
        Delivery { headers, body }
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:012}", self.made)
    }
}

fn problem(status: u16, name: &str, message: &str) -> Reply {
    Reply::Json(status, json!({ "name": name, "message": message, "debug_id": "d3b06", "links": [] }))
}
