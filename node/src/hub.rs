//! Shards out of a repository of the form that Hugging Face has: byte ranges of its files over HTTPS.
//!
//! ```text
//! GET {endpoint}/{owner}/{repo}/resolve/{revision}/{file}      Range: bytes={first}-{last}
//! ```
//!
//! Nothing that comes is believed before its chunk was compared with the manifest, so a mirror can be slow or wrong,
//! and no more. A revision is a commit, because a branch may name other bytes tomorrow.

mod ask;
mod ranges;

use std::fmt;
use std::sync::Arc;

use counterfoil_https::{Address, AddressError, Trust};
use counterfoil_model::{ExpertRecord, FileRecord};
use counterfoil_spec::fetch::Repository;
use counterfoil_spec::limits::MAX_REPOSITORY_BYTES;

pub(crate) use ranges::HubShard;

/// The endpoint where nothing else is said.
pub const HUB_ENDPOINT: &str = "https://huggingface.co";

/// What a node is told of repositories.
#[derive(Clone)]
pub struct HubConfig {
    /// Where they are: `https://…`, or `http://…` on this machine.
    pub endpoint: String,
    /// What the endpoint knows the operator by. It is sent there and nowhere else, and never shown.
    pub token: Option<String>,
    /// Whether a revision may be the name of a branch or tag.
    pub allow_branch: bool,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { endpoint: HUB_ENDPOINT.to_owned(), token: None, allow_branch: false }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "a token" } else { "no token" };
        write!(f, "HubConfig({}, {token})", self.endpoint)
    }
}

/// Why a repository gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The endpoint.
    #[error("the repository endpoint {endpoint:?} cannot be used: {why}")]
    Endpoint {
        /// As it was configured.
        endpoint: String,
        /// In words.
        why: String,
    },
    /// The name of a repository.
    #[error("{repo:?} is not the name of a repository, which is owner/name")]
    Repo {
        /// What was found.
        repo: String,
    },
    /// A revision that may change.
    #[error("revision {revision:?} of {repo} is not a commit of 40 hexadecimal digits")]
    Revision {
        /// Which repository.
        repo: String,
        /// What was found.
        revision: String,
    },
    /// An answer that is no use, and would be none the next time.
    #[error("{url}: {why}")]
    Answer {
        /// What was asked for.
        url: String,
        /// In words.
        why: String,
    },
    /// No answer, or part of one; it may come the next time.
    #[error("{url}: {why}")]
    Broken {
        /// What was asked for.
        url: String,
        /// In words.
        why: String,
        /// How long the other side wants to be left alone, in seconds.
        after_s: Option<u64>,
    },
}

/// An endpoint that can be asked.
pub(crate) struct Hub {
    endpoint: Address,
    token: Option<String>,
    allow_branch: bool,
    trust: Trust,
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinnedRepository {
    repo: String,
    revision: String,
}

impl Hub {
    /// Takes an endpoint.
    ///
    /// # Errors
    /// [`HubError::Endpoint`].
    pub(crate) fn new(config: &HubConfig) -> Result<Self, HubError> {
        let fault = |AddressError(why)| HubError::Endpoint { endpoint: config.endpoint.clone(), why };
        //= spec/session.md#fetching
        //# Plain HTTP is for loopback addresses only.
        let endpoint = Address::private(config.endpoint.trim_end_matches('/')).map_err(fault)?;
        let token = config.token.clone().filter(|token| !token.is_empty());
        Ok(Self { endpoint, token, allow_branch: config.allow_branch, trust: Trust::of_machine() })
    }

    /// Checks the name of a repository and that its revision is pinned.
    ///
    /// # Errors
    /// [`HubError::Repo`] and [`HubError::Revision`].
    pub(crate) fn repository(&self, known: &Repository) -> Result<PinnedRepository, HubError> {
        let Repository { repo, revision } = known;
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let named = repo.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name));
        if !named || repo.len() > MAX_REPOSITORY_BYTES {
            return Err(HubError::Repo { repo: repo.chars().take(80).collect() });
        }
        let commit = revision.len() == 40 && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let branch = self.allow_branch && plain(revision) && revision.len() <= MAX_REPOSITORY_BYTES;
        if !commit && !branch {
            let revision = revision.chars().take(80).collect();
            return Err(HubError::Revision { repo: repo.clone(), revision });
        }
        Ok(PinnedRepository { repo: repo.clone(), revision: revision.clone() })
    }

    /// The shard of one expert from a byte of it on.
    pub(crate) fn shard(
        self: &Arc<Self>,
        repository: &PinnedRepository,
        files: &[FileRecord],
        record: &ExpertRecord,
        position: u64,
    ) -> HubShard {
        let parts = record.parts.iter().map(|part| {
            let file = usize::try_from(part.file).ok().and_then(|at| files.get(at));
            // A manifest was checked when it was read, so its parts name files that it has.
            let name = file.map(|file| file.name.as_str()).unwrap_or_default();
            (self.file(repository, name), part.offset, part.length)
        });
        HubShard::new(Arc::clone(self), parts.collect(), position)
    }

    fn file(&self, repository: &PinnedRepository, name: &str) -> Address {
        let PinnedRepository { repo, revision } = repository;
        self.endpoint.below(&format!("/{repo}/resolve/{revision}/{}", encoded(name)))
    }
}

/// A file's name as a path: everything but letters, digits and `-._~/` as `%` and two digits.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({})", self.endpoint)
    }
}

#[cfg(test)]
pub(crate) mod tests;
