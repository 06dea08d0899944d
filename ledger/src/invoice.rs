//! What a payment service's invoice comes to: the payment and the lot of one month of a plan, or a reason why nothing is booked.

use counterfoil_spec::amount::MicroUsd;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::{Lot, LotSource, Payment};
use counterfoil_spec::text::shown;
use counterfoil_spec::time::Seconds;

use crate::calendar::month_after;
use crate::fold::Ledger;
use crate::grant::UnknownPlan;
use crate::posting::MICRO_PER_CENT;

/// An invoice that its service calls paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoice<'a> {
    /// Whose it is, as whoever made the subscription wrote it there.
    pub account: &'a str,
    /// The plan, likewise.
    pub plan: &'a str,
    /// Three letters.
    pub currency: &'a str,
    /// What charges paid of it, with taxes.
    pub paid_cents: u64,
    /// What was to be paid, with taxes.
    pub total_cents: i64,
    /// The same without taxes.
    pub net_cents: i64,
    /// The month that it is for: its first second, and the first one after it.
    pub period: (Seconds, Seconds),
}

/// The serials under which an invoice is booked, and so booked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvoiceSerials {
    /// Of the payment's entry.
    pub payment: Serial,
    /// Of the lot.
    pub lot: Serial,
}

/// Why an invoice is not booked. Nothing is, and the same invoice may be booked later, once what is named here was put right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBooked {
    /// It names no account of this network.
    #[error(
        "it names the account {:?}, which this network does not have; write an id of `counterfoil account list` into the \
         subscription's metadata as account", shown(.0)
    )]
    UnknownAccount(String),
    /// It names no plan of the rules in force.
    #[error(transparent)]
    UnknownPlan(#[from] UnknownPlan),
    /// It is in another currency.
    #[error("it is in {:?} and this network counts in {network}", shown(.found))]
    WrongCurrency {
        /// The invoice's.
        found: String,
        /// The network's.
        network: String,
    },
    /// It credits more than it asks.
    #[error("it comes to {0} cents, so nothing was paid with it")]
    Negative(i64),
    /// A part was paid out of the customer's balance, or is not paid.
    #[error(
        "{paid_cents} cents of its {total_cents} were charged; the rest is another payment's, or nobody's"
    )]
    PartlyPaid {
        /// With taxes.
        paid_cents: u64,
        /// Likewise.
        total_cents: i64,
    },
    /// It is not the price of the plan.
    #[error(
        "{net_cents} cents without taxes were paid for plan {plan}, which costs {price_micro} micro-units"
    )]
    WrongAmount {
        /// Which.
        plan: String,
        /// What was paid.
        net_cents: i64,
        /// What the rules say.
        price_micro: u64,
    },
    /// It is for more or less than one month of one plan.
    #[error("it is not for one month of one plan ({0}); prorated changes are booked by hand")]
    NotOneMonth(&'static str),
}

impl Ledger {
    /// The payment and the lot of an invoice.
    ///
    /// # Errors
    /// [`NotBooked`].
    //= spec/settlement.md#subscriptions
    //# An invoice MUST be booked only where its account and its plan are known, its currency is the network's, all of it
    //# was charged, what it comes to without taxes is the plan's price in the rules in force, and its period is a month of a plan; else
    //# nothing of it is.
    pub fn invoiced(
        &self,
        invoice: &Invoice<'_>,
        serials: InvoiceSerials,
        currency: &str,
    ) -> Result<(Payment, Lot), NotBooked> {
        let account: Option<AccountId> = invoice.account.parse().ok();
        let account = account.filter(|id| self.account(id).is_some());
        let account = account.ok_or_else(|| NotBooked::UnknownAccount(invoice.account.to_owned()))?;
        let plans = &self.rules().plans;
        let plan = plans.iter().find(|plan| plan.name == invoice.plan).ok_or_else(|| UnknownPlan {
            plan: invoice.plan.to_owned(),
            offered: plans.iter().map(|plan| plan.name.clone()).collect(),
        })?;
        if !invoice.currency.eq_ignore_ascii_case(currency) {
            let (found, network) = (invoice.currency.to_owned(), currency.to_owned());
            return Err(NotBooked::WrongCurrency { found, network });
        }
        if invoice.total_cents < 0 {
            return Err(NotBooked::Negative(invoice.total_cents));
        }
        if i128::from(invoice.paid_cents) != i128::from(invoice.total_cents) {
            let (paid_cents, total_cents) = (invoice.paid_cents, invoice.total_cents);
            return Err(NotBooked::PartlyPaid { paid_cents, total_cents });
        }
        let net = i128::from(invoice.net_cents) * MICRO_PER_CENT;
        if net != i128::from(plan.price.0) {
            return Err(NotBooked::WrongAmount {
                plan: plan.name.clone(),
                net_cents: invoice.net_cents,
                price_micro: plan.price.0,
            });
        }
        let (starts, ends) = invoice.period;
        let expires = month_after(starts, ends).ok_or(NotBooked::NotOneMonth("its period is no month"))?;
        let payment = Payment {
            account,
            amount: MicroUsd(plan.price.0),
            plan: plan.name.clone(),
            period_start: starts,
            period_end: ends,
        };
        let lot = Lot {
            lot: serials.lot,
            account,
            tokens: plan.tokens,
            source: LotSource::Paid,
            payment: Some(serials.payment),
            starts,
            expires,
        };
        Ok((payment, lot))
    }
}
