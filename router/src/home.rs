//! A router's home on disk: its keys and certificates, made once and read from then on.
//!
//! ```text
//! home.json                 { "format": 1 }
//! identity/root.key .der    the network root; keep a copy offline
//! identity/next-root.key    the root after this one, committed to by the log's first entry
//! identity/ca.key .der      the issuing CA
//! identity/router.key       the router identity key: signs entries, orders and receipts
//! identity/log.key          signs the log's checkpoints
//! identity/admin.key        the bearer key of the admin calls, on loopback only
//! models/<manifest id>/manifest.cbor   manifests of models that were published
//! manifests/                manifests of checkpoints that were opened here
//! log/  projections/  vault/
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::key_file::{self, KeyFileFault, Keyring};
use counterfoil_identity::{CaFault, IssuingCa, Refused, Root, SecretKey, Signer, TrustDomain, random};
use counterfoil_model::Manifest;
use counterfoil_spec::ids::{Hash, ManifestId, NetId, RouterId};
use counterfoil_spec::time::Seconds;
use data_encoding::HEXLOWER;

/// The home format that this program reads and writes.
pub const HOME_FORMAT: u64 = 1;
/// What a router's home holds under `identity`.
const FILES: [&str; 8] =
    ["root.key", "root.der", "next-root.key", "ca.key", "ca.der", "router.key", "log.key", "admin.key"];
/// How every API key of a router begins.
pub(crate) const API_KEY_PREFIX: &str = "cf-";
/// Under which the admin call's bearer key is derived from its key file.
const ADMIN_KEY: &str = "counterfoil v1 admin-key";
/// The life of a network root: ten years.
const ROOT_LIFE_S: u64 = 3653 * 86_400;
/// A CA with less life left than this is replaced when the router starts.
const CA_RENEW_BEFORE_S: u64 = 30 * 86_400;

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
    #[error("{path} says that this home has format {found}; this program reads format {HOME_FORMAT}")]
    Format {
        /// Where it says so.
        path: String,
        /// What it says.
        found: String,
    },
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
    ca: IssuingCa,
    root_der: Vec<u8>,
    root_key: Arc<dyn Signer>,
    next_root_hash: Hash,
    identity: Arc<dyn Signer>,
    log_key: Arc<dyn Signer>,
    keys: Keyring,
}

impl RouterHome {
    /// Opens a home, making whatever is not there yet.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn open_or_create(path: &Path, keys: &Keyring, now: Seconds) -> Result<Self, HomeError> {
        make_folder(path)?;
        write_format(path)?;
        let identity_folder = path.join("identity");
        make_folder(&identity_folder)?;
        let at = |name: &str| identity_folder.join(name);
        let root = open_root(keys, &at("root.key"), &at("root.der"), now)?;
        let next_root = keys.signer_or_create(&at("next-root.key"))?;
        let ca = open_ca(keys, &root, &at("ca.key"), &at("ca.der"), now)?;
        let identity = keys.signer_or_create(&at("router.key"))?;
        let log_key = keys.signer_or_create(&at("log.key"))?;
        if !at("admin.key").exists() {
            keys.store(&at("admin.key"), &SecretKey::generate())?;
        }
        Ok(Self::of((path, keys), &root, &*next_root, ca, (identity, log_key)))
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
        check_format(path)?;
        let at = |name: &str| path.join("identity").join(name);
        let root_der = std::fs::read(at("root.der")).map_err(io_error(&at("root.der")))?;
        let root = Root::from_parts(keys.signer(&at("root.key"))?, root_der).map_err(|source| {
            HomeError::Certificate { path: at("root.der").display().to_string(), source }
        })?;
        let ca = read_ca(keys, &root, &at("ca.key"), &at("ca.der"))?;
        let next_root = keys.signer(&at("next-root.key"))?;
        let own = (keys.signer(&at("router.key"))?, keys.signer(&at("log.key"))?);
        Ok(Self::of((path, keys), &root, &*next_root, ca, own))
    }

    fn of(
        (path, keys): (&Path, &Keyring),
        root: &Root,
        next_root: &dyn Signer,
        ca: IssuingCa,
        (identity, log_key): (Arc<dyn Signer>, Arc<dyn Signer>),
    ) -> Self {
        Self {
            path: path.to_owned(),
            ca,
            root_der: root.der().to_vec(),
            root_key: Arc::clone(root.key()),
            next_root_hash: digest::derive(context::NEXT_ROOT, &[&next_root.public().spki_der()]),
            identity,
            log_key,
            keys: keys.clone(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The issuing CA.
    #[must_use]
    pub const fn ca(&self) -> &IssuingCa {
        &self.ca
    }

    /// What this network's certificates lead to.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        self.ca.domain()
    }

    /// The network root's certificate, DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The network root's key.
    #[must_use]
    pub const fn root_key(&self) -> &Arc<dyn Signer> {
        &self.root_key
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

    /// What the first entry commits to.
    #[must_use]
    pub const fn next_root_hash(&self) -> Hash {
        self.next_root_hash
    }

    /// The router identity key.
    #[must_use]
    pub const fn identity(&self) -> &Arc<dyn Signer> {
        &self.identity
    }

    /// The key of the log's checkpoints.
    #[must_use]
    pub const fn log_key(&self) -> &Arc<dyn Signer> {
        &self.log_key
    }

    /// The network.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.root_key.public().net_id()
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

fn check_format(home: &Path) -> Result<(), HomeError> {
    let path = home.join("home.json");
    let text = std::fs::read_to_string(&path).map_err(io_error(&path))?;
    let found: Option<u64> =
        serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v.get("format")?.as_u64());
    if found == Some(HOME_FORMAT) {
        return Ok(());
    }
    let found = found.map_or_else(|| text.chars().take(80).collect(), |n| n.to_string());
    Err(HomeError::Format { path: path.display().to_string(), found })
}

fn write_format(home: &Path) -> Result<(), HomeError> {
    let path = home.join("home.json");
    if path.exists() {
        return check_format(home);
    }
    replace(&path, format!("{{ \"format\": {HOME_FORMAT} }}\n").as_bytes())
}

fn open_root(keys: &Keyring, key: &Path, der: &Path, now: Seconds) -> Result<Root, HomeError> {
    let fail = |source| HomeError::Certificate { path: der.display().to_string(), source };
    let secret = keys.signer_or_create(key)?;
    if der.exists() {
        let bytes = std::fs::read(der).map_err(io_error(der))?;
        return Root::from_parts(secret, bytes).map_err(fail);
    }
    let root = Root::create(secret, now, ROOT_LIFE_S).map_err(fail)?;
    replace(der, root.der())?;
    Ok(root)
}

fn read_ca(keys: &Keyring, root: &Root, key: &Path, der: &Path) -> Result<IssuingCa, HomeError> {
    let domain = TrustDomain::new(root.der()).map_err(|refused| HomeError::Root {
        path: der.with_file_name("root.der").display().to_string(),
        refused,
    })?;
    let bytes = std::fs::read(der).map_err(io_error(der))?;
    IssuingCa::from_parts(keys.signer(key)?, bytes, &domain)
        .map_err(|source| HomeError::Certificate { path: der.display().to_string(), source })
}

fn open_ca(
    keys: &Keyring,
    root: &Root,
    key: &Path,
    der: &Path,
    now: Seconds,
) -> Result<IssuingCa, HomeError> {
    if key_file::is_there(key) && der.exists() {
        let ca = read_ca(keys, root, key, der)?;
        if ca.not_after() > now.plus(CA_RENEW_BEFORE_S) {
            return Ok(ca);
        }
        // Leaves carry their CA, so those of the old one stay valid to their own end.
        let used = if key.exists() { key.to_owned() } else { key.with_extension("agent") };
        let aside = used.with_extension(format!("until-{}", ca.not_after().0));
        std::fs::rename(&used, &aside).map_err(io_error(&aside))?;
    }
    let secret = keys.signer_or_create(key)?;
    let ca = root
        .issue_ca(secret, now)
        .map_err(|source| HomeError::Certificate { path: der.display().to_string(), source })?;
    replace(der, ca.der())?;
    Ok(ca)
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
