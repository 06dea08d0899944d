//! What customers paid through Stripe: an event says that something happened to an invoice, a charge or a dispute, Stripe is
//! asked how that stands, and what the log does not have yet is written. The serials follow from Stripe's ids, so that the log
//! alone says what was booked.

use std::sync::Arc;

use counterfoil_audit::NewEntry;
use counterfoil_identity::digest::{context, derive};
use counterfoil_ledger::invoice::{Invoice, InvoiceSerials, NotBooked};
use counterfoil_payouts::Billed;
use counterfoil_payouts::stripe::{Charge, Dispute, Invoice as Shown};
use counterfoil_spec::amount::MicroUsd;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{Chargeback, Lot, Payment, Refund};
use counterfoil_spec::time::Seconds;

use super::{PayError, Payday, decided};
use crate::office::{CURRENCY, Office, entry};

impl Payday {
    /// Books what is new about what customers paid.
    pub(super) async fn heed_billed(&self, office: &Arc<Office>, billed: &Billed) -> Result<(), PayError> {
        // What was read first is written first.
        let _alone = self.alone.lock().await;
        let stripe = self.stripe()?;
        match billed {
            Billed::Invoice(id) => self.book(office, id).await.map(drop),
            Billed::Charge(id) => self.take_back(office, stripe.charge(id).await?).await,
            Billed::Dispute(id) => {
                let charge = stripe.disputed_charge(id).await?;
                self.take_back(office, stripe.charge(&charge).await?).await
            }
        }
    }

    /// Books an invoice that was paid, once; the serial of its payment where it is booked.
    async fn book(&self, office: &Arc<Office>, id: &str) -> Result<Option<Serial>, PayError> {
        let serials = serials(id);
        let known = office.books().ledger.received(&serials.payment);
        if known.is_some_and(|known| known.lot.is_some()) {
            return Ok(Some(serials.payment));
        }
        let shown = self.stripe()?.invoice(id).await?;
        if !shown.paid {
            return Ok(None);
        }
        decided(office, move |office| {
            let (known, made) = {
                let books = office.books();
                (books.ledger.received(&serials.payment), invoiced(&books.ledger, &shown, serials))
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
            Ok(Some(serials.payment))
        })
        .await?
    }

    /// Books what was given back of a charge, and what disputes hold back of it.
    async fn take_back(&self, office: &Arc<Office>, charge: Charge) -> Result<(), PayError> {
        let Some(invoice) = &charge.invoice else { return Ok(()) };
        // An event about a charge may come before the one about its invoice.
        let Some(payment) = self.book(office, invoice).await? else { return Ok(()) };
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
    shown: &Shown,
    serials: InvoiceSerials,
) -> Result<(Payment, Lot), NotBooked> {
    let (starts, ends) = shown.period.ok_or(NotBooked::NotOneMonth("it has several lines"))?;
    let invoice = Invoice {
        account: &shown.account,
        plan: &shown.plan,
        currency: &shown.currency,
        // A customer's credit or a payment elsewhere leaves less to be paid than the invoice says.
        net_cents: shown.net_cents.min(shown.paid_cents),
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
