use std::collections::VecDeque;
use std::sync::Mutex;

use counterfoil_model::{ElementType, FileRecord, PartRecord};
use counterfoil_session::fetch::Reply;
use counterfoil_session::sandbox::{Member, Sandbox, hello, machine_clock};
use counterfoil_session::{NodeEndpoint, NodeLane, RouterEndpoint, RouterLane};
use counterfoil_spec::claims::Range;
use counterfoil_spec::fetch::ShardRequest;
use counterfoil_spec::ids::{Hash, NodeId};
use counterfoil_spec::refusal::Refusal;
use tokio::sync::watch;

use super::*;
use crate::hub::tests::{Lie, Web};
use crate::hub::{HubConfig, PinnedRepository};
use crate::status::Status;

pub(crate) const MIB: usize = 1_048_576;
const MODEL: ManifestId = ManifestId::from_bytes([7; 32]);
const ROUTER: NodeId = NodeId::from_bytes([1; 32]);
const OTHER: NodeId = NodeId::from_bytes([2; 32]);

/// Two chunks and a bit.
pub(crate) fn bytes() -> Vec<u8> {
    (0..2 * MIB + 100).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

pub(crate) fn record(bytes: &[u8]) -> ExpertRecord {
    let hash = |context, bytes: &[u8]| Hash::from_bytes(blake3::derive_key(context, bytes));
    let size = u64::try_from(bytes.len()).unwrap();
    let part = |file, offset, length| PartRecord {
        dtype: ElementType::F32,
        file,
        offset,
        length,
        transposed: false,
    };
    ExpertRecord {
        size,
        hash: hash("counterfoil v1 shard", bytes),
        parts: [part(0, 10, 700_000), part(1, 0, 700_000), part(0, 900_000, size - 1_400_000)],
        chunks: bytes.chunks(MIB).map(|chunk| hash("counterfoil v1 shard-chunk", chunk)).collect(),
    }
}

fn key(expert: u16) -> Key {
    Key { manifest: MODEL, layer: 3, expert }
}

/// How one request is answered.
#[derive(Clone)]
enum Give {
    /// From whom, the shard from the chunk that was asked for on.
    Bytes(NodeId, Vec<u8>),
    /// So many chunks of it, and then nothing more.
    Cut(NodeId, usize),
    No(Refusal),
}

/// The first chunk and the excluded sources of one request.
type Asked = (u32, Vec<NodeId>);

/// A node's end of a lane with a store, and a router that follows a script.
struct Scene {
    home: tempfile::TempDir,
    courier: Courier,
    asked: Arc<Mutex<Vec<Asked>>>,
    status: watch::Receiver<Status>,
    gauge: Gauge,
    _ends: (Sandbox, Member, RouterEndpoint, NodeEndpoint, RouterLane, NodeLane),
}

impl Scene {
    /// After the script every request gets the shard whole, from the router.
    async fn new(script: Vec<Give>, max_bytes: u64) -> Self {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let endpoint = net.bind(&[&member]).unwrap();
        let target = net.target(endpoint.local_addr().unwrap());
        let tls = net.tls(&member).unwrap();
        let ours = NodeEndpoint::towards(target.addr).unwrap();
        let admitting = async { endpoint.accept().await.unwrap().admit().await };
        let (there, here) = tokio::join!(admitting, ours.connect(&target, tls, hello((net.now)())));
        let (router, node) = (there.unwrap().lane, here.unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, script) = (Arc::clone(&asked), Arc::new(Mutex::new(VecDeque::from(script))));
        tokio::spawn(router.fetch_door().serve(move |request, reply| {
            let FetchRequest::Shard(shard) = request else { panic!("{request:?}") };
            seen.lock().unwrap().push((shard.first_chunk, shard.not_from.clone()));
            let give = script.lock().unwrap().pop_front().unwrap_or(Give::Bytes(ROUTER, bytes()));
            answer(shard, give, reply)
        }));
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(home.path(), max_bytes).unwrap());
        let (sender, status) = watch::channel(Status::default());
        let courier = Courier::new(store, node.fetcher(), None);
        let gauge = Gauge::new(MODEL, sender);
        Self { home, courier, asked, status, gauge, _ends: (net, member, endpoint, ours, router, node) }
    }

    fn sources(&self) -> Sources {
        Sources { router: self.courier.router.clone(), hub: None, files: Vec::new(), rest: Rest::default() }
    }

    async fn fetch(&self, expert: u16) -> Result<(), FetchFault> {
        self.courier.one(key(expert), &record(&bytes()), &self.sources(), &self.gauge).await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.courier.store.folder(&MODEL).join(name)
    }

    /// The shard is there, and nothing that was on its way.
    fn assert_whole(&self, expert: u16) {
        assert_eq!(std::fs::read(self.path(&format!("3-{expert}.shard"))).unwrap(), bytes());
        assert!(!self.path(&format!("3-{expert}.part")).exists());
    }

    fn begun(&self, content: &[u8]) {
        std::fs::create_dir_all(self.path("")).unwrap();
        std::fs::write(self.path("3-0.part"), content).unwrap();
    }
}

async fn answer(asked: ShardRequest, give: Give, reply: Reply) {
    let first = usize::try_from(asked.first_chunk).unwrap() * MIB;
    match give {
        Give::Bytes(from, bytes) => drop(reply.whole(from, &bytes[first..]).await),
        Give::Cut(from, chunks) => {
            let rest = &bytes()[first..];
            let mut body = reply.offer(from, u64::try_from(rest.len()).unwrap()).await.unwrap();
            for chunk in rest.chunks(MIB).take(chunks) {
                body.chunk(chunk).await.unwrap();
            }
            // The asker has taken these once it asks for the next.
            body.taken_all().await.unwrap();
            body.give_up(Refusal::SessionInternal);
        }
        Give::No(refusal) => reply.refuse(refusal, "the script").await,
    }
}

fn bad(at: usize) -> Vec<u8> {
    let mut bytes = bytes();
    bytes[at] ^= 1;
    bytes
}

#[tokio::test]
async fn a_shard_is_fetched_once_and_kept() {
    let scene = Scene::new(Vec::new(), u64::MAX).await;
    scene.gauge.begin((0, 1), (0, 2_097_252));
    scene.fetch(0).await.unwrap();
    scene.assert_whole(0);
    let fetch = scene.status.borrow().fetches[0].clone();
    assert_eq!((fetch.shards, fetch.bytes), (1, 2_097_252));
    scene.fetch(0).await.unwrap();
    assert_eq!(scene.asked(), [(0, vec![])]);
    let again = Store::open(scene.home.path(), u64::MAX).unwrap();
    assert!(again.has(&key(0), &record(&bytes())));
}

#[tokio::test]
async fn a_shard_that_many_want_at_once_is_fetched_once() {
    let scene = Arc::new(Scene::new(Vec::new(), u64::MAX).await);
    let mut tasks = JoinSet::new();
    for at in 0..12 {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move { scene.fetch(at % 2).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(scene.asked().len(), 2);
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_compared_and_continued() {
    let whole = bytes();
    // Cut between chunks, and inside one.
    for left in [MIB, MIB + 77] {
        let scene = Scene::new(Vec::new(), u64::MAX).await;
        scene.begun(&whole[..left]);
        scene.fetch(0).await.unwrap();
        scene.assert_whole(0);
        assert_eq!(scene.asked(), [(1, vec![])]);
    }
    // A chunk that went bad on disk, all there is and never named, and more than there should be.
    let (spoiled, longer) = (bad(MIB + 5), [whole.clone(), vec![0; 9]].concat());
    for (content, want) in [(spoiled, vec![(1, vec![])]), (whole.clone(), vec![]), (longer, vec![])] {
        let scene = Scene::new(Vec::new(), u64::MAX).await;
        scene.begun(&content);
        scene.fetch(0).await.unwrap();
        scene.assert_whole(0);
        assert_eq!(scene.asked(), want);
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_goes_on_at_the_next_chunk() {
    let scene = Scene::new(vec![Give::Cut(ROUTER, 2)], u64::MAX).await;
    scene.fetch(0).await.unwrap();
    scene.assert_whole(0);
    assert_eq!(scene.asked(), [(0, vec![]), (2, vec![])]);
}

#[tokio::test]
async fn after_a_bad_chunk_another_source_goes_on_there() {
    let script = vec![Give::Bytes(ROUTER, bad(MIB + 5)), Give::Bytes(OTHER, bytes())];
    let scene = Scene::new(script, u64::MAX).await;
    scene.fetch(0).await.unwrap();
    scene.assert_whole(0);
    assert_eq!(scene.asked(), [(0, vec![]), (1, vec![ROUTER])]);
}

#[tokio::test]
async fn when_no_source_is_left_the_last_ones_fault_is_told_and_the_good_chunks_stay() {
    let script = vec![Give::Bytes(ROUTER, bad(MIB + 5)), Give::No(Refusal::FetchSource)];
    let scene = Scene::new(script, u64::MAX).await;
    let fault = scene.fetch(0).await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        format!("expert 0 of layer 3 comes from nowhere: {ROUTER}: chunk 1 is not what the manifest says")
    );
    assert_eq!(std::fs::read(scene.path("3-0.part")).unwrap(), bytes()[..MIB]);
    scene.fetch(0).await.unwrap();
    assert_eq!(scene.asked()[2], (1, vec![]));
}

#[tokio::test]
async fn a_router_that_offers_a_source_again_is_not_asked_for_ever() {
    let script = vec![Give::Bytes(OTHER, bad(3)); 3];
    let scene = Scene::new(script, u64::MAX).await;
    let fault = scene.fetch(0).await.unwrap_err().to_string();
    assert!(fault.ends_with(&format!("the router offers what comes from {OTHER} again")), "{fault}");
    assert_eq!(scene.asked(), [(0, vec![]), (0, vec![OTHER])]);
}

#[tokio::test]
async fn an_offer_of_another_length_puts_its_source_aside() {
    let script = vec![Give::Bytes(OTHER, bytes()[1..].to_vec())];
    let scene = Scene::new(script, u64::MAX).await;
    scene.fetch(0).await.unwrap();
    assert_eq!(scene.asked(), [(0, vec![]), (0, vec![OTHER])]);
}

#[tokio::test]
async fn a_manifest_that_contradicts_itself_ends_the_matter() {
    let scene = Scene::new(Vec::new(), u64::MAX).await;
    let mut record = record(&bytes());
    record.hash = Hash::from_bytes([0; 32]);
    let fault = scene.courier.one(key(0), &record, &scene.sources(), &scene.gauge).await.unwrap_err();
    assert!(fault.is_final(), "{fault}");
    assert!(!scene.path("3-0.part").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_says_so_and_costs_nothing() {
    let scene = Scene::new(Vec::new(), 2_097_252).await;
    std::fs::create_dir_all(scene.path("")).unwrap();
    std::os::unix::fs::symlink("/dev/full", scene.path("3-0.part")).unwrap();
    let fault = scene.fetch(0).await.unwrap_err();
    let at = scene.path("3-0.part");
    let words = format!(
        "the disk is full, at {}; what came so far is kept, and goes on once there is room",
        at.display()
    );
    assert_eq!(fault.to_string(), words);
    // Room in the quota was given back, so there is enough once the disk has some.
    std::fs::remove_file(&at).unwrap();
    scene.fetch(0).await.unwrap();
    scene.assert_whole(0);
}

#[tokio::test]
async fn the_quota_is_kept_and_what_no_consent_covers_makes_room_oldest_first() {
    let size = 2_097_252;
    let scene = Scene::new(Vec::new(), 2 * size + 10).await;
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    scene.fetch(0).await.unwrap();
    scene.fetch(1).await.unwrap();
    let first = std::fs::File::options().write(true).open(scene.path("3-1.shard")).unwrap();
    first.set_modified(old).unwrap();
    scene.courier.store.settle();
    let covered = |experts| Range { manifest: MODEL, layers: (3, 3), experts };
    scene.courier.store.cover(vec![covered((0, 2))]);
    let fault = scene.fetch(2).await.unwrap_err().to_string();
    let want =
        format!("{size} bytes more are needed on disk and {} of {} are taken", 2 * size, 2 * size + 10);
    assert!(fault.starts_with(&want), "{fault}");
    scene.assert_whole(0);
    scene.assert_whole(1);
    // Now two may go; the older one does.
    scene.courier.store.cover(vec![covered((2, 2))]);
    scene.fetch(2).await.unwrap();
    scene.assert_whole(2);
    scene.assert_whole(0);
    assert!(!scene.path("3-1.shard").exists());
}

#[tokio::test]
async fn a_part_that_another_process_writes_is_left_alone() {
    let scene = Scene::new(Vec::new(), u64::MAX).await;
    scene.begun(b"");
    let other = std::fs::File::open(scene.path("3-0.part")).unwrap();
    other.lock().unwrap();
    let fault = scene.fetch(0).await.unwrap_err();
    assert!(matches!(fault, FetchFault::Store(StoreFault::Taken { .. })), "{fault}");
    drop(other);
    scene.fetch(0).await.unwrap();
    scene.assert_whole(0);
}

/// Sources with a repository before the router.
async fn with_hub(scene: &Scene, lie: Lie) -> (Web, Sources) {
    let web = Web::serve(lie).await;
    let config = HubConfig { endpoint: web.endpoint(), ..HubConfig::default() };
    let hub = Arc::new(Hub::new(&config).unwrap());
    let pinned: PinnedRepository = hub.repository(&web.repository()).unwrap();
    let mut sources = scene.sources();
    sources.hub = Some((hub, pinned));
    sources.files = ["a.bin", "b c.bin"].map(|name| FileRecord { name: name.to_owned(), size: 0 }).to_vec();
    (web, sources)
}

#[tokio::test]
async fn a_repository_comes_before_the_router() {
    let scene = Scene::new(Vec::new(), u64::MAX).await;
    let (_web, sources) = with_hub(&scene, Lie::None).await;
    scene.courier.one(key(0), &record(&bytes()), &sources, &scene.gauge).await.unwrap();
    scene.assert_whole(0);
    assert_eq!(scene.asked(), []);
}

#[tokio::test]
async fn a_repository_with_other_bytes_is_put_aside_for_the_router() {
    let scene = Scene::new(Vec::new(), u64::MAX).await;
    let (_web, sources) = with_hub(&scene, Lie::WrongByte).await;
    scene.courier.one(key(0), &record(&bytes()), &sources, &scene.gauge).await.unwrap();
    scene.assert_whole(0);
    // The first chunk was good.
    assert_eq!(scene.asked(), [(1, vec![])]);
}
