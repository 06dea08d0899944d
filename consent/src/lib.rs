//! Grants, checks, narrows and revokes permission to serve a model.
//!
//! A node's operator signs a *consent token*; checking it yields a [`Permit`]; an order of the router that stays
//! within the permit yields an [`ActiveGrant`], without which no work is done. No network, no disk and no clock: the
//! present is an argument. `spec/consent.md` is the normative text.

mod cose;
mod frame;
mod grant;
mod hours;
mod permit;
mod policy;
mod ranges;
mod receipt;
mod rule;
mod token;
mod usage;

pub use counterfoil_identity::Refused;
pub use frame::{FrameMac, MAC_LEN, ReplayWindow};
pub use grant::{ActiveGrant, grant_hash, open_hash, sign_open};
pub use hours::{Hours, HoursFault, Window};
pub use permit::Permit;
pub use policy::{Declined, Issuance, Part, Policy, issue, notice, notice_hash};
pub use receipt::{
    CheckedReceipt, ReceiptFault, accept_ack, check_node_half, countersign, sign_receipt, verify_receipt,
};
pub use rule::ConsentRule;
pub use token::{Expectation, TOKEN_CHECKS, check_token, claimed, claimed_issue, sign_token};
pub use usage::{Booking, REMEMBER_MS, Usage};

#[cfg(test)]
mod tests;
