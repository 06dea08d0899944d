//! Which of a node's lanes it is asked on, with lanes over real QUIC.

use counterfoil_consent::Permit;
use counterfoil_session::sandbox::{Member, Sandbox, hello, machine_clock};
use counterfoil_session::{NodeEndpoint, NodeLane, RouterEndpoint};
use counterfoil_spec::limits::MAX_RENEWALS;
use counterfoil_spec::refusal::Refusal;

use super::*;

const MODEL: ManifestId = ManifestId::from_bytes([1; 32]);
const OTHER: ManifestId = ManifestId::from_bytes([2; 32]);

/// A network, and the router's end of the lanes of one node.
struct Scene {
    net: Sandbox,
    member: Member,
    endpoint: RouterEndpoint,
    registry: Registry,
}

/// Both ends of a lane.
struct Ends {
    router: RouterLane,
    shared: Arc<LaneState>,
    _node: (NodeEndpoint, NodeLane),
}

impl Scene {
    fn new() -> Self {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let endpoint = net.bind(&[&member]).unwrap();
        Self { net, member, endpoint, registry: Registry::default() }
    }

    async fn lane(&self, generation: u64) -> Ends {
        let member = self.net.renewed(&self.member, generation).unwrap();
        let target = self.net.target(self.endpoint.local_addr().unwrap());
        let node = NodeEndpoint::towards(target.addr).unwrap();
        let admitting = async { self.endpoint.accept().await.unwrap().admit().await };
        let connecting = node.connect(&target, self.net.tls(&member).unwrap(), hello((self.net.now)()));
        let (there, here) = tokio::join!(admitting, connecting);
        let router = there.unwrap().lane;
        let shared = Arc::new(LaneState::new(self.registry.allowance(&router.node())));
        Ends { router, shared, _node: (node, here.unwrap()) }
    }

    fn permit(&self, model: ManifestId) -> Permit {
        self.net.consent(&self.member, &self.net.proposal(model, "guide")).unwrap().1
    }

    /// The node says that it is ready on a lane; gives under which consent it would be.
    fn ready(&self, ends: &Ends, model: ManifestId) -> Serial {
        let permit = self.permit(model);
        let cti = permit.claims().cti;
        let token = ends.router.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
        let host = Host::new(ends.router.clone(), token, permit, Arc::clone(&ends.shared));
        self.registry.enter(Arc::new(host), (self.net.now)());
        cti
    }

    /// Under which consent the node is asked for a model.
    fn asked(&self, model: ManifestId) -> Vec<Serial> {
        self.registry.ready(&model, (self.net.now)().seconds()).iter().map(|host| host.cti()).collect()
    }
}

#[tokio::test]
async fn what_is_ready_late_on_an_earlier_lane_takes_nothing_from_the_lane_that_followed_it() {
    let scene = Scene::new();
    let (earlier, later) = (scene.lane(1).await, scene.lane(2).await);
    let before = scene.ready(&earlier, MODEL);
    assert_eq!(scene.asked(MODEL), [before]);
    let own = scene.ready(&later, MODEL);
    assert_eq!(scene.asked(MODEL), [own]);
    scene.ready(&earlier, MODEL);
    assert_eq!(scene.asked(MODEL), [own]);
    // Another model is not ready on the later lane yet.
    let other = scene.ready(&earlier, OTHER);
    assert_eq!((scene.asked(OTHER), scene.asked(MODEL)), (vec![other], vec![own]));
    // A lane that is over has nothing that could be taken.
    later.router.shut(Refusal::SessionDrain, "for a test");
    later.router.closed().await;
    let again = scene.ready(&earlier, MODEL);
    assert_eq!(scene.asked(MODEL), [again]);
}

#[tokio::test]
async fn what_a_node_allows_holds_for_the_lane_that_follows_one_that_was_cut() {
    let scene = Scene::new();
    let cut = scene.lane(1).await;
    cut.shared.allowed.allow(1);
    let under_way = cut.shared.allowed.free_place();
    assert!(under_way.is_some());
    cut.router.shut(Refusal::CertExpired, "for a test");
    cut.router.closed().await;
    let next = scene.lane(2).await;
    next.shared.allowed.allow(1);
    assert!(next.shared.allowed.free_place().is_none());
    drop(under_way);
    assert!(next.shared.allowed.free_place().is_some());
}

fn serial(lane: &RouterLane) -> Serial {
    Serial::from_bytes(*lane.peer().cert_serial())
}

#[tokio::test]
async fn a_lane_puts_in_doubt_those_of_its_certificate_and_those_that_were_not_given_it() {
    let scene = Scene::new();
    let (earlier, later) = (scene.lane(1).await, scene.lane(2).await);
    let (own, next) = (serial(&earlier.router), serial(&later.router));
    let arrives = |visit, ends: &Ends| {
        let (arrival, doubted) = scene.registry.arrive(visit, &ends.router);
        (arrival, doubted.iter().map(serial).collect::<Vec<_>>())
    };
    let doubts = |visit, ends: &Ends| arrives(visit, ends).1;
    let (first, doubted) = arrives(1, &earlier);
    assert_eq!(doubted, []);
    // Of two that come at one time one is the first, before it is let in.
    assert_eq!((doubts(2, &earlier), doubts(3, &later)), (vec![own], vec![own]));
    first.gave(next);
    assert_eq!((doubts(4, &earlier), doubts(5, &later)), (vec![own], vec![]));
    // As many as may wait for an answer are remembered.
    for _ in 1..MAX_RENEWALS {
        first.gave(own);
    }
    assert_eq!(doubts(6, &later), []);
    first.gave(own);
    assert_eq!(doubts(7, &later), [own]);
    let (second, _) = arrives(8, &later);
    drop(first);
    // An earlier certificate says nothing of a later one.
    assert_eq!(doubts(9, &earlier), []);
    drop(second);
    let (_first, _) = arrives(10, &earlier);
    earlier.router.shut(Refusal::SessionDrain, "for a test");
    earlier.router.closed().await;
    assert_eq!((doubts(11, &earlier), doubts(12, &later)), (vec![], vec![]));
}

#[tokio::test]
async fn a_node_has_the_lanes_on_which_it_was_let_in_and_that_are_not_over() {
    let scene = Scene::new();
    let ends = scene.lane(1).await;
    let lanes = || scene.registry.lanes(&ends.router.node()).len();
    let (arrival, _) = scene.registry.arrive(1, &ends.router);
    assert_eq!(lanes(), 0);
    arrival.let_in();
    assert_eq!(lanes(), 1);
    ends.router.shut(Refusal::SessionDrain, "for a test");
    ends.router.closed().await;
    assert_eq!(lanes(), 0);
}
