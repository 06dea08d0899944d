//! What a webhook comes to, whoever sent it.

use crate::order::Unclear;

/// An event whose sender is known. It says that something happened, and to what; what it was is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id of it.
    pub id: String,
    /// The provider's name of what happened.
    pub kind: String,
    /// The key of the payout that it is about.
    pub payout: Option<String>,
    /// The recipient account that it is about.
    pub account: Option<String>,
    /// What of a customer's payments it is about.
    pub billed: Option<Billed>,
}

/// What an event about a customer's payment names, by the provider's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Billed {
    /// An invoice was paid.
    Invoice(String),
    /// A charge was given back, in part or whole.
    Charge(String),
    /// A charge is disputed, or that was decided.
    Dispute(String),
}

/// Why an event is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No signature, or not one in the provider's form.
    #[error("no signature in the provider's form")]
    Unsigned,
    /// No secret that is known here made its signature.
    #[error("the signature is by none of the secrets that are known here")]
    WrongSignature,
    /// Signed too long ago, or in the future.
    #[error("signed {0} seconds from now; the tolerance is 300, so look at this machine's clock")]
    OutOfTime(u64),
    /// Its body is no event.
    #[error("the body is no event")]
    Unreadable,
    /// The provider could not be asked whether it is genuine.
    #[error("whether it is genuine is not known: {0}")]
    Unclear(#[from] Unclear),
}
