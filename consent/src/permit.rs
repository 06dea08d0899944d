//! [`Permit`]: a consent token that was checked, or that was signed here.

use std::sync::Arc;

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::{Refused, VerifyKey};
use counterfoil_spec::claims::Claims;
use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::limits::MAX_CLOCK_SKEW_S;
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::time::{Millis, Seconds};

use crate::grant::{self, ActiveGrant};
use crate::usage::Usage;

/// Permission to serve, as one node gave it to one router. Only a check or the signing itself makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    claims: Claims,
    token: Vec<u8>,
    hash: Hash,
}

impl Permit {
    pub(crate) fn checked(claims: Claims, token: Vec<u8>) -> Self {
        let hash = digest::derive(context::CONSENT_TOKEN, &[&token]);
        Self(Arc::new(Inner { claims, token, hash }))
    }

    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// BLAKE3 derive_key("counterfoil v1 consent-token", the token's bytes).
    #[must_use]
    pub fn token_hash(&self) -> Hash {
        self.0.hash
    }

    /// The COSE_Sign1 bytes.
    #[must_use]
    pub fn token_bytes(&self) -> &[u8] {
        &self.0.token
    }

    /// Whether the present lies within its validity, give or take the accepted disagreement of clocks.
    #[must_use]
    pub fn in_force(&self, now: Seconds) -> bool {
        let Claims { not_before, expires, .. } = self.0.claims;
        not_before <= now.plus(MAX_CLOCK_SKEW_S) && now < expires.plus(MAX_CLOCK_SKEW_S)
    }

    /// Checks an order: the router's signature, the grant's hash, and that the grant stays within this permit and
    /// what is left of its quota. The node asks this before it works, the router before it dispatches.
    ///
    /// # Errors
    /// [`Refused`] with the first check that fails, in the order of `spec/consent.md`.
    pub fn check_open(
        &self,
        order: &SignedOpen,
        router_key: &VerifyKey,
        net_id: &NetId,
        now: Millis,
        usage: &Usage,
    ) -> Result<ActiveGrant, Refused> {
        grant::check(self, order, (router_key, net_id), now, usage)
    }
}
