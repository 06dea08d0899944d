//! Whom and what an entry names. Those that name a key or a payment of an account are in the index's own hands.

use std::collections::BTreeSet;

use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::entry::Body;
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::receipt::ReceiptBody;

use super::Subject;

/// Each of them once.
pub(super) fn subjects(body: &Body) -> BTreeSet<Subject> {
    let mut out = BTreeSet::new();
    match &body.payload {
        Payload::Inference(p) => {
            out.insert(Subject::Request(body.serial));
            out.insert(Subject::Account(p.account));
            out.insert(Subject::Model(p.manifest));
            out.extend(p.credits.iter().map(|c| Subject::Node(c.node)));
            out.extend(p.failed_node.map(Subject::Node));
        }
        Payload::Work(p) => {
            out.insert(Subject::Request(p.request));
            if let Ok(receipt) = from_canonical::<ReceiptBody>(&p.receipt.body, MAX_LEAF_BYTES) {
                out.insert(Subject::Node(receipt.node));
                out.insert(Subject::Model(receipt.manifest));
            }
        }
        Payload::AccountOpened(p) => out.extend([Subject::Account(p.account)]),
        Payload::KeyCreated(p) => out.extend([Subject::Account(p.account)]),
        Payload::Lot(p) => out.extend([Subject::Account(p.account)]),
        Payload::Payment(p) => out.extend([Subject::Account(p.account)]),
        Payload::ModelPublished(p) => out.extend([Subject::Model(p.manifest)]),
        Payload::NodeEnrolled(p) => out.extend([Subject::Node(p.node)]),
        Payload::CapacityAttested(p) => out.extend([Subject::Node(p.node)]),
        Payload::NodeRenewed(p) => out.extend([Subject::Node(p.node)]),
        Payload::DenyListIssued(p) => {
            out.extend(p.names.nodes.iter().copied().map(Subject::Node));
            out.extend(p.names.epochs.iter().map(|e| Subject::Node(e.node)));
        }
        Payload::ConsentGranted(p) => {
            out.insert(Subject::Node(p.node));
            let claims = counterfoil_consent::claimed(&p.token);
            out.extend(claims.into_iter().flat_map(|c| c.ranges).map(|r| Subject::Model(r.manifest)));
        }
        Payload::Rules(p) => out.extend(p.model_weights.iter().map(|w| Subject::Model(w.manifest))),
        Payload::ConsentRevoked(p) => out.extend([Subject::Node(p.node)]),
        Payload::RefusalSeen(p) => out.extend(p.node.map(Subject::Node)),
        Payload::Uptime(p) => out.extend(p.nodes.iter().map(|n| Subject::Node(n.node))),
        Payload::ProviderRegistered(p) => {
            out.extend(p.nodes.iter().copied().map(Subject::Node));
            out.extend(p.accounts.iter().copied().map(Subject::Account));
        }
        Payload::Tombstone(p) => out.extend(p.requests.iter().copied().map(Subject::Request)),
        _ => {}
    }
    out
}
