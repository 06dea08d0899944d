//! Nodes whose certificates live for seconds: they go from one to the next under load, a copy of one is found out, and
//! one that was asleep comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_identity::enrol::Renewing;
use counterfoil_identity::key_file::Keyring;
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeError, NodeIdentity};
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::{Hedging, Prompt, clock};
use counterfoil_session::enrol::renew;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::{MAX_LATE_RENEWAL_S, MAX_LEAF_CERT_LIFE_S};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Now};

use crate::network::{Network, REPLICAS, on_one_thread, until};

/// The life of a certificate, in seconds: a node renews after half of it, give or take a sixteenth.
const LIFE_S: u64 = 15;
/// Rounds of requests before a test gives up: it bounds a hang, not a speed.
const MAX_ROUNDS: u32 = 100_000;

fn prompts() -> Vec<Prompt> {
    (0..4).map(|n| Prompt { ids: (100 + n..110 + n).collect(), more: 20 }).collect()
}

/// The generations that nodes have used, in the order in which they were first used.
fn renewals(network: &Network) -> Vec<(NodeId, u64)> {
    network.logged(|body| match &body.payload {
        Payload::NodeRenewed(e) => Some((e.node, e.generation)),
        _ => None,
    })
}

fn refusals(network: &Network) -> Vec<(Refusal, Option<NodeId>)> {
    network.logged(|body| match &body.payload {
        Payload::RefusalSeen(e) => Some((e.refusal, e.node)),
        _ => None,
    })
}

fn generations(of: &NodeId, all: &[(NodeId, u64)]) -> Vec<u64> {
    all.iter().filter(|(node, _)| node == of).map(|(_, generation)| *generation).collect()
}

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

#[test]
fn no_request_fails_while_certificates_of_seconds_follow_each_other() {
    on_one_thread(async {
        let guide = Checkpoint::guide().unwrap();
        let mut network = Network::lasting(LIFE_S, clock::system(), guide).await;
        let (one, mut one_ends) = network.watched_node().await;
        let (other, mut other_ends) = network.watched_node().await;
        network.ready().await;
        let prompts = prompts();
        let want = network.alone(&prompts).await;
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "the nodes did not renew");
            for (got, want) in network.together(&prompts).await.into_iter().zip(&want) {
                assert_eq!(got.unwrap().ids, want.ids);
            }
            let all = renewals(&network);
            // The certificates of the enrolments have ended once the second ones after them are used.
            if [one, other].iter().all(|node| generations(node, &all).len() >= 3) {
                break;
            }
        }
        let all = renewals(&network);
        for node in [one, other] {
            let seen = generations(&node, &all);
            let want: Vec<u64> = (1..).take(seen.len()).collect();
            assert_eq!(seen, want);
        }
        assert_eq!((one_ends.try_recv().is_err(), other_ends.try_recv().is_err()), (true, true));
        assert_eq!((network.router.hosting(), refusals(&network)), (2, vec![]));
        // The lanes of the certificates before are let go of.
        until(|| network.router.denials_taken().borrow().len() == 2).await;
    });
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
//# A router that is shown a certificate which another lane was opened with, while the node there answers a `Ping`, MUST refuse it (`C_SUPERSEDED`).
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

#[test]
fn a_node_whose_certificate_ended_over_thirty_days_ago_is_told_to_enrol_anew() {
    on_one_thread(async {
        let ahead = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&ahead);
        let now: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
        let mut network = Network::lasting(LIFE_S, now, Checkpoint::guide().unwrap()).await;
        let (identity, home) = network.enrolled().await;
        let node = identity.key.public().node_id();
        // What an enrolment gave may hold for a day, as far as the log knows.
        ahead.store(1000 * (MAX_LEAF_CERT_LIFE_S + MAX_LATE_RENEWAL_S + 60), Ordering::Relaxed);
        // The router's own certificate has ended as well; with another CA it takes another one.
        network.operate(AdminCommand::CaNext {});
        network.operate(AdminCommand::CaActivate {});
        let ends = network.node_of(identity, home).await.unwrap();
        let Err(NodeError::Ended(words)) = ends else { panic!("{ends:?}") };
        assert!(words.starts_with("E_LATE: "), "{words}");
        assert_eq!(
            (refusals(&network), renewals(&network)),
            (vec![(Refusal::EnrolLate, Some(node))], vec![])
        );
    });
}

#[test]
fn a_certificate_that_was_given_and_never_used_costs_nothing() {
    on_one_thread(async {
        let ahead = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&ahead);
        let now: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
        let mut network = Network::lasting(LIFE_S, Arc::clone(&now), Checkpoint::guide().unwrap()).await;
        let (identity, home) = network.enrolled().await;
        let node = identity.key.public().node_id();
        let key = Arc::clone(&identity.key);
        let at = now().seconds();
        let next =
            Renewing::after(&identity.credentials, key, &identity.domain, identity.router, at).unwrap();
        let (next, given, _) = renew(network.router.enrol_addr(), node, next, &now).await.unwrap();
        let folder = home.join("identity");
        Keyring::default().store(&folder.join("next.key"), next.tls_key().secret()).unwrap();
        std::fs::write(folder.join("next.pem"), given.chain().to_pem()).unwrap();
        ahead.store(1000 * (LIFE_S + 60), Ordering::Relaxed);
        let waking = NodeIdentity::load(&home, &Keyring::default()).unwrap();
        assert_eq!(waking.credentials.chain(), given.chain());
        let _runs = network.node_of(waking, home);
        network.ready().await;
        assert_eq!((renewals(&network), refusals(&network)), (vec![(node, 2)], vec![]));
    });
}

#[test]
fn a_node_that_slept_past_the_end_of_its_certificate_comes_back_with_its_identity_key() {
    on_one_thread(async {
        let ahead = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&ahead);
        let now: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
        let mut network = Network::lasting(LIFE_S, now, Checkpoint::guide().unwrap()).await;
        let (identity, home) = network.enrolled().await;
        let node = identity.key.public().node_id();
        ahead.store(1000 * (LIFE_S + 60), Ordering::Relaxed);
        let _runs = network.node_of(identity, home.clone());
        network.ready().await;
        assert_eq!(renewals(&network), [(node, 2)]);
        assert!(network.together(&prompts()).await.iter().all(Result::is_ok));
        // What it was given is what its home holds.
        let kept = NodeIdentity::load(&home, &Keyring::default()).unwrap();
        let end = counterfoil_identity::certificate_end(&kept.credentials.chain().leaf).unwrap();
        assert!(end.millis() > network.now(), "the home holds the certificate that has ended");
    });
}
