use super::fixture::Scene;
use super::refused;
use counterfoil_model::{Activations as Quantised, Checkpoint, Rows};
use counterfoil_session::frame::{Activations, Dispatch, Form, Outcome, Served};
use counterfoil_spec::refusal::Refusal;
use std::path::Path;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn two_requests_in_one_frame_get_what_each_gets_alone() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.lane.open(scene.again(&order, 2)).unwrap();
    let (mut one, two) = (scene.rows(1, 0, 2, Form::Summed), scene.rows(2, 7, 3, Form::Separate));
    let alone = [lane.dispatch(&token, &one).await.values, lane.dispatch(&token, &two).await.values].concat();
    one.segments.extend(&two.segments);
    one.rows.extend(&two.rows);
    one.experts.extend(&two.experts);
    one.activations = joined(&one, &two);
    assert_eq!(lane.dispatch(&token, &one).await.values, alone);
}

#[tokio::test]
async fn a_bad_row_refuses_its_own_request_only() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.lane.open(scene.again(&order, 2)).unwrap();
    let (good, mut both) = (scene.rows(1, 0, 1, Form::Summed), scene.rows(1, 1, 1, Form::Summed));
    let want = lane.dispatch(&token, &good).await.values;
    let mut bad = scene.rows(2, 0, 1, Form::Summed);
    let mut values = bad.activations.to_floats();
    values[3] = f32::NAN;
    bad.activations = Activations::F32(values);
    both.segments.extend(&bad.segments);
    both.rows.extend(&bad.rows);
    both.experts.extend(&bad.experts);
    both.activations = joined(&both, &bad);
    let combine = lane.dispatch(&token, &both).await;
    assert_eq!(
        combine.segments,
        [
            Served { slot: 1, outcome: Outcome::Served(1) },
            Served { slot: 2, outcome: Outcome::Refused(Refusal::Shape) }
        ]
    );
    assert_eq!(combine.values, want);
}

#[tokio::test]
async fn rows_of_another_width_are_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    asked.hidden -= 1;
    let mut values = asked.activations.to_floats();
    values.pop();
    asked.activations = Activations::F32(values);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Shape));
}

#[tokio::test]
async fn an_expert_outside_the_token_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    let (token, order) = scene.serving(&mut lane, &proposal).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
    asked.experts[1].expert = 2;
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Scope));
}

#[tokio::test]
async fn an_expert_that_the_model_does_not_have_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    asked.experts[1].expert = u16::MAX;
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Scope));
}

#[tokio::test]
async fn a_dispatch_after_the_deadline_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
    scene.skew.store(61_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Deadline));
}

#[tokio::test]
async fn a_dispatch_after_the_consent_ended_is_refused() {
    let scene = Scene::with(|config| config.policy.life_s = 100);
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut grant = order.grant.clone();
    grant.deadline = grant.deadline.plus(3_600_000);
    lane.lane.open(scene.net.signed(order.open.node, grant, order.open.issued)).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    lane.dispatch(&token, &asked).await;
    // Within the tolerated skew of 60 s, and past it.
    scene.skew.store(130_000, Ordering::SeqCst);
    lane.lane.deny(&scene.net.nothing_denied()).unwrap();
    let served = [Served { slot: 1, outcome: Outcome::Served(1) }];
    assert_eq!(lane.dispatch(&token, &asked).await.segments, served);
    scene.skew.store(161_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Withdrawn));
}

#[tokio::test]
async fn a_dispatch_beyond_the_granted_tokens_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut grant = order.grant.clone();
    grant.max_tokens = 3;
    lane.lane.open(scene.net.signed(order.open.node, grant, order.open.issued)).unwrap();
    let last = scene.rows(1, 2, 1, Form::Summed);
    assert_eq!(
        lane.dispatch(&token, &last).await.segments,
        [Served { slot: 1, outcome: Outcome::Served(1) }]
    );
    assert_eq!(
        lane.dispatch(&token, &scene.rows(1, 3, 1, Form::Summed)).await.segments,
        refused(1, Refusal::Quota)
    );
}

/// The same rows as the kernel quantises them.
fn quantised(asked: &Dispatch) -> Dispatch {
    let width = usize::try_from(asked.hidden).unwrap();
    let rows = Rows::from_values(width, asked.activations.to_floats()).unwrap();
    let (bytes, scales) = Quantised::of(&rows).unwrap().into_parts();
    Dispatch { activations: Activations::Int8 { bytes, scales }, ..asked.clone() }
}

#[tokio::test]
async fn int8_rows_get_the_bits_of_f32_rows() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/gguf");
    let model = Checkpoint::open(&fixtures.join("mixtral-quantised.gguf")).unwrap();
    let scene = Scene::of(model, |_| {});
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    let asked = scene.rows(1, 0, 3, Form::Separate);
    let want = lane.dispatch(&token, &asked).await.values;
    assert_eq!(want, scene.reference(&asked));
    assert_eq!(lane.dispatch(&token, &quantised(&asked)).await.values, want);
    // Where a neighbour's segment is refused, only the others' rows are computed with.
    let mut both = scene.rows(9, 0, 1, Form::Summed);
    both.segments.extend(&asked.segments);
    both.rows.extend(&asked.rows);
    both.experts.extend(&asked.experts);
    both.activations = joined(&both, &asked);
    let combine = lane.dispatch(&token, &quantised(&both)).await;
    assert_eq!(combine.segments[..1], refused(9, Refusal::Grant));
    assert_eq!(combine.values, want);
}

#[tokio::test]
async fn int8_rows_for_float_experts_are_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &quantised(&asked)).await.segments, refused(1, Refusal::Shape));
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
}

#[tokio::test]
async fn bf16_rows_get_what_their_values_get() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 2, Form::Summed);
    let halves = Activations::bf16(&asked.activations.to_floats());
    let asked = Dispatch { activations: halves, ..asked };
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
}

/// The rows of both.
fn joined(one: &Dispatch, two: &Dispatch) -> Activations {
    Activations::F32([one.activations.to_floats(), two.activations.to_floats()].concat())
}
