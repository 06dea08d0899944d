//! What an operator allows, and how a proposal of a router becomes a consent token or is declined.

use std::fmt::Write as _;

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::{SignFault, Signer, random};
use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::claims::{
    ALL, CLAIMS_VERSION, Callers, Claims, PriceFloor, Purposes, Quota, Range, Serving,
};
use counterfoil_spec::ids::{Hash, NetId, Serial};
use counterfoil_spec::limits::MAX_CONSENT_LIFE_S;
use counterfoil_spec::message::Proposal;
use counterfoil_spec::time::Seconds;
use serde::{Deserialize, Serialize};

use crate::hours::Hours;
use crate::permit::Permit;
use crate::ranges;
use crate::token::sign_token;

/// What the operator allows. The default allows nothing until the notice was accepted and a model was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Whether the operator has read and accepted the notice.
    pub accepted_notice: bool,
    /// The models that may be served, by the names that clients ask for.
    pub models: Vec<String>,
    /// Whether any other may be served as well.
    pub any_model: bool,
    /// Layers and experts that may be served of each model; empty means all.
    pub parts: Vec<Part>,
    /// When; at any hour where it does not say.
    pub hours: Hours,
    /// Whether the operator must be asked for each model before its first consent token is signed.
    pub ask: bool,
    /// What for.
    pub purposes: Purposes,
    /// The life of a consent token, in seconds; it is renewed by itself.
    pub life_s: u64,
    /// How much.
    pub quota: Quota,
    /// The least list price, micro-units per 1,000 tokens.
    pub price_floor_micro_per_1k: u64,
    /// Countries whose callers are served, sorted; empty means any.
    pub countries: Vec<String>,
    /// Seconds for which activations may be kept.
    pub retention_s: u32,
    /// How it serves.
    pub serving: Serving,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            accepted_notice: false,
            models: Vec::new(),
            any_model: false,
            parts: Vec::new(),
            hours: Hours::default(),
            ask: false,
            purposes: Purposes::CHAT.with(Purposes::CODE).with(Purposes::VERIFICATION),
            life_s: 86_400,
            quota: Quota {
                tokens_per_day: TokenCount(u64::MAX),
                concurrent: 2,
                tokens_per_request: TokenCount(u64::MAX),
                requests_per_s: u32::MAX,
                bytes_per_s: u64::MAX,
            },
            price_floor_micro_per_1k: 0,
            countries: Vec::new(),
            retention_s: 0,
            serving: Serving::EXPERT,
        }
    }
}

/// A rectangle of a model: layers and experts from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Layers.
    pub layers: (u32, u32),
    /// Experts.
    pub experts: (u32, u32),
}

impl Part {
    /// What lies in both.
    fn of(&self, range: &Range) -> Option<Range> {
        let both = |a: (u32, u32), b: (u32, u32)| {
            let (from, to) = (a.0.max(b.0), a.1.min(b.1));
            (from <= to).then_some((from, to))
        };
        let Range { manifest, layers, experts } = *range;
        Some(Range { manifest, layers: both(layers, self.layers)?, experts: both(experts, self.experts)? })
    }
}

/// Why a proposal was declined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// The operator has not accepted the notice.
    #[error("the operator has not accepted the notice yet; run `counterfoil consent issue` on the node")]
    NoticeNotAccepted,
    /// The policy does not name the model.
    #[error("the policy does not name the model {0:?}")]
    ModelNotNamed(String),
    /// The list price is below the floor.
    #[error("list price {offered} is below the floor of {floor} micro-units per 1,000 tokens")]
    PriceBelowFloor {
        /// What was offered.
        offered: u64,
        /// What is asked for.
        floor: u64,
    },
    /// The proposal's ranges are not well formed or name another model.
    #[error("the proposal's ranges: {0}")]
    Ranges(&'static str),
    /// The router asks for a higher epoch than the node has.
    #[error("the router accepts epochs from {wanted} on, this node is at {have}; raise it first")]
    Epoch {
        /// What the router asks for.
        wanted: u64,
        /// What the node has.
        have: u64,
    },
    /// The node's identity key did not sign.
    #[error(transparent)]
    Sign(#[from] SignFault),
    /// The proposal names nothing that the policy allows of the model.
    #[error("the policy allows none of the proposed layers and experts")]
    Parts,
    /// Not at this hour.
    #[error("the policy serves at other hours; the next begin at {0} (unix)")]
    Hours(u64),
    /// The policy itself is outside the rules.
    #[error("the policy: {0}")]
    Policy(&'static str),
}

impl Policy {
    /// The models that may be proposed, as a router is told; `None` for any.
    #[must_use]
    pub fn wants(&self) -> Option<Vec<String>> {
        if self.any_model { None } else { Some(self.models.clone()) }
    }

    /// Whether it allows all that a consent token says, as after the policy was changed. The model's name is that of the
    /// words whose hash the token carries.
    #[must_use]
    pub fn still_allows(&self, claims: &Claims) -> bool {
        let quota = |claims: &Quota, own: &Quota| {
            claims.tokens_per_day <= own.tokens_per_day
                && claims.concurrent <= own.concurrent
                && claims.tokens_per_request <= own.tokens_per_request
                && claims.requests_per_s <= own.requests_per_s
                && claims.bytes_per_s <= own.bytes_per_s
        };
        let said = |model: &String| notice_hash(&notice(claims, model)) == claims.notice_hash;
        let named = self.any_model || self.models.iter().any(said);
        let inside = |range: &Range| self.parts.iter().any(|part| part.of(range) == Some(*range));
        let countries = &claims.callers.countries;
        let callers = self.countries.is_empty()
            || !countries.is_empty() && countries.iter().all(|country| self.countries.contains(country));
        self.accepted_notice
            && named
            && (self.parts.is_empty() || claims.ranges.iter().all(inside))
            && quota(&claims.quota, &self.quota)
            && claims.price_floor.micro_per_1k.0 >= self.price_floor_micro_per_1k
            && self.purposes.allows(claims.purposes)
            && callers
            && claims.callers.retention_s <= self.retention_s
            && self.serving.allows(claims.serving)
            && self.hours.end(claims.not_before).is_none_or(|end| claims.expires <= end)
    }

    /// A proposal without what the policy does not allow of the model; its ranges may be none then.
    #[must_use]
    pub fn narrow(&self, mut proposal: Proposal) -> Proposal {
        if !self.parts.is_empty() {
            let within =
                |range: &Range| self.parts.iter().filter_map(|part| part.of(range)).collect::<Vec<_>>();
            let mut ranges: Vec<Range> = proposal.ranges.iter().flat_map(within).collect();
            ranges.sort_unstable();
            proposal.ranges = ranges;
        }
        proposal
    }
}

/// What the present adds to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuance {
    /// The network.
    pub net_id: NetId,
    /// When it is signed.
    pub now: Seconds,
    /// The node's consent epoch.
    pub epoch: u64,
    /// The consent id; 16 random bytes.
    pub cti: Serial,
}

impl Issuance {
    /// An issuance with a fresh consent id.
    #[must_use]
    pub fn fresh(net_id: NetId, now: Seconds, epoch: u64) -> Self {
        Self { net_id, now, epoch, cti: random::serial() }
    }
}

/// Signs the consent token that the policy allows for a proposal, or declines.
///
/// # Errors
/// [`Declined`] with the first reason.
pub fn issue(
    policy: &Policy,
    proposal: &Proposal,
    key: &dyn Signer,
    issuance: &Issuance,
) -> Result<(Vec<u8>, Permit), Declined> {
    consider(policy, proposal, issuance)?;
    let Issuance { net_id, now, epoch, cti } = *issuance;
    let mut claims = Claims {
        issuer: key.public().node_id(),
        audience: proposal.router,
        expires: policy
            .hours
            .end(now)
            .map_or(now.plus(policy.life_s), |end| end.min(now.plus(policy.life_s))),
        not_before: now,
        issued: now,
        cti,
        version: CLAIMS_VERSION,
        net_id,
        ranges: proposal.ranges.clone(),
        quota: policy.quota,
        price_floor: PriceFloor {
            micro_per_1k: MicroUsd(policy.price_floor_micro_per_1k),
            currency: proposal.currency.clone(),
        },
        purposes: policy.purposes,
        callers: Callers { countries: policy.countries.clone(), retention_s: policy.retention_s },
        epoch,
        delegation_depth: 0,
        notice_hash: Hash::from_bytes([0; 32]),
        serving: policy.serving,
    };
    claims.notice_hash = notice_hash(&notice(&claims, &proposal.name));
    if let Some(fault) = crate::token::value_fault(&claims) {
        return Err(Declined::Policy(fault));
    }
    let token = sign_token(&claims, key)?;
    Ok((token.clone(), Permit::checked(claims, token)))
}

fn consider(policy: &Policy, proposal: &Proposal, issuance: &Issuance) -> Result<(), Declined> {
    if !policy.accepted_notice {
        return Err(Declined::NoticeNotAccepted);
    }
    if !policy.any_model && !policy.models.contains(&proposal.name) {
        return Err(Declined::ModelNotNamed(proposal.name.clone()));
    }
    if proposal.ranges.is_empty() && !policy.parts.is_empty() {
        return Err(Declined::Parts);
    }
    if let Some(next) = policy.hours.closed(issuance.now) {
        return Err(Declined::Hours(next.0));
    }
    if let Some(fault) = ranges::fault(&proposal.ranges) {
        return Err(Declined::Ranges(fault));
    }
    if proposal.ranges.iter().any(|r| r.manifest != proposal.manifest) {
        return Err(Declined::Ranges("a range of another model than the proposal names"));
    }
    let (offered, floor) = (proposal.list_price_micro_per_1k, policy.price_floor_micro_per_1k);
    if offered < floor {
        return Err(Declined::PriceBelowFloor { offered, floor });
    }
    if issuance.epoch < proposal.min_epoch {
        return Err(Declined::Epoch { wanted: proposal.min_epoch, have: issuance.epoch });
    }
    if policy.life_s == 0 || policy.life_s > MAX_CONSENT_LIFE_S {
        return Err(Declined::Policy("a consent token lives from one second to 30 days"));
    }
    if policy.purposes.bits() == 0 || !policy.purposes.is_known() {
        return Err(Declined::Policy("no purpose, or one without meaning"));
    }
    Ok(())
}

/// The hash that a consent token carries of the words that the operator saw.
#[must_use]
pub fn notice_hash(words: &str) -> Hash {
    digest::derive(context::NOTICE, &[words.as_bytes()])
}

/// A consent token in plain words, as its operator is asked to accept it. It names durations, not dates, so that a
/// token that is renewed by itself says the same words.
#[must_use]
pub fn notice(claims: &Claims, model: &str) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(text);
        out.push('\n');
    };
    line(format_args!(
        "This machine will run parts of the model {model:?} for the router {}.",
        claims.audience
    ));
    for range in &claims.ranges {
        let layers = interval("layer", range.layers);
        let experts = interval("expert", range.experts);
        line(format_args!(
            "It computes {experts} of {layers} of the model with manifest {}.",
            range.manifest
        ));
    }
    line(format_args!(
        "It serves: {}. Requests are for: {}.",
        claims.serving.names().join(", "),
        claims.purposes.names().join(", ")
    ));
    let quota = &claims.quota;
    line(format_args!(
        "At most {} tokens a day, {} tokens a request, {} requests at a time, {} new requests and {} bytes a second.",
        limit(quota.tokens_per_day.0),
        limit(quota.tokens_per_request.0),
        limit32(quota.concurrent),
        limit32(quota.requests_per_s),
        limit(quota.bytes_per_s)
    ));
    line(format_args!(
        "The router must charge at least {} micro-{} per 1,000 tokens.",
        claims.price_floor.micro_per_1k.0, claims.price_floor.currency
    ));
    let countries = &claims.callers.countries;
    let callers = if countries.is_empty() { "any country".to_owned() } else { countries.join(", ") };
    line(format_args!(
        "Callers may be from {callers}. What is computed is kept for {} seconds.",
        claims.callers.retention_s
    ));
    line(format_args!(
        "This consent lasts {} seconds, is renewed while this program runs, and can be withdrawn at any time.",
        claims.expires.0.saturating_sub(claims.not_before.0)
    ));
    out
}

fn interval(what: &str, (from, to): (u32, u32)) -> String {
    match (from, to) {
        (0, ALL) => format!("all {what}s"),
        (from, to) if from == to => format!("{what} {from}"),
        (from, ALL) => format!("{what}s from {from} on"),
        (from, to) => format!("{what}s {from} to {to}"),
    }
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "any number of".to_owned() } else { value.to_string() }
}

fn limit32(value: u32) -> String {
    if value == u32::MAX { "any number of".to_owned() } else { value.to_string() }
}
