//! Customers pay, are given back and dispute; events about it come twice, late, in any order and after a restart. Ledger, log and
//! the service's books agree to the cent.

use std::collections::BTreeMap;

use counterfoil_identity::digest::derive;
use counterfoil_ledger::MoneyAccount;
use counterfoil_ledger::calendar::billing_period;
use counterfoil_ledger::invoice::NotBooked;
use counterfoil_payouts::{Event, HookError};
use counterfoil_paysim::{Chance, Delivery, Faults, Invoice, Simulator};
use counterfoil_router::payout::{NotTaken, PayError, Payday};
use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::time::Seconds;

use super::payday::{Network, services};
use super::{SEEDS, SEEDS_OF_A_LOG, replayed};

const DAY_S: u64 = 86_400;

/// What is wrong with an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Account,
    Plan,
    Currency,
    Amount,
    Lines,
    Period,
    Credit,
    Credited,
}

const WRONG: [Wrong; 8] = [
    Wrong::Account,
    Wrong::Plan,
    Wrong::Currency,
    Wrong::Amount,
    Wrong::Lines,
    Wrong::Period,
    Wrong::Credit,
    Wrong::Credited,
];

struct Shop {
    sim: Simulator,
    payday: Payday,
    /// Invoices that are to be booked, and those that must not be.
    good: Vec<String>,
    bad: BTreeMap<String, Wrong>,
}

impl Shop {
    async fn open(seed: u64) -> Self {
        let sim = Simulator::start(([127, 0, 0, 1], 0).into(), seed, Faults::none()).await.unwrap();
        // One log is told of several services, whose ids must not be the same.
        sim.stripe(|s| s.count_from(seed * 10_000));
        let payday = Payday::through(services(&sim));
        Self { sim, payday, good: Vec::new(), bad: BTreeMap::new() }
    }

    fn invoice(network: &Network, plan: &str, net: u64, tax: u64) -> Invoice {
        let account = network.account().to_string();
        let (starts, ends) = billing_period(Seconds(network.now_s()), 0);
        Invoice {
            metadata: vec![("account".to_owned(), account), ("plan".to_owned(), plan.to_owned())],
            net,
            tax,
            currency: "usd".to_owned(),
            period: (starts.0, ends.0),
            lines: 1,
            // One customer pays once in these tests, so the account makes a charge's id.
            charge: format!("ch_{}", network.ledger(|l| l.accounts().count())),
            intent: format!("pi_{}", network.ledger(|l| l.accounts().count())),
            refunded: 0,
            credit: 0,
            elsewhere: 0,
            credited: false,
        }
    }

    fn bill(&mut self, invoice: Invoice, wrong: Option<Wrong>) -> String {
        let id = self.sim.stripe(|s| s.bill(spoilt(invoice, wrong)));
        match wrong {
            None => self.good.push(id.clone()),
            Some(wrong) => drop(self.bad.insert(id.clone(), wrong)),
        }
        id
    }

    fn events(&self, network: &Network) -> Vec<Event> {
        self.sim.stripe_events(network.now_s()).iter().map(|sent| self.read(network, sent).unwrap()).collect()
    }

    fn read(&self, network: &Network, sent: &Delivery) -> Result<Event, HookError> {
        let header = sent.headers.iter().find(|(name, _)| name == "stripe-signature").unwrap();
        self.payday.stripe_event(&header.1, sent.body.as_bytes(), network.now_s()).unwrap()
    }

    async fn heed(&self, network: &Network, event: &Event) -> Result<(), PayError> {
        self.payday.heed(&network.office, network.home(), event).await
    }

    async fn heed_all(&self, network: &Network) {
        for event in self.events(network) {
            let _ = self.heed(network, &event).await;
        }
    }

    /// What was booked of each invoice is what the service has of it.
    fn check(&self, network: &Network, seed: u64) -> u128 {
        let mut left = 0;
        for id in &self.good {
            let known =
                network.ledger(|l| l.received(&payment(id))).unwrap_or_else(|| panic!("seed {seed}: {id}"));
            let (of, held) = self.sim.stripe(|s| {
                let of = s.invoices[id].clone();
                let held = of.net + of.tax - of.refunded - s.left(id).unwrap();
                (of, held)
            });
            let part = |cents: u64| cents * of.net * 10_000 / (of.net + of.tax);
            assert_eq!(known.amount, MicroUsd(of.net * 10_000), "seed {seed}: {id}");
            assert_eq!(known.refunded, MicroUsd(part(of.refunded)), "seed {seed}: {id}");
            let booked: u64 = known.disputes.values().map(|held| held.0).sum();
            // Each dispute is floored on its own.
            let disputes = u64::try_from(known.disputes.len()).unwrap();
            assert!(booked <= part(held) && booked + disputes >= part(held), "seed {seed}: {id}: {booked}");
            if of.tax == 0 {
                assert_eq!(
                    known.left().0,
                    self.sim.stripe(|s| s.left(id).unwrap()) * 10_000,
                    "seed {seed}: {id}"
                );
            }
            assert!(network.ledger(|l| l.lot(&known.lot.unwrap()).is_some()));
            left += u128::from(known.left().0);
        }
        for (id, wrong) in &self.bad {
            assert_eq!(network.ledger(|l| l.received(&payment(id))), None, "seed {seed}: {wrong:?}");
        }
        left
    }
}

fn spoilt(mut invoice: Invoice, wrong: Option<Wrong>) -> Invoice {
    match wrong {
        None => {}
        Some(Wrong::Account) => invoice.metadata[0].1 = "00".repeat(32),
        Some(Wrong::Plan) => invoice.metadata[1].1 = "Explorer".to_owned(),
        Some(Wrong::Currency) => invoice.currency = "eur".to_owned(),
        Some(Wrong::Amount) => invoice.net -= 1,
        Some(Wrong::Lines) => invoice.lines = 2,
        Some(Wrong::Period) => invoice.period.1 -= 1,
        Some(Wrong::Credit) => invoice.credit = 95,
        Some(Wrong::Credited) => invoice.credited = true,
    }
    invoice
}

/// The serial under which an invoice is booked.
fn payment(id: &str) -> Serial {
    let hash = derive("counterfoil v1 payment-service", &[id.as_bytes()]);
    Serial::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

fn received(network: &Network) -> u128 {
    let balance = network.ledger(|l| l.money_book().balance(&MoneyAccount::Received));
    balance.unsigned_abs()
}

#[tokio::test]
async fn customers_books_agree_under_every_seed() {
    let seeds = std::env::var("COUNTERFOIL_PAYOUT_SEEDS").ok();
    let seeds: Vec<u64> = (0..seeds.map_or(SEEDS, |n| n.parse().unwrap())).collect();
    for some in seeds.chunks(SEEDS_OF_A_LOG) {
        let mut network = Network::new();
        for seed in some {
            network = customers(network, *seed).await;
        }
        replayed(&network);
    }
}

async fn customers(mut network: Network, seed: u64) -> Network {
    let mut shop = Shop::open(seed).await;
    let mut chance = Chance::new(seed);
    let before = received(&network);
    let mut late: Vec<Event> = Vec::new();
    for _ in 0..10 {
        let known: Vec<String> = shop.good.clone();
        let some = chance.one_of(&known).cloned();
        let cents = 1 + chance.below(6_000);
        match (chance.below(5), some) {
            (0 | 1, _) | (_, None) => {
                let (plan, net) = [("explorer", 500), ("builder", 2_000), ("operator", 5_000)]
                    [usize::try_from(chance.below(3)).unwrap()];
                let tax = chance.below(2) * (net / 5);
                let wrong = if chance.per_mille(300) { chance.one_of(&WRONG).copied() } else { None };
                let mut invoice = Shop::invoice(&network, plan, net, tax);
                invoice.charge = format!("{}_{seed}", invoice.charge);
                shop.bill(invoice, wrong);
            }
            (2, Some(id)) => drop(shop.sim.stripe(|s| s.refund(&id, cents))),
            (3, Some(id)) => drop(shop.sim.stripe(|s| s.dispute(&id, cents))),
            (_, Some(_)) => shop.sim.stripe(|s| {
                let open: Vec<String> = s.disputes.keys().cloned().collect();
                let won = chance.per_mille(500);
                chance.one_of(&open).into_iter().for_each(|id| s.decide(id, won));
            }),
        }
        late.extend(shop.events(&network));
        chance.shuffle(&mut late);
        let now = usize::try_from(chance.below(4)).unwrap().min(late.len());
        for event in late.split_off(late.len() - now) {
            let heeded = shop.heed(&network, &event).await;
            assert!(matches!(heeded, Ok(()) | Err(PayError::NotBooked(_))), "seed {seed}: {heeded:?}");
            if chance.per_mille(300) {
                late.push(event);
            }
        }
    }
    if seed.is_multiple_of(10) {
        network = network.restart();
    }
    for event in late {
        let _ = shop.heed(&network, &event).await;
    }
    let size = network.office.log_size();
    let left = shop.check(&network, seed);
    assert_eq!(received(&network) - before, left, "seed {seed}");
    assert_eq!(network.office.log_size(), size);
    network
}

#[tokio::test]
async fn an_invoice_grants_its_month_once() {
    let network = Network::new();
    let mut shop = Shop::open(1).await;
    let invoice = Shop::invoice(&network, "builder", 2_000, 380);
    let account = invoice.metadata[0].1.parse().unwrap();
    let id = shop.bill(invoice, None);
    let before = network.office.log_size();
    let events = shop.events(&network);
    shop.heed(&network, &events[0]).await.unwrap();
    assert_eq!(network.office.log_size(), before + 2);
    let lots = network.ledger(|l| l.balance(&account, Seconds(network.now_s()))).lots;
    // January and, rolled over, February.
    assert_eq!(
        lots.iter().map(|lot| (lot.available, lot.expires)).collect::<Vec<_>>(),
        [(TokenCount(2_000_000), billing_period(Seconds(network.now_s()), 1).1)]
    );
    // Again, by this process and by the next one.
    shop.heed(&network, &events[0]).await.unwrap();
    let network = network.restart();
    shop.heed(&network, &events[0]).await.unwrap();
    assert_eq!(network.office.log_size(), before + 2);
    assert_eq!(network.ledger(|l| l.received(&payment(&id)).unwrap().amount), MicroUsd(20_000_000));
}

#[tokio::test]
async fn what_is_wrong_with_an_invoice_is_named_and_nothing_is_booked() {
    let network = Network::new();
    let mut shop = Shop::open(2).await;
    for wrong in WRONG {
        let invoice = Shop::invoice(&network, "explorer", 500, 95);
        let id = shop.bill(invoice, Some(wrong));
        let size = network.office.log_size();
        for event in shop.events(&network) {
            let refused = shop.heed(&network, &event).await.unwrap_err();
            let PayError::NotBooked(why) = &refused else { panic!("{refused}") };
            let named = match why {
                NotBooked::UnknownAccount(_) => Wrong::Account,
                NotBooked::UnknownPlan(_) => Wrong::Plan,
                NotBooked::WrongCurrency { .. } => Wrong::Currency,
                NotBooked::WrongAmount { .. } => Wrong::Amount,
                NotBooked::NotOneMonth("it has several lines") => Wrong::Lines,
                NotBooked::NotOneMonth(_) => Wrong::Period,
                NotBooked::PartlyPaid { paid_cents: 500, total_cents: 595 } => Wrong::Credit,
                NotBooked::Negative(-595) => Wrong::Credited,
                other => panic!("{other}"),
            };
            assert_eq!(named, wrong);
        }
        // What is given back of it is nothing to take.
        shop.sim.stripe(|s| s.refund(&id, 100));
        for event in shop.events(&network) {
            shop.heed(&network, &event).await.unwrap();
        }
        assert_eq!(network.office.log_size(), size);
    }
}

#[tokio::test]
async fn what_is_no_payment_of_a_subscription_is_neither_booked_nor_refused() {
    let network = Network::new();
    let mut shop = Shop::open(5).await;
    let mut other = Shop::invoice(&network, "explorer", 500, 0);
    other.metadata.clear();
    let trial = Shop::invoice(&network, "explorer", 0, 0);
    let size = network.office.log_size();
    let other = shop.bill(other, None);
    shop.bill(trial, None);
    assert_eq!(shop.sim.stripe(|s| s.refund(&other, 100)), 100);
    let events = shop.events(&network);
    assert!(events.len() >= 3, "{events:?}");
    for event in events {
        shop.heed(&network, &event).await.unwrap();
    }
    assert_eq!(network.office.log_size(), size);
}

#[tokio::test]
async fn of_several_charges_or_currencies_nothing_is_taken() {
    let network = Network::new();
    let mut shop = Shop::open(6).await;
    let mut invoice = Shop::invoice(&network, "explorer", 500, 0);
    invoice.elsewhere = 300;
    let id = shop.bill(invoice, None);
    shop.heed_all(&network).await;
    assert_eq!(shop.sim.stripe(|s| s.refund(&id, 500)), 200);
    for event in shop.events(&network) {
        let refused = shop.heed(&network, &event).await.unwrap_err();
        let several = NotTaken::SeveralCharges { charge_cents: 200, paid_cents: 500 };
        assert!(matches!(&refused, PayError::NotTaken(why) if *why == several), "{refused}");
    }
    assert_eq!(network.ledger(|l| l.received(&payment(&id)).unwrap().refunded), MicroUsd(0));

    let invoice = Shop::invoice(&network, "explorer", 500, 0);
    let id = shop.bill(invoice, None);
    shop.heed_all(&network).await;
    let dispute = shop.sim.stripe(|s| s.dispute(&id, 500)).unwrap();
    shop.sim.stripe(|s| s.disputes.get_mut(&dispute).unwrap().currency = "eur".to_owned());
    for event in shop.events(&network) {
        let refused = shop.heed(&network, &event).await.unwrap_err();
        assert!(matches!(refused, PayError::NotTaken(NotTaken::OtherCurrency { .. })), "{refused}");
    }
    assert_eq!(network.ledger(|l| l.received(&payment(&id)).unwrap().left()), MicroUsd(5_000_000));
}

#[tokio::test]
async fn a_dispute_lets_a_lot_rest_until_it_is_won() {
    let network = Network::new();
    let mut shop = Shop::open(3).await;
    let invoice = Shop::invoice(&network, "explorer", 500, 0);
    let account = invoice.metadata[0].1.parse().unwrap();
    let id = shop.bill(invoice, None);
    let available = || network.ledger(|l| l.balance(&account, Seconds(network.now_s())).available);
    shop.heed_all(&network).await;
    assert_eq!(available(), TokenCount(500_000));
    let dispute = shop.sim.stripe(|s| s.dispute(&id, 500)).unwrap();
    // The event about the invoice may come last.
    shop.heed_all(&network).await;
    network.wait(59);
    assert_eq!(available(), TokenCount(500_000));
    network.wait(1);
    assert_eq!(available(), TokenCount(0));
    assert_eq!(network.ledger(|l| l.received(&payment(&id)).unwrap().left()), MicroUsd(0));
    network.wait(20 * DAY_S);
    shop.sim.stripe(|s| s.decide(&dispute, true));
    shop.heed_all(&network).await;
    assert_eq!(available(), TokenCount(500_000));
    assert_eq!(network.ledger(|l| l.received(&payment(&id)).unwrap().left()), MicroUsd(5_000_000));
    // All of it is given back, and the lot ends.
    assert_eq!(shop.sim.stripe(|s| s.refund(&id, 500)), 500);
    shop.heed_all(&network).await;
    network.wait(59);
    assert_eq!(available(), TokenCount(500_000));
    network.wait(1);
    assert_eq!(available(), TokenCount(0));
    replayed(&network);
}

#[tokio::test]
async fn an_event_with_a_wrong_signature_is_not_read() {
    let network = Network::new();
    let mut shop = Shop::open(4).await;
    let invoice = Shop::invoice(&network, "explorer", 500, 0);
    shop.bill(invoice, None);
    let now = network.now_s();
    let mut sent = shop.sim.stripe_events(now).remove(0);
    assert!(shop.read(&network, &sent).is_ok_and(|event| event.billed.is_some()));
    sent.body = sent.body.replace("500", "501");
    assert_eq!(shop.read(&network, &sent), Err(HookError::WrongSignature));
    shop.sim.stripe(|s| s.secrets = vec!["whsec_other".to_owned()]);
    let other = Shop::invoice(&network, "explorer", 500, 0);
    shop.bill(other, None);
    let sent = shop.sim.stripe_events(now).remove(0);
    assert_eq!(shop.read(&network, &sent), Err(HookError::WrongSignature));
}
