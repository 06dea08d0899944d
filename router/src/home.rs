//! A router's home on disk: its keys and certificates, made once and read from then on.
//!
//! ```text
//! home.json                 { "format": 1 }
//! identity/root.key .der    the network root; the key may be kept elsewhere
//! identity/next-root.key    the root after this one, committed to by the log's first entry; likewise
//! identity/ca.key .der      the issuing CA; next-ca.key .der the one that is to take its place
//! identity/router.key       the router identity key: signs entries, orders and receipts
//! identity/log.key          signs the log's checkpoints; next-log.key the one that is to follow it
//! identity/admin.key        the bearer key of the admin calls, on loopback only
//! models/<manifest id>/manifest.cbor   manifests of models that were published
//! manifests/                manifests of checkpoints that were opened here
//! log/  projections/  vault/
//! ```

mod authority;
mod log_key;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::key_file::{self, KeyFileFault, Keyring};
use counterfoil_identity::{
    CaFault, HomeFormatFault, IssuingCa, Refused, Root, SecretKey, Signer, TrustDomain, check_home_format,
    keep_home_format, random,
};
use counterfoil_model::Manifest;
use counterfoil_spec::ids::{Hash, ManifestId, NetId, RouterId};
use counterfoil_spec::time::Seconds;
use data_encoding::HEXLOWER;
use tokio::sync::watch;

pub(crate) use authority::ChangeCa;
pub use authority::NextCa;
use authority::{Authority, ROOT_DER, ROOT_KEY, root_here};

/// What a router's home holds under `identity` at least.
const FILES: [&str; 6] = ["root.der", "ca.key", "ca.der", "router.key", "log.key", "admin.key"];
/// How every API key of a router begins.
pub(crate) const API_KEY_PREFIX: &str = "cf-";
/// Under which the admin call's bearer key is derived from its key file.
const ADMIN_KEY: &str = "counterfoil v1 admin-key";
/// The life of a network root: ten years.
const ROOT_LIFE_S: u64 = 3653 * 86_400;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileFault),
    /// A certificate.
    #[error("{path}: {source}")]
    Certificate {
        /// Where it lies, or would.
        path: String,
        /// What is wrong.
        source: CaFault,
    },
    /// The network root's certificate.
    #[error("{path}: {refused}")]
    Root {
        /// Where it lies.
        path: String,
        /// What is wrong.
        refused: Refused,
    },
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Made by another version of the program.
    #[error(transparent)]
    Format(#[from] HomeFormatFault),
    /// A manifest that is not the one of its folder's name.
    #[error("{0} is not the manifest that its folder is named for; publish the model again")]
    Manifest(String),
    /// Not a router's home.
    #[error("{0} is not there; `counterfoil identity init` or `counterfoil run` makes a router's home")]
    Missing(String),
}

/// A router's identity, read into memory.
#[derive(Debug)]
pub struct RouterHome {
    path: PathBuf,
    domain: TrustDomain,
    root: Option<Root>,
    next_root_hash: Option<Hash>,
    ca: watch::Sender<Arc<IssuingCa>>,
    identity: Arc<dyn Signer>,
    log_key: Arc<dyn Signer>,
    keys: Keyring,
    /// Guards the files of the CA that is to follow. Taken before any decision is, never after.
    changing_ca: Mutex<()>,
}

impl RouterHome {
    /// Opens a home, making whatever is not there yet.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn open_or_create(path: &Path, keys: &Keyring, now: Seconds) -> Result<Self, HomeError> {
        make_folder(path)?;
        keep_home_format(path)?;
        let identity_folder = path.join("identity");
        make_folder(&identity_folder)?;
        let at = |name: &str| identity_folder.join(name);
        if !at(ROOT_DER).exists() {
            found_network(keys, &identity_folder, now)?;
        }
        let domain = read_domain(&at(ROOT_DER))?;
        let root = root_here(keys, &identity_folder, domain.root_der())?;
        let authority = Authority { folder: identity_folder.clone(), keys, domain: &domain };
        let ca = authority.read_or_create(root.as_ref(), now)?;
        let identity = keys.signer_or_create(&at("router.key"))?;
        let log_key = keys.signer_or_create(&at("log.key"))?;
        if !at("admin.key").exists() {
            keys.store(&at("admin.key"), &SecretKey::generate())?;
        }
        Self::of((path, keys), (domain, root), ca, (identity, log_key))
    }

    /// Opens a home that exists, its keys with this keyring.
    ///
    /// # Errors
    /// [`HomeError::Missing`] for a folder that is none.
    pub fn open(path: &Path, keys: &Keyring) -> Result<Self, HomeError> {
        let missing = FILES.iter().find(|name| !key_file::is_there(&path.join("identity").join(name)));
        if let Some(name) = missing {
            return Err(HomeError::Missing(path.join("identity").join(name).display().to_string()));
        }
        check_home_format(path)?;
        let at = |name: &str| path.join("identity").join(name);
        let domain = read_domain(&at(ROOT_DER))?;
        let root = root_here(keys, &path.join("identity"), domain.root_der())?;
        let ca = Authority { folder: path.join("identity"), keys, domain: &domain }.read()?;
        let own = (keys.signer(&at("router.key"))?, keys.signer(&at("log.key"))?);
        Self::of((path, keys), (domain, root), ca, own)
    }

    fn of(
        (path, keys): (&Path, &Keyring),
        (domain, root): (TrustDomain, Option<Root>),
        ca: IssuingCa,
        (identity, log_key): (Arc<dyn Signer>, Arc<dyn Signer>),
    ) -> Result<Self, HomeError> {
        // The only key that is not read here: its bearer is made when it is asked for.
        key_file::check_permissions(&path.join("identity/admin.key"))?;
        let next_root = path.join("identity/next-root.key");
        let next_root = key_file::is_there(&next_root).then(|| keys.signer(&next_root)).transpose()?;
        let next_root_hash =
            next_root.map(|key| digest::derive(context::NEXT_ROOT, &[&key.public().spki_der()]));
        let (ca, keys) = (watch::Sender::new(Arc::new(ca)), keys.clone());
        let (path, changing_ca) = (path.to_owned(), Mutex::default());
        Ok(Self { path, domain, root, next_root_hash, ca, identity, log_key, keys, changing_ca })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The issuing CA in use.
    #[must_use]
    pub fn ca(&self) -> Arc<IssuingCa> {
        Arc::clone(&self.ca.borrow())
    }

    /// The same, now and from now on.
    #[must_use]
    pub fn ca_in_use(&self) -> watch::Receiver<Arc<IssuingCa>> {
        self.ca.subscribe()
    }

    /// Keeps others from changing the issuing CA until the guard is dropped. It is taken before any decision is, and may be
    /// held while a key signs.
    pub(crate) fn change_ca(&self) -> ChangeCa<'_> {
        ChangeCa::new(self, self.changing_ca.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The CA that is to take its place, where there is one.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn next_ca(&self) -> Result<Option<NextCa>, HomeError> {
        self.authority().next()
    }

    /// Makes the CA that is to take its place, or, where the root's key is not here, what the root is to be asked.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn make_next_ca(&self, now: Seconds) -> Result<NextCa, HomeError> {
        self.authority().make_next(self.root.as_ref(), now)
    }

    /// Takes the certificate with which a root elsewhere answered.
    ///
    /// # Errors
    /// [`HomeError::Certificate`] where it is none for the key that asked.
    pub fn take_next_ca(&self, certificate: Vec<u8>) -> Result<IssuingCa, HomeError> {
        self.authority().take_next(certificate)
    }

    /// Forgets the CA that was to take its place.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn drop_next_ca(&self) -> Result<(), HomeError> {
        self.authority().drop_next()
    }

    /// Puts the next CA in the place of the one in use, on the disk; [`RouterHome::use_ca`] follows once the log says so.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn switch_ca(&self) -> Result<IssuingCa, HomeError> {
        self.authority().switch()?;
        self.authority().read()
    }

    /// New certificates come from this CA from here on.
    pub fn use_ca(&self, ca: IssuingCa) {
        self.ca.send_replace(Arc::new(ca));
    }

    fn authority(&self) -> Authority<'_> {
        Authority { folder: self.path.join("identity"), keys: &self.keys, domain: &self.domain }
    }

    /// What this network's certificates lead to.
    #[must_use]
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The network root, where its key is here.
    #[must_use]
    pub const fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// Keeps a manifest, so that it can be published.
    ///
    /// # Errors
    /// [`HomeError::Io`] names the file.
    pub fn keep_manifest(&self, manifest: &Manifest) -> Result<(), HomeError> {
        let path = self.manifest_path(&manifest.id());
        make_folder(path.parent().unwrap_or(&self.path))?;
        replace(&path, &manifest.to_bytes())
    }

    /// A manifest that is kept here.
    ///
    /// # Errors
    /// [`HomeError`] where it is not, or is not itself.
    pub fn manifest(&self, id: &ManifestId) -> Result<Manifest, HomeError> {
        let path = self.manifest_path(id);
        let bytes = std::fs::read(&path).map_err(io_error(&path))?;
        let manifest = Manifest::from_bytes(&bytes).ok().filter(|manifest| manifest.id() == *id);
        manifest.ok_or_else(|| HomeError::Manifest(path.display().to_string()))
    }

    fn manifest_path(&self, id: &ManifestId) -> PathBuf {
        self.path.join("models").join(id.to_string()).join("manifest.cbor")
    }

    /// What the first entry commits to, where the next root's key is here.
    #[must_use]
    pub const fn next_root_hash(&self) -> Option<Hash> {
        self.next_root_hash
    }

    /// The router identity key.
    #[must_use]
    pub const fn identity(&self) -> &Arc<dyn Signer> {
        &self.identity
    }

    /// The key in the place of the log's; which one signs its checkpoints, the log says.
    #[must_use]
    pub const fn log_key(&self) -> &Arc<dyn Signer> {
        &self.log_key
    }

    /// The network.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.domain.net_id()
    }

    /// The router.
    #[must_use]
    pub fn router_id(&self) -> RouterId {
        self.identity.public().router_id()
    }

    /// What its keys were opened with.
    #[must_use]
    pub const fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// The log's origin: the name under which its heads are signed.
    #[must_use]
    pub fn origin(&self) -> String {
        origin(&self.net_id(), "router")
    }
}

/// The origin of a log of this network.
#[must_use]
pub fn origin(net_id: &NetId, whose: &str) -> String {
    let net: String = net_id.to_string().chars().take(16).collect();
    format!("counterfoil/{net}/{whose}")
}

/// The bearer key of the admin calls on a home.
///
/// # Errors
/// [`HomeError`] where the key file is missing or loose.
pub fn admin_key(home: &Path, keys: &Keyring) -> Result<String, HomeError> {
    let key = keys.load(&home.join("identity/admin.key"))?;
    Ok(format!("cfa-{}", HEXLOWER.encode(digest::derive(ADMIN_KEY, &[&*key.seed()]).as_bytes())))
}

/// A fresh API key as the client will send it.
#[must_use]
pub fn fresh_api_key() -> String {
    format!("{API_KEY_PREFIX}{}", HEXLOWER.encode(random::hash().as_bytes()))
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> HomeError {
    let path = path.display().to_string();
    move |source| HomeError::Io { path, source }
}

fn make_folder(path: &Path) -> Result<(), HomeError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error(path))
}

/// The keys of the root and of the one after it, and the root's certificate, which says that there is a network.
fn found_network(keys: &Keyring, folder: &Path, now: Seconds) -> Result<(), HomeError> {
    let der = folder.join(ROOT_DER);
    let key = keys.signer_or_create(&folder.join(ROOT_KEY))?;
    keys.signer_or_create(&folder.join("next-root.key"))?;
    let root = Root::create(key, now, ROOT_LIFE_S)
        .map_err(|source| HomeError::Certificate { path: der.display().to_string(), source })?;
    replace(&der, root.der())
}

fn read_domain(der: &Path) -> Result<TrustDomain, HomeError> {
    let bytes = std::fs::read(der).map_err(io_error(der))?;
    TrustDomain::new(&bytes).map_err(|refused| HomeError::Root { path: der.display().to_string(), refused })
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh).map_err(io_error(&fresh))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error(&fresh))?;
    std::fs::rename(&fresh, path).map_err(io_error(path))?;
    let folder = path.parent().unwrap_or(path);
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io_error(folder))
}
