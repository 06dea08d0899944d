//! What is asked of a provider, and what it may say.

use std::future::Future;

/// One payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Under which it is carried out at most once: the same for every attempt, another for every payout.
    pub key: String,
    /// Hundredths of the currency unit.
    pub cents: u64,
    /// Three letters, in capitals.
    pub currency: String,
    /// Whom the provider knows: an account, or an e-mail address.
    pub destination: String,
    /// What the provider calls it, where it said so.
    pub reference: Option<String>,
    /// Whether the provider may know it already.
    pub asked: Asked,
}

/// Whether a provider was asked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nobody can have asked: its intent was written down just now.
    Never,
    /// Somebody may have; the intent was written down so many seconds ago.
    Perhaps {
        /// Seconds since then.
        age_s: u64,
    },
}

/// Where a payout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The provider has it and has not decided.
    Pending {
        /// What it calls it.
        reference: String,
    },
    /// The money went to the destination; some of it, or all, came back.
    Paid {
        /// What the provider calls it.
        reference: String,
        /// Cents that came back.
        returned: u64,
    },
    /// No money moved, and under this key none will.
    Failed {
        /// The provider's word for why.
        reason: String,
    },
}

/// It is not known whether money moved. Ask again, with the same order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// No whole answer.
    #[error("no answer: {0}")]
    Broken(String),
    /// The provider has a fault, is busy, or is still at it.
    #[error("the provider answers {status}: {reason}")]
    Later {
        /// Its status.
        status: u16,
        /// Its word for why.
        reason: String,
    },
    /// The provider does not let us in.
    #[error(
        "the provider refuses our key ({status}): {reason}; look at the key's file and what the key may do"
    )]
    Unauthorised {
        /// Its status.
        status: u16,
        /// Its word for why.
        reason: String,
    },
    /// The provider has something else under our key.
    #[error(
        "the provider has another payout under this key: {0}; compare it with the provider's page by hand"
    )]
    Contradiction(String),
    /// Too much time has passed to ask again without a risk.
    #[error(
        "{0} days have passed and nobody knows what became of it; look at the provider's page and settle it by hand"
    )]
    TooOld(u64),
    /// An answer that says nothing.
    #[error("the provider's answer cannot be read: {0}")]
    Unreadable(String),
}

/// A payment provider.
pub trait Payouts {
    /// Brings a payout as far as the provider lets it. Safe to repeat: for one key money moves at most once.
    ///
    /// # Errors
    /// [`Unclear`]: the payout stays as it was, and the same order is to be asked for again.
    fn advance(&self, order: &Order) -> impl Future<Output = Result<Said, Unclear>> + Send;

    /// Cents that could be paid out now; `None` where the provider does not say.
    ///
    /// # Errors
    /// [`Unclear`].
    fn balance(&self, currency: &str) -> impl Future<Output = Result<Option<u64>, Unclear>> + Send;
}
