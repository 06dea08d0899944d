//! Payment providers to test against: the parts of Stripe and PayPal that payouts use, with books and faults.
//!
//! It is stateful, keeps books of its own in whole cents, and answers over a real socket. What can go wrong with money
//! between two machines is drawn from a seed or follows a script: a request or an answer that is lost, an error that is
//! saved under its key, events that come twice or in another order. It shares no code with what it tests.
//!
//! Fields, states and errors follow the providers' public references: Stripe's of accounts (v2), transfers, reversals,
//! balance, invoices, charges, disputes, events, idempotent requests and webhook signatures; PayPal's of Payouts and of webhook verification.

mod chance;
mod fault;
mod form;
mod hook;
mod paypal;
mod reply;
mod serve;
mod sign;
mod stripe;

pub use chance::Chance;
pub use fault::{Fault, Faults};
pub use hook::Delivery;
pub use paypal::{Item, ItemStatus, PayPal};
pub use serve::{Simulator, StartError};
pub use sign::signature;
pub use stripe::{Account, Dispute, Invoice, Stripe, Transfer};
