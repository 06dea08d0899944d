//! Stripe, as far as payouts and subscriptions use it: recipient accounts, transfers with idempotency keys, reversals,
//! balance, events; and what makes events: paid invoices, refunds, disputes.

mod billing;
mod events;
mod routes;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fault::{Fault, Faults};
use crate::hook::Outbox;
use crate::reply::Reply;

pub use billing::{Dispute, Invoice};
pub(crate) use routes::routes;

/// A connected account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Cents that it holds.
    pub balance: u64,
    /// Whether it may be sent transfers: it was onboarded and nothing is missing.
    pub active: bool,
}

/// A transfer to a connected account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// To whom.
    pub destination: String,
    /// Cents.
    pub amount: u64,
    /// Cents that came back.
    pub reversed: u64,
    /// What the sender groups it under.
    pub group: String,
    /// What the sender wrote on it.
    pub metadata: BTreeMap<String, String>,
    created: u64,
}

/// What is saved under an idempotency key: what was asked, and what was answered.
#[derive(Debug, Clone)]
struct Saved {
    asked: (String, String),
    status: u16,
    body: Value,
}

/// All that Stripe knows.
#[derive(Debug)]
pub struct Stripe {
    /// Cents that the platform can spend.
    pub available: u64,
    /// Connected accounts by id.
    pub accounts: BTreeMap<String, Account>,
    /// Transfers by id.
    pub transfers: BTreeMap<String, Transfer>,
    /// Invoices by id.
    pub invoices: BTreeMap<String, Invoice>,
    /// Disputes by id.
    pub disputes: BTreeMap<String, Dispute>,
    /// Every secret that signs events; more than one while they are changed.
    pub secrets: Vec<String>,
    events: Vec<Value>,
    outbox: Outbox,
    saved: BTreeMap<String, Saved>,
    faults: Faults,
    seconds: u64,
    made: u64,
}

/// What is refused before anything is carried out; nothing of it is saved.
type Checked<T> = Result<T, Reply>;

impl Stripe {
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            available: 0,
            accounts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            invoices: BTreeMap::new(),
            disputes: BTreeMap::new(),
            secrets: vec![Self::SECRET.to_owned()],
            events: Vec::new(),
            outbox: Outbox::default(),
            saved: BTreeMap::new(),
            faults,
            seconds: 1_700_000_000,
            made: 0,
        }
    }

    /// The key that requests must carry.
    pub const KEY: &str = "sk_test_paysim";
    /// The secret that signs events at first.
    pub const SECRET: &str = "whsec_paysim";

    /// From here on faults are drawn from this.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Numbers the ids of what is made from here on, so that those of several simulators differ.
    pub const fn count_from(&mut self, number: u64) {
        self.made = number;
    }

    /// Forgets what was saved under keys, as Stripe may from a day on.
    pub fn forget_keys(&mut self) {
        self.saved.clear();
    }

    /// The holder of an account has answered all that Stripe asks; or it is shut for transfers.
    pub fn set_active(&mut self, account: &str, active: bool) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.active = active;
        }
        let object = json!({ "id": account, "type": "v2.core.account", "url": format!("/v2/core/accounts/{account}") });
        self.emit("v2.core.account[requirements].updated", object);
    }

    /// Takes a transfer back in part, as the platform may in the dashboard; the number of cents that came back.
    pub fn reverse(&mut self, id: &str, amount: u64) -> u64 {
        let Some(transfer) = self.transfers.get_mut(id) else { return 0 };
        let held = self.accounts.get_mut(&transfer.destination);
        let Some(held) = held else { return 0 };
        let back = amount.min(transfer.amount - transfer.reversed).min(held.balance);
        if back > 0 {
            transfer.reversed += back;
            held.balance -= back;
            self.available += back;
            let object = self.transfer_object(id);
            self.emit("transfer.reversed", object);
        }
        back
    }

    /// What left the platform and did not come back, by what the sender wrote as `metadata[payout]`.
    #[must_use]
    pub fn paid(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for transfer in self.transfers.values() {
            let payout = transfer.metadata.get("payout").cloned().unwrap_or_default();
            *sums.entry(payout).or_default() += transfer.amount - transfer.reversed;
        }
        sums
    }

    /// Carries out a request under its key: at most once, and the same answer from then on, an error 500 too.
    fn keyed(
        &mut self,
        key: Option<&str>,
        asked: (String, String),
        run: impl FnOnce(&mut Self) -> (u16, Value),
    ) -> Reply {
        if let Some(saved) = key.and_then(|key| self.saved.get(key)) {
            if saved.asked != asked {
                return refused(
                    400,
                    "idempotency_error",
                    None,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                );
            }
            return Reply::Replayed(saved.status, saved.body.clone());
        }
        let broken = (500, problem("api_error", None, "An unknown error occurred."));
        let (answer, cut) = match self.faults.draw() {
            Some(Fault::LostRequest) => return Reply::Cut,
            Some(Fault::TooMany) => {
                return refused(429, "invalid_request_error", Some("rate_limit"), "Too many requests.");
            }
            Some(Fault::KeyInUse) => {
                let text = "There is currently another in-progress request using this Idempotency-Key.";
                return refused(409, "idempotency_error", Some("idempotency_key_in_use"), text);
            }
            Some(Fault::ErrorBefore) => (broken, false),
            Some(Fault::ErrorAfter) => {
                let _ = run(self);
                (broken, false)
            }
            Some(Fault::LostAnswer) => (run(self), true),
            None => (run(self), false),
        };
        let (status, body) = answer;
        if let Some(key) = key {
            self.saved.insert(key.to_owned(), Saved { asked, status, body: body.clone() });
        }
        if cut { Reply::Cut } else { Reply::Json(status, body) }
    }

    fn transfer(&mut self, order: &Order) -> (u16, Value) {
        let Some(account) = self.accounts.get_mut(&order.destination).filter(|a| a.active) else {
            let text = "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments";
            let code = Some("insufficient_capabilities_for_transfer");
            return (400, problem("invalid_request_error", code, text));
        };
        let Some(left) = self.available.checked_sub(order.amount) else {
            let text = "You have insufficient available funds in your Stripe account.";
            return (400, problem("invalid_request_error", Some("balance_insufficient"), text));
        };
        self.available = left;
        account.balance += order.amount;
        let id = self.fresh("tr");
        let transfer = Transfer {
            destination: order.destination.clone(),
            amount: order.amount,
            reversed: 0,
            group: order.group.clone(),
            metadata: order.metadata.clone(),
            created: self.tick(),
        };
        self.transfers.insert(id.clone(), transfer);
        let object = self.transfer_object(&id);
        self.emit("transfer.created", object.clone());
        (200, object)
    }

    fn transfer_object(&self, id: &str) -> Value {
        let Some(t) = self.transfers.get(id) else { return Value::Null };
        json!({
            "id": id, "object": "transfer", "amount": t.amount, "amount_reversed": t.reversed, "created": t.created,
            "currency": "usd", "description": null, "destination": t.destination, "livemode": false,
            "metadata": t.metadata, "reversed": t.reversed == t.amount, "source_type": "card",
            "transfer_group": t.group,
        })
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_{:024}", self.made)
    }

    fn tick(&mut self) -> u64 {
        self.seconds += 1;
        self.seconds
    }
}

/// A transfer that is asked for.
#[derive(Debug, Clone)]
struct Order {
    destination: String,
    amount: u64,
    group: String,
    metadata: BTreeMap<String, String>,
}

fn problem(kind: &str, code: Option<&str>, message: &str) -> Value {
    let mut error = json!({ "type": kind, "message": message });
    if let (Some(code), Some(error)) = (code, error.as_object_mut()) {
        error.insert("code".to_owned(), code.into());
    }
    json!({ "error": error })
}

fn refused(status: u16, kind: &str, code: Option<&str>, message: &str) -> Reply {
    Reply::Json(status, problem(kind, code, message))
}
