use std::sync::Arc;

use super::fixture::{Lane, Scene};
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::{
    GenesisFacts, Head, LogConfig, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner, NoteVerifier,
    Succession,
};
use counterfoil_identity::SecretKey;
use counterfoil_node::NodeError;
use counterfoil_session::LaneEnd;
use counterfoil_spec::entry::{Body, Role};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{LogHead, NodeMessage};
use counterfoil_spec::payload::{KeyRotation, Payload, PeerAnchor, RotatedKey};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

const ORIGIN: &str = "router.example/log";

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
}

fn head(signer: &NoteSigner, size: u64, root: u8) -> LogHead {
    let head = Head { size, root: leaf_hash(&[root]) };
    let note = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(signer).unwrap();
    LogHead { note, vkey: signer.vkey(), succession: None }
}

/// What the node's log keeps of the router's, with the index of each.
fn kept(scene: &Scene) -> Vec<(u64, PeerAnchor)> {
    let mut kept = Vec::new();
    let log = LogReader::open(&scene.home.path().join("log")).unwrap();
    log.for_each(0, |index, _, body| {
        if let Payload::PeerAnchor(anchor) = &body.payload {
            kept.push((index, anchor.clone()));
        }
    })
    .unwrap();
    kept
}

fn withdrawn(scene: &Scene) -> Vec<Serial> {
    let mut withdrawn = Vec::new();
    let log = LogReader::open(&scene.home.path().join("log")).unwrap();
    let of = |body: &Body| match &body.payload {
        Payload::ConsentRevoked(revoked) => Some(revoked.cti),
        _ => None,
    };
    log.for_each(0, |_, _, body| withdrawn.extend(of(body))).unwrap();
    withdrawn
}

async fn ended_by(lane: &Lane, head: LogHead) -> Refusal {
    lane.lane.head(head).unwrap();
    match lane.lane.closed().await {
        LaneEnd::RefusedByPeer(refusal, _) => refusal,
        other => panic!("{other}"),
    }
}

/// Gives the node a head and waits for its own; gives what that covers.
async fn answered(lane: &mut Lane, head: LogHead) -> u64 {
    lane.lane.head(head).unwrap();
    let NodeMessage::Head(own) = lane.event().await else { panic!("no head") };
    let key: NoteVerifier = own.vkey.parse().unwrap();
    Checkpoint::open(own.note.as_bytes(), &key).unwrap().head.size
}

//= spec/session.md#heads
//= type=test
//# A node MUST log it as a `peer-anchor`, the whole note, and then answer with `Head`: the newest checkpoint of its own log, which
//# MUST cover that entry
#[tokio::test]
async fn a_head_of_the_router_is_logged_whole_and_then_answered() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let [first, second] = [head(&signer(3), 5, 0), head(&signer(3), 6, 1)];
    let covered = answered(&mut lane, first.clone()).await;
    let vkey = Some(signer(3).vkey());
    assert_eq!(
        kept(&scene),
        [(covered - 1, PeerAnchor { note: first.note.clone(), vkey: vkey.clone(), succession: None })]
    );
    let again = answered(&mut lane, second.clone()).await;
    assert_eq!(
        kept(&scene),
        [
            (covered - 1, PeerAnchor { note: first.note, vkey, succession: None }),
            (again - 1, PeerAnchor { note: second.note, vkey: None, succession: None })
        ]
    );
}

#[tokio::test]
async fn a_head_before_the_last_one_was_answered_is_out_of_order() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    answered(&mut lane, head(&signer(3), 5, 0)).await;
    // A second passes between two that are logged, so this one is not answered when the next comes.
    lane.lane.head(head(&signer(3), 6, 0)).unwrap();
    assert_eq!(ended_by(&lane, head(&signer(3), 7, 0)).await, Refusal::SessionOrder);
}

//= spec/session.md#heads
//= type=test
//# So is a head of fewer entries than one that was logged before, or of as many with another root; whoever got it MUST log it first, so
//# that both notes are kept.
//= spec/session.md#heads
//= type=test
//# A node whose router contradicts a head of its own MUST withdraw its consent tokens and stop.
#[tokio::test]
async fn a_router_that_contradicts_a_head_of_its_own_is_refused_after_a_restart_too() {
    let mut scene = Scene::new();
    let mut lane = scene.lane().await;
    let consent = scene.serving(&mut lane, &scene.proposal()).await.0.cti();
    answered(&mut lane, head(&signer(3), 5, 0)).await;
    assert_eq!(ended_by(&lane, head(&signer(3), 5, 1)).await, Refusal::SessionHead);
    let two_roots = "router.example/log: two roots for size 5";
    assert!(matches!(scene.gave_up().await, NodeError::RouterContradicts(fault) if fault == two_roots));
    assert_eq!(withdrawn(&scene), [consent]);
    scene.start();
    let lane = scene.lane().await;
    assert_eq!(ended_by(&lane, head(&signer(3), 4, 0)).await, Refusal::SessionHead);
    let fewer = "router.example/log: have 4, want 5";
    assert!(matches!(scene.gave_up().await, NodeError::RouterContradicts(fault) if fault == fewer));
    let notes: Vec<String> = kept(&scene).into_iter().map(|(_, anchor)| anchor.note).collect();
    assert_eq!(notes, [(5, 0), (5, 1), (4, 0)].map(|(size, root)| head(&signer(3), size, root).note));
    // What does not contradict the first is taken as before.
    scene.start();
    let mut lane = scene.lane().await;
    assert_eq!(lane.event().await, NodeMessage::Revoke(consent));
    answered(&mut lane, head(&signer(3), 5, 0)).await;
}

#[tokio::test]
async fn a_head_that_the_routers_log_key_did_not_sign_is_refused_and_not_logged() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    answered(&mut lane, head(&signer(3), 5, 0)).await;
    for wrong in [
        head(&signer(4), 6, 0),
        LogHead { vkey: signer(3).vkey(), ..head(&signer(4), 6, 0) },
        LogHead { note: "no note".to_owned(), ..head(&signer(3), 6, 0) },
        LogHead { vkey: "no key".to_owned(), ..head(&signer(3), 6, 0) },
    ] {
        assert_eq!(ended_by(&lane, wrong).await, Refusal::SessionHead);
        lane = scene.lane().await;
    }
    assert_eq!(kept(&scene).len(), 1);
}

/// The succession of a router's log whose key was changed from the one of seed 3 to that of seed 30.
fn succession() -> String {
    let folder = tempfile::tempdir().unwrap();
    let (root, author) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let config = LogConfig {
        dir: folder.path().join("log"),
        net_id: root.public().net_id(),
        author: Arc::new(author),
        role: Role::Router,
        note: signer(3),
        genesis: GenesisFacts {
            root_spki: root.public().spki_der(),
            next_root_hash: None,
            currency: "USD".to_owned(),
            root: Some(Arc::new(root)),
        },
        options: LogOptions::default(),
    };
    let (log, _) = LogWriter::open(config, Arc::new(|| Millis(0))).unwrap();
    log.hold(signer(30));
    let [old, new] = [3, 30].map(|seed| Arc::new(SecretKey::from_seed([seed; 32])));
    let successor = new.public().wire().as_bytes().to_vec();
    let payload = KeyRotation { of: RotatedKey::Log, successor };
    let mut entry = NewEntry::new(Serial::from_bytes([1; 16]), payload);
    entry.co_signers = vec![(Role::Log, old), (Role::Log, new)];
    log.append(vec![entry]).unwrap();
    log.close().unwrap();
    Succession::of_log(&folder.path().join("log")).unwrap().unwrap().to_string()
}

#[tokio::test]
async fn a_key_that_follows_the_routers_is_taken_with_its_succession_alone_and_for_good() {
    let mut scene = Scene::new();
    let mut lane = scene.lane().await;
    let told = Some(succession());
    answered(&mut lane, head(&signer(3), 5, 0)).await;
    for wrong in [
        head(&signer(30), 6, 0),
        LogHead { succession: told.clone(), ..head(&signer(31), 6, 0) },
        LogHead { succession: Some("no line\n".to_owned()), ..head(&signer(30), 6, 0) },
        // It names the key that follows and bears the other one's signature.
        LogHead { vkey: signer(30).vkey(), succession: told.clone(), ..head(&signer(3), 6, 0) },
    ] {
        assert_eq!(ended_by(&lane, wrong).await, Refusal::SessionHead);
        lane = scene.lane().await;
    }
    let followed = LogHead { succession: told.clone(), ..head(&signer(30), 6, 0) };
    answered(&mut lane, followed.clone()).await;
    let (note, vkey) = (followed.note.clone(), Some(followed.vkey.clone()));
    assert_eq!(kept(&scene).pop().unwrap().1, PeerAnchor { note, vkey, succession: told.clone() });
    // Once it is known it need not be proved again, and nothing leads back.
    answered(&mut lane, LogHead { succession: told.clone(), ..head(&signer(30), 7, 0) }).await;
    let note = head(&signer(30), 7, 0).note;
    assert_eq!(kept(&scene).pop().unwrap().1, PeerAnchor { note, vkey: None, succession: None });
    scene.crash().await;
    scene.start();
    let lane = scene.lane().await;
    let back = LogHead { succession: told, ..head(&signer(3), 8, 0) };
    assert_eq!(ended_by(&lane, back).await, Refusal::SessionHead);
    let mut lane = scene.lane().await;
    answered(&mut lane, head(&signer(30), 8, 0)).await;
}
