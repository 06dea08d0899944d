//! What entries say, kind by kind; `spec/registry.json` lists every number with its author.
//!
//! A payload is a CBOR map with integer keys. Numbers of kinds are never reused; a kind without a type here is
//! refused by the decoder.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::Serialize;

use crate::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use crate::ids::{AccountId, Hash, ManifestId, NodeId, ProviderId, PublicKey, RouterId, Serial};
use crate::receipt::Receipt;
use crate::time::{Millis, Seconds};

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
    /// A certificate of an issuing CA.
    CaIssued = 4, "ca-issued";
    /// A node joined.
    NodeEnrolled = 5, "node-enrolled";
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
    /// A quarter was closed.
    Statement = 26, "statement";
    /// A refusal worth remembering.
    RefusalSeen = 31, "refusal";
}

/// `genesis`: who may write this log and how its heads are signed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Genesis {
    /// SPKI DER of the network root's key.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub root_spki: Vec<u8>,
    /// BLAKE3 derive_key("counterfoil v1 next-root", SPKI DER of the next root's key); absent in a node's log.
    #[n(2)]
    pub next_root_hash: Option<Hash>,
    /// The log's origin, which is the name of its key.
    #[n(3)]
    pub origin: String,
    /// The log's C2SP verifier key.
    #[n(4)]
    pub log_vkey: String,
    /// ISO 4217 code of the network's one currency.
    #[n(5)]
    pub currency: String,
    /// The identity key of the router or node that writes the log.
    #[n(6)]
    pub author_key: PublicKey,
    /// That key's id, as a node or a router by `author_role`.
    #[n(7)]
    pub author_id: NodeId,
    /// 2 router, 3 node: the numbers of [`crate::entry::Role`].
    #[n(8)]
    pub author_role: u8,
}

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

/// `ca-issued`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct CaIssued {
    /// The certificate, DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub certificate: Vec<u8>,
    /// Its end.
    #[n(2)]
    pub not_after: Seconds,
}

/// `join-token`: the public half only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct JoinToken {
    /// Its id.
    #[n(1)]
    pub token_id: Serial,
    /// The public key of its one-time seed.
    #[n(2)]
    pub public_key: PublicKey,
    /// Its end.
    #[n(3)]
    pub expires: Seconds,
}

/// `node-enrolled`: how a node's key enters the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct NodeEnrolled {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Its identity key.
    #[n(2)]
    pub identity_key: PublicKey,
    /// The verifier key of its own log.
    #[n(3)]
    pub log_vkey: String,
    /// The join token that it used.
    #[n(4)]
    pub token_id: Serial,
    /// The generation of its first certificate.
    #[n(5)]
    pub generation: u64,
    /// BLAKE3 derive_key("counterfoil v1 recovery-key", the recovery public key).
    #[n(6)]
    pub recovery_hash: Hash,
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

/// `capacity-attested`: the router measured it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct CapacityAttested {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Bytes proved.
    #[n(2)]
    pub bytes: u64,
    /// 1 to 4.
    #[n(3)]
    pub tier: u8,
    /// Its end.
    #[n(4)]
    pub expires: Seconds,
}

/// `consent-granted`: the whole token, so that anybody can check it later.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ConsentGranted {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// The consent id.
    #[n(2)]
    pub cti: Serial,
    /// The COSE_Sign1 bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub token: Vec<u8>,
}

/// `consent-revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ConsentRevoked {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// The consent id.
    #[n(2)]
    pub cti: Serial,
    /// Consent tokens of the node below this epoch are void.
    #[n(3)]
    pub min_epoch: u64,
}

/// `model-published`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ModelPublished {
    /// Its id.
    #[n(1)]
    pub manifest: ManifestId,
    /// The name that clients ask for.
    #[n(2)]
    pub name: String,
    /// The architecture's family.
    #[n(3)]
    pub family: String,
    /// Layers in all.
    #[n(4)]
    pub layers: u32,
    /// Layers with experts, ascending.
    #[n(5)]
    pub moe_layers: Vec<u32>,
    /// Experts in each of them.
    #[n(6)]
    pub experts: u32,
    /// Experts per token.
    #[n(7)]
    pub top_k: u32,
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

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model's end token or a stop string.
    #[n(1)]
    Stop,
    /// The token limit.
    #[n(2)]
    Length,
    /// The client went away; what was generated is billed.
    #[n(3)]
    Disconnected,
    /// It failed; nothing is billed.
    #[n(4)]
    Failed,
    /// The process ended while it ran; nothing is billed. Written at the next start.
    #[n(5)]
    Crashed,
}

/// Tokens taken from a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Debit {
    /// The lot.
    #[n(0)]
    pub lot: Serial,
    /// How many.
    #[n(1)]
    pub tokens: TokenCount,
}

/// A node's share of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Credit {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// Its forwards that entered a sum and are receipted.
    #[n(1)]
    pub forwards: u64,
    /// Its share of the request's tokens.
    #[n(2)]
    pub micro_tokens: MicroTokens,
}

/// `inference`: one request with its token accounting; the entry's serial is the request's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Inference {
    /// BLAKE3 keyed with a salt from the vault, of the rendered prompt.
    #[n(1)]
    pub prompt_commitment: Hash,
    /// BLAKE3 keyed with the same salt, of the output text.
    #[n(2)]
    pub output_commitment: Hash,
    /// The model.
    #[n(3)]
    pub manifest: ManifestId,
    /// The account.
    #[n(4)]
    pub account: AccountId,
    /// The API key; absent for keyless use on loopback.
    #[n(5)]
    pub key_id: Option<Serial>,
    /// Prompt tokens.
    #[n(6)]
    pub prompt_tokens: TokenCount,
    /// Those of them that were not computed again.
    #[n(7)]
    pub cached_tokens: TokenCount,
    /// Completion tokens.
    #[n(8)]
    pub completion_tokens: TokenCount,
    /// Positions that went through the layers.
    #[n(9)]
    pub positions: u64,
    /// The price, micro-units per 1,000 tokens.
    #[n(10)]
    pub price_micro_per_1k: u64,
    /// Which lots paid, in the order in which they were debited; empty for an unmetered account.
    #[n(11)]
    pub debits: Vec<Debit>,
    /// When the request arrived.
    #[n(12)]
    pub started: Millis,
    /// When its last token was made.
    #[n(13)]
    pub ended: Millis,
    /// Why it ended.
    #[n(14)]
    pub finish: FinishReason,
    /// The serials of its work entries, in node order.
    #[n(15)]
    pub works: Vec<Serial>,
    /// Who did how much, in node order.
    #[n(16)]
    pub credits: Vec<Credit>,
    /// Forwards that entered a sum and that no receipt covers.
    #[n(17)]
    pub unreceipted: u64,
    /// The node that a failed request failed on.
    #[n(18)]
    pub failed_node: Option<NodeId>,
}

/// `work`: one countersigned receipt; the entry's serial is the receipt's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Work {
    /// The receipt.
    #[n(1)]
    pub receipt: Receipt,
    /// The request that it belongs to.
    #[n(2)]
    pub request: Serial,
}

/// Seconds that one node was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct NodeUptime {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// At most 3,600.
    #[n(1)]
    pub seconds: u32,
}

/// `uptime`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Uptime {
    /// The hour's first second.
    #[n(1)]
    pub hour: Seconds,
    /// Sorted by node; seconds since the last entry for the same hour.
    #[n(2)]
    pub nodes: Vec<NodeUptime>,
}

/// `peer-anchor`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PeerAnchor {
    /// The other log's checkpoint: a C2SP signed note.
    #[n(1)]
    pub note: String,
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

/// `refusal`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RefusalSeen {
    /// Why.
    #[n(1)]
    pub refusal: crate::refusal::Refusal,
    /// Who was refused, where an identity was known.
    #[n(2)]
    pub node: Option<NodeId>,
    /// The router or the node that refused.
    #[n(3)]
    pub by: RouterId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_ascend() {
        assert!(Payload::KINDS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
