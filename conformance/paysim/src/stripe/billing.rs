//! What customers pay: invoices of subscriptions, the charges that paid them, refunds and disputes of those.

use serde_json::{Value, json};

use super::Stripe;

/// An invoice of a subscription, with the charge that paid it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// What the subscription's metadata say, by name.
    pub metadata: Vec<(String, String)>,
    /// Cents without taxes.
    pub net: u64,
    /// Cents of taxes.
    pub tax: u64,
    /// Three letters, small.
    pub currency: String,
    /// What its line is for, in Unix seconds.
    pub period: (u64, u64),
    /// How many lines it has.
    pub lines: usize,
    /// The charge's id.
    pub charge: String,
    /// The id of what the charge carried out.
    pub intent: String,
    /// Cents that were given back.
    pub refunded: u64,
    /// Cents that were paid out of the customer's balance, and so with no charge.
    pub credit: u64,
    /// Cents that another charge paid.
    pub elsewhere: u64,
    /// Whether its amounts were credited, and so are shown below zero; nothing was paid then.
    pub credited: bool,
}

impl Invoice {
    /// Cents that charges paid.
    fn paid(&self) -> u64 {
        if self.credited { 0 } else { (self.net + self.tax).saturating_sub(self.credit) }
    }

    /// Cents of the charge.
    fn charged(&self) -> u64 {
        self.paid().saturating_sub(self.elsewhere)
    }

    fn shown(&self, cents: u64) -> i64 {
        let cents = i64::try_from(cents).unwrap_or(i64::MAX);
        if self.credited { -cents } else { cents }
    }
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The invoice whose charge is disputed.
    pub invoice: String,
    /// Cents.
    pub cents: u64,
    /// Three letters, small.
    pub currency: String,
    /// As Stripe calls it.
    pub status: String,
}

impl Dispute {
    fn held(&self) -> u64 {
        if self.status == "won" || self.status.starts_with("warning_") { 0 } else { self.cents }
    }
}

impl Stripe {
    /// An invoice of a subscription was paid; its id. The account and the plan are what the one who made the
    /// subscription wrote on it.
    pub fn invoice_paid(&mut self, account: &str, plan: &str, cents: u64, period: (u64, u64)) -> String {
        let metadata = [("account", account), ("plan", plan)];
        let invoice = Invoice {
            metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            net: cents,
            tax: 0,
            currency: "usd".to_owned(),
            period,
            lines: 1,
            charge: self.fresh("ch"),
            intent: self.fresh("pi"),
            refunded: 0,
            credit: 0,
            elsewhere: 0,
            credited: false,
        };
        self.bill(invoice)
    }

    /// Any invoice was paid; its id.
    pub fn bill(&mut self, invoice: Invoice) -> String {
        let id = self.fresh("in");
        self.available += invoice.paid();
        self.invoices.insert(id.clone(), invoice);
        let object = self.invoice_object(&id);
        self.emit("invoice.paid", object);
        id
    }

    /// Gives back so many more cents of an invoice's charge, at most what is left of it; how many.
    pub fn refund(&mut self, invoice: &str, cents: u64) -> u64 {
        let held = self.held(invoice);
        let Some(of) = self.invoices.get_mut(invoice) else { return 0 };
        let cents = cents.min(of.charged().saturating_sub(of.refunded + held));
        if cents > 0 {
            of.refunded += cents;
            let charge = of.charge.clone();
            self.available = self.available.saturating_sub(cents);
            let object = self.charge_object(&charge);
            self.emit("charge.refunded", object);
        }
        cents
    }

    /// A payer's bank disputes so many cents of an invoice's charge, at most what is left of it; the dispute's id.
    pub fn dispute(&mut self, invoice: &str, cents: u64) -> Option<String> {
        let left = self.left(invoice)?;
        let cents = cents.min(left);
        if cents == 0 {
            return None;
        }
        let id = self.fresh("du");
        let (invoice, status) = (invoice.to_owned(), "needs_response".to_owned());
        let currency = self.invoices.get(&invoice)?.currency.clone();
        let dispute = Dispute { invoice, cents, currency, status };
        self.disputes.insert(id.clone(), dispute);
        self.available = self.available.saturating_sub(cents);
        let object = self.dispute_object(&id);
        self.emit("charge.dispute.created", object.clone());
        self.emit("charge.dispute.funds_withdrawn", object);
        Some(id)
    }

    /// A dispute is decided; won, its money comes back.
    pub fn decide(&mut self, dispute: &str, won: bool) {
        let Some(of) = self.disputes.get_mut(dispute).filter(|of| of.status == "needs_response") else {
            return;
        };
        of.status = if won { "won" } else { "lost" }.to_owned();
        if won {
            self.available += of.cents;
        }
        let object = self.dispute_object(dispute);
        self.emit("charge.dispute.closed", object);
    }

    /// Cents, with taxes, that the platform has of an invoice's charge: what neither refunds nor disputes took.
    #[must_use]
    pub fn left(&self, invoice: &str) -> Option<u64> {
        let of = self.invoices.get(invoice)?;
        Some(of.charged().saturating_sub(of.refunded + self.held(invoice)))
    }

    fn held(&self, invoice: &str) -> u64 {
        self.disputes.values().filter(|d| d.invoice == invoice).map(Dispute::held).sum()
    }

    pub(super) fn invoice_object(&self, id: &str) -> Value {
        let Some(of) = self.invoices.get(id) else { return Value::Null };
        let metadata: serde_json::Map<String, Value> =
            of.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let (starts, ends) = of.period;
        let line = json!({ "object": "line_item", "period": { "start": starts, "end": ends } });
        json!({
            "id": id, "object": "invoice", "amount_paid": of.paid(), "total": of.shown(of.net + of.tax),
            "total_excluding_tax": of.shown(of.net), "currency": of.currency, "status": "paid", "livemode": false,
            "parent": { "type": "subscription_details", "subscription_details": { "metadata": metadata } },
            "lines": { "object": "list", "has_more": false, "data": vec![line; of.lines] },
        })
    }

    pub(super) fn charge_object(&self, id: &str) -> Value {
        let Some(of) = self.invoices.values().find(|of| of.charge == id) else { return Value::Null };
        json!({
            "id": id, "object": "charge", "amount": of.charged(), "amount_refunded": of.refunded,
            "currency": of.currency, "payment_intent": of.intent,
            "disputed": self.disputes.values().any(|d| self.is_of(d, id)), "refunded": of.refunded == of.charged(),
            "livemode": false,
        })
    }

    pub(super) fn dispute_object(&self, id: &str) -> Value {
        let Some(of) = self.disputes.get(id) else { return Value::Null };
        let paid = self.invoices.get(&of.invoice);
        json!({
            "id": id, "object": "dispute", "amount": of.cents, "currency": of.currency,
            "status": of.status, "charge": paid.map(|i| &i.charge), "payment_intent": paid.map(|i| &i.intent),
            "livemode": false,
        })
    }

    pub(super) fn disputes_of(&self, charge: &str) -> Vec<Value> {
        let of = self.disputes.iter().filter(|(_, of)| self.is_of(of, charge));
        of.map(|(id, _)| self.dispute_object(id)).collect()
    }

    fn is_of(&self, dispute: &Dispute, charge: &str) -> bool {
        self.invoices.get(&dispute.invoice).is_some_and(|of| of.charge == charge)
    }

    pub(super) fn payments_of(&self, intent: &str) -> Vec<Value> {
        let of = self.invoices.iter().filter(|(_, of)| of.intent == intent);
        of.map(|(id, of)| {
            json!({
                "id": format!("inpay_{id}"), "object": "invoice_payment", "invoice": id, "status": "paid",
                "amount_paid": of.charged(), "currency": of.currency, "livemode": false,
                "payment": { "type": "payment_intent", "payment_intent": intent },
            })
        })
        .collect()
    }
}
