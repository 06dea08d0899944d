//! A copy of a node's home beside the node itself: which of the two the router serves.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use counterfoil_identity::key_file::Keyring;
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeError, NodeIdentity};
use counterfoil_router::{Hedging, clock};
use counterfoil_session::{LaneEnd, NodeLane, RouterFrame};
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
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
