//! Asks payment providers to pay: thin clients of Stripe and PayPal behind one trait, and the check of their webhooks.
//!
//! It knows nothing of the log, the ledger and of time. [`Payouts::advance`] brings one payout as far as the provider
//! lets it and says where it stands, as often as it is asked: what was asked before is looked for before it is asked
//! again, and it is asked again with the same key. An answer that leaves open whether money moved is [`Unclear`], never
//! a failure. Webhooks say that there is something to look at, never what.

mod hook;
mod https;
mod order;
pub mod paypal;
mod secret;
pub mod stripe;

pub use hook::{Billed, Event, HookError};
pub use https::{Base, BaseError};
pub use order::{Asked, Order, Payouts, Said, Unclear};
pub use secret::{Secret, SecretError};
