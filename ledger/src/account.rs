//! Accounts, their API keys and what they may spend.

use std::collections::BTreeSet;

use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::{KeyScope, LotSource};
use counterfoil_spec::time::Seconds;
use serde::Serialize;

use crate::usage::UsageRows;

/// An account as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) metered: bool,
    pub(crate) country: Option<Country>,
    pub(crate) opened: Seconds,
    pub(crate) free_granted: bool,
    pub(crate) spent: TokenCount,
    pub(crate) keys: Vec<Serial>,
    /// Lots in the order in which they are spent: earliest expiry first, then by serial.
    pub(crate) lots: BTreeSet<(Seconds, Serial)>,
    pub(crate) usage: UsageRows,
}

impl Account {
    pub(crate) fn new(metered: bool, country: Option<Country>, opened: Seconds) -> Self {
        Self {
            metered,
            country,
            opened,
            free_granted: false,
            spent: TokenCount(0),
            keys: Vec::new(),
            lots: BTreeSet::new(),
            usage: UsageRows::new(),
        }
    }

    /// Whether its use is counted against lots.
    #[must_use]
    pub const fn is_metered(&self) -> bool {
        self.metered
    }

    /// Where its callers are from, if that is known.
    #[must_use]
    pub const fn country(&self) -> Option<Country> {
        self.country
    }

    /// When it was opened.
    #[must_use]
    pub const fn opened(&self) -> Seconds {
        self.opened
    }

    /// Whether it received the free tokens of a new account.
    #[must_use]
    pub const fn free_granted(&self) -> bool {
        self.free_granted
    }

    /// The ids of its API keys, in the order in which they were made.
    #[must_use]
    pub fn keys(&self) -> &[Serial] {
        &self.keys
    }
}

/// An API key, found by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyFacts {
    /// Its id.
    pub key_id: Serial,
    /// Whose.
    pub account: AccountId,
    /// Whether it was withdrawn.
    pub revoked: bool,
    /// The first second at which it is no longer valid.
    pub expires: Option<Seconds>,
    /// What it may be used for; absent for requests.
    pub scope: Option<KeyScope>,
    /// Where who uses it is from, if that is known: its own country or the account's.
    pub country: Option<Country>,
}

impl KeyFacts {
    /// Whether it may be used at an instant.
    #[must_use]
    pub fn in_force(&self, now: Seconds) -> bool {
        !self.revoked && self.expires.is_none_or(|end| now < end)
    }
}

/// What an account may spend at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Whether use is counted at all; the other figures say nothing where it is not.
    pub metered: bool,
    /// Left in lots in force and not held by a running request.
    pub available: TokenCount,
    /// Held by running requests.
    pub held: TokenCount,
    /// Debited since the account was opened.
    pub spent: TokenCount,
    /// Lots in force, in the order in which they are spent.
    pub lots: Vec<LotBalance>,
}

/// One lot in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LotBalance {
    /// Its id.
    pub lot: Serial,
    /// Why it was granted.
    pub source: LotSource,
    /// Left and not held.
    pub available: TokenCount,
    /// Held by running requests.
    pub held: TokenCount,
    /// The first second at which it may not be spent.
    pub expires: Seconds,
}
