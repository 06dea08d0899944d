//! The claims of a consent token: what a node's operator allows, to whom, how much and until when.
//!
//! ```text
//! {1: iss, 3: aud, 4: exp, 5: nbf, 6: iat, 7: cti, -70001: version, -70002: net_id, -70003: ranges,
//!  -70004: quota, -70005: price floor, -70006: purposes, -70007: callers, -70008: epoch, -70009: depth,
//!  -70010: notice hash, -70011: serving}
//! ```
//!
//! Keys ascend in the bytewise order of their encodings (RFC 8949 §4.2.1). `spec/consent.md` is the normative text.

mod bits;

use minicbor::data::Int;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Deserialize, Serialize};

use crate::amount::{MicroUsd, TokenCount};
use crate::country::Country;
use crate::ids::{Hash, ManifestId, NetId, NodeId, RouterId, Serial};
use crate::limits::MAX_CONSENT_RANGES;
use crate::time::Seconds;

pub use bits::{Purposes, Serving};

/// The claims version that this crate reads and writes.
pub const CLAIMS_VERSION: u64 = 1;
/// The end of a range that means "all there are".
pub const ALL: u32 = u32::MAX;

/// A rectangle of (layer, expert) pairs of one model; ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The model.
    pub manifest: ManifestId,
    /// First and last layer.
    pub layers: (u32, u32),
    /// First and last expert.
    pub experts: (u32, u32),
}

impl Range {
    /// All experts of all layers of a model.
    #[must_use]
    pub const fn whole(manifest: ManifestId) -> Self {
        Self { manifest, layers: (0, ALL), experts: (0, ALL) }
    }

    /// Whether one expert lies inside.
    #[must_use]
    pub fn contains(&self, manifest: &ManifestId, layer: u32, expert: u32) -> bool {
        self.manifest == *manifest
            && (self.layers.0..=self.layers.1).contains(&layer)
            && (self.experts.0..=self.experts.1).contains(&expert)
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.manifest == other.manifest
            && self.layers.0 <= other.layers.0
            && other.layers.1 <= self.layers.1
            && self.experts.0 <= other.experts.0
            && other.experts.1 <= self.experts.1
    }

    /// Whether the two share an expert.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.manifest == other.manifest
            && self.layers.0 <= other.layers.1
            && other.layers.0 <= self.layers.1
            && self.experts.0 <= other.experts.1
            && other.experts.0 <= self.experts.1
    }
}

/// How much a node lets itself be used; zero means "none", `u64::MAX` "without limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Quota {
    /// Tokens in one UTC day.
    #[n(0)]
    pub tokens_per_day: TokenCount,
    /// Requests open at one time.
    #[n(1)]
    pub concurrent: u32,
    /// Tokens (prompt and completion) of one request.
    #[n(2)]
    pub tokens_per_request: TokenCount,
    /// New requests in one second.
    #[n(3)]
    pub requests_per_s: u32,
    /// Bytes of activations, both ways, in one second.
    #[n(4)]
    pub bytes_per_s: u64,
}

/// The least list price, per 1,000 tokens, that the node works for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct PriceFloor {
    /// Millionths of the currency unit per 1,000 tokens.
    #[n(0)]
    pub micro_per_1k: MicroUsd,
    /// ISO 4217 code.
    #[n(1)]
    pub currency: String,
}

/// Whose requests may be served and for how long anything of them may be kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Callers {
    /// ISO 3166-1 alpha-2 codes, sorted and distinct; empty means any.
    #[n(0)]
    pub countries: Vec<String>,
    /// Seconds for which the node may retain activations; 0 in every token that the default policy signs.
    #[n(1)]
    pub retention_s: u32,
}

impl Callers {
    /// Whether a caller may be served who is from there, or from nobody knows where.
    #[must_use]
    pub fn allow(&self, country: Option<Country>) -> bool {
        //= spec/consent.md#callers
        //# A token with codes allows the callers of these countries alone, and none whose country is unknown.
        self.countries.is_empty()
            || country.is_some_and(|from| self.countries.iter().any(|code| code == from.as_str()))
    }
}

/// The claims of one consent token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The node that consents.
    pub issuer: NodeId,
    /// The router that it consents to.
    pub audience: RouterId,
    /// The first second at which the token is no longer valid.
    pub expires: Seconds,
    /// The first second at which it is valid.
    pub not_before: Seconds,
    /// When it was signed.
    pub issued: Seconds,
    /// The consent id.
    pub cti: Serial,
    /// Always [`CLAIMS_VERSION`].
    pub version: u64,
    /// The network.
    pub net_id: NetId,
    /// Sorted, disjoint, at least one, at most [`MAX_CONSENT_RANGES`].
    pub ranges: Vec<Range>,
    /// How much.
    pub quota: Quota,
    /// For how much.
    pub price_floor: PriceFloor,
    /// What for.
    pub purposes: Purposes,
    /// For whom.
    pub callers: Callers,
    /// Only ever rising per node; a token of a lower epoch is void.
    pub epoch: u64,
    /// How many times consent may be passed on; 0.
    pub delegation_depth: u64,
    /// BLAKE3 derive_key("counterfoil v1 notice", the words that the operator saw).
    pub notice_hash: Hash,
    /// How it serves.
    pub serving: Serving,
}

impl<C> Encode<C> for Range {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?;
        self.manifest.encode(e, ctx)?;
        e.array(2)?.u32(self.layers.0)?.u32(self.layers.1)?;
        e.array(2)?.u32(self.experts.0)?.u32(self.experts.1)?;
        Ok(())
    }
}

fn exactly(d: &mut Decoder<'_>, len: u64, what: &'static str) -> Result<(), decode::Error> {
    let at = d.position();
    if d.array()? == Some(len) { Ok(()) } else { Err(decode::Error::message(what).at(at)) }
}

impl<'b, C> Decode<'b, C> for Range {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        exactly(d, 3, "a range has three members")?;
        let manifest = ManifestId::decode(d, ctx)?;
        exactly(d, 2, "a layer interval has two ends")?;
        let layers = (d.u32()?, d.u32()?);
        exactly(d, 2, "an expert interval has two ends")?;
        Ok(Self { manifest, layers, experts: (d.u32()?, d.u32()?) })
    }
}

const KEYS: [i64; 17] = [
    1, 3, 4, 5, 6, 7, -70001, -70002, -70003, -70004, -70005, -70006, -70007, -70008, -70009, -70010, -70011,
];

impl<C> Encode<C> for Claims {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(17)?;
        let mut keys = KEYS.iter().copied();
        let mut key = |e: &mut Encoder<W>| -> Result<(), encode::Error<W::Error>> {
            if let Some(k) = keys.next() {
                e.i64(k)?;
            }
            Ok(())
        };
        key(e)?;
        e.str(&self.issuer.to_string())?;
        key(e)?;
        e.str(&self.audience.to_string())?;
        key(e)?;
        self.expires.encode(e, ctx)?;
        key(e)?;
        self.not_before.encode(e, ctx)?;
        key(e)?;
        self.issued.encode(e, ctx)?;
        key(e)?;
        self.cti.encode(e, ctx)?;
        key(e)?;
        e.u64(self.version)?;
        key(e)?;
        self.net_id.encode(e, ctx)?;
        key(e)?;
        self.ranges.encode(e, ctx)?;
        key(e)?;
        self.quota.encode(e, ctx)?;
        key(e)?;
        self.price_floor.encode(e, ctx)?;
        key(e)?;
        self.purposes.encode(e, ctx)?;
        key(e)?;
        self.callers.encode(e, ctx)?;
        key(e)?;
        e.u64(self.epoch)?;
        key(e)?;
        e.u64(self.delegation_depth)?;
        key(e)?;
        self.notice_hash.encode(e, ctx)?;
        key(e)?;
        self.serving.encode(e, ctx)
    }
}

fn key(d: &mut Decoder<'_>, want: i64) -> Result<(), decode::Error> {
    let at = d.position();
    if d.int()? == Int::from(want) {
        Ok(())
    } else {
        Err(decode::Error::message(format!("claim {want} is missing or out of order")).at(at))
    }
}

fn id<T: std::str::FromStr>(d: &mut Decoder<'_>, what: &'static str) -> Result<T, decode::Error> {
    let at = d.position();
    d.str()?.parse().map_err(|_| decode::Error::message(what).at(at))
}

impl<'b, C> Decode<'b, C> for Claims {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.map()? != Some(17) {
            return Err(decode::Error::message("a consent token has seventeen claims"));
        }
        key(d, 1)?;
        let issuer = id(d, "iss is not a node id")?;
        key(d, 3)?;
        let audience = id(d, "aud is not a router id")?;
        key(d, 4)?;
        let expires = Seconds::decode(d, ctx)?;
        key(d, 5)?;
        let not_before = Seconds::decode(d, ctx)?;
        key(d, 6)?;
        let issued = Seconds::decode(d, ctx)?;
        key(d, 7)?;
        let cti = Serial::decode(d, ctx)?;
        key(d, -70001)?;
        let version = d.u64()?;
        key(d, -70002)?;
        let net_id = NetId::decode(d, ctx)?;
        key(d, -70003)?;
        let ranges = ranges(d, ctx)?;
        key(d, -70004)?;
        let quota = Quota::decode(d, ctx)?;
        key(d, -70005)?;
        let price_floor = PriceFloor::decode(d, ctx)?;
        key(d, -70006)?;
        let purposes = Purposes::decode(d, ctx)?;
        key(d, -70007)?;
        let callers = Callers::decode(d, ctx)?;
        key(d, -70008)?;
        let epoch = d.u64()?;
        key(d, -70009)?;
        let delegation_depth = d.u64()?;
        key(d, -70010)?;
        let notice_hash = Hash::decode(d, ctx)?;
        key(d, -70011)?;
        let serving = Serving::decode(d, ctx)?;
        Ok(Self {
            issuer,
            audience,
            expires,
            not_before,
            issued,
            cti,
            version,
            net_id,
            ranges,
            quota,
            price_floor,
            purposes,
            callers,
            epoch,
            delegation_depth,
            notice_hash,
            serving,
        })
    }
}

fn ranges<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Vec<Range>, decode::Error> {
    let at = d.position();
    let len = d.array()?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_CONSENT_RANGES);
    let Some(len) = len else {
        return Err(decode::Error::message("too many ranges").at(at));
    };
    (0..len).map(|_| Range::decode(d, ctx)).collect()
}
