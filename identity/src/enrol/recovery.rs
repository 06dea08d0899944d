//! How whoever holds a node's recovery key has the node denied: one message, bound to one connection.
//!
//! ```text
//! sig = Ed25519("counterfoil/recover/v1\0" ‖ net_id ‖ router_id ‖ TLS exporter ‖ node_id)      by the recovery key
//! ```

use counterfoil_spec::encode::signing_input;
use counterfoil_spec::ids::{Hash, NetId, NodeId, RouterId};
use counterfoil_spec::refusal::Refusal;

use super::message::Recover;
use crate::certificate::verify::{Refused, refused};
use crate::digest::{self, context};
use crate::key::VerifyKey;
use crate::signer::{SignFault, Signer};

/// Where a recovery is asked for: the network, the router, and the connection.
#[derive(Debug, Clone, Copy)]
pub struct RecoveryAt<'a> {
    /// The network.
    pub net_id: &'a NetId,
    /// The router that TLS has shown.
    pub router_id: &'a RouterId,
    /// The exporter of the connection.
    pub exporter: &'a [u8; 32],
}

impl RecoveryAt<'_> {
    fn input(&self, node: &NodeId) -> Vec<u8> {
        signing_input("recover", self.net_id, &[self.router_id.as_bytes(), self.exporter, node.as_bytes()])
    }

    /// Asks that a node be denied.
    ///
    /// # Errors
    /// [`SignFault`] where the key does not sign.
    pub fn sign(&self, node: NodeId, key: &dyn Signer) -> Result<Recover, SignFault> {
        let sig = key.sign(&self.input(&node))?;
        Ok(Recover { node, key: key.public().wire(), sig })
    }

    /// Checks what somebody asks for against what the node committed to when it enrolled; `None` for a node that
    /// nobody enrolled.
    ///
    /// # Errors
    /// [`Refused`] with `EnrolRecovery`, the same in all cases, so that nobody learns which nodes there are.
    pub fn check(&self, asked: &Recover, committed: Option<Hash>) -> Result<(), Refused> {
        let no = || refused(Refusal::EnrolRecovery, "not the recovery key of a node that enrolled here");
        let key = VerifyKey::from_wire(asked.key).map_err(|_| no())?;
        if committed != Some(recovery_hash(&key)) {
            return Err(no());
        }
        key.verify(&self.input(&asked.node), &asked.sig).map_err(|_| no())
    }
}

/// What a node commits to of its recovery key when it enrols.
#[must_use]
pub fn recovery_hash(key: &VerifyKey) -> Hash {
    digest::derive(context::RECOVERY_KEY, &[key.wire().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use counterfoil_spec::ids::Signature;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    #[test]
    fn only_the_key_that_the_node_committed_to_denies_it_and_only_here() {
        let (net_id, router_id) = (key(1).public().net_id(), key(0x14).public().router_id());
        let at = RecoveryAt { net_id: &net_id, router_id: &router_id, exporter: &[5; 32] };
        let (node, recovery) = (key(7).public().node_id(), key(9));
        let committed = Some(recovery_hash(&recovery.public()));
        let asked = at.sign(node, &recovery).unwrap();
        assert_eq!(at.check(&asked, committed), Ok(()));
        let refusal = |at: &RecoveryAt<'_>, asked: &Recover, committed| {
            at.check(asked, committed).map_err(|refused| refused.refusal)
        };
        let no = Err(Refusal::EnrolRecovery);
        assert_eq!(refusal(&at, &asked, None), no);
        assert_eq!(refusal(&at, &asked, Some(recovery_hash(&key(8).public()))), no);
        let other = at.sign(node, &key(8)).unwrap();
        assert_eq!(refusal(&at, &other, committed), no);
        let forged = Recover { sig: Signature::from_bytes([0; 64]), ..asked.clone() };
        assert_eq!(refusal(&at, &forged, committed), no);
        let another = Recover { node: key(6).public().node_id(), ..asked.clone() };
        assert_eq!(refusal(&at, &another, committed), no);
        let elsewhere = RecoveryAt { exporter: &[6; 32], ..at };
        assert_eq!(refusal(&elsewhere, &asked, committed), no);
        let elsewhere = RecoveryAt { router_id: &key(0x15).public().router_id(), ..at };
        assert_eq!(refusal(&elsewhere, &asked, committed), no);
        let elsewhere = RecoveryAt { net_id: &key(2).public().net_id(), ..at };
        assert_eq!(refusal(&elsewhere, &asked, committed), no);
    }
}
