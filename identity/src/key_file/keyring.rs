//! What opens the keys of a home: a passphrase where there is one, and the agents that hold keys in the place of files.
//!
//! ```text
//! name.key     a key, under a passphrase or not
//! name.agent   in its place: two lines, "socket PATH" and "key HEX"; the key is held by the agent at that socket
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Content, KeyFileFault, PLAIN, Placing, SEALED, io_fault, place, read, read_text, sealed, show};
use crate::key::SecretKey;
use crate::pem;
use crate::signer::Signer;

/// A passphrase; wiped when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseFault {
    /// Nothing in it.
    #[error("an empty passphrase protects nothing; write at least one character")]
    Empty,
    /// More than a passphrase.
    #[error("a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong,
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file can be read by others.
    #[error("{0} can be read by others than its owner: chmod 600 {0}")]
    Loose(String),
}

impl Passphrase {
    /// Takes a passphrase; line ends after it are not part of it.
    ///
    /// # Errors
    /// [`PassphraseFault::Empty`] or [`PassphraseFault::TooLong`].
    pub fn new(text: &str) -> Result<Self, PassphraseFault> {
        let text = text.trim_end_matches(['\r', '\n']);
        match text.len() {
            0 => Err(PassphraseFault::Empty),
            1..=MAX_PASSPHRASE_BYTES => Ok(Self(Zeroizing::new(text.to_owned()))),
            _ => Err(PassphraseFault::TooLong),
        }
    }

    /// Reads the first line of a file that nobody but its owner can read.
    ///
    /// # Errors
    /// [`PassphraseFault`].
    pub fn read(path: &Path) -> Result<Self, PassphraseFault> {
        let fail = |source| PassphraseFault::Io { path: show(path), source };
        let file = File::open(path).map_err(fail)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // A pipe has the modes of its maker; a file has those that somebody gave it.
            let facts = file.metadata().map_err(fail)?;
            if facts.is_file() && facts.permissions().mode() & 0o077 != 0 {
                return Err(PassphraseFault::Loose(show(path)));
            }
        }
        let mut text = Zeroizing::new(String::new());
        let limit = u64::try_from(MAX_PASSPHRASE_BYTES).unwrap_or(u64::MAX) + 3;
        file.take(limit).read_to_string(&mut text).map_err(fail)?;
        Self::new(text.split('\n').next().unwrap_or_default())
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Opens and makes the keys of a home.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    passphrase: Option<Passphrase>,
}

impl Keyring {
    /// A keyring that seals what it makes and opens what is sealed. What is under no passphrase it opens as well.
    #[must_use]
    pub const fn with(passphrase: Passphrase) -> Self {
        Self { passphrase: Some(passphrase) }
    }

    /// Makes a fresh key and writes it; the folder is made where it is missing.
    ///
    /// # Errors
    /// [`KeyFileFault`]; nothing is left at `path` then.
    pub fn create(&self, path: &Path) -> Result<SecretKey, KeyFileFault> {
        let key = SecretKey::generate();
        self.store(path, &key)?;
        Ok(key)
    }

    /// Writes a key; the folder is made where it is missing.
    ///
    /// # Errors
    /// [`KeyFileFault`]; nothing is left at `path` then.
    pub fn store(&self, path: &Path, key: &SecretKey) -> Result<(), KeyFileFault> {
        place(path, &self.text(path, key)?, Placing::First)
    }

    /// Writes a key again that stands at `path` already, under this keyring's passphrase or under none.
    ///
    /// # Errors
    /// [`KeyFileFault`]; what was there is still there then.
    pub fn seal_again(&self, path: &Path, key: &SecretKey) -> Result<(), KeyFileFault> {
        place(path, &self.text(path, key)?, Placing::Instead)
    }

    fn text(&self, path: &Path, key: &SecretKey) -> Result<Zeroizing<String>, KeyFileFault> {
        let Some(passphrase) = &self.passphrase else { return Ok(pem::encode(PLAIN, &key.to_pkcs8_der())) };
        let sealed = sealed::seal(key, passphrase.as_bytes(), sealed::ITERATIONS);
        let sealed = sealed.map_err(|fault| KeyFileFault::Sealed { path: show(path), fault })?;
        Ok(pem::encode(SEALED, &sealed))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyFileFault`], for loose permissions before a byte is read.
    pub fn load(&self, path: &Path) -> Result<SecretKey, KeyFileFault> {
        let sealed = match read(path)? {
            Content::Plain(key) => return Ok(key),
            Content::Sealed(der) => der,
        };
        let passphrase = self.passphrase.as_ref().ok_or_else(|| KeyFileFault::Locked(show(path)))?;
        let opened = sealed::open(&sealed, passphrase.as_bytes());
        opened.map_err(|fault| KeyFileFault::Sealed { path: show(path), fault })
    }

    /// Reads the key at `path`, or makes one where there is no file.
    ///
    /// # Errors
    /// [`KeyFileFault`].
    pub fn load_or_create(&self, path: &Path) -> Result<SecretKey, KeyFileFault> {
        match self.load(path) {
            Err(KeyFileFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.create(path)
            }
            other => other,
        }
    }

    /// The signer at `path`: the key there, or where there is none the agent that `name.agent` beside it names.
    ///
    /// # Errors
    /// [`KeyFileFault`]. Whether the agent answers shows when it is to sign.
    pub fn signer(&self, path: &Path) -> Result<Arc<dyn Signer>, KeyFileFault> {
        match agent_beside(path)? {
            Some(signer) => Ok(signer),
            None => Ok(self.load(path)?.into()),
        }
    }

    /// The agent that `name.agent` beside `path` names, whether the key lies there as well or not.
    ///
    /// # Errors
    /// [`KeyFileFault`].
    pub fn agent(&self, path: &Path) -> Result<Option<Arc<dyn Signer>>, KeyFileFault> {
        agent_of(path)
    }

    /// As [`Keyring::signer`], and makes a key where there is neither.
    ///
    /// # Errors
    /// [`KeyFileFault`].
    pub fn signer_or_create(&self, path: &Path) -> Result<Arc<dyn Signer>, KeyFileFault> {
        match agent_beside(path)? {
            Some(signer) => Ok(signer),
            None => Ok(self.load_or_create(path)?.into()),
        }
    }
}

/// Whether there is a key, or an agent in its place.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    path.exists() || path.with_extension(AGENT).exists()
}

/// The agent that signs because there is no key.
fn agent_beside(path: &Path) -> Result<Option<Arc<dyn Signer>>, KeyFileFault> {
    if path.exists() { Ok(None) } else { agent_of(path) }
}

#[cfg(unix)]
fn agent_of(path: &Path) -> Result<Option<Arc<dyn Signer>>, KeyFileFault> {
    use crate::agent::AgentKey;

    let named = path.with_extension(AGENT);
    if !named.exists() {
        return Ok(None);
    }
    let text = read_text(&named)?;
    let (socket, key) = agent_file(&text).map_err(|(line, want)| KeyFileFault::AgentFile {
        path: show(&named),
        line,
        want,
    })?;
    Ok(Some(Arc::new(AgentKey::new(socket, key))))
}

#[cfg(not(unix))]
fn agent_of(_path: &Path) -> Result<Option<Arc<dyn Signer>>, KeyFileFault> {
    Ok(None)
}

/// Writes beside where the key `path` would lie that an agent holds it.
///
/// # Errors
/// [`KeyFileFault::Exists`] where there is such a file, and what the system says.
#[cfg(unix)]
pub fn store_agent(path: &Path, socket: &Path, key: &crate::key::VerifyKey) -> Result<(), KeyFileFault> {
    let socket = socket.to_str().filter(|s| !s.contains('\n'));
    let socket = socket.ok_or_else(|| io_fault(path, io::ErrorKind::InvalidFilename.into()))?;
    let text = format!("{SOCKET}{socket}\n{KEY}{}\n", key.wire());
    place(&path.with_extension(AGENT), &text, Placing::First)
}

#[cfg(unix)]
fn agent_file(text: &str) -> Result<(std::path::PathBuf, crate::key::VerifyKey), (usize, &'static str)> {
    let mut lines = text.lines();
    let socket = lines.next().and_then(|line| line.strip_prefix(SOCKET)).filter(|path| path.starts_with('/'));
    let socket = socket.ok_or((1, "socket /PATH"))?;
    let key = lines.next().and_then(|line| line.strip_prefix(KEY)?.parse().ok());
    let key = key.and_then(|key| crate::key::VerifyKey::from_wire(key).ok());
    let key = key.ok_or((2, "key HEX, 32 bytes of an Ed25519 key"))?;
    if lines.next().is_some() {
        return Err((3, "the end of the file"));
    }
    Ok((socket.into(), key))
}

const AGENT: &str = "agent";
#[cfg(unix)]
const SOCKET: &str = "socket ";
#[cfg(unix)]
const KEY: &str = "key ";
/// Longer than what anybody types, and what a machine makes.
const MAX_PASSPHRASE_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
