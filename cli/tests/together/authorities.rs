//! The router's issuing CA rolls over, is retired and denied while requests run, and no request fails.

use std::cell::Cell;

use counterfoil_identity::certificate_serial;
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeError, NodeIdentity};
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::{Hedging, Prompt};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::refusal::Refusal;
use serde_json::Value;

use crate::network::{Network, REPLICAS, on_one_thread, until};
use crate::scripted::connected;

/// Requests that run at one time.
const REQUESTS: u32 = 8;
/// Handshakes before a test gives up: it bounds a hang, not a speed.
const MAX_HANDSHAKES: u32 = 10_000;

fn prompts() -> Vec<Prompt> {
    (0..REQUESTS).map(|n| Prompt { ids: (100 + n..110 + n).collect(), more: 60 }).collect()
}

fn serial(said: &Value, pointer: &str) -> Serial {
    said.pointer(pointer).and_then(Value::as_str).unwrap().parse().unwrap()
}

fn dispatches(network: &Network) -> u64 {
    network.counted("counterfoil_dispatches_total")
}

/// The serial number of the CA that issued a node's certificate.
fn ca_of(node: &NodeIdentity) -> Serial {
    certificate_serial(&node.credentials.chain().ca).unwrap()
}

/// Waits until the router shows a certificate of this CA to whoever connects.
async fn shows(network: &Network, node: &NodeIdentity, ca: Serial) {
    for _ in 0..MAX_HANDSHAKES {
        let (endpoint, lane) = Box::pin(connected(node, network.router.nodes_addr())).await;
        let shown = *lane.router().ca_serial();
        lane.shut(Refusal::SessionDrain, "seen");
        endpoint.wait_idle().await;
        if shown == *ca.as_bytes() {
            return;
        }
    }
    panic!("the router's certificate stays the old one");
}

#[test]
fn no_request_fails_while_the_issuing_ca_rolls_over_and_the_old_one_is_retired() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let (old, ended) = network.watched_node().await;
        network.ready().await;
        let prompts = prompts();
        let want = network.alone(&prompts).await;
        let begun = dispatches(&network);
        let done = Cell::new(false);
        let roll = async {
            until(|| dispatches(&network) >= begun + 20).await;
            let next = serial(&network.operate(AdminCommand::CaNext {}), "/serial");
            let said = network.operate(AdminCommand::CaActivate {});
            assert_eq!(serial(&said, "/serial"), next);
            let before = serial(&said, "/before");
            let (fresh, _) = network.enrolled().await;
            assert_eq!(ca_of(&fresh), next);
            shows(&network, &fresh, next).await;
            done.set(true);
            (before, next)
        };
        // The node whose certificate is of the old CA alone answers until all that is done.
        let load = async {
            loop {
                for (got, want) in network.together(&prompts).await.into_iter().zip(&want) {
                    assert_eq!(got.unwrap().ids, want.ids);
                }
                if done.get() {
                    break;
                }
            }
        };
        let ((), (before, next)) = tokio::join!(load, roll);
        assert_eq!(network.router.hosting(), 1);
        let (_stays, _end) = network.watched_node().await;
        until(|| network.router.hosting() == 2 && network.router.covered().is_ok()).await;
        let begun = dispatches(&network);
        let retire = async {
            until(|| dispatches(&network) >= begun + 20).await;
            let reason = "its key was stolen".to_owned();
            network.operate(AdminCommand::CaRetire { serial: before, reason });
            until(|| network.router.hosting() == 1).await;
            dispatches(&network)
        };
        let (got, then) = tokio::join!(network.together(&prompts), retire);
        assert!(dispatches(&network) > then, "the requests were over before the node was gone");
        for (got, want) in got.into_iter().zip(&want) {
            assert_eq!(got.unwrap().ids, want.ids);
        }
        assert!(matches!(ended.await.unwrap(), Err(NodeError::Denied(_))), "{old}");
        let listed = network.operate(AdminCommand::CaList {});
        let phases: Vec<_> =
            listed["cas"].as_array().unwrap().iter().map(|ca| (&ca["phase"], &ca["denied"])).collect();
        assert_eq!(phases, [(&"leaving".into(), &true.into()), (&"in use".into(), &false.into())]);
        assert_eq!(serial(&listed, "/cas/1/serial"), next);
    });
}
