//! What a node is doing, for people.

use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::time::Seconds;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stage {
    /// Not connected; the last reason, in words.
    #[default]
    Starting,
    /// Trying again.
    Connecting(String),
    /// The lane stands; no consent is active yet.
    Connected,
    /// Connected, and the router has nothing for it to host now.
    Idle,
    /// Experts are loaded under consent.
    Serving,
    /// Finishing what is open.
    Draining,
}

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// How far it is.
    pub stage: Stage,
    /// Consent tokens in use on this lane, the oldest first.
    pub consents: Vec<ConsentStatus>,
    /// How far shards that are fetched are, by model.
    pub fetches: Vec<FetchStatus>,
    /// What was last declined or refused, in words.
    pub refused: Option<String>,
}

/// How far the shards of one model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchStatus {
    /// The model.
    pub manifest: ManifestId,
    /// Shards that are here and good.
    pub shards: usize,
    /// Shards that are to be here.
    pub wanted_shards: usize,
    /// Bytes that are here, of whole shards and of those that come.
    pub bytes: u64,
    /// Bytes that are to be here.
    pub wanted_bytes: u64,
    /// What is in the way, in words; it is tried again all the same.
    pub trouble: Option<String>,
}

impl FetchStatus {
    /// Nothing is known yet but the model.
    pub(crate) const fn of(manifest: ManifestId) -> Self {
        Self { manifest, shards: 0, wanted_shards: 0, bytes: 0, wanted_bytes: 0, trouble: None }
    }
}

/// One consent token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentStatus {
    /// Its id.
    pub cti: Serial,
    /// The model.
    pub manifest: ManifestId,
    /// Until when it holds.
    pub expires: Seconds,
    /// Experts loaded under it; nothing while they load.
    pub experts: Option<usize>,
}
