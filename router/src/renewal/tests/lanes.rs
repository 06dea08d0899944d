//! Wishes on lanes: what waits for a slow CA, how much may wait, and an answer that finds no place.

use counterfoil_identity::{ALPN, PinnedRouter, client_config, server_config};
use counterfoil_session::sandbox::{Sandbox, hello, machine_clock};
use counterfoil_session::{
    Admission, LaneEnd, Limits, NodeEndpoint, NodeLane, RouterEndpoint, RouterFrame, Target,
};
use counterfoil_spec::limits::MAX_DENIED_NODES;
use counterfoil_spec::message::{NodeMessage, RouterMessage};

use super::*;
use crate::authority::own_credentials;
use crate::dealer::Dealing;
use crate::member::{self, Members};

/// The node's lane to its router, which lets it in, when an eighth of its certificate's life is over.
async fn connected(scene: &Scene) -> (RouterEndpoint, NodeEndpoint, NodeLane, Credentials) {
    let (desk, clock) = (&scene.desk, scene.desk.office.clock());
    let domain = desk.home.domain().clone();
    let directory = Arc::new(Members(Arc::clone(&desk.office)));
    let own = own_credentials(desk).unwrap();
    let tls = server_config(&own, &domain, directory.clone(), Arc::clone(&clock), ALPN).unwrap();
    let admission = Admission { domain: domain.clone(), directory, now: Arc::clone(&clock) };
    let endpoint =
        RouterEndpoint::bind(([127, 0, 0, 1], 0).into(), tls, admission, Limits::default()).unwrap();
    let dealing = Dealing::Placed { replicas: 1, expect: None };
    tokio::spawn(member::serve(Arc::clone(desk), endpoint.clone(), dealing));
    tokio::spawn(crate::deny::herald(Arc::clone(desk)));
    let (credentials, _) = scene.certificate(1);
    let router = Arc::new(PinnedRouter(Some(desk.home.router_id())));
    let tls = client_config(&credentials, &domain, router.clone(), Arc::clone(&clock)).unwrap();
    let addr = endpoint.local_addr().unwrap();
    let target = Target { addr, domain, router, now: Arc::clone(&clock) };
    let ours = NodeEndpoint::towards(addr).unwrap();
    let mut lane = Box::pin(ours.connect(&target, tls, hello(clock()))).await.unwrap();
    assert!(matches!(said(&mut lane).await, Ok(RouterMessage::Deny(_))));
    // From then on it may ask for the next one.
    scene.pass(MAX_LEAF_CERT_LIFE_S / 8);
    (endpoint, ours, lane, credentials)
}

/// What the router says next, but for heads of its log and proposals.
async fn said(lane: &mut NodeLane) -> Result<RouterMessage, LaneEnd> {
    loop {
        // It bounds a hang, not a speed.
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), lane.next()).await;
        match next.expect("the router says nothing: something that signs keeps it waiting")? {
            RouterFrame::Message(message) => match *message {
                RouterMessage::Head(_) | RouterMessage::Propose(_) => {}
                other => return Ok(other),
            },
            RouterFrame::Dispatch(_) => panic!("nothing was consented to"),
        }
    }
}

/// Sends a wish for the certificate after the one that the lane was opened with.
fn ask(scene: &Scene, lane: &NodeLane, last: &Credentials) {
    let exporter = lane.renewal_exporter().unwrap();
    let asked = scene.after(last, scene.now()).ask(&exporter).unwrap();
    lane.send(&NodeMessage::Renew(asked)).unwrap();
}

/// Has the CA sign nothing before it is told to, or what is given here is gone.
fn held(scene: &Scene) -> mpsc::Sender<()> {
    let (go, told) = mpsc::channel();
    let told = Mutex::new(told);
    scene.before_it_signs(move || {
        let _ = told.lock().unwrap().recv();
        Ok(())
    });
    go
}

#[tokio::test]
async fn what_else_a_node_says_does_not_wait_for_a_slow_ca() {
    let scene = Scene::new();
    let (_endpoint, _ours, mut lane, last) = connected(&scene).await;
    let go = held(&scene);
    ask(&scene, &lane, &last);
    lane.send(&NodeMessage::Consent(vec![0])).unwrap();
    let refused = said(&mut lane).await.unwrap();
    assert!(matches!(refused, RouterMessage::Refused(..)), "{refused:?}");
    go.send(()).unwrap();
    let renewed = said(&mut lane).await.unwrap();
    assert!(matches!(renewed, RouterMessage::Renewal(Renewal::Renewed(_))), "{renewed:?}");
}

#[tokio::test]
async fn four_requests_of_a_lane_may_wait() {
    let scene = Scene::new();
    let (_endpoint, _ours, mut lane, last) = connected(&scene).await;
    let go = held(&scene);
    for _ in 0..MAX_RENEWALS {
        ask(&scene, &lane, &last);
    }
    for _ in 0..MAX_RENEWALS {
        go.send(()).unwrap();
        let renewed = said(&mut lane).await.unwrap();
        assert!(matches!(renewed, RouterMessage::Renewal(Renewal::Renewed(_))), "{renewed:?}");
    }
    ask(&scene, &lane, &last);
    let refused = said(&mut lane).await.unwrap();
    let is_refused =
        |refusal| matches!(refusal, RouterMessage::Renewal(Renewal::Refused(Refusal::EnrolRate, ..)));
    assert!(is_refused(refused));
}

//= spec/session.md#renewal
//= type=test
//# A router MUST refuse a request beyond those (`S_ORDER`).
#[tokio::test]
async fn a_fifth_request_of_a_lane_that_would_wait_ends_it() {
    let scene = Scene::new();
    let (_endpoint, _ours, mut lane, last) = connected(&scene).await;
    let _held = held(&scene);
    for _ in 0..=MAX_RENEWALS {
        ask(&scene, &lane, &last);
    }
    let end = said(&mut lane).await.unwrap_err();
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::SessionOrder, _)), "{end}");
}

/// Answers one wish on a lane.
async fn answered(scene: &Scene, lane: &RouterLane, asked: Renew) {
    let mut waiting = Waiting::default();
    assert!(waiting.push(asked));
    let (arrival, _) = scene.desk.registry.arrive(0, lane);
    tell(lane, &arrival, &waiting.answer(&scene.desk, lane).await);
}

/// A node that reads nothing gets no answer. It is to come back, as it waits for one.
#[tokio::test]
async fn a_lane_that_an_answer_finds_no_place_on_is_over() {
    let scene = Scene::new();
    let net = Sandbox::new(machine_clock()).unwrap();
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    let target = net.target(endpoint.local_addr().unwrap());
    let ours = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let connecting = ours.connect(&target, net.tls(&member).unwrap(), hello((net.now)()));
    let (there, here) = tokio::join!(admitting, connecting);
    let (lane, _node) = (there.unwrap().lane, here.unwrap());
    let asked = || {
        let (last, home) = (&member.credentials, &scene.desk.home);
        let key = Arc::new(member.key.clone());
        let now = (net.now)().seconds();
        Renewing::after(last, key, &net.domain, home.router_id(), now).unwrap().ask(&EXPORTER).unwrap()
    };
    answered(&scene, &lane, asked()).await;
    assert_eq!(lane.end(), None);
    let nodes = (0..MAX_DENIED_NODES).map(|n| {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
        NodeId::from_bytes(id)
    });
    let long = net.denying(1, DenyNames { nodes: nodes.collect(), ..DenyNames::default() });
    while lane.deny(&long).is_ok() {}
    // What is left of the room has none for an answer.
    while lane.drain().is_ok() {}
    answered(&scene, &lane, asked()).await;
    let refused = lane.closed().await;
    assert!(matches!(&refused, LaneEnd::RefusedHere(Refusal::SessionInternal, _)), "{refused}");
}
