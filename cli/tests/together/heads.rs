//! Heads of nodes' logs at a router: kept where the node's own key signed them, and evidence where they contradict each other.

use std::sync::Arc;

use counterfoil_audit::checkpoint::Checkpoint as LogCheckpoint;
use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::{Head, NoteSigner};
use counterfoil_identity::{SecretKey, Signer};
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeIdentity, log_origin};
use counterfoil_router::{Dealing, Hedging, Prompt};
use counterfoil_session::LaneEnd;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::refusal::Refusal;

use crate::network::{Network, on_one_thread};
use crate::scripted::{Seen, willing};

/// Looks before a test gives up: it bounds a hang, not a speed.
const MAX_LOOKS: u32 = 10_000_000;

fn note(node: &NodeIdentity, key: &Arc<dyn Signer>, size: u64, root: u8) -> String {
    let origin = log_origin(&node.key.public().node_id());
    let signer = NoteSigner::new(&origin, Arc::clone(key)).unwrap();
    LogCheckpoint { origin, head: Head { size, root: leaf_hash(&[root]) } }.sign(&signer).unwrap()
}

/// The node works once, is given the router's head and answers with a note; gives what the router keeps, once `done`.
async fn answers(
    network: &mut Network,
    node: &NodeIdentity,
    note: String,
    done: impl Fn(&Network, &Seen) -> bool,
) -> Vec<String> {
    let seen = Seen::default();
    seen.hand_in_twice();
    seen.answer_with(note);
    network.scripted_again(node.clone(), seen.clone(), willing());
    network.ready().await;
    network.alone(&[Prompt { ids: vec![100, 101], more: 1 }]).await;
    for _ in 0..MAX_LOOKS {
        if done(network, &seen) {
            return kept(network);
        }
        tokio::task::yield_now().await;
    }
    panic!("nothing came of the head: {:?}", seen.end());
}

fn kept(network: &Network) -> Vec<String> {
    network.logged(|body| match &body.payload {
        Payload::PeerAnchor(anchor) => Some(anchor.note.clone()),
        _ => None,
    })
}

fn refused(_: &Network, seen: &Seen) -> bool {
    matches!(seen.end(), Some(LaneEnd::RefusedByPeer(Refusal::SessionHead, _)))
}

//= spec/session.md#heads
//= type=test
//# So is a head of fewer entries than one that was logged before, or of as many with another root; whoever got it MUST log it first, so
//# that both notes are kept.
#[test]
fn a_nodes_heads_are_kept_and_what_contradicts_them_is_refused() {
    on_one_thread(async {
        let alone = Dealing::Fixed { nodes: 1, by_expert: false };
        let mut network = Network::new(Checkpoint::guide().unwrap(), alone, Hedging::On).await;
        let (node, _) = network.enrolled().await;
        let stranger: Arc<dyn Signer> = Arc::new(SecretKey::generate());
        let forged = note(&node, &stranger, 5, 0);
        assert_eq!(answers(&mut network, &node, forged, refused).await, [""; 0]);

        let first = note(&node, &node.log_key, 5, 0);
        let is_kept = |network: &Network, _: &Seen| !kept(network).is_empty();
        let heads = answers(&mut network, &node, first.clone(), is_kept).await;
        assert_eq!(heads, std::slice::from_ref(&first));

        let other = note(&node, &node.log_key, 5, 1);
        assert_eq!(
            answers(&mut network, &node, other.clone(), refused).await,
            [first.clone(), other.clone()]
        );
        let less = note(&node, &node.log_key, 4, 0);
        assert_eq!(answers(&mut network, &node, less.clone(), refused).await, [first, other, less]);
    });
}
