//! What entries say, kind by kind; `spec/registry.json` lists every number with its author.
//!
//! A payload is a CBOR map with integer keys. Numbers of kinds are never reused; a kind without a type here is
//! refused by the decoder.

mod money;
mod network;
mod payout;
mod work;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::Serialize;

pub use money::{
    AccountOpened, Chargeback, KeyCreated, KeyRevoked, KeyScope, Lot, LotSource, ModelWeight, Payment, Plan,
    PoolRule, ProviderRegistered, Refund, Rules, Statement,
};
pub use network::{
    CaIssued, CapacityAttested, ConsentGranted, ConsentRevoked, DenyListIssued, Genesis, JoinToken,
    KeyRotation, LogKeyRetired, ModelPublished, ModelSize, ModelSource, NodeEnrolled, NodeRenewed,
    PeerAnchor, RefusalSeen, RotatedKey,
};
pub use payout::{
    Correction, Dispute, Earnings, Payout, PayoutDestination, PayoutOutcome, ProviderEarning,
    ProviderOffboarded, PspReport, Rail,
};
pub use work::{
    Credit, Debit, FinishReason, Inference, NodeUptime, Prune, QuotaLease, REMOVABLE_KINDS, RemovedKind,
    Tombstone, Uptime, Work,
};

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(tag = "kind", content = "payload", rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Payload {
            $($(#[$doc])* $name($name),)+
        }

        impl Payload {
            /// Every kind with a type here, as (number, name).
            pub const KINDS: &[(u16, &str)] = &[$(($number, $text)),+];

            /// The number of its kind.
            #[must_use]
            pub const fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $number,)+ }
            }

            /// The name of its kind.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)+ }
            }

            pub(crate) fn encode_inner<W: encode::Write, C>(
                &self,
                e: &mut Encoder<W>,
                ctx: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                match self { $(Self::$name(p) => p.encode(e, ctx),)+ }
            }

            pub(crate) fn decode_inner<C>(
                kind: u16,
                d: &mut Decoder<'_>,
                ctx: &mut C,
            ) -> Result<Self, decode::Error> {
                match kind {
                    $($number => $name::decode(d, ctx).map(Self::$name),)+
                    _ => Err(decode::Error::message(format!("entry kind {kind} is not known here"))),
                }
            }
        }

        $(impl From<$name> for Payload {
            fn from(p: $name) -> Self {
                Self::$name(p)
            }
        })+
    };
}

payloads! {
    /// The first entry of every log.
    Genesis = 1, "genesis";
    /// The rules of money from here on.
    Rules = 2, "rules";
    /// A key took the place of another.
    KeyRotation = 3, "key-rotation";
    /// A certificate of an issuing CA.
    CaIssued = 4, "ca-issued";
    /// A node joined.
    NodeEnrolled = 5, "node-enrolled";
    /// A node's certificate of a new generation was first used.
    NodeRenewed = 6, "node-renewed";
    /// What is refused from here on.
    DenyListIssued = 7, "deny-list";
    /// A payout identity and its nodes.
    ProviderRegistered = 8, "provider-registered";
    /// A measured capacity.
    CapacityAttested = 9, "capacity-attested";
    /// A join token was made.
    JoinToken = 10, "join-token";
    /// A consent token was accepted.
    ConsentGranted = 11, "consent-granted";
    /// A consent token was withdrawn.
    ConsentRevoked = 12, "consent-revoked";
    /// A model may be asked for.
    ModelPublished = 13, "model-published";
    /// An account was opened.
    AccountOpened = 14, "account-opened";
    /// An API key was made.
    KeyCreated = 15, "key-created";
    /// An API key was withdrawn.
    KeyRevoked = 16, "key-revoked";
    /// Tokens were granted to an account.
    Lot = 17, "lot";
    /// Money was received.
    Payment = 18, "payment";
    /// Money was given back.
    Refund = 19, "refund";
    /// A request was answered or failed.
    Inference = 20, "inference";
    /// A node worked on a request.
    Work = 21, "work";
    /// How long nodes were up in one hour.
    Uptime = 22, "uptime";
    /// Another log's signed checkpoint, whole.
    PeerAnchor = 24, "peer-anchor";
    /// A payment provider's report.
    PspReport = 25, "psp-report";
    /// A quarter was closed.
    Statement = 26, "statement";
    /// A step of a payout.
    Payout = 27, "payout";
    /// A share is contested.
    Dispute = 28, "dispute";
    /// A dispute is answered.
    Correction = 29, "correction";
    /// Old entries were removed; their hashes stay.
    Prune = 30, "prune";
    /// A refusal worth remembering.
    RefusalSeen = 31, "refusal";
    /// Salts were deleted.
    Tombstone = 33, "tombstone";
    /// Tokens were reserved from a day's quota.
    QuotaLease = 34, "quota-lease";
    /// A key of the log signs no more heads.
    LogKeyRetired = 35, "log-key-retired";
    /// What providers earned in a closed quarter.
    Earnings = 36, "earnings";
    /// Where a provider's money goes.
    PayoutDestination = 37, "payout-destination";
    /// A provider leaves.
    ProviderOffboarded = 38, "provider-offboarded";
    /// Money is held back by a payer's bank.
    Chargeback = 39, "chargeback";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_ascend() {
        assert!(Payload::KINDS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
