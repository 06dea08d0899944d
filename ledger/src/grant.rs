//! The entries that a router writes to give an account tokens: the free lot of a new account and a plan's period.

use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::{Lot, LotSource, Payment, Rules};
use counterfoil_spec::time::Seconds;

use crate::calendar::{billing_period, plus_months};

/// One period of a plan, for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanPeriod<'a> {
    /// The account.
    pub account: AccountId,
    /// The plan's name.
    pub plan: &'a str,
    /// When the subscription began.
    pub anchor: Seconds,
    /// Which period of it, from 0.
    pub n: u32,
    /// The id of the lot.
    pub lot: Serial,
    /// Who pays.
    pub funding: Funding,
}

/// Who pays for a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funding {
    /// The customer; a `payment` entry with this serial must come before the lot.
    Paid(Serial),
    /// Nobody: the operator grants it, and it mints nothing for nodes.
    Unpaid,
}

/// The entries of one period, to be appended in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Present where the customer paid; its entry bears the serial that the lot names.
    pub payment: Option<(Serial, Payment)>,
    /// The tokens.
    pub lot: Lot,
}

/// A plan that the rules do not list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no plan {plan:?}; the rules offer {}", offered.join(", "))]
pub struct UnknownPlan {
    /// What was asked for.
    pub plan: String,
    /// What there is.
    pub offered: Vec<String>,
}

/// The free tokens of a new account; `None` where the rules give none. They expire as a plan's first period would.
#[must_use]
pub fn free_lot(rules: &Rules, account: AccountId, lot: Serial, opened: Seconds) -> Option<Lot> {
    (rules.free_tokens.0 > 0).then(|| Lot {
        lot,
        account,
        tokens: rules.free_tokens,
        source: LotSource::Free,
        payment: None,
        starts: opened,
        expires: plus_months(opened, 2),
    })
}

/// The entries of one period of a plan: its tokens from the period's start to the end of the period after it, and
/// its price where the customer pays.
///
/// # Errors
/// [`UnknownPlan`] where the rules do not list the plan.
pub fn subscribe(rules: &Rules, period: &PlanPeriod<'_>) -> Result<Subscribed, UnknownPlan> {
    let plan = rules.plans.iter().find(|p| p.name == period.plan).ok_or_else(|| UnknownPlan {
        plan: period.plan.to_owned(),
        offered: rules.plans.iter().map(|p| p.name.clone()).collect(),
    })?;
    let (starts, ends) = billing_period(period.anchor, period.n);
    let (_, expires) = billing_period(period.anchor, period.n.saturating_add(1));
    let paid = match period.funding {
        Funding::Paid(serial) => Some(serial),
        Funding::Unpaid => None,
    };
    let payment = Payment {
        account: period.account,
        amount: plan.price,
        plan: plan.name.clone(),
        period_start: starts,
        period_end: ends,
    };
    Ok(Subscribed {
        payment: paid.map(|serial| (serial, payment)),
        lot: Lot {
            lot: period.lot,
            account: period.account,
            tokens: plan.tokens,
            source: if paid.is_some() { LotSource::Paid } else { LotSource::Unpaid },
            payment: paid,
            starts,
            expires,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Date;
    use crate::rules::founding_rules;
    use counterfoil_spec::amount::{MicroUsd, TokenCount};

    fn day(month: u64, day: u64) -> Seconds {
        Date::new(2026, month, day).unwrap().midnight()
    }

    fn period(plan: &str, n: u32, funding: Funding) -> PlanPeriod<'_> {
        let account = AccountId::from_bytes([1; 32]);
        PlanPeriod { account, plan, anchor: day(1, 31), n, lot: Serial::from_bytes([2; 16]), funding }
    }

    #[test]
    fn paid_period_rolls_over_for_one_month_and_clamps() {
        let serial = Serial::from_bytes([3; 16]);
        let made = subscribe(&founding_rules(1), &period("builder", 1, Funding::Paid(serial))).unwrap();
        let account = AccountId::from_bytes([1; 32]);
        let payment = Payment {
            account,
            amount: MicroUsd(20_000_000),
            plan: "builder".to_owned(),
            period_start: day(2, 28),
            period_end: day(3, 31),
        };
        let lot = Lot {
            lot: Serial::from_bytes([2; 16]),
            account,
            tokens: TokenCount(2_000_000),
            source: LotSource::Paid,
            payment: Some(serial),
            starts: day(2, 28),
            expires: day(4, 30),
        };
        assert_eq!(made, Subscribed { payment: Some((serial, payment)), lot });
    }

    #[test]
    fn unpaid_period_has_no_payment() {
        let made = subscribe(&founding_rules(1), &period("explorer", 0, Funding::Unpaid)).unwrap();
        assert_eq!(made.payment, None);
        assert_eq!((made.lot.source, made.lot.payment), (LotSource::Unpaid, None));
    }

    #[test]
    fn unknown_plan_names_those_on_offer() {
        assert_eq!(
            subscribe(&founding_rules(1), &period("Builder", 0, Funding::Unpaid)).unwrap_err().to_string(),
            "there is no plan \"Builder\"; the rules offer explorer, builder, operator"
        );
    }

    #[test]
    fn free_lot_follows_the_rules() {
        let mut rules = founding_rules(1);
        let account = AccountId::from_bytes([1; 32]);
        let lot = free_lot(&rules, account, Serial::from_bytes([2; 16]), day(1, 31)).unwrap();
        assert_eq!((lot.tokens, lot.source, lot.expires), (TokenCount(50_000), LotSource::Free, day(3, 31)));
        rules.free_tokens = TokenCount(0);
        assert_eq!(free_lot(&rules, account, Serial::from_bytes([2; 16]), day(1, 31)), None);
    }
}
