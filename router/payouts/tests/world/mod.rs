//! The simulator with both clients and a recipient that may be sent transfers.

use counterfoil_payouts::paypal::PayPal;
use counterfoil_payouts::stripe::Stripe;
use counterfoil_payouts::{Asked, Order, Secret};
use counterfoil_paysim::{Faults, ItemStatus, PayPal as SimPayPal, Simulator, Stripe as SimStripe};

pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) stripe: Stripe,
    pub(crate) paypal: PayPal,
    pub(crate) account: String,
}

impl World {
    /// Both providers have so many cents, and nothing goes wrong yet.
    pub(crate) async fn new(seed: u64, cents: u64) -> Self {
        let sim = Simulator::start(([127, 0, 0, 1], 0).into(), seed, Faults::none()).await.unwrap();
        let secret = |text: &str| Secret::new(text).unwrap();
        let base = sim.base();
        let secrets = vec![secret(SimStripe::SECRET), secret("whsec_next")];
        let stripe = Stripe::new(base.parse().unwrap(), secret(SimStripe::KEY), secrets);
        let client = SimPayPal::CLIENT.to_owned();
        let webhook = SimPayPal::WEBHOOK.to_owned();
        let paypal = PayPal::new(base.parse().unwrap(), client, secret(SimPayPal::SECRET), webhook);
        let account = stripe.create_recipient("account").await.unwrap();
        sim.stripe(|s| {
            s.available = cents;
            s.set_active(&account, true);
        });
        sim.paypal(|p| p.available = cents);
        Self { sim, stripe, paypal, account }
    }

    /// Decides the item of a payout.
    pub(crate) fn finish(&self, key: &str, status: ItemStatus) {
        self.sim.paypal(|p| {
            let item = p.items.iter().find(|(_, item)| item.sender_item_id == key).unwrap().0.clone();
            p.become_of(&item, status);
        });
    }
}

pub(crate) fn order(key: &str, cents: u64, destination: &str) -> Order {
    Order {
        key: key.to_owned(),
        cents,
        currency: "USD".to_owned(),
        destination: destination.to_owned(),
        reference: None,
        asked: Asked::Never,
    }
}
