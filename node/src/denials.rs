//! The router's deny list as this node knows it, on disk from one process to the next.
//!
//! ```text
//! deny    canonical CBOR of the signed list that was taken last, written when its epoch rises
//! ```
//!
//! A node that starts again takes no list before the one that it knew, and serves nothing until it has a fresh one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_identity::{Denials, Refused, Taken, VerifiedPeer};
use counterfoil_spec::deny::{DenyNames, SignedDenyList};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::time::Seconds;

use crate::orders::write_whole;

/// Until when something may be served; shared with whoever serves beside the lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fresh(Arc<AtomicU64>);

impl Fresh {
    pub(crate) fn is_at(&self, now: Seconds) -> bool {
        now.0 < self.0.load(Ordering::Relaxed)
    }
}

/// What is known, and where it is kept.
#[derive(Debug)]
pub(crate) struct KeptDenials {
    path: PathBuf,
    known: Denials,
    fresh: Fresh,
}

/// Why a list was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is refused.
    Refused(Refused),
    /// It could not be kept.
    Io(io::Error),
}

impl KeptDenials {
    /// Reads what an earlier process took.
    ///
    /// # Errors
    /// Where the file cannot be read, or is none: without it an older list could be taken.
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let path = home.join("deny");
        let known = match fs::read(&path) {
            Ok(bytes) => from_canonical::<SignedDenyList>(&bytes, MAX_CONTROL_BYTES)
                .map(Denials::known)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Denials::default(),
            Err(e) => return Err(e),
        };
        let kept = Self { path, known, fresh: Fresh::default() };
        kept.note();
        Ok(kept)
    }

    /// Takes a list, and keeps it where it changes anything.
    pub(crate) fn take(
        &mut self,
        signed: SignedDenyList,
        router: &VerifiedPeer,
        now: Seconds,
    ) -> Result<Taken, NotTaken> {
        let mut known = self.known.clone();
        let keys = (router.key(), &router.net_id());
        let taken = known.take(signed, keys, now).map_err(NotTaken::Refused)?;
        if taken == Taken::Changed
            && let Some(last) = known.last()
        {
            write_whole(&self.path, &to_canonical(last)).map_err(NotTaken::Io)?;
        }
        self.known = known;
        self.note();
        Ok(taken)
    }

    fn note(&self) {
        self.fresh.0.store(self.known.stale_from().0, Ordering::Relaxed);
    }

    /// Until when something may be served.
    pub(crate) fn fresh(&self) -> Fresh {
        self.fresh.clone()
    }

    /// What is refused, as far as it is known.
    pub(crate) fn names(&self) -> Option<&DenyNames> {
        self.known.names()
    }
}
