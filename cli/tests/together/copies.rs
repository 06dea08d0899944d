//! A copy of a node's home beside the node itself: which of the two the router serves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use counterfoil_identity::key_file::Keyring;
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeError, NodeIdentity, NotRenewed, renew};
use counterfoil_router::{Hedging, clock};
use counterfoil_session::{LaneEnd, NodeLane, RouterFrame};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Now};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::network::{Network, REPLICAS, on_one_thread, until};
use crate::rotation::{LIFE_S, refusals, renewals};
use crate::scripted::connected;

/// The home of a node as somebody else took it along.
fn copied(home: &Path) -> PathBuf {
    let copy = home.with_extension("copy");
    let folder = copy.join("identity");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::metadata(home.join("identity")).unwrap().permissions())
        .unwrap();
    for entry in std::fs::read_dir(home.join("identity")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    copy
}

/// A node that is let in, hosts nothing, and answers every `Ping`, once something is over. Gives how its lane ends.
async fn idle<F: Future<Output = ()>>(
    network: &Network,
    identity: NodeIdentity,
    first: impl FnOnce() -> F + Send + 'static,
) -> oneshot::Receiver<LaneEnd> {
    let router = network.router.nodes_addr();
    let ((tell, told), (ends, end)) = (oneshot::channel(), oneshot::channel());
    thread::spawn(move || {
        on_one_thread(async move {
            let (_endpoint, mut lane) = connected(&identity, router).await;
            while !matches!(said(&mut lane).await, Ok(RouterMessage::Deny(_))) {}
            tell.send(()).unwrap();
            first().await;
            let _ = ends.send(answers(&mut lane).await);
        });
    });
    told.await.unwrap();
    end
}

/// Answers until the lane ends.
async fn answers(lane: &mut NodeLane) -> LaneEnd {
    loop {
        let answered = match said(lane).await {
            Ok(RouterMessage::Ping(nonce)) => lane.send(&NodeMessage::Pong(nonce)),
            Ok(_) => Ok(()),
            Err(end) => Err(end),
        };
        if let Err(end) = answered {
            return end;
        }
    }
}

async fn said(lane: &mut NodeLane) -> Result<RouterMessage, LaneEnd> {
    match lane.next().await? {
        RouterFrame::Message(message) => Ok(*message),
        RouterFrame::Dispatch(_) => panic!("nothing was consented to"),
    }
}

#[test]
fn a_copy_of_a_node_is_refused_once_the_node_has_renewed_and_the_log_says_so() {
    on_one_thread(async {
        let guide = Checkpoint::guide().unwrap();
        let mut network = Network::lasting(LIFE_S, clock::system(), guide).await;
        let (identity, home) = network.enrolled().await;
        let node = identity.key.public().node_id();
        let copy = copied(&home);
        let mut ends = network.node_of(identity, home);
        network.ready().await;
        until(|| renewals(&network) == [(node, 1), (node, 2)]).await;
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let copy_ends = network.node_of(stolen, copy).await.unwrap();
        assert!(matches!(copy_ends, Err(NodeError::Superseded(_))), "{copy_ends:?}");
        until(|| !refusals(&network).is_empty()).await;
        // It was told at once, and did not come as far as asking for a certificate.
        assert_eq!(refusals(&network), [(Refusal::CertSuperseded, Some(node))]);
        assert!(ends.try_recv().is_err(), "the node itself was sent away");
    });
}

//= spec/identity.md#renewal
//= type=test
//# A router that is shown a certificate which another lane was opened with, while the node there answers a `Ping`, MUST refuse it
//# (`C_SUPERSEDED`), whether that lane is asked for anything or not.
#[test]
fn a_copy_that_shows_the_certificate_in_use_is_refused_at_once_and_the_node_stays() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let (identity, home) = network.enrolled().await;
        let node = identity.key.public().node_id();
        let copy = copied(&home);
        let mut ends = network.node_of(identity, home);
        network.ready().await;
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let copy_ends = network.node_of(stolen, copy).await.unwrap();
        assert!(matches!(copy_ends, Err(NodeError::Superseded(_))), "{copy_ends:?}");
        assert_eq!(refusals(&network), [(Refusal::CertSuperseded, Some(node))]);
        assert_eq!((renewals(&network), network.router.hosting()), (vec![(node, 1)], 1));
        assert!(ends.try_recv().is_err(), "the node itself was sent away");
    });
}

//= spec/identity.md#renewal
//= type=test
//# A router that is shown a certificate which another lane was opened with, while the node there answers a `Ping`, MUST refuse it
//# (`C_SUPERSEDED`), whether that lane is asked for anything or not.
#[test]
fn a_copy_is_refused_while_the_node_is_connected_and_hosts_nothing() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let (identity, home) = network.enrolled().await;
        let (node, copy) = (identity.key.public().node_id(), copied(&home));
        let mut end = idle(&network, identity, || async {}).await;
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let copy_ends = network.node_of(stolen, copy).await.unwrap();
        assert!(matches!(copy_ends, Err(NodeError::Superseded(_))), "{copy_ends:?}");
        assert_eq!(refusals(&network), [(Refusal::CertSuperseded, Some(node))]);
        assert_eq!((renewals(&network), network.router.hosting()), (vec![(node, 1)], 0));
        assert!(matches!(end.try_recv(), Err(TryRecvError::Empty)), "the node itself was sent away");
    });
}

//= spec/identity.md#renewal
//= type=test
//# It MUST wait for the answer for 20 seconds, as long as for a reply to a dispatch
#[test]
fn a_copy_waits_for_the_answer_of_a_node_that_computes_and_is_refused() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let (identity, home) = network.enrolled().await;
        let (node, copy) = (identity.key.public().node_id(), copied(&home));
        // Its QUIC runs, and its lane waits.
        let (go, going) = oneshot::channel::<()>();
        let mut end = idle(&network, identity, || async { drop(going.await) }).await;
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let mut copy_ends = network.node_of(stolen, copy);
        // Longer than a node is waited for from which nothing comes.
        let early = tokio::time::timeout(Duration::from_secs(4), &mut copy_ends).await;
        assert!(early.is_err(), "{early:?}");
        assert!(matches!(end.try_recv(), Err(TryRecvError::Empty)), "the node itself was sent away");
        assert_eq!((network.router.hosting(), refusals(&network)), (0, vec![]));
        go.send(()).unwrap();
        let copy_ends = copy_ends.await.unwrap();
        assert!(matches!(copy_ends, Err(NodeError::Superseded(_))), "{copy_ends:?}");
        assert_eq!(refusals(&network), [(Refusal::CertSuperseded, Some(node))]);
        assert!(matches!(end.try_recv(), Err(TryRecvError::Empty)), "the node itself was sent away");
    });
}

//= spec/identity.md#renewal
//= type=test
//# Where the node does not answer that lane is over.
#[test]
fn a_copy_that_comes_while_the_node_is_away_stays_and_the_node_is_told_when_it_is_back() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let (identity, home) = network.enrolled().await;
        let (node, copy) = (identity.key.public().node_id(), copied(&home));
        // It stands still, its QUIC too.
        let (go, going) = mpsc::channel::<()>();
        let _end = idle(&network, identity, || async move {
            let _ = going.recv();
        })
        .await;
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let mut copy_ends = network.node_of(stolen, copy);
        network.ready().await;
        assert_eq!((renewals(&network), refusals(&network)), (vec![(node, 1)], vec![]));
        let own = NodeIdentity::load(&home, &Keyring::default()).unwrap();
        let own_ends = network.node_of(own, home).await.unwrap();
        assert!(matches!(own_ends, Err(NodeError::Superseded(_))), "{own_ends:?}");
        assert_eq!(refusals(&network), [(Refusal::CertSuperseded, Some(node))]);
        assert_eq!(network.router.hosting(), 1);
        assert!(copy_ends.try_recv().is_err(), "the copy was sent away");
        drop(go);
    });
}

/// A network whose clock can be moved, and a node whose home somebody copied.
struct Stolen {
    network: Network,
    identity: NodeIdentity,
    copy: PathBuf,
    ahead: Arc<AtomicU64>,
    now: Now,
}

impl Stolen {
    async fn new() -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&ahead);
        let now: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
        let guide = Checkpoint::guide().unwrap();
        let network = Network::lasting(LATE_LIFE_S, Arc::clone(&now), guide).await;
        let (identity, home) = network.enrolled().await;
        Self { network, identity, copy: copied(&home), ahead, now }
    }

    /// Whoever has the copy asks at the enrolment endpoint.
    async fn renews(&self) -> Result<(), NotRenewed> {
        let keys = Keyring::default();
        let mut own = NodeIdentity::load(&self.copy, &keys).unwrap();
        let at = self.network.router.enrol_addr();
        Box::pin(renew(at, &self.copy, &keys, &mut own, &self.now)).await
    }

    /// Enough of the life is over for another certificate.
    fn pass(&self) {
        self.ahead.store(1000 * LATE_LIFE_S / 4, Ordering::Relaxed);
    }
}

/// What the log says of a copy.
const fn superseded(node: NodeId) -> (Refusal, Option<NodeId>) {
    (Refusal::CertSuperseded, Some(node))
}

/// So long that no certificate ends in a test that moves its clock.
const LATE_LIFE_S: u64 = 600;

//= spec/identity.md#renewal
//= type=test
//# As long it MUST wait before it gives a certificate at the enrolment endpoint: a node that has a lane asks there, and whoever has a copy
//# of its keys would get a certificate beside it.
#[test]
fn a_copy_gets_no_certificate_at_the_enrolment_endpoint_while_the_node_answers() {
    on_one_thread(async {
        let stolen = Stolen::new().await;
        let (node, network) = (stolen.identity.key.public().node_id(), &stolen.network);
        // At first its lane waits: longer than QUIC waits for a silent peer.
        let (go, going) = oneshot::channel::<()>();
        let mut end = idle(network, stolen.identity.clone(), || async { drop(going.await) }).await;
        stolen.pass();
        let mut asking = Box::pin(stolen.renews());
        let early = tokio::time::timeout(Duration::from_secs(7), &mut asking).await;
        assert!(early.is_err(), "{early:?}");
        // Another one does not wait beside it.
        let second = stolen.renews().await;
        assert!(matches!(second, Err(NotRenewed::Refused(Refusal::EnrolRate, _))), "{second:?}");
        go.send(()).unwrap();
        let refused = asking.await;
        assert!(matches!(refused, Err(NotRenewed::Refused(Refusal::CertSuperseded, _))), "{refused:?}");
        let logged = vec![(Refusal::EnrolRate, Some(node)), superseded(node)];
        assert_eq!((renewals(network), refusals(network)), (vec![(node, 1)], logged));
        assert!(matches!(end.try_recv(), Err(TryRecvError::Empty)), "the node itself was sent away");
    });
}

#[test]
fn whoever_asks_at_the_enrolment_endpoint_while_nothing_comes_from_the_node_gets_a_certificate() {
    on_one_thread(async {
        let stolen = Stolen::new().await;
        // It stands still, its QUIC too.
        let (go, going) = mpsc::channel::<()>();
        let _end = idle(&stolen.network, stolen.identity.clone(), || async move {
            let _ = going.recv();
        })
        .await;
        stolen.pass();
        let given = stolen.renews().await;
        assert!(given.is_ok(), "{given:?}");
        assert_eq!(refusals(&stolen.network), []);
        drop(go);
    });
}

//= spec/identity.md#renewal
//= type=test
//# A router that is shown a certificate of the generation that follows, and gave it on no lane of the node that is there, MUST refuse it in
//# the same way while the node answers on another lane (`C_SUPERSEDED`): somebody got it while the node was away.
#[test]
fn a_certificate_that_a_copy_got_while_the_node_was_away_is_refused_while_it_answers() {
    on_one_thread(async {
        let mut stolen = Stolen::new().await;
        let node = stolen.identity.key.public().node_id();
        assert!(stolen.renews().await.is_ok());
        let mut end = idle(&stolen.network, stolen.identity.clone(), || async {}).await;
        let own = NodeIdentity::load(&stolen.copy, &Keyring::default()).unwrap();
        let copy_ends = stolen.network.node_of(own, stolen.copy.clone()).await.unwrap();
        assert!(matches!(copy_ends, Err(NodeError::Superseded(_))), "{copy_ends:?}");
        let network = &stolen.network;
        assert_eq!((renewals(network), refusals(network)), (vec![(node, 1)], vec![superseded(node)]));
        assert!(matches!(end.try_recv(), Err(TryRecvError::Empty)), "the node itself was sent away");
    });
}

#[test]
fn of_two_that_come_with_one_certificate_at_one_moment_exactly_one_stays() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let (identity, home) = network.enrolled().await;
        let (node, copy) = (identity.key.public().node_id(), copied(&home));
        let stolen = NodeIdentity::load(&copy, &Keyring::default()).unwrap();
        let (mut one, mut other) = (network.node_of(identity, home), network.node_of(stolen, copy));
        let (ends, stays) = tokio::select! {
            ends = &mut one => (ends, &mut other),
            ends = &mut other => (ends, &mut one),
        };
        assert!(matches!(ends.unwrap(), Err(NodeError::Superseded(_))));
        until(|| network.router.hosting() == 1).await;
        assert_eq!((renewals(&network), refusals(&network)), (vec![(node, 1)], vec![superseded(node)]));
        assert!(stays.try_recv().is_err(), "the other one was sent away too");
    });
}
