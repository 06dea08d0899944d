//! A node that is denied while requests run: its lane is closed, and no request fails.

use counterfoil_model::Checkpoint;
use counterfoil_node::NodeError;
use counterfoil_router::{Hedging, Prompt};

use crate::network::{Network, REPLICAS, on_one_thread, until};

/// Requests that run when the node is denied.
const REQUESTS: u32 = 8;

fn prompts() -> Vec<Prompt> {
    (0..REQUESTS).map(|n| Prompt { ids: (100 + n..110 + n).collect(), more: 60 }).collect()
}

#[test]
fn no_request_fails_when_one_of_two_nodes_is_denied_under_load() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let (_, _stays) = network.watched_node().await;
        let (denied, ended) = network.watched_node().await;
        network.ready().await;
        let prompts = prompts();
        let want = network.alone(&prompts).await;
        let dispatches = || network.counted("counterfoil_dispatches_total");
        let before = dispatches();
        let deny = async {
            until(|| dispatches() >= before + 20).await;
            network.deny(denied);
            until(|| network.router.hosting() == 1).await;
            dispatches()
        };
        let (got, then) = tokio::join!(network.together(&prompts), deny);
        assert!(dispatches() > then, "the requests were over before the node was gone");
        for (got, want) in got.into_iter().zip(want) {
            assert_eq!(got.unwrap().ids, want.ids);
        }
        assert!(matches!(ended.await.unwrap(), Err(NodeError::Denied(_))));
        let taken = network.router.denials_taken();
        assert_eq!(taken.borrow().values().collect::<Vec<_>>(), [&1]);
    });
}

#[test]
fn what_a_denied_node_held_is_dealt_out_at_once() {
    on_one_thread(async {
        let dealing = counterfoil_router::Dealing::Placed { replicas: 1, expect: Some(2) };
        let mut network = Network::new(Checkpoint::guide().unwrap(), dealing, Hedging::Off).await;
        let (_, _stays) = network.watched_node().await;
        let (denied, _ended) = network.watched_node().await;
        network.ready().await;
        network.deny(denied);
        until(|| network.router.hosting() == 1 && network.router.covered().is_ok()).await;
        assert!(network.together(&prompts()).await.iter().all(Result::is_ok));
    });
}
