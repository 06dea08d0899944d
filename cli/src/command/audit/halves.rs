//! The two halves of receipts that are proved, by the keys that other proofs introduce.

use std::collections::BTreeMap;

use counterfoil_audit::proofs::Judged;
use counterfoil_consent::verify_receipt;
use counterfoil_identity::VerifyKey;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, NodeId};
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::{Genesis, Payload};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::rule::{Fault, FaultKind};

/// Checks the receipts of all proved work of nodes whose enrolment is proved too, beside the router's genesis; gives how
/// many there were.
pub(super) fn check(judged: &mut Judged, net_id: Option<NetId>) -> usize {
    let genesis = judged.proofs.iter().find_map(|p| match &p.body.payload {
        Payload::Genesis(genesis) if p.index == 0 => Some(genesis.clone()),
        _ => None,
    });
    let Some((router, net_id)) = genesis.and_then(|genesis| router_of(&genesis, net_id)) else { return 0 };
    let nodes: BTreeMap<NodeId, VerifyKey> = judged
        .proofs
        .iter()
        .filter_map(|p| match &p.body.payload {
            Payload::NodeEnrolled(node) => Some((node.node, VerifyKey::from_wire(node.identity_key).ok()?)),
            _ => None,
        })
        .collect();
    let mut checked = 0;
    let mut faults = Vec::new();
    for proved in &judged.proofs {
        let Payload::Work(work) = &proved.body.payload else { continue };
        let Some(node) = node_of(&work.receipt).and_then(|id| nodes.get(&id)) else { continue };
        checked += 1;
        if let Err(e) = verify_receipt(&work.receipt, node, &router, &net_id) {
            let (kind, file) = (FaultKind::UncounteredReceipt, Some(proved.file.clone()));
            faults.push(Fault { kind, index: Some(proved.index), file, detail: e.to_string() });
        }
    }
    judged.faults.extend(faults);
    judged.ok = judged.faults.is_empty();
    checked
}

/// Who worked, as the receipt says it.
pub(super) fn node_of(receipt: &Receipt) -> Option<NodeId> {
    from_canonical::<ReceiptBody>(&receipt.body, MAX_LEAF_BYTES).ok().map(|body| body.node)
}

fn router_of(genesis: &Genesis, net_id: Option<NetId>) -> Option<(VerifyKey, NetId)> {
    let router = VerifyKey::from_wire(genesis.author_key).ok()?;
    let net_id =
        net_id.or_else(|| VerifyKey::from_spki_der(&genesis.root_spki).ok().map(|root| root.net_id()))?;
    (genesis.author_role == Role::Router.number()).then_some((router, net_id))
}
