//! The deny list of a router: signing it, and what a node takes of it.
//!
//! ```text
//! sig = Ed25519("counterfoil/deny-list/v1\0" ‖ net_id ‖ canonical DenyList)      by the router's identity key
//! ```
//!
//! What the offline root says of routers and issuing CAs is another list, [`root`], under another purpose.

pub mod root;

use counterfoil_spec::deny::{DenyList, DenyNames, SignedDenyList};
use counterfoil_spec::encode::{signing_input, to_canonical};
use counterfoil_spec::ids::NetId;
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_DENY_LIFE_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::certificate::verify::{Refused, refused};
use crate::key::VerifyKey;
use crate::signer::{SignFault, Signer};

/// Signs what is refused, for as long as a list may hold.
///
/// # Errors
/// [`SignFault`] where the key does not sign.
pub fn sign_deny_list(
    epoch: u64,
    names: DenyNames,
    now: Seconds,
    (key, net_id): (&dyn Signer, &NetId),
) -> Result<SignedDenyList, SignFault> {
    let list = DenyList { epoch, issued: now, next_update: now.plus(MAX_DENY_LIFE_S), names };
    let sig = key.sign(&input(&list, net_id))?;
    Ok(SignedDenyList { list, sig })
}

/// What a node knows of its router's deny list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denials {
    last: Option<SignedDenyList>,
}

/// What a list that was taken changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing but the time until which it holds.
    Same,
    /// What is refused; to be kept, so that no earlier list is taken after a restart.
    Changed,
}

impl Denials {
    /// Goes on from a list that was taken earlier.
    #[must_use]
    pub const fn known(last: SignedDenyList) -> Self {
        Self { last: Some(last) }
    }

    /// The list that was taken last.
    #[must_use]
    pub const fn last(&self) -> Option<&SignedDenyList> {
        self.last.as_ref()
    }

    /// What is refused, as far as it is known.
    #[must_use]
    pub fn names(&self) -> Option<&DenyNames> {
        self.last.as_ref().map(|last| &last.list.names)
    }

    /// The first second at which nothing may be decided by it any more.
    #[must_use]
    pub fn stale_from(&self) -> Seconds {
        let grace = MAX_CLOCK_SKEW_S + 1;
        self.last.as_ref().map_or(Seconds(0), |last| last.list.next_update.plus(grace))
    }

    /// Whether something may be decided by it.
    #[must_use]
    pub fn is_fresh(&self, now: Seconds) -> bool {
        now < self.stale_from()
    }

    /// Takes a list.
    ///
    /// # Errors
    /// [`Refused`] with the first check that fails; then nothing has changed.
    pub fn take(
        &mut self,
        signed: SignedDenyList,
        (router_key, net_id): (&VerifyKey, &NetId),
        now: Seconds,
    ) -> Result<Taken, Refused> {
        //= spec/identity.md#the-deny-list
        //# A node MUST make these checks in this order and MUST refuse at the first that fails:
        let list = &signed.list;
        if let Some(fault) = list.names.fault() {
            return Err(refused(Refusal::CertDenyList, fault));
        }
        router_key
            .verify(&input(list, net_id), &signed.sig)
            .map_err(|_| refused(Refusal::CertDenyList, "not signed by the router"))?;
        if list.issued > now.plus(MAX_CLOCK_SKEW_S) {
            let detail = format!("issued at {}, now is {}", list.issued.0, now.0);
            return Err(refused(Refusal::CertDenyList, detail));
        }
        if list.next_update < list.issued || list.next_update > list.issued.plus(MAX_DENY_LIFE_S) {
            let detail = format!("issued at {}, good until {}", list.issued.0, list.next_update.0);
            return Err(refused(Refusal::CertDenyList, detail));
        }
        let Some(last) = &self.last else {
            self.last = Some(signed);
            return Ok(Taken::Changed);
        };
        let known = &last.list;
        if list.epoch < known.epoch {
            let detail = format!("epoch {}, while {} is known", list.epoch, known.epoch);
            return Err(refused(Refusal::CertDenyBack, detail));
        }
        if list.epoch == known.epoch && list.names != known.names {
            let detail = format!("epoch {} with other names than it had", list.epoch);
            return Err(refused(Refusal::CertDenyBack, detail));
        }
        let taken = if list.epoch == known.epoch { Taken::Same } else { Taken::Changed };
        if taken == Taken::Changed || list.next_update > known.next_update {
            self.last = Some(signed);
        }
        Ok(taken)
    }
}

fn input(list: &DenyList, net_id: &NetId) -> Vec<u8> {
    signing_input("deny-list", net_id, &[&to_canonical(list)])
}

#[cfg(test)]
mod tests;
