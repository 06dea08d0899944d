//! Brings the shards that a consent token covers: a few at a time, each from the first source that has it, each once.

mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_model::{BadShard, ExpertBank, ExpertRecord, LoadError, Manifest, ShardFolder};
use counterfoil_session::Fetcher;
use counterfoil_spec::fetch::{FetchRequest, Repository};
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::{MAX_FETCH_HEADER_BYTES, MAX_FETCH_STREAMS, MAX_MANIFEST_BYTES};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::gauge::Gauge;
use crate::hub::Hub;
use crate::store::{Key, Part, Store, StoreFault, TakeError};
use source::{Rest, Sources, Stream};

/// How often shards that turn out bad when they are loaded are fetched anew.
const MAX_RELOADS: usize = 3;

/// Why a shard did not come this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchFault {
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// Nobody has it, or all who do failed.
    #[error("expert {expert} of layer {layer} comes from nowhere: {why}")]
    Nobody { layer: u32, expert: u16, why: String },
    /// A thread of ours.
    #[error("a task of this node ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl FetchFault {
    /// Whether trying again cannot help.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Store(StoreFault::Contradiction { .. }))
    }
}

/// Fetches over one lane; clones share its limits.
#[derive(Debug, Clone)]
pub(crate) struct Courier {
    store: Arc<Store>,
    router: Fetcher,
    hub: Option<Arc<Hub>>,
    /// Shards that may come at one time.
    places: Arc<Semaphore>,
}

impl Courier {
    pub(crate) fn new(store: Arc<Store>, router: Fetcher, hub: Option<Arc<Hub>>) -> Self {
        Self { store, router, hub, places: Arc::new(Semaphore::new(MAX_FETCH_STREAMS)) }
    }

    /// A model's manifest: the one that is kept, or the router's, which is kept then.
    ///
    /// # Errors
    /// In words, what was wrong.
    pub(crate) async fn manifest(&self, id: ManifestId) -> Result<Arc<Manifest>, String> {
        let store = Arc::clone(&self.store);
        let kept =
            tokio::task::spawn_blocking(move || store.manifest(&id)).await.map_err(|e| e.to_string())?;
        if let Some(manifest) = kept {
            return Ok(Arc::new(manifest));
        }
        let asked = self.router.whole(&FetchRequest::Manifest(id), MAX_MANIFEST_BYTES).await;
        let (_, bytes) = asked.map_err(|e| format!("the manifest of model {id}: {e}"))?;
        let store = Arc::clone(&self.store);
        let checked = tokio::task::spawn_blocking(move || {
            let manifest = Manifest::from_bytes(&bytes).map_err(|e| e.to_string())?;
            //= spec/session.md#fetching
            //# An asker MUST compare the bytes of a manifest with its id
            if manifest.id() != id {
                return Err(format!("its hash is {}", manifest.id()));
            }
            store.keep_manifest(&id, &bytes).map_err(|e| e.to_string())?;
            Ok(manifest)
        });
        let checked = checked.await.map_err(|e| e.to_string())?;
        checked.map(Arc::new).map_err(|e| format!("the manifest of model {id}: {e}"))
    }

    /// Brings what is missing of some experts and loads them. Ends when all is well, or nothing can be; meanwhile it
    /// tries again, and the gauge says why.
    ///
    /// # Errors
    /// In words, what can not be mended.
    pub(crate) async fn bank(
        &self,
        manifest: &Arc<Manifest>,
        experts: Vec<(u32, u16)>,
        gauge: &Gauge,
    ) -> Result<ExpertBank, String> {
        let id = manifest.id();
        let sources = Arc::new(self.sources(manifest, id).await);
        for _ in 0..MAX_RELOADS {
            self.bring(manifest, (id, &experts), &sources, gauge).await.map_err(|e| e.to_string())?;
            let (folder, manifest, wanted) = (self.store.folder(&id), Arc::clone(manifest), experts.clone());
            let loaded = tokio::task::spawn_blocking(move || loaded(&folder, manifest, &wanted));
            match loaded.await.map_err(|e| e.to_string())? {
                Ok(Loaded::Whole(bank)) => {
                    gauge.done();
                    return Ok(bank);
                }
                Ok(Loaded::Bad(files)) => {
                    for file in files {
                        let why = "it is not what the manifest says, and is fetched anew";
                        gauge.trouble(&format!("{}: {why}", file.display()));
                        self.store.discard(&file);
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("shards of model {id} change on this disk after they were compared"))
    }

    /// Where the shards of a model may come from.
    async fn sources(&self, manifest: &Arc<Manifest>, id: ManifestId) -> Sources {
        let mut hub = None;
        if let Some(open) = &self.hub {
            let asked = self.router.whole(&FetchRequest::Repository(id), MAX_FETCH_HEADER_BYTES).await;
            let repository = asked.map_err(|e| e.to_string()).and_then(|(_, bytes)| {
                let known: Result<Repository, _> =
                    counterfoil_spec::encode::from_canonical(&bytes, MAX_FETCH_HEADER_BYTES);
                known.map_err(|e| e.to_string())
            });
            match repository.and_then(|known| open.repository(&known).map_err(|e| e.to_string())) {
                Ok(repository) => hub = Some((Arc::clone(open), repository)),
                Err(why) => tracing::info!(why, "no repository to fetch from; the router is asked"),
            }
        }
        Sources { router: self.router.clone(), hub, files: manifest.files().to_vec(), rest: Rest::default() }
    }

    /// Brings every shard that is missing.
    async fn bring(
        &self,
        manifest: &Arc<Manifest>,
        (id, experts): (ManifestId, &[(u32, u16)]),
        sources: &Arc<Sources>,
        gauge: &Gauge,
    ) -> Result<(), FetchFault> {
        let mut backoff = Backoff::default();
        loop {
            let missing = self.missing(manifest, (id, experts), gauge);
            if missing.is_empty() {
                return Ok(());
            }
            let wanted = missing.len();
            let mut tasks = JoinSet::new();
            for (key, record) in missing {
                let (own, sources, gauge) = (self.clone(), Arc::clone(sources), gauge.clone());
                tasks.spawn(async move { own.one(key, &record, &sources, &gauge).await });
            }
            let mut failed = 0;
            while let Some(done) = tasks.join_next().await {
                match done? {
                    Ok(()) => {}
                    Err(fault) if fault.is_final() => return Err(fault),
                    Err(fault) => {
                        failed += 1;
                        gauge.trouble(&fault.to_string());
                    }
                }
            }
            if failed < wanted {
                backoff.reset();
            }
            if failed > 0 {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    /// What is not here yet, and says how much is.
    fn missing(
        &self,
        manifest: &Manifest,
        (id, experts): (ManifestId, &[(u32, u16)]),
        gauge: &Gauge,
    ) -> Vec<(Key, ExpertRecord)> {
        let mut missing = Vec::new();
        let (mut shards, mut bytes, mut all) = (0, 0, 0_u64);
        for (layer, expert) in experts {
            let key = Key { manifest: id, layer: *layer, expert: *expert };
            let Some(record) = manifest.expert(*layer, *expert) else { continue };
            all = all.saturating_add(record.size);
            bytes += self.store.begun(&key, record);
            if self.store.has(&key, record) {
                shards += 1;
            } else {
                missing.push((key, record.clone()));
            }
        }
        gauge.begin((shards, experts.len()), (bytes, all));
        missing
    }

    /// Brings one shard, unless it is here by now.
    async fn one(
        &self,
        key: Key,
        record: &ExpertRecord,
        sources: &Sources,
        gauge: &Gauge,
    ) -> Result<(), FetchFault> {
        let _alone = self.store.alone(key).await;
        let Ok(_place) = self.places.acquire().await else { return Ok(()) };
        if self.store.has(&key, record) {
            return Ok(());
        }
        let before = self.store.begun(&key, record);
        let (store, own) = (Arc::clone(&self.store), record.clone());
        let mut part = tokio::task::spawn_blocking(move || store.part_of(&key, &own)).await??;
        gauge.corrected(before, part.position());
        let mut aside = sources.none_aside();
        while !part.is_complete() {
            let nobody = |why| FetchFault::Nobody { layer: key.layer, expert: key.expert, why };
            let stream = sources.open(&key, record, &part, &mut aside).await.map_err(nobody)?;
            let before = part.position();
            let source = stream.name();
            let why;
            (part, why) = flow(part, stream, (&key, gauge)).await?;
            if why.is_none() {
                sources.helped(source);
            }
            if let Some((stream, why)) = why {
                tracing::warn!(layer = key.layer, expert = key.expert, source = %stream, why, "a source of a shard failed");
                sources.failed(&mut aside, stream, why, part.position() > before);
            }
        }
        tokio::task::spawn_blocking(move || part.finish()).await??;
        gauge.shard();
        Ok(())
    }
}

/// What became of loading shards.
enum Loaded {
    Whole(ExpertBank),
    /// The files of all those that went bad since they were fetched.
    Bad(Vec<PathBuf>),
}

fn loaded(folder: &Path, manifest: Arc<Manifest>, experts: &[(u32, u16)]) -> Result<Loaded, LoadError> {
    let shards = ShardFolder::open(folder, manifest)?;
    match ExpertBank::load(&shards, experts.iter().copied()) {
        Ok(bank) => Ok(Loaded::Whole(bank)),
        // It names one of them; to fetch and compare all the others again for each would take for ever.
        Err(LoadError::WrongHash { .. }) => Ok(Loaded::Bad(shards.bad(experts)?)),
        Err(error) => Err(error),
    }
}

/// Takes chunks until the shard is whole or the source fails; then it says which and why.
async fn flow(
    mut part: Part,
    mut stream: Stream,
    (key, gauge): (&Key, &Gauge),
) -> Result<(Part, Option<(source::Name, String)>), FetchFault> {
    let name = stream.name();
    while !part.is_complete() {
        let chunk = match stream.chunk().await {
            Ok(chunk) => chunk,
            Err(why) => return Ok((part, Some((name, why)))),
        };
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let taken;
        (part, taken) = tokio::task::spawn_blocking(move || {
            let taken = part.take(&chunk);
            (part, taken)
        })
        .await?;
        match taken {
            Ok(()) => gauge.bytes(bytes),
            Err(TakeError::Fault(fault)) => return Err(fault.into()),
            Err(TakeError::Bad(BadShard::Whole)) => {
                part.abandon();
                return Err(StoreFault::Contradiction { layer: key.layer, expert: key.expert }.into());
            }
            //= spec/session.md#fetching
            //# After a chunk with a wrong hash it MUST NOT ask the same source for this shard again before every other
            //# source was tried.
            Err(TakeError::Bad(bad)) => {
                stream.refuse();
                return Ok((part, Some((name.for_good(), bad.to_string()))));
            }
        }
    }
    stream.end().await;
    Ok((part, None))
}

#[cfg(test)]
#[path = "fetch/tests.rs"]
pub(crate) mod tests;
