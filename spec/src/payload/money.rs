//! Entries about the rules of money, accounts and what they paid, providers and what they earned.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::amount::{Cents, MicroUsd, TokenCount};
use crate::country::Country;
use crate::ids::{AccountId, Hash, ManifestId, NodeId, ProviderId, Serial};
use crate::time::Seconds;

/// How the pool is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum PoolRule {
    /// One pool for all, by micro-tokens and tier.
    #[n(1)]
    ProRata,
    /// Each account's share goes to the nodes that served it.
    #[n(2)]
    PerAccount,
}

/// A subscription plan.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Plan {
    /// Its name, lowercase.
    #[n(1)]
    pub name: String,
    /// The price of one period.
    #[n(2)]
    pub price: MicroUsd,
    /// The tokens of one period.
    #[n(3)]
    pub tokens: TokenCount,
}

/// `rules`: versioned; each entry replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Rules {
    /// Rising by one.
    #[n(1)]
    pub version: u64,
    /// How the pool is shared.
    #[n(2)]
    pub pool_rule: PoolRule,
    /// The pool's part of net recognised revenue, in hundredths of a percent.
    #[n(3)]
    pub pool_bps: u32,
    /// The part of the pool that goes by uptime, in hundredths of a percent.
    #[n(4)]
    pub uptime_bps: u32,
    /// The plans on offer.
    #[n(5)]
    pub plans: Vec<Plan>,
    /// The list price, micro-units per 1,000 tokens.
    #[n(6)]
    pub list_price_micro_per_1k: u64,
    /// Below this a provider's balance carries forward.
    #[n(7)]
    pub payout_min: Cents,
    /// Tokens given once to a new account.
    #[n(8)]
    pub free_tokens: TokenCount,
    /// Integer weights of models; 1 where absent.
    #[n(9)]
    pub model_weights: Vec<ModelWeight>,
    /// The part of what a provider earns that is held back for 180 days, in hundredths of a percent; none where absent.
    #[n(10)]
    pub reserve_bps: Option<u32>,
}

/// By how much a model's tokens count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct ModelWeight {
    /// The model.
    #[n(0)]
    pub manifest: ManifestId,
    /// At least 1.
    #[n(1)]
    pub weight: u32,
}

/// `provider-registered`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ProviderRegistered {
    /// The payout identity.
    #[n(1)]
    pub provider: ProviderId,
    /// All of its nodes, sorted; replaces an earlier list.
    #[n(2)]
    pub nodes: Vec<NodeId>,
    /// Accounts of the same owner, sorted.
    #[n(3)]
    pub accounts: Vec<AccountId>,
    /// Whether the router's operator owns it too.
    #[n(4)]
    pub affiliated: bool,
}

/// `account-opened`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct AccountOpened {
    /// The account.
    #[n(1)]
    pub account: AccountId,
    /// Whether its use is counted against lots; the `local` account of `run` is not.
    #[n(2)]
    pub metered: bool,
    /// Where its callers are from; absent where that is not known.
    #[n(3)]
    pub country: Option<Country>,
}

/// What a key may be used for beyond requests of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum KeyScope {
    /// To read the log's entries, and for nothing else.
    #[n(1)]
    Auditor,
}

/// `key-created`: the hash of an API key with 256 random bits.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct KeyCreated {
    /// Its id.
    #[n(1)]
    pub key_id: Serial,
    /// Whose.
    #[n(2)]
    pub account: AccountId,
    /// BLAKE3 derive_key("counterfoil v1 api-key", the key as the client sends it).
    #[n(3)]
    pub key_hash: Hash,
    /// Its end; absent where it has none.
    #[n(4)]
    pub expires: Option<Seconds>,
    /// Where who uses it is from, if it is not the account's country.
    #[n(5)]
    pub country: Option<Country>,
    /// What it may be used for; absent for requests.
    #[n(6)]
    pub scope: Option<KeyScope>,
}

/// `key-revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct KeyRevoked {
    /// Its id.
    #[n(1)]
    pub key_id: Serial,
}

/// Why an account received tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum LotSource {
    /// Given once; mints nothing for nodes.
    #[n(1)]
    Free,
    /// Bought with the payment that the lot names.
    #[n(2)]
    Paid,
    /// Granted by the operator without a payment; mints nothing for nodes.
    #[n(3)]
    Unpaid,
}

/// `lot`: tokens to spend, the earliest expiry first.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Lot {
    /// Its id.
    #[n(1)]
    pub lot: Serial,
    /// Whose.
    #[n(2)]
    pub account: AccountId,
    /// How many.
    #[n(3)]
    pub tokens: TokenCount,
    /// Why.
    #[n(4)]
    pub source: LotSource,
    /// The serial of the payment entry; present exactly where the source is paid.
    #[n(5)]
    pub payment: Option<Serial>,
    /// From when it may be spent.
    #[n(6)]
    pub starts: Seconds,
    /// The first second at which it may not.
    #[n(7)]
    pub expires: Seconds,
}

/// `payment`: the price of one period of a plan; the entry's serial names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Payment {
    /// Whose.
    #[n(1)]
    pub account: AccountId,
    /// Net of taxes.
    #[n(2)]
    pub amount: MicroUsd,
    /// The plan's name.
    #[n(3)]
    pub plan: String,
    /// The period's first second.
    #[n(4)]
    pub period_start: Seconds,
    /// The first second after the period.
    #[n(5)]
    pub period_end: Seconds,
}

/// `refund`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Refund {
    /// The serial of the payment entry.
    #[n(1)]
    pub payment: Serial,
    /// How much of it.
    #[n(2)]
    pub amount: MicroUsd,
}

/// `chargeback`: what a payer's bank holds back of a payment by one dispute; the last entry of a dispute counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Chargeback {
    /// The serial of the payment entry.
    #[n(1)]
    pub payment: Serial,
    /// Which dispute.
    #[n(2)]
    pub dispute: Serial,
    /// All that is held back by it now; nothing once it was won.
    #[n(3)]
    pub amount: MicroUsd,
}

/// `statement`: a closed quarter.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Statement {
    /// Such as `2026Q4`.
    #[n(1)]
    pub quarter: String,
    /// The index of the first entry whose work belongs to it.
    #[n(2)]
    pub first: u64,
    /// The index after the last one.
    #[n(3)]
    pub end: u64,
    /// BLAKE3 derive_key("counterfoil v1 rules", canonical bytes of the rules in force at its end).
    #[n(4)]
    pub rules_hash: Hash,
    /// Net recognised revenue.
    #[n(5)]
    pub revenue: MicroUsd,
    /// What was shared.
    #[n(6)]
    pub pool: Cents,
    /// What carries into the next pool; negative for a deficit. Micro-units.
    #[n(7)]
    pub carry_micro: i64,
    /// RFC 6962 root over the salted provider leaves.
    #[n(8)]
    pub root: Hash,
    /// Providers in that tree.
    #[n(9)]
    pub providers: u64,
}
