//! The root's deny list as this node knows it.
//!
//! ```text
//! root-deny    canonical CBOR of the signed list that was taken last; written by the operator's command, followed by the
//!              node that runs
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use counterfoil_identity::{Refused, RootDenials, Taken, TrustDomain, VerifiedPeer, VerifyKey};
use counterfoil_spec::deny::root::SignedRootDenyList;
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::RouterId;
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::time::Seconds;

use crate::orders::write_whole;

/// Why a list of the root was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RootListFault {
    /// It is none.
    #[error("not a deny list of a root: {0}")]
    Shape(String),
    /// What was kept is none any more.
    #[error(
        "{path} is damaged ({reason}): remove it, and let this node take the latest list of its root again"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is refused.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The node's home.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes a list of the root into a node's home; a node that runs there follows within a second.
///
/// # Errors
/// [`RootListFault`]; then what was known before holds.
pub fn take_root_deny_list(
    home: &Path,
    domain: &TrustDomain,
    signed: &[u8],
    now: Seconds,
) -> Result<Taken, RootListFault> {
    let path = home.join(FILE);
    let mut known = read(&path, domain.root_key())?.unwrap_or_default();
    let taken = known.take(decode(signed)?, domain.root_key(), now)?;
    if let Some(last) = known.last().filter(|_| taken == Taken::Changed) {
        write_whole(&path, &to_canonical(last)).map_err(|source| RootListFault::Io { path, source })?;
    }
    Ok(taken)
}

/// The list that was taken last into a home.
///
/// # Errors
/// [`RootListFault`] where the file cannot be read, or is none.
pub fn root_deny_list(home: &Path, root: &VerifyKey) -> Result<Option<SignedRootDenyList>, RootListFault> {
    Ok(read(&home.join(FILE), root)?.and_then(|known| known.last().cloned()))
}

/// What a node of this network knows of its root's list, while it does not run.
///
/// # Errors
/// [`RootListFault`] where the file cannot be read, or is none.
pub(crate) fn known(home: &Path, root: &VerifyKey) -> Result<RootDenials, RootListFault> {
    Ok(read(&home.join(FILE), root)?.unwrap_or_default())
}

/// What is known, and where it is kept.
#[derive(Debug)]
pub(crate) struct KeptRootDenials {
    path: PathBuf,
    known: RootDenials,
    /// The file that was looked at last, by its time and size.
    seen: Option<(SystemTime, u64)>,
    /// Whether it could not be read when it was looked at last.
    unread: bool,
}

impl KeptRootDenials {
    /// Reads what was taken before.
    ///
    /// # Errors
    /// Where the file cannot be read, or is none: without it a router could be trusted that the root denies.
    pub(crate) fn open(home: &Path, root: &VerifyKey) -> Result<Self, RootListFault> {
        let path = home.join(FILE);
        let (seen, known) = (stamp(&path), read(&path, root)?.unwrap_or_default());
        Ok(Self { path, known, seen, unread: false })
    }

    /// Takes up what the operator's command has written meanwhile. A file that is no such list changes nothing.
    pub(crate) fn follow(&mut self, root: &VerifyKey, now: Seconds) {
        let seen = stamp(&self.path);
        if seen == self.seen {
            return;
        }
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            // It is looked at again until it can be read.
            Err(error) => {
                if !std::mem::replace(&mut self.unread, true) {
                    tracing::warn!(file = %self.path.display(), %error, "not read; what was known before holds");
                }
                return;
            }
        };
        (self.seen, self.unread) = (seen, false);
        let list = decode(&bytes).map_err(|e| e.to_string());
        match list.and_then(|signed| self.known.take(signed, root, now).map_err(|e| e.to_string())) {
            Ok(_) => tracing::info!(file = %self.path.display(), "the root's deny list has changed"),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), error, "not taken up; what was known before holds");
            }
        }
    }

    /// What is known.
    pub(crate) const fn known(&self) -> &RootDenials {
        &self.known
    }

    /// Whether the root denies the router of a lane.
    pub(crate) fn denies(&self, router: &VerifiedPeer) -> bool {
        self.known.denies(router)
    }

    /// Whether the root denies a router, whatever certificate it shows.
    pub(crate) fn denies_router(&self, router: &RouterId) -> bool {
        self.known.last().is_some_and(|last| last.list.routers.binary_search(router).is_ok())
    }
}

/// What was kept is checked again: who can write the file is not thereby the root.
fn read(path: &Path, root: &VerifyKey) -> Result<Option<RootDenials>, RootListFault> {
    let damaged = |reason| RootListFault::Damaged { path: path.to_owned(), reason };
    match fs::read(path) {
        Ok(bytes) => {
            let signed = decode(&bytes).map_err(|e| damaged(e.to_string()))?;
            let mut known = RootDenials::default();
            // It was no list of the future when it was taken.
            let issued = signed.list.issued;
            known.take(signed, root, issued).map_err(|e| damaged(e.to_string()))?;
            Ok(Some(known))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RootListFault::Io { path: path.to_owned(), source }),
    }
}

fn decode(bytes: &[u8]) -> Result<SignedRootDenyList, RootListFault> {
    from_canonical(bytes, MAX_CONTROL_BYTES).map_err(|e| RootListFault::Shape(e.to_string()))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

const FILE: &str = "root-deny";

#[cfg(test)]
mod tests {
    use counterfoil_identity::{Root, SecretKey, sign_root_deny_list};
    use counterfoil_spec::deny::root::RootDenyList;

    use super::*;

    const NOW: Seconds = Seconds(1_800_000_000);

    #[test]
    fn what_the_command_takes_a_node_follows_and_damage_is_no_list() {
        let home = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed([1; 32]);
        let root = Root::create(SecretKey::from_seed([1; 32]), NOW, 86_400).unwrap();
        let domain = TrustDomain::new(root.der()).unwrap();
        let router = RouterId::from_bytes([5; 32]);
        let list = RootDenyList { epoch: 1, issued: NOW, routers: vec![router], authorities: Vec::new() };
        let signed = to_canonical(&sign_root_deny_list(list, (&key, &domain.net_id())).unwrap());
        let mut running = KeptRootDenials::open(home.path(), domain.root_key()).unwrap();
        assert!(!running.denies_router(&router));
        let take = |bytes: &[u8]| take_root_deny_list(home.path(), &domain, bytes, NOW);
        assert!(matches!(take(b"no list"), Err(RootListFault::Shape(_))));
        assert!(matches!(take(&signed), Ok(Taken::Changed)));
        running.follow(domain.root_key(), NOW);
        assert!(running.denies_router(&router));
        // What is damaged while the node runs changes nothing, and keeps the next one from starting.
        let file = home.path().join(FILE);
        fs::write(&file, b"damaged").unwrap();
        running.follow(domain.root_key(), NOW);
        assert!(running.denies_router(&router));
        let next = KeptRootDenials::open(home.path(), domain.root_key()).map(drop);
        let says = |fault: RootListFault| fault.to_string().contains(&file.display().to_string());
        assert!(next.is_err_and(says) && take(&signed).is_err_and(says));
        fs::remove_file(&file).unwrap();
        assert!(matches!(take(&signed), Ok(Taken::Changed)));
        let open = || KeptRootDenials::open(home.path(), domain.root_key());
        assert!(open().unwrap().denies_router(&router));
        // Another root's list, put there by hand, is none.
        let other = SecretKey::from_seed([2; 32]);
        let list = RootDenyList { epoch: 9, issued: NOW, routers: vec![router], authorities: Vec::new() };
        let forged = sign_root_deny_list(list, (&other, &domain.net_id())).unwrap();
        fs::write(&file, to_canonical(&forged)).unwrap();
        assert!(open().map(drop).is_err_and(says) && take(&signed).is_err_and(says));
    }
}
