//! Where a shard comes from: a repository first, where there is one, then the router, which has it itself or passes on
//! what other nodes have.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use counterfoil_model::{ExpertRecord, FileRecord};
use counterfoil_session::fetch::Answer;
use counterfoil_session::{FetchError, Fetcher};
use counterfoil_spec::fetch::{FetchRequest, ShardRequest};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_FETCH_NOT_FROM;
use counterfoil_spec::refusal::Refusal;
use tokio::time::Instant;

use crate::hub::{Hub, HubShard, PinnedRepository};
use crate::store::{Key, Part};

/// The sources of one model.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) router: Fetcher,
    pub(super) hub: Option<(Arc<Hub>, PinnedRepository)>,
    /// The files that the parts of shards name.
    pub(super) files: Vec<FileRecord>,
    pub(super) rest: Rest,
}

/// Until when the repository is left alone after it failed, longer each time, so that not every shard waits for it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Guards the two numbers; held only to look at them or to change them.
    state: Mutex<(u32, Option<Instant>)>,
}

impl Rest {
    fn failed(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = REST_FIRST.saturating_mul(2_u32.saturating_pow(state.0)).min(REST_MOST);
        *state = (state.0.saturating_add(1), Some(now + wait));
    }

    fn helped(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (0, None);
    }

    fn lasts(&self, now: Instant) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.is_some_and(|until| now < until)
    }
}

/// How long a repository that failed is left alone at first, and at most.
const REST_FIRST: Duration = Duration::from_secs(30);
const REST_MOST: Duration = Duration::from_secs(600);

/// A source, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The repository.
    Hub,
    /// The router, or a node through it. Whether what it sent was wrong.
    Peer(NodeId, bool),
}

impl Name {
    /// It sent what it must not.
    pub(super) const fn for_good(self) -> Self {
        match self {
            Self::Hub => Self::Hub,
            Self::Peer(from, _) => Self::Peer(from, true),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the repository"),
            Self::Peer(from, _) => write!(f, "{from}"),
        }
    }
}

/// Sources that failed for one shard.
#[derive(Debug, Default)]
pub(super) struct Aside {
    hub: bool,
    peers: Vec<NodeId>,
    /// What went wrong last, in words.
    why: Option<String>,
}

impl Aside {
    /// Puts a source aside, unless it only broke off after it had brought something.
    pub(super) fn failed(&mut self, source: Name, why: String, moved: bool) {
        match source {
            Name::Hub => self.hub = true,
            Name::Peer(from, wrong) if wrong || !moved => self.peers.push(from),
            Name::Peer(..) => {}
        }
        self.why = Some(format!("{source}: {why}"));
    }
}

impl Sources {
    pub(super) fn none_aside(&self) -> Aside {
        Aside { hub: self.hub.is_none() || self.rest.lasts(Instant::now()), ..Aside::default() }
    }

    /// Puts a source aside; the repository for other shards of the model too.
    pub(super) fn failed(&self, aside: &mut Aside, source: Name, why: String, moved: bool) {
        if matches!(source, Name::Hub) {
            tracing::warn!(why, "the repository is left alone for a while");
            self.rest.failed(Instant::now());
        }
        aside.failed(source, why, moved);
    }

    /// A source brought a whole shard.
    pub(super) fn helped(&self, source: Name) {
        if matches!(source, Name::Hub) {
            self.rest.helped();
        }
    }

    /// Opens the next source at the first chunk that is missing.
    ///
    /// # Errors
    /// In words, why no source is left.
    pub(super) async fn open(
        &self,
        key: &Key,
        record: &ExpertRecord,
        part: &Part,
        aside: &mut Aside,
    ) -> Result<Stream, String> {
        if let Some((hub, repository)) = self.hub.as_ref().filter(|_| !aside.hub) {
            let from = part.position();
            return Ok(Stream::Hub(Box::new(hub.shard(repository, &self.files, record, from))));
        }
        loop {
            let left = || aside.why.clone().unwrap_or_else(|| "nobody offers it".to_owned());
            if aside.peers.len() > MAX_FETCH_NOT_FROM {
                return Err(left());
            }
            let request = ShardRequest {
                manifest: key.manifest,
                layer: key.layer,
                expert: u32::from(key.expert),
                first_chunk: part.next_chunk(),
                not_from: aside.peers.clone(),
            };
            let answer = match self.router.ask(&FetchRequest::Shard(request)).await {
                Ok(answer) => answer,
                Err(FetchError::Refused { refusal: Refusal::FetchSource, .. }) if aside.why.is_some() => {
                    return Err(left());
                }
                Err(error) => return Err(error.to_string()),
            };
            let wanted = record.size - part.position();
            if answer.length() == wanted && !aside.peers.contains(&answer.from()) {
                return Ok(Stream::Peer(Box::new(answer)));
            }
            let (from, length) = (answer.from(), answer.length());
            answer.give_up(Refusal::SessionLength);
            if aside.peers.contains(&from) {
                return Err(format!("the router offers what comes from {from} again"));
            }
            aside.failed(Name::Peer(from, true), format!("{length} bytes offered, not {wanted}"), false);
        }
    }
}

/// A shard's bytes as they come, chunk by chunk.
pub(super) enum Stream {
    Hub(Box<HubShard>),
    Peer(Box<Answer>),
}

impl Stream {
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Hub(_) => Name::Hub,
            Self::Peer(answer) => Name::Peer(answer.from(), false),
        }
    }

    /// The next chunk, whole.
    ///
    /// # Errors
    /// In words, why it does not come.
    pub(super) async fn chunk(&mut self) -> Result<Vec<u8>, String> {
        match self {
            Self::Hub(shard) => shard.chunk().await.map_err(|e| e.to_string()),
            Self::Peer(answer) => match answer.chunk().await {
                Ok(Some(chunk)) => Ok(chunk),
                Ok(None) => Err("it ended early".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Says that the last chunk was taken.
    pub(super) async fn end(self) {
        if let Self::Peer(mut answer) = self {
            // The shard is whole; what the other side still has to say changes nothing.
            let _ = answer.chunk().await;
        }
    }

    /// Wants no more of it, because its bytes are wrong.
    pub(super) fn refuse(self) {
        if let Self::Peer(answer) = self {
            answer.give_up(Refusal::FetchHash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_that_fails_is_left_alone_longer_each_time_until_it_helps() {
        let (rest, start) = (Rest::default(), Instant::now());
        let rests = |after: u64| rest.lasts(start + Duration::from_secs(after));
        assert!(!rests(0));
        rest.failed(start);
        assert_eq!((rests(29), rests(30)), (true, false));
        rest.failed(start);
        assert_eq!((rests(59), rests(60)), (true, false));
        (0..40).for_each(|_| rest.failed(start));
        assert_eq!((rests(599), rests(600)), (true, false));
        rest.helped();
        rest.failed(start);
        assert_eq!((rests(29), rests(30)), (true, false));
    }
}
