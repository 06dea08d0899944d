//! Payouts: what is owed to providers, where it goes, and which steps a payout may take.
//!
//! ```text
//! accrued -> payable -> submitted -> paid | failed | returned
//! ```
//!
//! Accrued is a provider's balance; payable is that balance once it is enough and can be sent. What the payment service
//! does is reported in entries; nothing here asks it.

mod posting;
mod reserve;

use std::collections::BTreeMap;

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{Hash, ProviderId, Serial};
use counterfoil_spec::payload::Rail;
use counterfoil_spec::time::Seconds;
use serde::Serialize;

use crate::book::MoneyAccount;
use crate::calendar::DAY_S;
use crate::fold::Ledger;
use crate::posting::MICRO_PER_CENT;

pub(crate) use reserve::Reserved;

/// How long a change of destination waits.
const CHANGE_WAITS_S: u64 = 7 * DAY_S;

/// A registered provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    pub(crate) offboarded: bool,
    /// How many different destinations were named.
    pub(crate) turn: u64,
    pub(crate) destination: Option<Destination>,
    pub(crate) open: Option<Serial>,
}

impl Provider {
    /// Where its money goes.
    #[must_use]
    pub const fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// Whether it left.
    #[must_use]
    pub const fn offboarded(&self) -> bool {
        self.offboarded
    }
}

/// Where a provider's money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// By which service.
    pub rail: Rail,
    /// The commitment to the account or address.
    pub commitment: Hash,
    /// Whether the service can send money there.
    pub ready: bool,
    /// The first second at which it is in force.
    pub from: Seconds,
}

/// Where a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayoutStatus {
    /// Its intent is in the log; the service may have it.
    Submitted,
    /// The money went out.
    Paid,
    /// No money moved.
    Failed,
    /// So much came back.
    Returned(Cents),
}

/// A payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayoutState {
    /// To whom.
    pub provider: ProviderId,
    /// How much.
    pub cents: Cents,
    /// By which service.
    pub rail: Rail,
    /// The commitment of the destination.
    pub destination: Hash,
    /// When its intent was written.
    pub since: Seconds,
    /// Where it stands.
    pub status: PayoutStatus,
    /// What the service calls it, where it said so.
    pub reference: Option<String>,
}

/// What can be paid out to a provider now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payable {
    /// All of it.
    pub cents: Cents,
    /// Where to.
    pub destination: Destination,
}

/// Why nothing can be paid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPayable {
    /// No entry registered it.
    #[error("provider {0} was never registered")]
    Unknown(ProviderId),
    /// Less than the least payout.
    #[error(
        "{owed} cents are owed beyond what is held back and the least payout is {least}; they carry forward"
    )]
    TooLittle {
        /// Whole cents beyond the reserve; below zero where the reserve is more than what is owed.
        owed: i64,
        /// The least.
        least: i64,
    },
    /// It was not onboarded.
    #[error("the provider has no destination; `counterfoil provider onboarding` names one")]
    NoDestination,
    /// The service cannot send money there yet.
    #[error("the destination is not ready; its holder has to answer what the payment service asks")]
    NotReady,
    /// A change of destination waits.
    #[error("the destination was changed and is in force from {from} (Unix seconds) on")]
    Waiting {
        /// From when on.
        from: Seconds,
    },
    /// Another payout is under way.
    #[error(
        "payout {0} is under way; the next one follows once the payment service has said what became of it"
    )]
    Open(Serial),
}

impl Ledger {
    /// A registered provider.
    #[must_use]
    pub fn provider(&self, provider: &ProviderId) -> Option<&Provider> {
        self.providers.get(provider)
    }

    /// Every registered provider.
    pub fn providers(&self) -> impl Iterator<Item = (&ProviderId, &Provider)> {
        self.providers.iter()
    }

    /// What a provider earned in a quarter, as far as entries say so.
    #[must_use]
    pub fn earned(&self, quarter: &str, provider: &ProviderId) -> Option<Cents> {
        self.earned.get(quarter)?.get(provider).copied()
    }

    /// How many destinations a provider has had.
    #[must_use]
    pub fn destination_turn(&self, provider: &ProviderId) -> u64 {
        self.providers.get(provider).map_or(0, |p| p.turn)
    }

    /// One payout, by the serial of its intent.
    #[must_use]
    pub fn payout(&self, payout: &Serial) -> Option<&PayoutState> {
        self.payouts.get(payout)
    }

    /// Every payout, in order of the serials.
    pub fn payouts(&self) -> impl Iterator<Item = (&Serial, &PayoutState)> {
        self.payouts.iter()
    }

    /// What is owed to a provider, in whole cents; negative where more was paid than was owed.
    #[must_use]
    pub fn owed(&self, provider: &ProviderId) -> Cents {
        let micro = self.money.balance(&MoneyAccount::Provider(*provider));
        // Everything that moves there is whole cents, and checked to fit.
        Cents(i64::try_from(micro.div_euclid(MICRO_PER_CENT)).unwrap_or(0))
    }

    /// What can be paid out to a provider at an instant.
    ///
    /// # Errors
    /// [`NotPayable`] says what is missing.
    pub fn payable(&self, provider: &ProviderId, now: Seconds) -> Result<Payable, NotPayable> {
        let known = self.providers.get(provider).ok_or(NotPayable::Unknown(*provider))?;
        if let Some(open) = known.open {
            return Err(NotPayable::Open(open));
        }
        let owed = Cents(self.owed(provider).0.saturating_sub(self.reserved(provider, now).0));
        let least = if known.offboarded { 1 } else { self.rules().payout_min.0.max(1) };
        if owed.0 < least {
            return Err(NotPayable::TooLittle { owed: owed.0, least });
        }
        let destination = known.destination.ok_or(NotPayable::NoDestination)?;
        if now < destination.from {
            return Err(NotPayable::Waiting { from: destination.from });
        }
        if !destination.ready {
            return Err(NotPayable::NotReady);
        }
        Ok(Payable { cents: owed, destination })
    }
}

/// Under which a payment service is asked for a payout, and for no other.
#[must_use]
pub fn payout_key(payout: &Serial) -> String {
    format!("{KEY_PREFIX}{payout}")
}

/// The payout of a key; `None` for a text that is no key.
#[must_use]
pub fn payout_of_key(key: &str) -> Option<Serial> {
    key.strip_prefix(KEY_PREFIX)?.parse().ok()
}

/// What a payout's key begins with.
const KEY_PREFIX: &str = "counterfoil-";

/// Who is registered, and what was paid out.
pub(crate) type Providers = BTreeMap<ProviderId, Provider>;
/// Payouts by the serials of their intents.
pub(crate) type Payouts = BTreeMap<Serial, PayoutState>;
