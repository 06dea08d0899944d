use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use counterfoil_node::Stage;
use counterfoil_session::FetchError;
use counterfoil_session::fetch::Reply;
use counterfoil_session::frame::Form;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::fetch::{FetchRequest, ShardRequest};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;

use super::fixture::{Lane, Scene};

const ROUTER: NodeId = NodeId::from_bytes([8; 32]);

/// A node that has no weights.
fn bare() -> Scene {
    Scene::with(|config| config.models.clear())
}

/// The router gives what it is asked for; counts shards.
fn giving(scene: &Scene, lane: &Lane) -> Arc<AtomicUsize> {
    let given = Arc::new(AtomicUsize::new(0));
    let (model, count) = (Arc::clone(&scene.model), Arc::clone(&given));
    let door = lane.lane.fetch_door();
    tokio::spawn(door.serve(move |asked, reply: Reply| {
        let (model, count) = (Arc::clone(&model), Arc::clone(&count));
        async move {
            let bytes = match asked {
                FetchRequest::Manifest(_) => model.manifest().to_bytes(),
                FetchRequest::Shard(shard) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    let expert = u16::try_from(shard.expert).unwrap();
                    let from = u64::from(shard.first_chunk) * 1_048_576;
                    model.shard(shard.layer, expert).unwrap().copy(from, usize::MAX)
                }
                FetchRequest::Repository(_) => return reply.refuse(Refusal::FetchSource, "none").await,
            };
            let _ = reply.whole(ROUTER, &bytes).await;
        }
    }));
    given
}

fn shard(scene: &Scene, layer: u32, expert: u32) -> FetchRequest {
    let manifest = scene.model.manifest_id();
    FetchRequest::Shard(ShardRequest { manifest, layer, expert, first_chunk: 0, not_from: Vec::new() })
}

fn refusal(error: &FetchError) -> Refusal {
    match error {
        FetchError::Refused { refusal, .. } => *refusal,
        other => panic!("{other}"),
    }
}

/// The next event that is no progress.
async fn event(lane: &mut Lane) -> NodeMessage {
    loop {
        match lane.event().await {
            NodeMessage::Progress(_) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn a_node_without_weights_fetches_them_serves_them_and_passes_them_on() {
    let scene = bare();
    let mut lane = scene.lane().await;
    let given = giving(&scene, &lane);
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = event(&mut lane).await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    let active = lane.lane.welcome(&permit, 0, counterfoil_spec::time::Seconds(u64::MAX)).unwrap();
    let all = scene.model.config().all_experts().count();
    let bytes = scene.model.manifest().shard_bytes();
    let progress = loop {
        match lane.event().await {
            NodeMessage::Progress(progress) if progress.shards == progress.wanted_shards => break progress,
            NodeMessage::Progress(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((progress.wanted_shards, progress.bytes), (u64::try_from(all).unwrap(), bytes));
    assert_eq!(lane.event().await, NodeMessage::Ready(permit.claims().cti));
    assert_eq!(given.load(Ordering::SeqCst), all);
    let fetch = scene.node.status().borrow().fetches[0].clone();
    assert_eq!((fetch.shards, fetch.wanted_shards, fetch.bytes, fetch.trouble), (all, all, bytes, None));
    lane.lane.open(scene.net.order(&permit, 1)).unwrap();
    let asked = scene.rows(1, 0, 2, Form::Summed);
    assert_eq!(lane.dispatch(&active, &asked).await.values, scene.reference(&asked));
    let whole = scene.model.shard(0, 1).unwrap().copy(0, usize::MAX);
    let passed = lane.lane.fetcher().whole(&shard(&scene, 0, 1), whole.len()).await;
    assert_eq!(passed, Ok((scene.member.key.public().node_id(), whole)));
}

#[tokio::test]
async fn a_node_that_comes_back_fetches_nothing_twice() {
    let scene = bare();
    let mut lane = scene.lane().await;
    let given = giving(&scene, &lane);
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    let half = scene.model.config().moe_layers().count() * 2;
    let serve = async |lane: &mut Lane, proposal| {
        lane.lane.propose(proposal).unwrap();
        let NodeMessage::Consent(token) = event(lane).await else { panic!("no consent") };
        let permit = scene.net.check(&token, &scene.member).unwrap();
        lane.lane.welcome(&permit, 0, counterfoil_spec::time::Seconds(u64::MAX)).unwrap();
        assert_eq!(event(lane).await, NodeMessage::Ready(permit.claims().cti));
    };
    serve(&mut lane, proposal).await;
    assert_eq!(given.load(Ordering::SeqCst), half);
    lane.lane.shut(Refusal::SessionInternal, "the test");
    let mut next = scene.lane().await;
    let more = giving(&scene, &next);
    serve(&mut next, scene.proposal()).await;
    let all = scene.model.config().all_experts().count();
    assert_eq!(more.load(Ordering::SeqCst), all - half);
    let mut status = scene.node.status();
    status.wait_for(|s| s.stage == Stage::Serving).await.unwrap();
}

#[tokio::test]
async fn all_shards_that_went_bad_on_disk_are_fetched_anew_at_once() {
    let scene = bare();
    let mut lane = scene.lane().await;
    giving(&scene, &lane);
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    lane.lane.propose(proposal).unwrap();
    let NodeMessage::Consent(token) = event(&mut lane).await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    lane.lane.welcome(&permit, 0, counterfoil_spec::time::Seconds(u64::MAX)).unwrap();
    assert_eq!(event(&mut lane).await, NodeMessage::Ready(permit.claims().cti));
    lane.lane.shut(Refusal::SessionInternal, "the test");
    let folder = scene.home.path().join("shards").join(scene.model.manifest_id().to_string());
    let mut bad = 0;
    for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|ext| ext == "shard") {
            let length = std::fs::metadata(&file).unwrap().len();
            std::fs::write(&file, vec![0; usize::try_from(length).unwrap()]).unwrap();
            bad += 1;
        }
    }
    assert_eq!(bad, 8);
    let mut next = scene.lane().await;
    let given = giving(&scene, &next);
    next.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = event(&mut next).await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    next.lane.welcome(&permit, 0, counterfoil_spec::time::Seconds(u64::MAX)).unwrap();
    assert_eq!(event(&mut next).await, NodeMessage::Ready(permit.claims().cti));
    assert_eq!(given.load(Ordering::SeqCst), 32);
}

#[tokio::test]
async fn models_share_the_disk_that_is_allowed_and_a_node_offers_no_more_than_it() {
    let bytes = Scene::new().model.manifest().shard_bytes();
    let scene = Scene::with(|config| {
        config.models.clear();
        config.max_disk_bytes = bytes;
    });
    let lane = scene.lane().await;
    assert_eq!(lane.hello.max_weight_bytes, bytes);
    let at_hand = Scene::with(|config| config.max_disk_bytes = 7);
    assert_eq!(at_hand.lane().await.hello.max_weight_bytes, bytes + 7);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_id_says_is_not_believed() {
    let scene = bare();
    let mut lane = scene.lane().await;
    giving(&scene, &lane);
    lane.lane.propose(scene.net.proposal(super::fixture::NOT_HERE, "guide")).unwrap();
    let NodeMessage::Decline(_, why) = event(&mut lane).await else { panic!("not declined") };
    let (not_here, found) = (super::fixture::NOT_HERE, scene.model.manifest_id());
    assert_eq!(why.to_string(), format!("the manifest of model {not_here}: its hash is {found}"));
}

#[tokio::test]
async fn more_than_the_disk_quota_is_declined_before_anything_is_fetched() {
    let bytes = Scene::new().model.manifest().shard_bytes();
    let scene = Scene::with(|config| {
        config.models.clear();
        config.max_disk_bytes = bytes - 1;
    });
    let mut lane = scene.lane().await;
    let given = giving(&scene, &lane);
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Decline(_, why) = event(&mut lane).await else { panic!("not declined") };
    let all = scene.model.config().all_experts().count();
    assert_eq!(
        why.to_string(),
        format!("{all} experts take {bytes} bytes on disk, and {} are allowed", bytes - 1)
    );
    assert_eq!(given.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_node_passes_on_what_its_consent_covers_and_nothing_else() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let fetcher = lane.lane.fetcher();
    let before = fetcher.whole(&shard(&scene, 0, 0), 0).await.unwrap_err();
    assert_eq!(refusal(&before), Refusal::FetchConsent);
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    let (_, order) = scene.serving(&mut lane, &proposal).await;
    let whole = scene.model.shard(0, 1).unwrap().copy(0, usize::MAX);
    assert_eq!(fetcher.whole(&shard(&scene, 0, 1), whole.len()).await.unwrap().1, whole);
    let outside = fetcher.whole(&shard(&scene, 0, 2), 0).await.unwrap_err();
    assert_eq!(refusal(&outside), Refusal::FetchConsent);
    let manifest = FetchRequest::Manifest(scene.model.manifest_id());
    assert_eq!(refusal(&fetcher.whole(&manifest, 0).await.unwrap_err()), Refusal::FetchModel);
    assert!(scene.node.revoke(order.grant.cti).await);
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    let withdrawn = fetcher.whole(&shard(&scene, 0, 1), 0).await.unwrap_err();
    assert_eq!(refusal(&withdrawn), Refusal::FetchConsent);
}

#[tokio::test]
async fn a_node_without_a_fresh_deny_list_passes_nothing_on() {
    let scene = Scene::new();
    let mut lane = scene.bare_lane().await;
    scene.serving(&mut lane, &scene.proposal()).await;
    let whole = scene.model.shard(0, 1).unwrap().copy(0, usize::MAX);
    let fetcher = lane.lane.fetcher();
    let refused = fetcher.whole(&shard(&scene, 0, 1), 0).await.unwrap_err();
    assert_eq!(refusal(&refused), Refusal::FetchConsent);
    lane.lane.deny(&scene.net.denying(1, DenyNames::default())).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(1));
    assert_eq!(fetcher.whole(&shard(&scene, 0, 1), whole.len()).await.unwrap().1, whole);
}

#[tokio::test]
async fn a_node_whose_operator_shares_no_weights_passes_nothing_on() {
    let scene = Scene::with(|config| config.share_weights = false);
    let mut lane = scene.lane().await;
    scene.serving(&mut lane, &scene.proposal()).await;
    let refused = lane.lane.fetcher().whole(&shard(&scene, 0, 0), 0).await.unwrap_err();
    assert_eq!(refusal(&refused), Refusal::FetchConsent);
}
