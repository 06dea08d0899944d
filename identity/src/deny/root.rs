//! The root's deny list: signing it where the root's key is, and what a node takes of it.

use counterfoil_spec::deny::root::{RootDenyList, SignedRootDenyList};
use counterfoil_spec::encode::{signing_input, to_canonical};
use counterfoil_spec::ids::{NetId, Serial};
use counterfoil_spec::limits::MAX_CLOCK_SKEW_S;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::Taken;
use crate::certificate::verify::{Refused, VerifiedPeer, refused};
use crate::key::VerifyKey;
use crate::signer::{SignFault, Signer};

/// Signs what the network trusts no more.
///
/// # Errors
/// [`SignFault`] where the key does not sign.
pub fn sign_root_deny_list(
    list: RootDenyList,
    (key, net_id): (&dyn Signer, &NetId),
) -> Result<SignedRootDenyList, SignFault> {
    let sig = key.sign(&input(&list, net_id))?;
    Ok(SignedRootDenyList { list, sig })
}

/// What a node knows of its root's deny list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootDenials {
    last: Option<SignedRootDenyList>,
}

impl RootDenials {
    /// Goes on from a list that was taken earlier.
    #[must_use]
    pub const fn known(last: SignedRootDenyList) -> Self {
        Self { last: Some(last) }
    }

    /// The list that was taken last.
    #[must_use]
    pub const fn last(&self) -> Option<&SignedRootDenyList> {
        self.last.as_ref()
    }

    /// Whether the root denies this router.
    #[must_use]
    pub fn denies(&self, router: &VerifiedPeer) -> bool {
        let ca = Serial::from_bytes(*router.ca_serial());
        self.last.as_ref().is_some_and(|last| last.list.denies(&router.id().as_router(), &ca))
    }

    /// Takes a list.
    ///
    /// # Errors
    /// [`Refused`] with the first check that fails; then nothing has changed.
    pub fn take(
        &mut self,
        signed: SignedRootDenyList,
        root: &VerifyKey,
        now: Seconds,
    ) -> Result<Taken, Refused> {
        //= spec/identity.md#the-roots-deny-list
        //# A node MUST make these checks of it in this order and MUST refuse at the first that fails:
        let list = &signed.list;
        if let Some(fault) = list.fault() {
            return Err(refused(Refusal::CertDenyList, fault));
        }
        root.verify(&input(list, &root.net_id()), &signed.sig)
            .map_err(|_| refused(Refusal::CertDenyList, "not signed by the network's root"))?;
        if list.issued > now.plus(MAX_CLOCK_SKEW_S) {
            let detail = format!("issued at {}, now is {}", list.issued.0, now.0);
            return Err(refused(Refusal::CertDenyList, detail));
        }
        if let Some(known) = self.last.as_ref().map(|last| &last.list) {
            if list == known {
                return Ok(Taken::Same);
            }
            if list.epoch <= known.epoch {
                let detail = format!("another list of epoch {}, while {} is known", list.epoch, known.epoch);
                return Err(refused(Refusal::CertDenyBack, detail));
            }
        }
        self.last = Some(signed);
        Ok(Taken::Changed)
    }
}

fn input(list: &RootDenyList, net_id: &NetId) -> Vec<u8> {
    signing_input("root-deny-list", net_id, &[&to_canonical(list)])
}

#[cfg(test)]
mod tests {
    use counterfoil_spec::ids::RouterId;

    use super::*;
    use crate::key::SecretKey;

    const NOW: Seconds = Seconds(1_800_000_000);

    fn root() -> SecretKey {
        SecretKey::from_seed([1; 32])
    }

    fn list(epoch: u64, routers: &[u8]) -> RootDenyList {
        let routers = routers.iter().map(|n| RouterId::from_bytes([*n; 32])).collect();
        RootDenyList { epoch, issued: NOW, routers, authorities: Vec::new() }
    }

    fn signed(list: RootDenyList) -> SignedRootDenyList {
        sign_root_deny_list(list, (&root(), &root().public().net_id())).unwrap()
    }

    fn taken(known: &mut RootDenials, signed: SignedRootDenyList) -> Result<Taken, Refusal> {
        known.take(signed, &root().public(), NOW).map_err(|r| r.refusal)
    }

    //= spec/identity.md#the-roots-deny-list
    //= type=test
    //# A node MUST make these checks of it in this order and MUST refuse at the first that fails:
    #[test]
    fn a_list_that_the_root_did_not_sign_so_is_refused() {
        let fresh = RootDenials::default;
        assert_eq!(taken(&mut fresh(), signed(list(1, &[1, 2]))), Ok(Taken::Changed));
        assert_eq!(taken(&mut fresh(), signed(list(1, &[2, 1]))), Err(Refusal::CertDenyList));
        let router = SecretKey::from_seed([2; 32]);
        let of = |key: &SecretKey, net: NetId| sign_root_deny_list(list(1, &[1]), (key, &net)).unwrap();
        assert_eq!(taken(&mut fresh(), of(&router, root().public().net_id())), Err(Refusal::CertDenyList));
        assert_eq!(taken(&mut fresh(), of(&root(), router.public().net_id())), Err(Refusal::CertDenyList));
        let mut changed = signed(list(1, &[1]));
        changed.list.routers.clear();
        assert_eq!(taken(&mut fresh(), changed), Err(Refusal::CertDenyList));
        let ahead = |s| signed(RootDenyList { issued: NOW.plus(s), ..list(1, &[1]) });
        assert_eq!(taken(&mut fresh(), ahead(60)), Ok(Taken::Changed));
        assert_eq!(taken(&mut fresh(), ahead(61)), Err(Refusal::CertDenyList));
    }

    #[test]
    fn a_list_that_goes_back_is_refused_and_changes_nothing() {
        let mut known = RootDenials::default();
        assert_eq!(taken(&mut known, signed(list(2, &[1]))), Ok(Taken::Changed));
        let before = known.clone();
        for back in [list(1, &[1]), list(2, &[]), list(2, &[1, 2])] {
            assert_eq!(taken(&mut known, signed(back)), Err(Refusal::CertDenyBack));
        }
        assert_eq!(taken(&mut known, signed(list(2, &[1]))), Ok(Taken::Same));
        assert_eq!(known, before);
        assert_eq!(RootDenials::known(before.last().unwrap().clone()), before);
        assert_eq!(taken(&mut known, signed(list(4, &[]))), Ok(Taken::Changed));
    }
}
