//! Nodes whose certificates live for seconds: they go from one to the next under load, and one that was asleep comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_identity::RootDenials;
use counterfoil_identity::enrol::Renewing;
use counterfoil_identity::key_file::Keyring;
use counterfoil_model::Checkpoint;
use counterfoil_node::{NodeError, NodeIdentity};
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::{Prompt, clock};
use counterfoil_session::enrol::renew;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::{MAX_LATE_RENEWAL_S, MAX_LEAF_CERT_LIFE_S};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Now};

use crate::network::{Network, on_one_thread, until};

/// The life of a certificate, in seconds: a node renews after half of it, give or take a sixteenth.
pub(crate) const LIFE_S: u64 = 15;
/// Rounds of requests before a test gives up: it bounds a hang, not a speed.
const MAX_ROUNDS: u32 = 100_000;

fn prompts() -> Vec<Prompt> {
    (0..4).map(|n| Prompt { ids: (100 + n..110 + n).collect(), more: 20 }).collect()
}

/// The generations that nodes have used, in the order in which they were first used.
pub(crate) fn renewals(network: &Network) -> Vec<(NodeId, u64)> {
    network.logged(|body| match &body.payload {
        Payload::NodeRenewed(e) => Some((e.node, e.generation)),
        _ => None,
    })
}

pub(crate) fn refusals(network: &Network) -> Vec<(Refusal, Option<NodeId>)> {
    network.logged(|body| match &body.payload {
        Payload::RefusalSeen(e) => Some((e.refusal, e.node)),
        _ => None,
    })
}

fn generations(of: &NodeId, all: &[(NodeId, u64)]) -> Vec<u64> {
    all.iter().filter(|(node, _)| node == of).map(|(_, generation)| *generation).collect()
}

/// A network whose clock can be moved, with a node that has not come yet.
struct Moved {
    network: Network,
    identity: NodeIdentity,
    home: PathBuf,
    node: NodeId,
    /// By how many milliseconds the clock is ahead.
    ahead: Arc<AtomicU64>,
    now: Now,
}

async fn moved(life_s: u64) -> Moved {
    let ahead = Arc::new(AtomicU64::new(0));
    let own = Arc::clone(&ahead);
    let now: Now = Arc::new(move || Millis(clock::now().0 + own.load(Ordering::Relaxed)));
    let network = Network::lasting(life_s, Arc::clone(&now), Checkpoint::guide().unwrap()).await;
    let (identity, home) = network.enrolled().await;
    let node = identity.key.public().node_id();
    Moved { network, identity, home, node, ahead, now }
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
fn a_node_whose_certificate_ended_over_thirty_days_ago_is_told_to_enrol_anew() {
    on_one_thread(async {
        let Moved { mut network, identity, home, node, ahead, .. } = moved(LIFE_S).await;
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
        let Moved { mut network, identity, home, node, ahead, now } = moved(LIFE_S).await;
        let key = Arc::clone(&identity.key);
        let at = now().seconds();
        let next =
            Renewing::after(&identity.credentials, key, &identity.domain, identity.router, at).unwrap();
        let (next, given, _) =
            renew(network.router.enrol_addr(), node, next, &RootDenials::default(), &now).await.unwrap();
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

//= spec/session.md#renewal
//= type=test
//# A node that may be showing its certificate for the first time SHOULD NOT ask before an eighth of what is left of its life is over.
#[test]
fn a_node_that_comes_for_the_first_time_after_half_of_its_certificates_life_is_refused_nothing() {
    on_one_thread(async {
        let life_s = 80;
        let Moved { mut network, identity, home, node, ahead, .. } = moved(life_s).await;
        ahead.store(1000 * life_s / 5 * 3, Ordering::Relaxed);
        let _runs = network.node_of(identity, home);
        until(|| renewals(&network).len() == 2).await;
        assert_eq!((renewals(&network), refusals(&network)), (vec![(node, 1), (node, 2)], vec![]));
    });
}

#[test]
fn a_node_that_slept_past_the_end_of_its_certificate_comes_back_with_its_identity_key() {
    on_one_thread(async {
        let Moved { mut network, identity, home, node, ahead, .. } = moved(LIFE_S).await;
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
