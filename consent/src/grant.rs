//! Orders and grants: what one request may use of a node, as the router signs it and the node checks it.
//!
//! ```text
//! open sig   = Ed25519("counterfoil/open/v1\0" ‖ net_id ‖ canonical Open)      by the router's identity key
//! grant hash = BLAKE3 derive_key("counterfoil v1 grant", canonical Grant)
//! open hash  = BLAKE3 derive_key("counterfoil v1 open", canonical Open)
//! ```

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::{Refused, SignFault, Signer, VerifyKey};
use counterfoil_spec::claims::{Purposes, Range};
use counterfoil_spec::encode::{signing_input, to_canonical};
use counterfoil_spec::ids::{Hash, ManifestId, NetId, NodeId, RouterId, Serial};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_OPEN_AGE_MS, MAX_ORIGIN_BYTES};
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::receipt::{Grant, Open};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use crate::permit::Permit;
use crate::ranges;
use crate::token::no;
use crate::usage::Usage;

/// The hash by which an order names its grant.
#[must_use]
pub fn grant_hash(grant: &Grant) -> Hash {
    digest::derive(context::GRANT, &[&to_canonical(grant)])
}

/// The hash by which a receipt names its order.
#[must_use]
pub fn open_hash(open: &Open) -> Hash {
    digest::derive(context::OPEN, &[&to_canonical(open)])
}

/// Signs an order for a grant; the order's grant hash is set here.
///
/// # Errors
/// [`SignFault`] where the key does not sign.
pub fn sign_open(
    mut open: Open,
    grant: Grant,
    key: &dyn Signer,
    net_id: &NetId,
) -> Result<SignedOpen, SignFault> {
    open.grant_hash = grant_hash(&grant);
    let sig = key.sign(&signing_input("open", net_id, &[&to_canonical(&open)]))?;
    Ok(SignedOpen { open, sig, grant })
}

/// A grant that was checked against its permit; without one no expert is run. Only [`Permit::check_open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveGrant {
    permit: Permit,
    order: SignedOpen,
    open_hash: Hash,
    deadline: Millis,
}

impl ActiveGrant {
    /// Whether an expert may be run under it.
    #[must_use]
    pub fn allows(&self, layer: u32, expert: u32) -> bool {
        let Grant { manifest, ranges, .. } = &self.order.grant;
        ranges.iter().any(|r| r.contains(manifest, layer, expert))
    }

    /// Whether a dispatch that arrives now is in time.
    #[must_use]
    pub fn in_time(&self, now: Millis) -> bool {
        now < self.deadline
    }

    /// The permit that it narrows.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The number by which frames name it.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.order.grant.slot
    }

    /// Its place among the grants of its lane.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.order.grant.seq
    }

    /// The order's serial, which its receipt carries too.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.order.open.serial
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> Serial {
        self.order.open.request
    }

    /// The consent id.
    #[must_use]
    pub fn cti(&self) -> Serial {
        self.order.grant.cti
    }

    /// The model.
    #[must_use]
    pub fn manifest(&self) -> ManifestId {
        self.order.grant.manifest
    }

    /// The experts.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.order.grant.ranges
    }

    /// Prompt and completion tokens that may be computed.
    #[must_use]
    pub fn max_tokens(&self) -> u64 {
        self.order.grant.max_tokens
    }

    /// The first instant at which no dispatch is accepted: the grant's deadline or the consent token's end.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    /// What the request is for.
    #[must_use]
    pub fn purpose(&self) -> Purposes {
        self.order.grant.purpose
    }

    /// The key of the request's transcript; never logged.
    #[must_use]
    pub fn transcript_key(&self) -> Hash {
        self.order.grant.transcript_key
    }

    /// Who works.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.order.open.node
    }

    /// Who ordered.
    #[must_use]
    pub fn router(&self) -> RouterId {
        self.order.open.router
    }

    /// The hash by which the receipt names the order.
    #[must_use]
    pub fn open_hash(&self) -> Hash {
        self.open_hash
    }

    /// The order with its signature, to be kept as evidence.
    #[must_use]
    pub fn order(&self) -> &SignedOpen {
        &self.order
    }
}

pub(crate) fn check(
    permit: &Permit,
    order: &SignedOpen,
    (router_key, net_id): (&VerifyKey, &NetId),
    now: Millis,
    usage: &Usage,
) -> Result<ActiveGrant, Refused> {
    //= spec/consent.md#orders-and-grants
    //# A node MUST make these checks before it works, in this order, and MUST refuse at the first that fails.
    let SignedOpen { open, sig, grant } = order;
    router_key
        .verify(&signing_input("open", net_id, &[&to_canonical(open)]), sig)
        .map_err(|_| no(Refusal::Grant, "the order is not signed by the router"))?;
    if let Some(fault) = mismatch(permit, open, grant) {
        return Err(no(Refusal::Grant, fault));
    }
    let claims = permit.claims();
    if !permit.in_force(now.seconds()) {
        return Err(no(Refusal::Withdrawn, format!("consent token {} is not in force now", claims.cti)));
    }
    if grant.ranges.iter().any(|r| r.manifest != grant.manifest)
        || !ranges::within(&grant.ranges, &claims.ranges)
    {
        return Err(no(Refusal::Scope, "the grant names experts that the consent token does not"));
    }
    if grant.purpose.bits().count_ones() != 1 || !claims.purposes.allows(grant.purpose) {
        return Err(no(
            Refusal::Purpose,
            format!("purpose {:?} was not consented to", grant.purpose.names()),
        ));
    }
    if !open.caller_allowed || open.retention_s > claims.callers.retention_s {
        return Err(no(Refusal::Jurisdiction, "the caller's country or the retention is not consented to"));
    }
    let floor = claims.price_floor.micro_per_1k.0;
    if open.list_price_micro_per_1k < floor {
        let detail = format!("list price {}, floor {floor}", open.list_price_micro_per_1k);
        return Err(no(Refusal::Price, detail));
    }
    usage.admits(&claims.quota, grant, now)?;
    let deadline = grant.deadline.min(claims.expires.plus(MAX_CLOCK_SKEW_S).millis());
    let age_ms = now.0.saturating_sub(open.issued.0);
    let early_ms = open.issued.0.saturating_sub(now.0);
    if now >= deadline || age_ms > MAX_OPEN_AGE_MS || early_ms > MAX_CLOCK_SKEW_S * 1000 {
        let detail = format!("issued at {}, deadline {}, now {}", open.issued.0, deadline.0, now.0);
        return Err(no(Refusal::Deadline, detail));
    }
    usage.fresh(&open.serial)?;
    usage.settled(now)?;
    Ok(ActiveGrant { permit: permit.clone(), order: order.clone(), open_hash: open_hash(open), deadline })
}

/// Order, grant and permit name the same things.
fn mismatch(permit: &Permit, open: &Open, grant: &Grant) -> Option<&'static str> {
    let claims = permit.claims();
    if open.grant_hash != grant_hash(grant) {
        return Some("the order is for another grant");
    }
    if open.node != claims.issuer || open.router != claims.audience {
        return Some("the order is of another router or for another node");
    }
    if grant.cti != claims.cti {
        return Some("the grant narrows another consent token");
    }
    if grant.request != open.request || grant.purpose != open.purpose {
        return Some("order and grant name different requests or purposes");
    }
    if open.origin.is_empty() || open.origin.len() > MAX_ORIGIN_BYTES {
        return Some("the order does not name the router's log");
    }
    ranges::fault(&grant.ranges)
}
