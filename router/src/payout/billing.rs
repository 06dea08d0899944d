//! What customers paid through Stripe: an event says that something happened to an invoice, a charge or a dispute, Stripe is
//! asked how that stands, and what the log does not have yet is written. The serials follow from Stripe's ids, so that the log
//! alone says what was booked.

use std::sync::Arc;

use counterfoil_audit::NewEntry;
use counterfoil_identity::digest::{context, derive};
use counterfoil_ledger::invoice::{Invoice, InvoiceSerials, NotBooked};
use counterfoil_payouts::Billed;
use counterfoil_payouts::stripe::{Charge, Dispute, Invoice as Shown, Subscribed};
use counterfoil_spec::amount::MicroUsd;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{Chargeback, Lot, Payment, Refund};
use counterfoil_spec::time::Seconds;

use super::{PayError, Payday, decided};
use crate::office::{CURRENCY, Office, entry};

/// Why nothing is taken of a payment for what was given back of a charge, or is disputed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The parts of several charges would have to be told apart.
    #[error("it is of a charge of {charge_cents} cents, and {paid_cents} were charged of its invoice")]
    SeveralCharges {
        /// The charge.
        charge_cents: u64,
        /// All charges of the invoice.
        paid_cents: u64,
    },
    /// Cents of another currency are other cents.
    #[error("a dispute of it is in {dispute:?} and the charge in {charge:?}")]
    OtherCurrency {
        /// The dispute's.
        dispute: String,
        /// The charge's.
        charge: String,
    },
}

impl Payday {
    /// Books what is new about what customers paid.
    pub(super) async fn heed_billed(&self, office: &Arc<Office>, billed: &Billed) -> Result<(), PayError> {
        // What was read first is written first.
        let _alone = self.alone.lock().await;
        let stripe = self.stripe()?;
        match billed {
            Billed::Invoice(id) if booked(office, id) => Ok(()),
            Billed::Invoice(id) => self.book(office, id, stripe.invoice(id).await?).await,
            Billed::Charge(id) => self.take_back(office, stripe.charge(id).await?).await,
            Billed::Dispute(id) => {
                let charge = stripe.disputed_charge(id).await?;
                self.take_back(office, stripe.charge(&charge).await?).await
            }
        }
    }

    /// Books an invoice that was paid, once.
    async fn book(&self, office: &Arc<Office>, id: &str, shown: Shown) -> Result<(), PayError> {
        let serials = serials(id);
        let Some(subscribed) = shown.subscribed.filter(|_| shown.paid) else {
            tracing::info!(invoice = id, "an invoice that is not paid, or names no account, is not for here");
            return Ok(());
        };
        let paid_cents = shown.paid_cents;
        if paid_cents == 0 && subscribed.total_cents >= 0 {
            tracing::info!(invoice = id, "an invoice of which nothing was charged is no payment");
            return Ok(());
        }
        decided(office, move |office| {
            let (known, made) = {
                let books = office.books();
                (
                    books.ledger.received(&serials.payment),
                    invoiced(&books.ledger, &subscribed, paid_cents, serials),
                )
            };
            let mut entries = Vec::new();
            //= spec/settlement.md#subscriptions
            //# A router MUST
            //# NOT book one whose payment's serial is in the log.
            match known {
                Some(known) if known.lot.is_some() => {}
                // The payment was the last entry that a process made durable.
                Some(_) => entries.push(entry(made?.1)),
                None => {
                    let (payment, lot) = made?;
                    entries = vec![NewEntry::new(serials.payment, payment), entry(lot)];
                }
            }
            if !entries.is_empty() {
                office.append_blocking(entries)?;
            }
            Ok(())
        })
        .await?
    }

    /// Books what was given back of a charge, and what disputes hold back of it.
    async fn take_back(&self, office: &Arc<Office>, charge: Charge) -> Result<(), PayError> {
        let Some(invoice) = &charge.invoice else { return Ok(()) };
        let shown = self.stripe()?.invoice(invoice).await?;
        let (payment, paid_cents) = (serials(invoice).payment, shown.paid_cents);
        // An event about a charge may come before the one about its invoice.
        if !booked(office, invoice) {
            match self.book(office, invoice, shown).await {
                Err(PayError::NotBooked(why)) => {
                    tracing::warn!(
                        invoice, %why,
                        "a charge of an invoice that is not booked was given back or disputed; once the invoice is booked, let \
                         Stripe send this event again"
                    );
                }
                other => other?,
            }
        }
        if !booked(office, invoice) {
            return Ok(());
        }
        followed(&charge, paid_cents)?;
        decided(office, move |office| {
            // What was given again makes room for what is held back anew.
            let mut disputes = charge.disputes;
            disputes.sort_by_key(|dispute| dispute.held_cents);
            for dispute in &disputes {
                hold_back(office, payment, dispute, charge.cents)?;
            }
            give_back(office, payment, charge.refunded_cents, charge.cents)
        })
        .await?
    }
}

/// Whether the payment and the lot of an invoice are in the log.
fn booked(office: &Office, invoice: &str) -> bool {
    let known = office.books().ledger.received(&serials(invoice).payment);
    known.is_some_and(|known| known.lot.is_some())
}

//= spec/settlement.md#subscriptions
//# A router MUST
//# NOT take anything for a charge that is not all that was charged of its invoice, nor for a dispute in another currency.
fn followed(charge: &Charge, paid_cents: u64) -> Result<(), NotTaken> {
    if charge.cents != paid_cents {
        return Err(NotTaken::SeveralCharges { charge_cents: charge.cents, paid_cents });
    }
    match charge.disputes.iter().find(|dispute| dispute.currency != charge.currency) {
        Some(other) => {
            let (dispute, charge) = (other.currency.clone(), charge.currency.clone());
            Err(NotTaken::OtherCurrency { dispute, charge })
        }
        None => Ok(()),
    }
}

fn hold_back(office: &Office, payment: Serial, held: &Dispute, of_cents: u64) -> Result<(), PayError> {
    let known = office.books().ledger.received(&payment);
    let Some(known) = known else { return Ok(()) };
    let dispute = serials(&held.id).payment;
    let before = known.disputes.get(&dispute).copied().unwrap_or(MicroUsd(0));
    let most = known.left().0.saturating_add(before.0);
    let amount = MicroUsd(part(known.amount, held.held_cents, of_cents).min(most));
    if amount != before {
        office.append_blocking(vec![entry(Chargeback { payment, dispute, amount })])?;
    }
    Ok(())
}

fn give_back(office: &Office, payment: Serial, cents: u64, of_cents: u64) -> Result<(), PayError> {
    let known = office.books().ledger.received(&payment);
    let Some(known) = known else { return Ok(()) };
    let all = part(known.amount, cents, of_cents);
    if all < known.refunded.0 {
        tracing::warn!(%payment, "Stripe took a refund back; the log keeps it, so look at Stripe's page");
    }
    let amount = MicroUsd(all.saturating_sub(known.refunded.0).min(known.left().0));
    if amount.0 > 0 {
        office.append_blocking(vec![entry(Refund { payment, amount })])?;
    }
    Ok(())
}

fn invoiced(
    ledger: &counterfoil_ledger::Ledger,
    shown: &Subscribed,
    paid_cents: u64,
    serials: InvoiceSerials,
) -> Result<(Payment, Lot), NotBooked> {
    let (starts, ends) = shown.period.ok_or(NotBooked::NotOneMonth("it has several lines"))?;
    let invoice = Invoice {
        account: &shown.account,
        plan: &shown.plan,
        currency: &shown.currency,
        paid_cents,
        total_cents: shown.total_cents,
        net_cents: shown.net_cents,
        period: (Seconds(starts), Seconds(ends)),
    };
    ledger.invoiced(&invoice, serials, CURRENCY)
}

//= spec/settlement.md#subscriptions
//# A refund or a dispute of c of a charge's g takes ⌊payment × c / g⌋ micro-units
fn part(payment: MicroUsd, cents: u64, of_cents: u64) -> u64 {
    let product = u128::from(payment.0) * u128::from(cents.min(of_cents));
    product.checked_div(u128::from(of_cents)).and_then(|part| u64::try_from(part).ok()).unwrap_or(0)
}

/// The serials of what Stripe knows by an id.
fn serials(id: &str) -> InvoiceSerials {
    let hash = derive(context::PAYMENT_SERVICE, &[id.as_bytes()]);
    let (mut payment, mut lot) = ([0; 16], [0; 16]);
    let bytes = hash.as_bytes().iter();
    for (to, from) in payment.iter_mut().chain(lot.iter_mut()).zip(bytes) {
        *to = *from;
    }
    InvoiceSerials { payment: Serial::from_bytes(payment), lot: Serial::from_bytes(lot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_floored_and_never_more_than_the_whole() {
        assert_eq!(part(MicroUsd(5_000_000), 200, 595), 1_680_672);
        assert_eq!(part(MicroUsd(5_000_000), 595, 595), 5_000_000);
        assert_eq!(part(MicroUsd(5_000_000), 596, 595), 5_000_000);
        assert_eq!(part(MicroUsd(5_000_000), 0, 0), 0);
    }

    #[test]
    fn the_serials_of_an_id_are_the_halves_of_its_hash() {
        let of = serials("in_1");
        let whole = blake3_of("in_1");
        assert_eq!(
            (of.payment.as_bytes(), of.lot.as_bytes()),
            (&whole[..16].try_into().unwrap(), &whole[16..].try_into().unwrap())
        );
        assert_ne!(of, serials("in_2"));
    }

    fn blake3_of(id: &str) -> [u8; 32] {
        *derive("counterfoil v1 payment-service", &[id.as_bytes()]).as_bytes()
    }
}
