//! What a node passes on: shards of experts that a consent token of its own covers, to its router, for other nodes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use counterfoil_model::Checkpoint;
use counterfoil_session::FetchError;
use counterfoil_session::fetch::Reply;
use counterfoil_spec::claims::Range;
use counterfoil_spec::fetch::{FetchRequest, ShardRequest};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::SHARD_CHUNK_BYTES;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Now, Seconds};

use crate::denials::Fresh;
use crate::hosting::Model;
use crate::store::{Key, Store};

/// What may be passed on now.
pub(crate) struct Sharing {
    node: NodeId,
    /// Whether the operator passes weights on at all.
    share: bool,
    store: Arc<Store>,
    now: Now,
    /// Until when the router's deny list allows that anything goes out.
    fresh: Fresh,
    /// Guards the list; read once per request.
    shared: Mutex<Vec<Shared>>,
}

/// Experts that are loaded under one consent token.
pub(crate) struct Shared {
    pub(crate) model: Model,
    pub(crate) ranges: Vec<Range>,
    pub(crate) expires: Seconds,
}

/// Where the bytes of one shard lie.
enum Place {
    File(PathBuf),
    Folder(Arc<Checkpoint>, (u32, u16)),
}

type No = (Refusal, &'static str);

impl Sharing {
    pub(crate) fn new(node: NodeId, share: bool, store: Arc<Store>, (now, fresh): (Now, Fresh)) -> Self {
        Self { node, share, store, now, fresh, shared: Mutex::default() }
    }

    /// From here on exactly this may be passed on.
    pub(crate) fn set(&self, shared: Vec<Shared>) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = shared;
    }

    /// Answers one request of the router.
    pub(crate) async fn answer(self: Arc<Self>, request: FetchRequest, reply: Reply) {
        let found = match &request {
            FetchRequest::Shard(shard) => self.find(shard),
            _ => Err((Refusal::FetchModel, "a node has shards and nothing else to give")),
        };
        let (place, size, first_chunk) = match found {
            Ok(found) => found,
            Err((refusal, words)) => return reply.refuse(refusal, words).await,
        };
        if let Err(error) = self.send(reply, place, size, first_chunk).await {
            tracing::debug!(%error, "a shard was not passed on to its end");
        }
    }

    /// Looks for a shard, and whether it may go out.
    fn find(&self, asked: &ShardRequest) -> Result<(Place, u64, u64), No> {
        let covers = (Refusal::FetchConsent, "no consent token in force here covers this expert");
        if !self.share {
            return Err((Refusal::FetchConsent, "the operator of this node shares no weights"));
        }
        if asked.not_from.contains(&self.node) {
            return Err((Refusal::FetchSource, "this node is not to be the source"));
        }
        let now = (self.now)().seconds();
        if !self.fresh.is_at(now) {
            return Err((Refusal::FetchConsent, "the router's deny list is too old here"));
        }
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        //= spec/session.md#fetching
        //# A node answers a router's request for a shard only while a consent token of its own covers the expert and is
        //# in force, and only if its operator shares weights (`F_CONSENT`).
        let covered = |s: &&Shared| {
            now < s.expires && s.ranges.iter().any(|r| r.contains(&asked.manifest, asked.layer, asked.expert))
        };
        let own = shared.iter().find(covered).ok_or(covers)?;
        let unknown = (Refusal::FetchShard, "the model has no such expert or chunk");
        let expert = u16::try_from(asked.expert).map_err(|_| unknown)?;
        let record = own.model.manifest().expert(asked.layer, expert).ok_or(unknown)?;
        let first = u64::from(asked.first_chunk) * CHUNK;
        if first >= record.size {
            return Err(unknown);
        }
        let key = Key { manifest: asked.manifest, layer: asked.layer, expert };
        let place = match &own.model {
            Model::Folder(checkpoint) => Place::Folder(Arc::clone(checkpoint), (asked.layer, expert)),
            Model::Stored { .. } => Place::File(self.store.shard(&key)),
        };
        Ok((place, record.size, first))
    }

    async fn send(&self, reply: Reply, place: Place, size: u64, first: u64) -> Result<(), FetchError> {
        let mut body = reply.offer(self.node, size - first).await?;
        let place = Arc::new(place);
        let mut at = first;
        while at < size {
            let length = usize::try_from((size - at).min(CHUNK)).unwrap_or(SHARD_CHUNK_BYTES);
            let from = Arc::clone(&place);
            let read = tokio::task::spawn_blocking(move || from.read(at, length)).await;
            let chunk = match read.map_err(io::Error::other).flatten() {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::error!(%error, "a shard that is hosted here cannot be read");
                    body.give_up(Refusal::SessionInternal);
                    return Ok(());
                }
            };
            body.chunk(&chunk).await?;
            at += CHUNK;
        }
        body.finish().await
    }
}

impl Place {
    /// Some bytes of the shard. Blocks.
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(at))?;
                let mut chunk = vec![0; length];
                file.read_exact(&mut chunk)?;
                Ok(chunk)
            }
            Self::Folder(checkpoint, (layer, expert)) => {
                let shard = checkpoint.shard(*layer, *expert).map_err(io::Error::other)?;
                Ok(shard.copy(at, length))
            }
        }
    }
}

const CHUNK: u64 = SHARD_CHUNK_BYTES as u64;
