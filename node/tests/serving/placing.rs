use std::path::Path;
use std::sync::Arc;

use counterfoil_model::{Checkpoint, Existing, Quant, split};
use counterfoil_session::frame::{Form, Outcome};
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::time::Seconds;

use super::fixture::Scene;

fn bytes(model: &Checkpoint) -> u64 {
    model.manifest().experts().map(|(_, record)| record.size).sum()
}

#[tokio::test]
async fn what_is_open_under_a_superseded_token_goes_on() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (first, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    let want = lane.dispatch(&first, &asked).await;
    let mut narrower = scene.proposal();
    narrower.ranges[0].experts = (0, 1);
    let (second, narrow_order) = scene.serving(&mut lane, &narrower).await;
    let consents = scene.node.status().borrow().consents.clone();
    let layers = usize::try_from(scene.model.config().layers).unwrap();
    assert_eq!(consents.iter().map(|c| c.experts).collect::<Vec<_>>(), [Some(2 * layers)]);
    let later = lane.dispatch(&first, &scene.rows(1, 1, 1, Form::Summed)).await;
    assert!(matches!(later.segments[0].outcome, Outcome::Served(_)), "{:?}", later.segments);
    lane.lane.open(scene.again(&narrow_order, 2)).unwrap();
    let same = lane.dispatch(&second, &scene.rows(2, 0, 1, Form::Summed)).await;
    assert_eq!(same.values, want.values);
}

#[tokio::test]
async fn a_proposal_without_ranges_lets_the_model_go() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut none = scene.proposal();
    none.ranges.clear();
    lane.lane.propose(none.clone()).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    // It may be asked to host it again.
    lane.lane.propose(scene.proposal()).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Consent(_)));
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_declined_and_the_others_go_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/tiny-mixtral");
    let cut = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&folder).unwrap();
    split(&whole, Quant::Keep, (cut.path(), Existing::Refuse), &|_, _| ()).unwrap();
    let shard = cut.path().join("shards/1-2.shard");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let other = Arc::new(Checkpoint::open(cut.path()).unwrap());
    let more = Arc::clone(&other);
    let scene = Scene::with(|config| {
        config.policy.models.push(more.name().to_owned());
        config.models.push(more);
    });
    let mut lane = scene.lane().await;
    let (active, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.propose(scene.net.proposal(other.manifest_id(), other.name())).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    lane.lane.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Revoke(permit.claims().cti));
    let NodeMessage::Decline(declined, why) = lane.event().await else { panic!("not declined") };
    assert_eq!(declined, other.manifest_id());
    assert!(
        why.to_string().starts_with(&format!("{}: chunk 0 is not what the manifest says", shard.display())),
        "{why}"
    );
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 2, Form::Summed);
    assert_eq!(lane.dispatch(&active, &asked).await.values, scene.reference(&asked));
}

#[tokio::test]
async fn models_share_what_is_offered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/tiny-mixtral");
    let other = Arc::new(Checkpoint::open(&folder).unwrap());
    let (guide, tiny) = (bytes(&Checkpoint::guide().unwrap()), bytes(&other));
    let more = Arc::clone(&other);
    let scene = Scene::with(|config| {
        config.policy.models.push(more.name().to_owned());
        config.models.push(more);
        config.max_weight_bytes = guide + tiny - 1;
    });
    let mut lane = scene.lane().await;
    scene.serving(&mut lane, &scene.proposal()).await;
    let proposal = scene.net.proposal(other.manifest_id(), other.name());
    lane.lane.propose(proposal.clone()).unwrap();
    let experts = other.config().all_experts().count();
    let want = format!("{experts} experts take {tiny} bytes, and {} are offered", tiny - 1);
    assert_eq!(lane.event().await, NodeMessage::Decline(other.manifest_id(), want.into()));
    let mut narrower = scene.proposal();
    narrower.ranges[0].experts = (0, 3);
    scene.serving(&mut lane, &narrower).await;
    lane.lane.propose(proposal).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Consent(_)));
}
