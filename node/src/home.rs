//! Who a node is, on disk: its keys and its certificate.
//!
//! ```text
//! home.json              the format of all of it
//! identity/node.key      the node identity key            identity/chain.pem   the leaf and its issuing CA
//! identity/log.key       the key of its log's heads       identity/root.der    the network root
//! identity/recovery.key  to be kept elsewhere             identity/router      the router's id, pinned
//! identity/tls.key       the key of the current leaf    identity/next.*       the next leaf and its key
//! ```
//!
//! Keys are 0600 in a folder of 0700.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::NoteSigner;
use counterfoil_audit::note::NoteError;
use counterfoil_identity::enrol::{EnrolClient, JoinToken, Joined, recovery_hash};
use counterfoil_identity::key_file::{KeyFileFault, Keyring};
use counterfoil_identity::{
    CaFault, Credentials, HomeFormatFault, Refused, RootDenials, Signer, TrustDomain, check_home_format,
    keep_home_format,
};
use counterfoil_session::ConnectError;
use counterfoil_spec::ids::{IdSyntax, RouterId};
use counterfoil_spec::time::{Now, Seconds};

use crate::log::log_origin;
use crate::orders::write_whole;
use crate::pair;
use crate::root_denials::{self, RootListFault};

/// Who a node is and whom it trusts.
#[derive(Clone)]
pub struct NodeIdentity {
    /// The node identity key.
    pub key: Arc<dyn Signer>,
    /// The key of its log's heads.
    pub log_key: Arc<dyn Signer>,
    /// Its certificate and TLS key.
    pub credentials: Credentials,
    /// The network.
    pub domain: TrustDomain,
    /// The router that it works for.
    pub router: RouterId,
    /// When the router wants the next certificate to be asked for; not known any more after a restart.
    pub renew_after: Option<Seconds>,
}

/// Why an identity was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileFault),
    /// The certificate chain.
    #[error("identity/chain.pem: {0}")]
    Chain(#[from] CaFault),
    /// The root certificate.
    #[error("identity/root.der: {0}")]
    Root(#[from] Refused),
    /// The pinned router.
    #[error("identity/router: {0}")]
    Router(#[from] IdSyntax),
    /// A certificate whose key is not there.
    #[error("{0}: not the certificate of identity/tls.key")]
    Strange(PathBuf),
    /// Made by another version of the program.
    #[error(transparent)]
    Format(#[from] HomeFormatFault),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Its own folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The router, or the way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What its root denies cannot be read.
    #[error(transparent)]
    RootList(#[from] RootListFault),
    /// Its log key.
    #[error("the node's log key: {0}")]
    LogKey(#[from] NoteError),
}

impl NodeIdentity {
    /// Reads the identity of an enrolled node, its keys with this keyring.
    ///
    /// # Errors
    /// [`HomeError`]; of `Io` and kind `NotFound` where the node was never enrolled.
    pub fn load(home: &Path, keys: &Keyring) -> Result<Self, HomeError> {
        check_home_format(home)?;
        let folder = home.join("identity");
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| HomeError::Io { path, source })
        };
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| HomeError::Io { path, source })
        };
        let credentials = pair::load(&folder, keys)?;
        Ok(Self {
            key: keys.signer(&folder.join("node.key"))?,
            log_key: keys.signer(&folder.join("log.key"))?,
            credentials,
            domain: TrustDomain::new(&read("root.der")?)?,
            router: text("router")?.trim().parse()?,
            renew_after: None,
        })
    }
}

/// Joins a network with a join token and stores who this node is now. Keys that are there already are used again, so
/// an enrolment that failed half-way can be repeated with the same token.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(
    home: &Path,
    keys: &Keyring,
    token: JoinToken,
    router: SocketAddr,
    now: &Now,
) -> Result<NodeIdentity, EnrolError> {
    keep_home_format(home).map_err(HomeError::from)?;
    let folder = home.join("identity");
    let keep = |name: &str| keys.load_or_create(&folder.join(name)).map_err(HomeError::from);
    let signer = |name: &str| keys.signer_or_create(&folder.join(name)).map_err(HomeError::from);
    let (key, log_key, recovery) = (signer("node.key")?, signer("log.key")?, keep("recovery.key")?);
    let tls = pair::for_enrolment(&folder, keys)?;
    let vkey = NoteSigner::new(&log_origin(&key.public().node_id()), Arc::clone(&log_key))?.vkey();
    let recovery_hash = recovery_hash(&recovery.public());
    let client = EnrolClient::new(token, Arc::clone(&key), tls, recovery_hash, vkey);
    let denied = known_denials(home)?;
    let joined = Box::pin(counterfoil_session::enrol::join(router, client, &denied, now)).await?;
    store(&folder, &joined)?;
    let Joined { credentials, domain, router, renew_after, .. } = joined;
    Ok(NodeIdentity { key, log_key, credentials, domain, router, renew_after: Some(renew_after) })
}

/// What the root of the network denies that this home joined before; nothing where it joined none.
fn known_denials(home: &Path) -> Result<RootDenials, EnrolError> {
    let path = home.join("identity/root.der");
    let der = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(RootDenials::default()),
        read => read.map_err(|source| HomeError::Io { path, source })?,
    };
    let domain = TrustDomain::new(&der).map_err(HomeError::from)?;
    Ok(root_denials::known(home, domain.root_key())?)
}

fn store(folder: &Path, joined: &Joined) -> Result<(), HomeError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_whole(&path, bytes).map_err(|source| HomeError::Io { path, source })
    };
    write("root.der", joined.domain.root_der())?;
    write("router", format!("{}\n", joined.router).as_bytes())?;
    // Last, because a node without it is not enrolled.
    pair::keep_enrolled(folder, joined.credentials.chain())
}
