//! What members are given of certificates, at a router with its log.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock, mpsc};

use counterfoil_audit::LogReader;
use counterfoil_identity::enrol::Renewing;
use counterfoil_identity::{
    Credentials, IssuingCa, LeafRequest, SecretKey, SignFault, Signer, TlsKey, VerifyKey, certificate_serial,
    key_file, random, verify_chain,
};
use counterfoil_model::Checkpoint;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, Signature};
use counterfoil_spec::limits::MAX_LEAF_CERT_LIFE_S;
use counterfoil_spec::payload::{NodeEnrolled, Payload};
use counterfoil_spec::time::Millis;

use super::*;
use crate::admin::{AdminCommand, execute};
use crate::fetch::tests::desk;

mod lanes;
mod rates;

const NOW: Seconds = Seconds(1_800_000_000);
const EXPORTER: [u8; 32] = [7; 32];

/// A CA's key that does something before it signs.
struct Held<F> {
    key: SecretKey,
    before: F,
}

impl<F> std::fmt::Debug for Held<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl<F: Fn() -> Result<(), SignFault> + Send + Sync> Signer for Held<F> {
    fn public(&self) -> VerifyKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        (self.before)()?;
        Ok(self.key.sign(message))
    }
}

/// Has the CA of a router do something before it signs.
pub(crate) fn before_it_signs(
    desk: &Desk,
    folder: &Path,
    before: impl Fn() -> Result<(), SignFault> + Send + Sync + 'static,
) {
    let home = &desk.home;
    let key = key_file::load(&folder.join("router/identity/ca.key")).unwrap();
    let held: Arc<dyn Signer> = Arc::new(Held { key, before });
    home.use_ca(IssuingCa::from_parts(held, home.ca().der().to_vec(), home.domain()).unwrap());
}

/// A router with one member, whose certificate nobody has shown.
struct Scene {
    desk: Arc<Desk>,
    identity: Arc<SecretKey>,
    now_s: Arc<AtomicU64>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let now_s = Arc::new(AtomicU64::new(NOW.0));
        let clock = Arc::clone(&now_s);
        let folder = tempfile::tempdir().unwrap();
        let guide = Arc::new(Checkpoint::guide().unwrap());
        let now = Arc::new(move || Millis(clock.load(Ordering::Relaxed) * 1000));
        let desk = Arc::new(desk(folder.path(), &guide, now));
        let scene = Self { desk, identity: Arc::new(SecretKey::generate()), now_s, folder };
        scene.enrol(1);
        scene
    }

    fn id(&self) -> NodeId {
        self.identity.public().node_id()
    }

    fn enrol(&self, generation: u64) {
        let enrolled = NodeEnrolled {
            node: self.id(),
            identity_key: self.identity.public().wire(),
            log_vkey: String::new(),
            token_id: random::serial(),
            generation,
            recovery_hash: Hash::from_bytes([5; 32]),
        };
        aside(|| self.desk.office.append_blocking(vec![entry(enrolled)]).unwrap());
    }

    /// Moves the router's clock.
    fn pass(&self, seconds: u64) {
        self.now_s.fetch_add(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> Seconds {
        self.desk.office.now().seconds()
    }

    /// A certificate for a day, with the peer that whoever shows it is.
    fn certificate(&self, generation: u64) -> (Credentials, VerifiedPeer) {
        let (home, tls) = (&self.desk.home, TlsKey::generate());
        let facts = (generation, self.now().plus(MAX_LEAF_CERT_LIFE_S));
        let request = LeafRequest::signed(Role::Node, &*self.identity, &tls, &home.net_id(), facts).unwrap();
        let last = Credentials::new(home.ca().issue_leaf(&request, self.now()).unwrap(), &tls);
        let peer = self.peer(&last);
        (last, peer)
    }

    /// Who shows a certificate.
    fn peer(&self, shown: &Credentials) -> VerifiedPeer {
        let members = crate::member::Members(Arc::clone(&self.desk.office));
        let chain = shown.chain().certificates();
        verify_chain(&chain, self.desk.home.domain(), Role::Node, self.now(), &members).unwrap()
    }

    /// What becomes of whoever shows a certificate.
    fn shows(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        aside(|| presented(&self.desk, peer).map_err(|refused| refused.refusal))
    }

    /// The wish for the certificate after one of a generation.
    fn wish(&self, after: u64) -> Renew {
        self.renewing(after, self.now()).ask(&EXPORTER).unwrap()
    }

    /// The same by somebody's clock, before it is said.
    fn renewing(&self, after: u64, now: Seconds) -> Renewing {
        self.after(&self.certificate(after).0, now)
    }

    fn after(&self, last: &Credentials, now: Seconds) -> Renewing {
        let (key, home) = (Arc::clone(&self.identity), &self.desk.home);
        Renewing::after(last, key, home.domain(), home.router_id(), now).unwrap()
    }

    fn decided(&self, asked: &Renew) -> Renewal {
        let (desk, node, asked, (tell, told)) =
            (Arc::clone(&self.desk), self.id(), asked.clone(), mpsc::channel());
        std::thread::spawn(move || tell.send(decide(&desk, node, &asked, &EXPORTER)));
        // It bounds a hang, not a speed.
        let answer = told.recv_timeout(std::time::Duration::from_secs(60));
        answer.expect("no answer: something that signs keeps whoever decides waiting")
    }

    fn refused(&self, asked: &Renew) -> Option<Refusal> {
        match self.decided(asked) {
            Renewal::Renewed(_) => None,
            Renewal::Refused(refusal, ..) => Some(refusal),
        }
    }

    /// Has the CA do something before it signs.
    fn before_it_signs(&self, before: impl Fn() -> Result<(), SignFault> + Send + Sync + 'static) {
        before_it_signs(&self.desk, self.folder.path(), before);
    }

    fn given(&self) -> u32 {
        self.desk.renewals.issued(&self.id(), 1, self.now())
    }

    /// The first uses that the log has: generation and serial number.
    fn used(&self) -> Vec<(u64, Serial)> {
        let mut used = Vec::new();
        let reader = LogReader::open(&self.folder.path().join("router/log")).unwrap();
        let own = |payload: &Payload| match payload {
            Payload::NodeRenewed(e) => Some((e.generation, e.certificate)),
            _ => None,
        };
        reader.for_each(0, |_, _, body| used.extend(own(&body.payload))).unwrap();
        used
    }
}

/// On a thread that may wait for the log.
fn aside<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join().unwrap())
}

fn serial(peer: &VerifiedPeer) -> Serial {
    Serial::from_bytes(*peer.cert_serial())
}

//= spec/identity.md#renewal
//= type=test
//# A router MUST count a certificate as given before it signs it, and where it does not give it after all, count it no more.
#[tokio::test]
async fn of_those_who_ask_at_one_moment_no_more_are_given_a_certificate_than_may_be() {
    let scene = Scene::new();
    let all = usize::try_from(MAX_RENEWALS).unwrap();
    let wishes: Vec<Renew> = (0..2 * all).map(|_| scene.wish(1)).collect();
    // The CA signs for nobody before as many wait for it as may have one.
    let together = Barrier::new(all);
    scene.before_it_signs(move || {
        together.wait();
        Ok(())
    });
    let refused: Vec<Refusal> = std::thread::scope(|scope| {
        let asking: Vec<_> = wishes.iter().map(|asked| scope.spawn(|| scene.refused(asked))).collect();
        asking.into_iter().filter_map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(refused, vec![Refusal::EnrolRate; all]);
    assert_eq!(scene.given(), MAX_RENEWALS);
}

#[tokio::test]
async fn a_certificate_that_the_ca_does_not_sign_counts_for_nothing() {
    let scene = Scene::new();
    let asked = scene.wish(1);
    scene.before_it_signs(|| Err(SignFault::Unreachable { socket: String::new(), reason: String::new() }));
    for _ in 0..=MAX_RENEWALS {
        assert_eq!((scene.refused(&asked), scene.given()), (Some(Refusal::SessionInternal), 0));
    }
}

//= spec/identity.md#renewal
//= type=test
//# A router MUST NOT give a certificate of an issuing CA whose place another took while it was signed.
#[tokio::test]
async fn a_ca_whose_place_another_took_while_it_signed_gives_nothing() {
    let scene = Scene::new();
    let (asked, before) = (scene.wish(1), scene.desk.home.ca().serial());
    let (desk, once) = (Arc::clone(&scene.desk), OnceLock::new());
    scene.before_it_signs(move || {
        once.get_or_init(|| {
            for command in [AdminCommand::CaNext {}, AdminCommand::CaActivate {}] {
                execute(&desk.office, &desk.home, command).unwrap();
            }
        });
        Ok(())
    });
    let Renewal::Renewed(renewed) = scene.decided(&asked) else { panic!("it is given one") };
    let (by, now) = (certificate_serial(&renewed.ca).unwrap(), scene.desk.home.ca().serial());
    assert_ne!(now, before);
    assert_eq!((by, scene.given()), (now, 1));
}

//= spec/identity.md#renewal
//= type=test
//# It MUST have the first use of a generation in its log, as `node-renewed`, before it sends anything on that lane.
#[tokio::test]
async fn of_two_certificates_of_an_enrolments_generation_the_one_that_is_shown_first_is_the_nodes() {
    let scene = Scene::new();
    let [(_, own), (_, other)] = [scene.certificate(1), scene.certificate(1)];
    assert_eq!((scene.shows(&own), scene.shows(&own)), (Ok(()), Ok(())));
    assert_eq!(scene.shows(&other), Err(Refusal::CertSuperseded));
    // One that was given and not used before the node enrolled anew is of the same generation as what it got then.
    let (_, unused) = scene.certificate(2);
    scene.enrol(2);
    let (_, own_again) = scene.certificate(2);
    assert_eq!((scene.shows(&own_again), scene.shows(&own_again)), (Ok(()), Ok(())));
    assert_eq!(scene.shows(&unused), Err(Refusal::CertSuperseded));
    assert_eq!(scene.used(), [(1, serial(&own)), (2, serial(&own_again))]);
}

/// The counts of renewals that were refused, and of peers.
fn counted(scene: &Scene, code: &str) -> (bool, bool) {
    let text = scene.desk.metrics.render();
    let renewals = format!("what=\"renewal\",code=\"{code}\"}} 1\n");
    (text.contains(&renewals), text.contains("counterfoil_peers_refused_total 1\n"))
}

#[tokio::test]
async fn an_end_that_is_too_late_is_counted_as_refused_and_not_logged() {
    let scene = Scene::new();
    let (asked, before) =
        (scene.renewing(1, scene.now().plus(1)).ask(&EXPORTER).unwrap(), scene.desk.office.log_size());
    assert_eq!(scene.refused(&asked), Some(Refusal::CertLifetime));
    assert_eq!((counted(&scene, "C_LIFETIME"), scene.desk.office.log_size()), ((true, false), before));
}

//= spec/identity.md#renewal
//= type=test
//# A router MUST NOT give a certificate to a node that was denied while it was signed (`C_DENIED`).
#[tokio::test]
async fn a_node_that_is_denied_while_its_certificate_is_signed_does_not_get_it() {
    let scene = Scene::new();
    let (asked, node, desk) = (scene.wish(1), scene.id(), Arc::clone(&scene.desk));
    scene.before_it_signs(move || {
        let names = DenyNames { nodes: vec![node], ..DenyNames::default() };
        let deny = AdminCommand::Deny { names, reason: "for a test".to_owned() };
        execute(&desk.office, &desk.home, deny).unwrap();
        Ok(())
    });
    assert_eq!((scene.refused(&asked), scene.given()), (Some(Refusal::CertDenied), 0));
    assert_eq!(counted(&scene, "C_DENIED"), (true, true));
}

/// Whoever proves nothing keeps nobody from deciding, and is not logged.
#[tokio::test]
async fn what_nobody_proved_is_refused_while_another_decides() {
    let scene = Scene::new();
    let (asked, before) = (scene.wish(1), scene.desk.office.log_size());
    let elsewhere = Renew { generation: 3, ..asked };
    let (desk, node, (tell, told)) = (Arc::clone(&scene.desk), scene.id(), mpsc::channel());
    let alone = scene.desk.office.decide();
    std::thread::spawn(move || tell.send(decide(&desk, node, &elsewhere, &EXPORTER)));
    // It bounds a hang, not a speed.
    let answer = told.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    drop(alone);
    assert!(matches!(answer, Renewal::Refused(Refusal::EnrolProof, ..)), "{answer:?}");
    assert_eq!(scene.desk.office.log_size(), before);
    assert_eq!(counted(&scene, "E_PROOF"), (true, true));
    // It was said once, and is not again within a minute.
    assert_eq!(scene.desk.renewals.unproved.one(Instant::now()), None);
}

#[tokio::test]
async fn a_key_of_the_routers_gets_no_certificate() {
    let scene = Scene::new();
    let renewing = scene.renewing(1, scene.now());
    scene.desk.shown.add(renewing.tls_key().public());
    assert_eq!(scene.refused(&renewing.ask(&EXPORTER).unwrap()), Some(Refusal::EnrolCsr));
    assert_eq!(scene.refused(&scene.wish(1)), None);
}
