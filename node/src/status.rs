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
    /// What was last declined or refused, in words.
    pub refused: Option<String>,
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
