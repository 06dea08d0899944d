//! The router's deny list on a lane: taken, heeded, answered.

use counterfoil_identity::certificate_serial;
use counterfoil_spec::deny::SignedDenyList;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;

use super::{Service, Step};
use crate::denials::NotTaken;

impl Service<'_> {
    /// Takes a list of the router, or ends the lane.
    pub(super) fn deny(&mut self, signed: SignedDenyList) -> Step {
        let (epoch, now) = (signed.list.epoch, (self.node.config.now)().seconds());
        match self.node.denials.take(signed, self.lane.router(), now) {
            Ok(_) => {}
            Err(NotTaken::Refused(refused)) => return Err(self.lane.shut(refused.refusal, &refused.detail)),
            Err(NotTaken::Io(error)) => {
                let words = format!("the node cannot keep the deny list: {error}");
                return Err(self.lane.shut(Refusal::SessionInternal, &words));
            }
        }
        self.heed()?;
        //= spec/session.md#control-messages
        //# A node MUST answer each `Deny` that it takes with `DenyTaken` and its epoch
        self.lane.send(&NodeMessage::DenyTaken(epoch))
    }

    //= spec/identity.md#the-roots-deny-list
    //# A node MUST NOT open a lane to a router that the list names, by its id or by the CA of its certificate, and MUST end such a lane
    //# within a second of taking the list (`C_DENIED`).
    /// Ends a lane with a router that the root denies by now.
    pub(super) fn heed_root(&mut self) -> Step {
        self.node.follow_root();
        if self.node.root_denials.denies(self.lane.router()) {
            return Err(self.lane.shut(Refusal::CertDenied, "the network's root denies this router"));
        }
        self.heed_root_on_elder()
    }

    /// Nothing is served any more that the list names.
    fn heed(&mut self) -> Step {
        if self.is_denied() {
            return Err(self.lane.shut(Refusal::CertDenied, "the router's deny list names this node"));
        }
        let Some(names) = self.node.denials.names() else { return Ok(()) };
        let held = self.held().filter(|hosted| !hosted.withdrawn).map(|hosted| hosted.permit.claims());
        let void: Vec<Serial> = held.filter(|claims| names.voids(claims)).map(|claims| claims.cti).collect();
        for cti in &void {
            tracing::warn!(%cti, "the router's deny list names a consent token of this node");
            self.revoke(cti)?;
        }
        Ok(())
    }

    /// Whether the list names this node, or its newest certificate, or the CA of that.
    pub(super) fn is_denied(&self) -> bool {
        let Some(names) = self.node.denials.names() else { return false };
        let identity = &self.node.config.identity;
        let chain = identity.credentials.chain();
        let denies = |der| certificate_serial(der).is_ok_and(|serial| names.denies_serial(serial.as_bytes()));
        names.denies_node(&identity.key.public().node_id()) || denies(&chain.leaf) || denies(&chain.ca)
    }
}
