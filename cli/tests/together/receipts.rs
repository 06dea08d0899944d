//! What becomes of receipts, however a node hands them in.

use counterfoil_model::Checkpoint;
use counterfoil_router::{Dealing, Hedging, Prompt};

use crate::network::{Network, on_one_thread};
use crate::scripted::willing;

/// Looks at what came back before a test gives up: it bounds a hang, not a speed.
const MAX_LOOKS: u32 = 10_000_000;

#[test]
fn a_receipt_that_is_handed_in_twice_is_logged_once() {
    on_one_thread(async {
        let alone = Dealing::Fixed { nodes: 1, by_expert: false };
        let mut network = Network::new(Checkpoint::guide().unwrap(), alone, Hedging::On).await;
        let node = network.scripted(willing()).await;
        node.hand_in_twice();
        network.ready().await;
        for asked in 1..=20 {
            network.alone(&[Prompt { ids: vec![100, 101], more: 1 }]).await;
            let mut acked = Vec::new();
            for _ in 0..MAX_LOOKS {
                acked = node.acked();
                if acked.len() >= asked {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // The second of a pair may be answered with what stands in the log.
            acked.dedup();
            assert_eq!(acked.len(), asked);
            assert_eq!(network.works(), acked);
        }
    });
}
