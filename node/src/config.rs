//! What a node is told, and why it may not start.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_audit::LogError;
use counterfoil_audit::note::NoteError;
use counterfoil_consent::Policy;
use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::{HomeFormatFault, TlsFault};
use counterfoil_model::Checkpoint;
use counterfoil_session::EndpointError;
use counterfoil_spec::ids::RouterId;
use counterfoil_spec::time::Now;

use crate::home::NodeIdentity;
use crate::hub::{HubConfig, HubError};
use crate::root_denials::RootListFault;

/// What a node is told.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its folder: `log/`, `unsettled/` and `shards/` lie in it.
    pub home: PathBuf,
    /// Who it is and whom it trusts.
    pub identity: NodeIdentity,
    /// Opens and makes its keys on disk.
    pub keys: Keyring,
    /// Where the router is.
    pub router: SocketAddr,
    /// Where nodes enrol there, and renew a certificate that has ended; without it a node stops when its certificate ends
    /// while it cannot be reached.
    pub enrol: Option<SocketAddr>,
    /// What its operator allows.
    pub policy: Policy,
    /// Its consent epoch; only ever rising, kept by its operator.
    pub epoch: u64,
    /// The models whose weights it has at hand.
    pub models: Vec<Arc<Checkpoint>>,
    /// Bytes of weights that it may hold.
    pub max_weight_bytes: u64,
    /// Bytes that its store of fetched shards may take on disk.
    pub max_disk_bytes: u64,
    /// Whether it passes shards that it serves on to its router, for other nodes.
    pub share_weights: bool,
    /// The repositories that it may fetch from; none where it asks its router only.
    pub hub: Option<HubConfig>,
    /// ISO 4217 code of the network's currency, for the first entry of its log.
    pub currency: String,
    /// The present.
    pub now: Now,
    /// Makes the bytes of a file durable.
    pub sync: SyncFile,
}

/// Makes the bytes of a file durable: [`fdatasync`], but where a test puts a disk that fails in its place.
pub type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// What the machine has for it.
#[must_use]
pub fn fdatasync() -> SyncFile {
    Arc::new(File::sync_data)
}

/// Why a node did not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its home is of another version of the program.
    #[error(transparent)]
    Home(#[from] HomeFormatFault),
    /// Its log cannot be opened or written.
    #[error("the node's log: {0}")]
    Log(#[from] LogError),
    /// Its log key has no usable name.
    #[error("the node's log key: {0}")]
    LogKey(#[from] NoteError),
    /// Its certificate and key do not fit.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// No socket.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The repository endpoint.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its store of shards.
    #[error("the node's store of shards: {0}")]
    Store(String),
    /// Its router serves it no more.
    #[error(
        "the router denies this node: {0}; it stops. Ask the router's operator, who can take it off the deny list, and start it again then"
    )]
    Denied(String),
    /// What it knows of its root's deny list.
    #[error("what this node knows of its root's deny list: {0}")]
    RootList(#[from] RootListFault),
    /// Its network trusts its router no more.
    #[error(
        "the network's root denies the router {0}, which this node works for; it has withdrawn its consent and stops. Another router of the network takes it after `counterfoil identity enroll` from an empty home"
    )]
    RouterDenied(RouterId),
    /// Its router showed it two logs.
    #[error(
        "the log of its router contradicts a head that it signed before: {0}; this node has withdrawn its consent and stops. Its own log keeps both heads: `counterfoil audit show` prints them, and `counterfoil audit verify --against` makes evidence of them. Started again it works for that router until the next such head"
    )]
    RouterContradicts(String),
    /// A copy of its keys is in use.
    #[error(
        "the router takes this node's certificate for that of a copy: {0}; it stops. If no other machine of yours has this node's folder, somebody else has: have the node denied with its recovery key, and enrol a new one. A folder that was brought back from an older copy goes on after `counterfoil identity enroll` with a join token"
    )]
    Superseded(String),
    /// Its certificate has ended and is not renewed.
    #[error("this node's certificate has ended and was not renewed: {0}")]
    Ended(String),
    /// What a broken-off write of a key left cannot be removed.
    #[error("the node's keys: {0}")]
    Keys(String),
    /// Its folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
