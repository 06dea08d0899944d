//! Who may fetch what at a router, asked for on a lane over real QUIC, with a clock that the test sets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_identity::key_file::Keyring;
use counterfoil_model::{Existing, Quant, split};
use counterfoil_session::sandbox::{Member, Sandbox, hello};
use counterfoil_session::{NodeEndpoint, NodeLane, RouterEndpoint};
use counterfoil_spec::claims::Range;
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_LEAF_CERT_LIFE_S};
use counterfoil_spec::payload::ConsentRevoked;
use counterfoil_spec::time::{Millis, Now};

use super::*;
use crate::batch::Hedging;
use crate::dealer::Dealing;
use crate::home::RouterHome;
use crate::office::entry;
use crate::rows_as::RowsAs;
use crate::serve::{RouterConfig, open};

const BEGIN_S: u64 = 1_800_000_000;
/// The layer and the experts that the asker's consent token covers.
const LAYER: u32 = 1;
const EXPERTS: (u32, u32) = (2, 3);

/// A router with one model, and a node's lane to it with one consent token.
struct Scene {
    desk: Arc<Desk>,
    checkpoint: Arc<Checkpoint>,
    permit: Permit,
    now_s: Arc<AtomicU64>,
    node: NodeLane,
    _ends: (tempfile::TempDir, Sandbox, Member, RouterEndpoint, NodeEndpoint, RouterLane),
}

impl Scene {
    async fn new() -> Self {
        Self::of(Checkpoint::guide().unwrap()).await
    }

    async fn of(checkpoint: Checkpoint) -> Self {
        let now_s = Arc::new(AtomicU64::new(BEGIN_S));
        let clock = Arc::clone(&now_s);
        let now: Now = Arc::new(move || Millis(clock.load(Ordering::Relaxed) * 1000));
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Arc::new(checkpoint);
        let desk = Arc::new(desk(folder.path(), &checkpoint, Arc::clone(&now)));

        let net = Sandbox::new(now).unwrap();
        let member = net.member().unwrap();
        let endpoint = net.bind(&[&member]).unwrap();
        let target = net.target(endpoint.local_addr().unwrap());
        let ours = NodeEndpoint::towards(target.addr).unwrap();
        let admitting = async { endpoint.accept().await.unwrap().admit().await };
        let connecting = ours.connect(&target, net.tls(&member).unwrap(), hello((net.now)()));
        let (there, here) = tokio::join!(admitting, connecting);
        let (router, node) = (there.unwrap().lane, here.unwrap());

        let manifest = checkpoint.manifest_id();
        let mut proposal = net.proposal(manifest, "guide");
        proposal.ranges = vec![Range { manifest, layers: (LAYER, LAYER), experts: EXPERTS }];
        let (_, permit) = net.consent(&member, &proposal).unwrap();
        let entitled = Arc::new(Entitled::default());
        entitled.add(permit.clone(), Seconds(BEGIN_S));
        serve(&desk, &router, &entitled);
        let ends = (folder, net, member, endpoint, ours, router);
        Self { desk, checkpoint, permit, now_s, node, _ends: ends }
    }

    fn own(&self) -> NodeId {
        self.desk.home.router_id().as_node()
    }

    /// The first expert that is covered, from the router itself.
    fn covered(&self) -> ShardRequest {
        let manifest = self.checkpoint.manifest_id();
        ShardRequest { manifest, layer: LAYER, expert: EXPERTS.0, first_chunk: 0, not_from: Vec::new() }
    }

    async fn answered(&self, asked: ShardRequest) -> Result<(NodeId, Vec<u8>), FetchError> {
        self.node.fetcher().whole(&FetchRequest::Shard(asked), SHARD_CHUNK_BYTES).await
    }

    async fn refused(&self, asked: ShardRequest) -> (Refusal, String) {
        match self.answered(asked).await.unwrap_err() {
            FetchError::Refused { refusal, detail } => (refusal, detail),
            other => panic!("{other}"),
        }
    }

    /// The shard of one expert comes whole, from the router.
    async fn assert_comes(&self, asked: ShardRequest) {
        let expert = u16::try_from(asked.expert).unwrap();
        let shard = self.checkpoint.shard(asked.layer, expert).unwrap();
        let want = shard.copy(0, SHARD_CHUNK_BYTES);
        assert_eq!(self.answered(asked).await, Ok((self.own(), want)));
    }
}

pub(crate) fn desk(folder: &Path, checkpoint: &Arc<Checkpoint>, now: Now) -> Desk {
    let home =
        RouterHome::open_or_create(&folder.join("router"), &Keyring::default(), now().seconds()).unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = RouterConfig {
        http: loopback,
        nodes: loopback,
        enrol: loopback,
        dealing: Dealing::Placed { replicas: 1, expect: None },
        hedging: Hedging::Off,
        keyless: false,
        repositories: Vec::new(),
        rows_as: RowsAs::Exact,
        certificate_life_s: MAX_LEAF_CERT_LIFE_S,
        salt_days: 400,
        now,
    };
    open(home, std::slice::from_ref(checkpoint), &config).unwrap()
}

fn no(refusal: Refusal, words: &str) -> (Refusal, String) {
    (refusal, words.to_owned())
}

fn not_covered() -> (Refusal, String) {
    no(Refusal::FetchConsent, "no consent token of this node in force covers this expert")
}

//= spec/session.md#fetching
//= type=test
//# A router MUST refuse a manifest that it does not publish (`F_MODEL`), an expert or chunk that the model does not have
//# (`F_SHARD`), an expert that no consent token of the asker in force on this lane covers (`F_CONSENT`), and a shard of
//# which no source is left (`F_SOURCE`).

#[tokio::test]
async fn a_model_that_is_not_published_is_refused() {
    let scene = Scene::new().await;
    let manifest = ManifestId::from_bytes([7; 32]);
    let want = no(Refusal::FetchModel, &format!("model {manifest} is not published here"));
    assert_eq!(scene.refused(ShardRequest { manifest, ..scene.covered() }).await, want);
    let (refusal, detail) = want;
    let want = Err(FetchError::Refused { refusal, detail });
    for request in [FetchRequest::Manifest(manifest), FetchRequest::Repository(manifest)] {
        assert_eq!(scene.node.fetcher().whole(&request, 1 << 20).await, want);
    }
    let bytes = scene.checkpoint.manifest().to_bytes();
    let known = FetchRequest::Manifest(scene.checkpoint.manifest_id());
    assert_eq!(scene.node.fetcher().whole(&known, bytes.len()).await, Ok((scene.own(), bytes)));
}

#[tokio::test]
async fn an_expert_or_chunk_that_the_model_does_not_have_is_refused() {
    let scene = Scene::new().await;
    let config = scene.checkpoint.config();
    let covered = scene.covered();
    // Each shard of this model is one chunk.
    for asked in [
        ShardRequest { layer: config.layers, ..covered.clone() },
        ShardRequest { expert: config.experts, ..covered.clone() },
        ShardRequest { expert: 65_536 + covered.expert, ..covered.clone() },
        ShardRequest { first_chunk: 1, ..covered.clone() },
        ShardRequest { first_chunk: u32::MAX, ..covered.clone() },
    ] {
        let want = no(Refusal::FetchShard, "the model has no such expert or chunk");
        assert_eq!(scene.refused(asked).await, want);
    }
    scene.assert_comes(covered).await;
}

#[tokio::test]
async fn an_expert_outside_the_ranges_of_the_consent_token_is_refused() {
    let scene = Scene::new().await;
    let at = |layer, expert| ShardRequest { layer, expert, ..scene.covered() };
    for asked in [at(LAYER, 1), at(LAYER, 4), at(LAYER - 1, 2), at(LAYER + 1, 3)] {
        assert_eq!(scene.refused(asked).await, not_covered());
    }
    scene.assert_comes(at(LAYER, 2)).await;
    scene.assert_comes(at(LAYER, 3)).await;
}

#[tokio::test]
async fn a_withdrawn_consent_token_covers_nothing() {
    let scene = Scene::new().await;
    scene.assert_comes(scene.covered()).await;
    let claims = scene.permit.claims();
    let revoked = ConsentRevoked { node: claims.issuer, cti: claims.cti, min_epoch: 1 };
    scene.desk.office.append(vec![entry(revoked)]).await.unwrap();
    assert_eq!(scene.refused(scene.covered()).await, not_covered());
}

#[tokio::test]
async fn a_consent_token_covers_nothing_at_the_instant_it_expires() {
    let scene = Scene::new().await;
    let end = scene.permit.claims().expires.plus(MAX_CLOCK_SKEW_S).0;
    scene.now_s.store(end - 1, Ordering::Relaxed);
    scene.assert_comes(scene.covered()).await;
    scene.now_s.store(end, Ordering::Relaxed);
    assert_eq!(scene.refused(scene.covered()).await, not_covered());
}

#[tokio::test]
async fn a_shard_of_which_no_source_is_left_is_refused() {
    let scene = Scene::new().await;
    let asked = ShardRequest { not_from: vec![scene.own()], ..scene.covered() };
    let want = no(Refusal::FetchSource, "neither this router nor a node that may be asked has it now");
    assert_eq!(scene.refused(asked).await, want);
    let other = NodeId::from_bytes([9; 32]);
    scene.assert_comes(ShardRequest { not_from: vec![other], ..scene.covered() }).await;
}

#[tokio::test]
async fn a_wrong_chunk_of_the_routers_own_file_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("guide");
    split(&Checkpoint::guide().unwrap(), Quant::Keep, (&cut, Existing::Refuse), &|_, _| ()).unwrap();
    let path = cut.join(format!("shards/{LAYER}-{}.shard", EXPERTS.0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let scene = Scene::of(Checkpoint::open(&cut).unwrap()).await;
    let asked = scene.covered();
    // The stream is reset, after the offer and before its first byte.
    assert_eq!(scene.refused(asked.clone()).await, no(Refusal::FetchHash, "the other side reset the stream"));
    scene.assert_comes(ShardRequest { expert: EXPERTS.1, ..asked }).await;
}
