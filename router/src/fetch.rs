//! What nodes fetch: manifests of published models, and shards out of files at hand or from nodes that host them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use counterfoil_consent::Permit;
use counterfoil_model::{Checkpoint, ExpertRecord, Manifest};
use counterfoil_session::fetch::{Answer, Body, Reply};
use counterfoil_session::{FetchError, RouterLane};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::fetch::{FetchRequest, Repository, ShardRequest};
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::limits::{MAX_CONSENTS_FETCHING, SHARD_CHUNK_BYTES};
use counterfoil_spec::payload::ModelSource;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::desk::Desk;
use crate::http::refusals::{By, What};
use crate::registry::Host;

/// How long a node may take to offer what is to be relayed.
const RELAY_PATIENCE: Duration = Duration::from_secs(4);
/// Nodes that may fail one relay by silence or a wrong offer, so that whoever waits for it is answered in time.
const MAX_RELAY_FAILURES: usize = 2;
/// Nodes that may refuse one relay at once.
const MAX_RELAY_REFUSALS: usize = 16;

/// The models that are published here, with their files.
pub(crate) struct Library {
    models: Vec<Shelved>,
}

/// One published model.
struct Shelved {
    id: ManifestId,
    checkpoint: Arc<Checkpoint>,
    repository: Option<Repository>,
}

impl Library {
    /// Takes models, and for the first ones the repositories that their files lie in; of the others, `published` says
    /// it where the log does.
    pub(crate) fn of(
        checkpoints: &[Arc<Checkpoint>],
        repositories: &[Repository],
        published: impl Fn(&ManifestId) -> Option<ModelSource>,
    ) -> Self {
        let named = repositories.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let models = checkpoints.iter().zip(named).map(|(checkpoint, named)| {
            let id = checkpoint.manifest_id();
            let logged = || {
                let ModelSource { repository, revision } = published(&id)?;
                Some(Repository { repo: repository, revision })
            };
            Shelved { id, checkpoint: Arc::clone(checkpoint), repository: named.or_else(logged) }
        });
        Self { models: models.collect() }
    }

    fn find(&self, id: &ManifestId) -> Option<&Shelved> {
        self.models.iter().find(|model| model.id == *id)
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Library({} models)", self.models.len())
    }
}

/// The consent tokens that were welcomed on one lane.
#[derive(Debug, Default)]
pub(crate) struct Entitled {
    /// Guards the list; read once per request.
    permits: Mutex<Vec<Permit>>,
}

impl Entitled {
    /// One more was welcomed; those that ended are forgotten, and the first of more than may be kept.
    pub(crate) fn add(&self, permit: Permit, now: Seconds) {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.retain(|known| known.in_force(now));
        if permits.len() >= MAX_CONSENTS_FETCHING {
            permits.remove(0);
        }
        permits.push(permit);
    }

    fn covers(&self, asked: &ShardRequest, now: Seconds, withdrawn: impl Fn(&Permit) -> bool) -> bool {
        let permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.iter().filter(|p| p.in_force(now) && !withdrawn(p)).any(|permit| {
            permit.claims().ranges.iter().any(|r| r.contains(&asked.manifest, asked.layer, asked.expert))
        })
    }
}

/// Where one node asks.
struct Counter {
    desk: Arc<Desk>,
    asker: NodeId,
    entitled: Arc<Entitled>,
}

type No = (Refusal, String);

/// Answers one node until its lane ends.
pub(crate) fn serve(desk: &Arc<Desk>, lane: &RouterLane, entitled: &Arc<Entitled>) {
    let counter = Counter { desk: Arc::clone(desk), asker: lane.node(), entitled: Arc::clone(entitled) };
    let counter = Arc::new(counter);
    tokio::spawn(lane.fetch_door().serve(move |asked, reply| {
        let counter = Arc::clone(&counter);
        async move {
            if let Err(error) = counter.answer(asked, reply).await {
                tracing::debug!(node = %counter.asker, %error, "a fetch was not answered to its end");
            }
        }
    }));
}

impl Counter {
    async fn answer(&self, asked: FetchRequest, reply: Reply) -> Result<(), FetchError> {
        let own = self.desk.home.router_id().as_node();
        let shelved = |id| self.desk.library.find(id);
        match asked {
            FetchRequest::Manifest(id) => match shelved(&id) {
                Some(model) => reply.whole(own, &model.checkpoint.manifest().to_bytes()).await,
                None => self.refuse(reply, unpublished(&id)).await,
            },
            FetchRequest::Repository(id) => match shelved(&id).map(|model| &model.repository) {
                Some(Some(repository)) => reply.whole(own, &to_canonical(repository)).await,
                Some(None) => {
                    let words = "this router names no repository for it".to_owned();
                    self.refuse(reply, (Refusal::FetchSource, words)).await
                }
                None => self.refuse(reply, unpublished(&id)).await,
            },
            FetchRequest::Shard(asked) => match self.allowed(&asked) {
                Ok((checkpoint, expert)) => self.shard(&asked, (checkpoint, expert), reply).await,
                Err(no) => self.refuse(reply, no).await,
            },
        }
    }

    /// Whether this node may have this shard, and that the model has it.
    fn allowed(&self, asked: &ShardRequest) -> Result<(Arc<Checkpoint>, u16), No> {
        //= spec/session.md#fetching
        //# A router MUST refuse a manifest that it does not publish (`F_MODEL`), an expert or chunk that the model does not have
        //# (`F_SHARD`), an expert that no consent token of the asker in force on this lane covers (`F_CONSENT`), and a shard of
        //# which no source is left (`F_SOURCE`).
        let model = self.desk.library.find(&asked.manifest).ok_or_else(|| unpublished(&asked.manifest))?;
        let unknown = || (Refusal::FetchShard, "the model has no such expert or chunk".to_owned());
        let expert = u16::try_from(asked.expert).map_err(|_| unknown())?;
        let manifest: &Manifest = model.checkpoint.manifest();
        let record = manifest.expert(asked.layer, expert).ok_or_else(unknown)?;
        if u64::from(asked.first_chunk) * CHUNK >= record.size {
            return Err(unknown());
        }
        let now = self.desk.office.now().seconds();
        let withdrawn = |permit: &Permit| self.desk.office.books().roster.is_withdrawn(&permit.claims().cti);
        if !self.entitled.covers(asked, now, withdrawn) {
            let words = "no consent token of this node in force covers this expert".to_owned();
            return Err((Refusal::FetchConsent, words));
        }
        Ok((Arc::clone(&model.checkpoint), expert))
    }

    async fn refuse(&self, reply: Reply, (refusal, words): No) -> Result<(), FetchError> {
        self.desk.metrics.refusals.one(By::Router, What::Fetch, refusal);
        reply.refuse(refusal, &words).await;
        Ok(())
    }

    async fn shard(
        &self,
        asked: &ShardRequest,
        (checkpoint, expert): (Arc<Checkpoint>, u16),
        reply: Reply,
    ) -> Result<(), FetchError> {
        let Some(record) = checkpoint.manifest().expert(asked.layer, expert).cloned() else { return Ok(()) };
        let own = self.desk.home.router_id().as_node();
        let at_hand = !asked.not_from.contains(&own) && checkpoint.shard(asked.layer, expert).is_ok();
        if at_hand {
            return self.send(asked, (checkpoint, expert), record, reply).await;
        }
        match self.relayed(asked, &record).await {
            Some(answer) => pass(answer, reply, &record, asked.first_chunk).await,
            None => {
                let words = "neither this router nor a node that may be asked has it now".to_owned();
                self.refuse(reply, (Refusal::FetchSource, words)).await
            }
        }
    }

    /// Sends out of files at hand.
    async fn send(
        &self,
        asked: &ShardRequest,
        (checkpoint, expert): (Arc<Checkpoint>, u16),
        record: ExpertRecord,
        reply: Reply,
    ) -> Result<(), FetchError> {
        let (size, record) = (record.size, Arc::new(record));
        let mut at = u64::from(asked.first_chunk) * CHUNK;
        let layer = asked.layer;
        let mut body = reply.offer(self.desk.home.router_id().as_node(), size - at).await?;
        while at < size {
            let (files, own) = (Arc::clone(&checkpoint), Arc::clone(&record));
            // Pages that are not in memory yet are read here.
            let read = tokio::task::spawn_blocking(move || {
                let chunk = files.shard(layer, expert).ok()?.copy(at, SHARD_CHUNK_BYTES);
                own.is_chunk(usize::try_from(at / CHUNK).ok()?, &chunk).then_some(chunk)
            });
            let Ok(Some(chunk)) = read.await else {
                let model = checkpoint.name();
                tracing::error!(
                    model,
                    layer,
                    expert,
                    at,
                    "this router's own file is not what the manifest says"
                );
                body.give_up(Refusal::FetchHash);
                return Ok(());
            };
            body.chunk(&chunk).await?;
            at += CHUNK;
        }
        body.finish().await
    }

    /// Asks nodes that serve the expert until one offers it.
    async fn relayed(&self, asked: &ShardRequest, record: &ExpertRecord) -> Option<Answer> {
        //= spec/session.md#fetching
        //# A router MUST NOT relay from the asker, nor from a source in `not_from`, nor answer from its own files where its own id
        //# stands there.
        let has = |host: &Arc<Host>| {
            let ranges = host.ranges(&asked.manifest);
            host.node() != self.asker
                && !asked.not_from.contains(&host.node())
                && ranges.iter().any(|r| r.contains(&asked.manifest, asked.layer, asked.expert))
        };
        let now = self.desk.office.now().seconds();
        let mut hosts: Vec<_> =
            self.desk.registry.ready(&asked.manifest, now).into_iter().filter(has).collect();
        // Each asker and shard begins elsewhere, so that one node does not pass on everything. Those that pass something
        // on already come last.
        let start = start(&self.asker, asked).checked_rem(hosts.len()).unwrap_or(0);
        hosts.rotate_left(start);
        hosts.sort_by_key(|host| !host.lane.fetcher().is_free());
        let request = FetchRequest::Shard(ShardRequest { not_from: Vec::new(), ..asked.clone() });
        let wanted = record.size - u64::from(asked.first_chunk) * CHUNK;
        let (mut failures, mut refusals) = (0, 0);
        for host in hosts {
            if failures == MAX_RELAY_FAILURES || refusals == MAX_RELAY_REFUSALS {
                break;
            }
            let fetcher = host.lane.fetcher();
            match tokio::time::timeout(RELAY_PATIENCE, fetcher.ask(&request)).await {
                Ok(Ok(answer)) if answer.from() == host.node() && answer.length() == wanted => {
                    return Some(answer);
                }
                Ok(Ok(answer)) => {
                    failures += 1;
                    answer.give_up(Refusal::SessionLength);
                }
                Ok(Err(error)) => {
                    refusals += 1;
                    tracing::debug!(node = %host.node(), %error, "a node passes nothing on");
                }
                Err(_) => {
                    failures += 1;
                    tracing::debug!(node = %host.node(), "a node offers nothing in time");
                }
            }
        }
        None
    }
}

/// Passes on what a node sends, chunk by chunk, each compared with the manifest first.
async fn pass(
    mut answer: Answer,
    reply: Reply,
    record: &ExpertRecord,
    first_chunk: u32,
) -> Result<(), FetchError> {
    let mut body: Body = reply.offer(answer.from(), answer.length()).await?;
    let mut index = usize::try_from(first_chunk).unwrap_or(usize::MAX);
    loop {
        let chunk = match answer.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return body.finish().await,
            Err(error) => {
                body.give_up(Refusal::FetchSource);
                return Err(error);
            }
        };
        let own = record.clone();
        let judged = tokio::task::spawn_blocking(move || (own.is_chunk(index, &chunk), chunk)).await;
        let Ok((true, chunk)) = judged else {
            tracing::warn!(node = %answer.from(), "a node passes on what is not the shard");
            answer.give_up(Refusal::FetchHash);
            body.give_up(Refusal::FetchHash);
            return Ok(());
        };
        body.chunk(&chunk).await?;
        index += 1;
    }
}

/// A number that spreads askers and shards.
fn start(asker: &NodeId, asked: &ShardRequest) -> usize {
    let words = asker.as_bytes().iter().map(|byte| usize::from(*byte));
    let parts = [asked.layer, asked.expert].map(|part| usize::try_from(part).unwrap_or(0));
    words.chain(parts).fold(0, |sum, part| sum.wrapping_mul(31).wrapping_add(part))
}

fn unpublished(id: &ManifestId) -> No {
    (Refusal::FetchModel, format!("model {id} is not published here"))
}

const CHUNK: u64 = SHARD_CHUNK_BYTES as u64;

#[cfg(test)]
pub(crate) mod tests;
