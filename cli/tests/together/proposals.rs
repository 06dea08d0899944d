//! How much is proposed to a node at one time, and what a proposal is answered by.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_model::Checkpoint;
use counterfoil_router::clock;
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::{
    MAX_CONSENTS, MAX_CONSENTS_LOADING, MAX_LEAF_CERT_LIFE_S, MAX_PROPOSALS_WAITING, MEMBER_WINDOW_S,
};
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Now};

use crate::bounds::{Script, said};
use crate::network::{Network, on_one_thread, until};
use crate::rotation::refusals;

/// More than a node takes proposals at one time, and than its tokens may wait for their experts.
const MODELS: usize = 66;

/// So many small models that differ in their positions' base alone.
fn models(folder: &Path) -> Vec<Checkpoint> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/families/mixtral-tied");
    let config = std::fs::read_to_string(tiny.join("config.json")).unwrap();
    let make = |n: usize| {
        let own = folder.join(format!("tiny-{n}"));
        std::fs::create_dir(&own).unwrap();
        let varied = config.replace("\"rope_theta\": 5000.0", &format!("\"rope_theta\": {}.0", 5000 + n));
        std::fs::write(own.join("config.json"), varied).unwrap();
        std::fs::copy(tiny.join("model.safetensors"), own.join("model.safetensors")).unwrap();
        Checkpoint::open(&own).unwrap()
    };
    (0..MODELS).map(make).collect()
}

//= spec/session.md#what-a-node-may-say
//= type=test
//# A router MUST NOT let more than 32 proposals of a lane wait
#[test]
fn no_more_is_proposed_at_a_time_than_may_wait_and_all_of_it_in_the_end() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::of_models(models(folder.path())).await;
        let mut node = Script::new(&network).await;
        let mut seen = vec![node.proposal.manifest];
        // It comes last; what is said of it before shows that nothing else was on its way.
        let last = network.models.last().unwrap().manifest_id();
        for want in [MAX_PROPOSALS_WAITING, 2 * MAX_PROPOSALS_WAITING, MODELS - 1] {
            while seen.len() < want {
                if let RouterMessage::Propose(proposal) = said(&mut node.lane).await.unwrap() {
                    seen.push(proposal.manifest);
                }
            }
            let refused = node.presents(&[Range::whole(last)]).await;
            assert_eq!(refused.map(drop), Err(Refusal::TokenUnasked));
            for manifest in &seen[seen.len().saturating_sub(MAX_PROPOSALS_WAITING)..] {
                node.lane.send(&NodeMessage::Decline(*manifest, "no".into())).unwrap();
            }
        }
        let all: Vec<ManifestId> = network.models.iter().map(|model| model.manifest_id()).collect();
        assert_eq!(seen, all[..MODELS - 1]);
    });
}

#[test]
fn a_node_hosts_more_models_than_may_be_proposed_at_a_time() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let mut network = Network::of_models(models(folder.path())).await;
        network.node().await;
        until(|| network.router.covered().is_ok()).await;
        let granted = network.logged(|body| matches!(body.payload, Payload::ConsentGranted(_)).then_some(()));
        assert_eq!(granted.len(), MODELS);
        assert_eq!(refusals(&network), []);
    });
}

//= spec/session.md#what-a-node-may-say
//= type=test
//# A token that is refused answers nothing.
#[test]
fn a_token_that_was_one_too_many_leaves_its_proposal_to_the_next() {
    on_one_thread(async {
        let ahead = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&ahead);
        let clock: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
        let network = Network::lasting(MAX_LEAF_CERT_LIFE_S, clock, Checkpoint::guide().unwrap()).await;
        let mut node = Script::new(&network).await;
        let own = node.proposal.ranges.clone();
        let at_once = u32::try_from(MAX_CONSENTS_LOADING).unwrap();
        for _ in 0..MAX_CONSENTS / at_once {
            let mut last = None;
            for _ in 0..at_once {
                last = Some(node.presents(&own).await.unwrap());
            }
            node.lane.send(&NodeMessage::Ready(last.unwrap().claims().cti)).unwrap();
        }
        let mut node = node.again(&network).await;
        assert_eq!(node.presents(&own).await.map(drop), Err(Refusal::TokenRate));
        ahead.fetch_add(MEMBER_WINDOW_S * 1000, Ordering::Relaxed);
        assert_eq!(node.presents(&own).await.map(drop), Ok(()));
    });
}
