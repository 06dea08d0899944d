//! Enrolment at a router with its log, over real QUIC and step by step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use counterfoil_audit::LogReader;
use counterfoil_identity::enrol::{EnrolClient, JoinToken, Joined};
use counterfoil_identity::{
    LeafRequest, RootDenials, SecretKey, Signer, TlsKey, VerifiedPeer, certificate_serial,
    enrol_server_config, verify_chain,
};
use counterfoil_model::Checkpoint;
use counterfoil_session::enrol::join;
use counterfoil_session::{ConnectError, Limits};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NodeId};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::Now;

use super::*;
use crate::admin::{AdminCommand, execute};
use crate::authority::own_credentials;
use crate::fetch::tests::desk;
use crate::renewal::tests::before_it_signs;

mod keys;

const EXPORTER: [u8; 32] = [7; 32];

/// A router that enrols whoever comes.
struct Scene {
    desk: Arc<Desk>,
    addr: std::net::SocketAddr,
    folder: tempfile::TempDir,
}

/// A machine that wants to become a node.
struct Newcomer {
    identity: Arc<dyn Signer>,
    tls: TlsKey,
}

impl Newcomer {
    fn new() -> Self {
        Self::who_is(Arc::new(SecretKey::generate()))
    }

    fn who_is(identity: Arc<dyn Signer>) -> Self {
        Self { identity, tls: TlsKey::generate() }
    }

    fn id(&self) -> NodeId {
        self.identity.public().node_id()
    }

    fn client(&self, token: &JoinToken) -> EnrolClient {
        self.logging_by(token, SecretKey::generate().public())
    }

    /// The same with some key of its log.
    fn logging_by(&self, token: &JoinToken, log_key: VerifyKey) -> EnrolClient {
        let origin = format!("counterfoil/node/{}", self.id());
        let log = NoteVerifier::new(&origin, log_key).unwrap().to_string();
        let recovery = Hash::from_bytes([5; 32]);
        EnrolClient::new(token.clone(), Arc::clone(&self.identity), self.tls.clone(), recovery, log)
    }
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let guide = Arc::new(Checkpoint::guide().unwrap());
        let desk = Arc::new(desk(folder.path(), &guide, crate::clock::system()));
        let tls = enrol_server_config(&own_credentials(&desk).unwrap(), desk.home.domain()).unwrap();
        let endpoint = EnrolEndpoint::bind(([127, 0, 0, 1], 0).into(), tls, Limits::default()).unwrap();
        let addr = endpoint.local_addr().unwrap();
        tokio::spawn(serve(Arc::clone(&desk), endpoint));
        Self { desk, addr, folder }
    }

    fn now(&self) -> Now {
        self.desk.office.clock()
    }

    /// What the operator does, on a thread that may wait for the log.
    fn operate(&self, command: AdminCommand) -> serde_json::Value {
        let act = || execute(&self.desk.office, &self.desk.home, command).unwrap();
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    fn token(&self) -> JoinToken {
        let reply = self.operate(AdminCommand::JoinToken { expires_s: 600 });
        reply.get("join_token").and_then(|text| text.as_str()).unwrap().parse().unwrap()
    }

    async fn join(&self, who: &Newcomer, token: &JoinToken) -> Result<Joined, Refusal> {
        self.joined(who.client(token)).await
    }

    async fn joined(&self, client: EnrolClient) -> Result<Joined, Refusal> {
        match Box::pin(join(self.addr, client, &RootDenials::default(), &self.now())).await {
            Ok(joined) => Ok(joined),
            Err(ConnectError::RefusedByPeer { refusal, .. }) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    /// What the router's log says, from some entry on.
    fn logged(&self, from: u64) -> Vec<Payload> {
        let reader = LogReader::open(&self.folder.path().join("router/log")).unwrap();
        let mut all = Vec::new();
        reader.for_each(from, |_, _, body| all.push(body.payload.clone())).unwrap();
        all
    }

    fn enrolled(&self, from: u64) -> Vec<(NodeId, u64)> {
        let own = |p| if let Payload::NodeEnrolled(e) = p { Some((e.node, e.generation)) } else { None };
        self.logged(from).into_iter().filter_map(own).collect()
    }

    fn refused(&self, from: u64) -> Vec<(NodeId, Refusal)> {
        let own = |p| if let Payload::RefusalSeen(r) = p { Some((r.node?, r.refusal)) } else { None };
        self.logged(from).into_iter().filter_map(own).collect()
    }

    fn counted(&self, code: &str) -> bool {
        let sample = format!("what=\"enrolment\",code=\"{code}\"}} 1\n");
        self.desk.metrics.render().contains(&sample)
    }

    /// This router as the certificate shows it.
    fn itself(&self) -> VerifiedPeer {
        let chain = own_credentials(&self.desk).unwrap();
        let now = self.now()().seconds();
        let pin = counterfoil_identity::PinnedRouter(None);
        verify_chain(&chain.chain().certificates(), self.desk.home.domain(), Role::Router, now, &pin).unwrap()
    }

    /// A proof under an offer of some generation, which waits for the decision.
    fn proved(&self, who: &Newcomer, token: &JoinToken, generation: u64, claims: &Claims) -> Proved {
        let now = self.now()().seconds();
        let (net_id, router_id) = (self.desk.home.net_id(), self.desk.home.router_id());
        let not_after = self.desk.home.ca().latest_leaf_end(now);
        let offer = EnrolOffer { net_id, router_id, not_after, generation };
        let client = who.client(token);
        let tokens = Tokens { office: &self.desk.office, memory: &claims.memory };
        let (server, challenge) = EnrolServer::begin(client.hello().clone(), offer, &tokens, now).unwrap();
        let (_, proof) = client.on_challenge(&challenge, &EXPORTER, &self.itself(), now).unwrap();
        server.prove(&proof, &EXPORTER, now).unwrap()
    }

    /// Decides on a thread that may wait for the log.
    fn admit(&self, claims: &Claims, proved: Proved) -> Result<(), Refusal> {
        let act = || admit(&self.desk, claims, proved).map(drop).map_err(|r| r.refusal);
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_with_one_token_one_joins_and_the_log_says_what_became_of_both() {
    let scene = Scene::new();
    let begin = scene.desk.office.log_size();
    let token = scene.token();
    let [one, other] = [Newcomer::new(), Newcomer::new()];
    let (first, second) = tokio::join!(scene.join(&one, &token), scene.join(&other, &token));
    let (winner, loser) = if first.is_ok() { (&one, &other) } else { (&other, &one) };
    let (won, lost) = if first.is_ok() { (first, second) } else { (second, first) };
    assert_eq!(won.map(|j| j.node), Ok(winner.id()));
    assert_eq!(lost.map(|j| j.node), Err(Refusal::EnrolUsed));
    let said = scene.logged(begin);
    let [Payload::JoinToken(made), Payload::NodeEnrolled(joined), Payload::RefusalSeen(refused)] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!((made.token_id, made.public_key), (token.token_id(), token.facts().key.wire()));
    assert_eq!((joined.node, joined.token_id, joined.generation), (winner.id(), token.token_id(), 1));
    assert_eq!((refused.node, refused.refusal), (Some(loser.id()), Refusal::EnrolUsed));
    assert!(scene.counted("E_USED"), "{}", scene.desk.metrics.render());
    assert!(scene.desk.office.books().roster.member(&loser.id()).is_none());
}

#[tokio::test]
async fn whoever_comes_again_gets_the_same_answer_and_the_log_has_one_entry() {
    let scene = Scene::new();
    let (token, who) = (scene.token(), Newcomer::new());
    let first = scene.join(&who, &token).await.unwrap();
    let again = scene.join(&who, &token).await.unwrap();
    assert_eq!(first.credentials.chain(), again.credentials.chain());
    assert_eq!(scene.enrolled(0), [(who.id(), 1)]);
    // With another TLS key it is another claim.
    let other = Newcomer::who_is(Arc::clone(&who.identity));
    assert_eq!(scene.join(&other, &token).await.map(drop), Err(Refusal::EnrolUsed));
}

#[tokio::test]
async fn what_cannot_be_logged_is_no_answer() {
    let scene = Scene::new();
    let (token, who) = (scene.token(), Newcomer::new());
    scene.desk.office.close().unwrap();
    for _ in 0..2 {
        assert_eq!(scene.join(&who, &token).await.map(drop), Err(Refusal::SessionInternal));
    }
    assert_eq!(scene.enrolled(0), []);
}

#[tokio::test]
async fn a_denied_node_does_not_enrol_and_leaves_its_token_to_another() {
    let scene = Scene::new();
    let (first, token, denied, other) = (scene.token(), scene.token(), Newcomer::new(), Newcomer::new());
    scene.join(&denied, &first).await.unwrap();
    let names = DenyNames { nodes: vec![denied.id()], ..DenyNames::default() };
    scene.operate(AdminCommand::Deny { names, reason: "for a test".to_owned() });
    assert_eq!(scene.join(&denied, &token).await.map(drop), Err(Refusal::CertDenied));
    assert_eq!(scene.refused(0), [(denied.id(), Refusal::CertDenied)]);
    assert_eq!(scene.join(&other, &token).await.map(|j| j.node), Ok(other.id()));
}

//= spec/identity.md#enrolment
//= type=test
//# A router MUST NOT enrol a node that was denied while its certificate was signed (`C_DENIED`)
#[tokio::test]
async fn a_node_that_is_denied_while_its_certificate_is_signed_does_not_enrol() {
    let scene = Scene::new();
    let (first, token, denied, other) = (scene.token(), scene.token(), Newcomer::new(), Newcomer::new());
    scene.join(&denied, &first).await.unwrap();
    let claims = Claims::default();
    let again = scene.proved(&denied, &token, 2, &claims);
    let free = scene.proved(&other, &token, 1, &claims);
    let (desk, node, once) = (Arc::clone(&scene.desk), denied.id(), OnceLock::new());
    before_it_signs(&scene.desk, scene.folder.path(), move || {
        once.get_or_init(|| {
            let names = DenyNames { nodes: vec![node], ..DenyNames::default() };
            let deny = AdminCommand::Deny { names, reason: "for a test".to_owned() };
            execute(&desk.office, &desk.home, deny).unwrap();
        });
        Ok(())
    });
    assert_eq!(scene.admit(&claims, again), Err(Refusal::CertDenied));
    assert_eq!(scene.admit(&claims, free), Ok(()));
    assert_eq!(scene.enrolled(0), [(denied.id(), 1), (other.id(), 1)]);
}

//= spec/identity.md#enrolment
//= type=test
//# nor give it a certificate of an issuing CA whose place another took meanwhile.
#[tokio::test]
async fn a_ca_whose_place_another_took_while_it_signed_enrols_nobody() {
    let scene = Scene::new();
    let (token, who, claims) = (scene.token(), Newcomer::new(), Claims::default());
    let (proved, before) = (scene.proved(&who, &token, 1, &claims), scene.desk.home.ca().serial());
    let (desk, once) = (Arc::clone(&scene.desk), OnceLock::new());
    before_it_signs(&scene.desk, scene.folder.path(), move || {
        once.get_or_init(|| {
            for command in [AdminCommand::CaNext {}, AdminCommand::CaActivate {}] {
                execute(&desk.office, &desk.home, command).unwrap();
            }
        });
        Ok(())
    });
    let act = || admit(&scene.desk, &claims, proved).unwrap();
    let joined = std::thread::scope(|scope| scope.spawn(act).join().unwrap());
    let (by, now) = (certificate_serial(&joined.ca).unwrap(), scene.desk.home.ca().serial());
    assert_ne!(now, before);
    assert_eq!((by, scene.enrolled(0)), (now, vec![(who.id(), 1)]));
}

/// A slow CA keeps nobody waiting but those who want the same token.
#[tokio::test]
async fn whoever_comes_again_while_the_ca_signs_waits_for_the_same_answer_and_no_other_does() {
    let scene = Scene::new();
    let (who, other, claims) = (Newcomer::new(), Newcomer::new(), Arc::new(Claims::default()));
    let (token, free) = (scene.token(), scene.token());
    let [first, second] = [0, 1].map(|_| scene.proved(&who, &token, 1, &claims));
    let another = scene.proved(&other, &free, 1, &claims);
    let (go, told) = mpsc::channel();
    let (signing, signs) = mpsc::channel();
    let (told, began) = (Mutex::new(told), AtomicBool::new(false));
    before_it_signs(&scene.desk, scene.folder.path(), move || {
        if !began.swap(true, Ordering::Relaxed) {
            signing.send(()).unwrap();
            let _: Result<(), _> = told.lock().unwrap().recv();
        }
        Ok(())
    });
    let begin = |proved: Proved| {
        let ((tell, told), desk, claims) = (mpsc::channel(), Arc::clone(&scene.desk), Arc::clone(&claims));
        std::thread::spawn(move || tell.send(admit(&desk, &claims, proved).map_err(|r| r.refusal)));
        told
    };
    // It bounds a hang, not a speed.
    let most = Duration::from_secs(60);
    let first = begin(first);
    signs.recv_timeout(most).unwrap();
    let second = begin(second);
    assert_eq!(begin(another).recv_timeout(most).unwrap().map(drop), Ok(()));
    assert_eq!(second.recv_timeout(Duration::from_millis(100)), Err(mpsc::RecvTimeoutError::Timeout));
    go.send(()).unwrap();
    let (first, second) = (first.recv_timeout(most).unwrap(), second.recv_timeout(most).unwrap());
    assert_eq!(first.as_ref().map(drop), Ok(()));
    assert_eq!((second, scene.enrolled(0)), (first, vec![(other.id(), 1), (who.id(), 1)]));
}

//= spec/identity.md#rolling-over-an-issuing-ca
//= type=test
//# A router MUST refuse the leaf of an issuing CA that is not in use and never was (`C_CA_UNKNOWN`), or that is retired (`C_CA_RETIRED`).
#[tokio::test]
async fn leaf_of_a_ca_that_is_not_in_use_is_not_let_in() {
    let scene = Scene::new();
    let home = &scene.desk.home;
    let who = Newcomer::new();
    let joined = scene.join(&who, &scene.token()).await.unwrap();
    let members = crate::member::Members(Arc::clone(&scene.desk.office));
    let let_in = |chain: &counterfoil_identity::Chain| {
        let now = scene.now()().seconds();
        let shown = verify_chain(&chain.certificates(), home.domain(), Role::Node, now, &members);
        shown.map(|peer| peer.id()).map_err(|refused| refused.refusal)
    };
    assert_eq!(let_in(joined.credentials.chain()), Ok(who.id()));
    // Another CA of the same root, whose certificate no entry has.
    let now = scene.now()().seconds();
    let secret = home.root().unwrap().issue_ca(SecretKey::generate(), now).unwrap();
    let facts = (1, secret.latest_leaf_end(now));
    let request = LeafRequest::signed(Role::Node, &*who.identity, &who.tls, &home.net_id(), facts).unwrap();
    assert_eq!(let_in(&secret.issue_leaf(&request, now).unwrap()), Err(Refusal::CertCaUnknown));
    scene.operate(AdminCommand::CaNext {});
    let Some(crate::home::NextCa::Certified(next)) = home.next_ca().unwrap() else { panic!("it was made") };
    let of_next = next.issue_leaf(&request, now).unwrap();
    assert_eq!(let_in(&of_next), Err(Refusal::CertCaUnknown));
    scene.operate(AdminCommand::CaActivate {});
    assert_eq!(let_in(&of_next), Ok(who.id()));
    // What the CA before it issued is good until it ends, or until that CA is denied.
    assert_eq!(let_in(joined.credentials.chain()), Ok(who.id()));
    let serial = certificate_serial(&joined.credentials.chain().ca).unwrap();
    scene.operate(AdminCommand::CaRetire { serial, reason: "for a test".to_owned() });
    assert_eq!(let_in(joined.credentials.chain()), Err(Refusal::CertDenied));
    assert_eq!(let_in(&of_next), Ok(who.id()));
}

#[tokio::test]
async fn an_enrolled_node_enrols_again_under_the_next_generation_and_never_twice_under_one() {
    let scene = Scene::new();
    let who = Newcomer::new();
    let tokens = [scene.token(), scene.token(), scene.token()];
    let claims = Claims::default();
    // Both were offered the first generation before either was decided.
    let [first, second] = [0, 1].map(|n| scene.proved(&who, &tokens[n], 1, &claims));
    assert_eq!(scene.admit(&claims, first), Ok(()));
    assert_eq!(scene.admit(&claims, second), Err(Refusal::EnrolCollision));
    scene.join(&who, &tokens[2]).await.unwrap();
    assert_eq!(scene.enrolled(0), [(who.id(), 1), (who.id(), 2)]);
}

#[tokio::test]
async fn refusals_of_one_token_are_logged_up_to_their_limit() {
    let scene = Scene::new();
    let (token, who) = (scene.token(), Newcomer::new());
    scene.join(&who, &token).await.unwrap();
    let others: Vec<Newcomer> = (0..=MAX_ENROL_REFUSALS).map(|_| Newcomer::new()).collect();
    for other in &others {
        assert_eq!(scene.join(other, &token).await.map(drop), Err(Refusal::EnrolUsed));
    }
    let logged: Vec<_> = others.iter().take(16).map(|other| (other.id(), Refusal::EnrolUsed)).collect();
    assert_eq!(scene.refused(0), logged);
}

#[tokio::test]
async fn whoever_proves_nothing_is_counted_and_not_logged() {
    let scene = Scene::new();
    let now = scene.now()().seconds();
    let begin = scene.desk.office.log_size();
    let unknown = JoinToken::generate(scene.desk.home.net_id(), now.plus(600));
    assert_eq!(scene.join(&Newcomer::new(), &unknown).await.map(drop), Err(Refusal::EnrolToken));
    assert!(scene.counted("E_TOKEN"), "{}", scene.desk.metrics.render());
    assert_eq!(scene.desk.office.log_size(), begin);
}

#[tokio::test]
async fn a_used_token_stays_used_after_a_restart() {
    let scene = Scene::new();
    let (token, who, other) = (scene.token(), Newcomer::new(), Newcomer::new());
    scene.join(&who, &token).await.unwrap();
    // A process that begins knows what the log says and nothing else.
    let claims = Claims::default();
    let proved = scene.proved(&other, &token, 1, &claims);
    assert_eq!(scene.admit(&claims, proved), Err(Refusal::EnrolUsed));
    let fresh = scene.token();
    let proved = scene.proved(&other, &fresh, 1, &claims);
    assert_eq!(scene.admit(&claims, proved), Ok(()));
}
