//! Entries about what providers are paid: what they earned, where it goes, payouts and what became of them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::amount::Cents;
use crate::ids::{Hash, ProviderId, Serial};

/// `earnings`: shares of a closed quarter that are owed to providers from here on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Earnings {
    /// The quarter, such as `2026Q4`.
    #[n(1)]
    pub quarter: String,
    /// Providers in ascending order, each with more than nothing.
    #[n(2)]
    pub providers: Vec<ProviderEarning>,
}

/// What one provider earned in a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(array)]
pub struct ProviderEarning {
    /// Who.
    #[n(0)]
    pub provider: ProviderId,
    /// How much.
    #[n(1)]
    pub cents: Cents,
}

/// `dispute`: a provider's share of a closed quarter is contested. Its entry's serial is the dispute's id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Dispute {
    /// The quarter, such as `2026Q4`.
    #[n(1)]
    pub quarter: String,
    /// Whose share.
    #[n(2)]
    pub provider: ProviderId,
    /// What it should have been.
    #[n(3)]
    pub claimed: Cents,
    /// Why, in words.
    #[n(4)]
    pub reason: String,
}

/// `correction`: the answer to a dispute; the share of the quarter that was closed stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Correction {
    /// Which.
    #[n(1)]
    pub dispute: Serial,
    /// What is owed more to the provider from here on, or less; nothing where the share stands.
    #[n(2)]
    pub cents: Cents,
    /// Why, in words.
    #[n(3)]
    pub reason: String,
}

/// Whose service moves the money.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Rail {
    /// Transfers of Stripe Connect.
    #[n(1)]
    Stripe,
    /// PayPal Payouts.
    #[n(2)]
    Paypal,
}

/// `payout-destination`: where a provider's money goes, and whether it can.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PayoutDestination {
    /// Whose.
    #[n(1)]
    pub provider: ProviderId,
    /// By which service.
    #[n(2)]
    pub rail: Rail,
    /// A salted commitment to the account or address there; the router keeps both in its vault.
    #[n(3)]
    pub commitment: Hash,
    /// Whether the service says that money can be sent there.
    #[n(4)]
    pub ready: bool,
}

/// `provider-offboarded`: a provider leaves; what is owed to it is paid out whole, however little it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ProviderOffboarded {
    /// Who.
    #[n(1)]
    pub provider: ProviderId,
}

/// `payout`: the intent to pay, written before the service is asked. Its entry's serial is the payout's id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Payout {
    /// To whom.
    #[n(1)]
    pub provider: ProviderId,
    /// All that was owed.
    #[n(2)]
    pub cents: Cents,
    /// By which service.
    #[n(3)]
    pub rail: Rail,
    /// The commitment of the destination.
    #[n(4)]
    pub destination: Hash,
}

/// What a service says of a payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum PayoutOutcome {
    /// It has it and has not decided.
    #[n(1)]
    Accepted,
    /// The money went out.
    #[n(2)]
    Paid,
    /// No money moved, and under this key none will.
    #[n(3)]
    Failed,
    /// Money that went out came back, in part or whole.
    #[n(4)]
    Returned,
}

/// `psp-report`: what a service said when it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PspReport {
    /// The payout.
    #[n(1)]
    pub payout: Serial,
    /// What became of it.
    #[n(2)]
    pub outcome: PayoutOutcome,
    /// All that came back so far.
    #[n(3)]
    pub returned: Cents,
    /// What the service calls it, or its word for why it failed.
    #[n(4)]
    pub reference: String,
}
