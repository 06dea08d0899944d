//! Whether a router or a node works on a home at this moment: it holds the lock of its log.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use counterfoil_audit::LOCK_FILE;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::exit::Failure;

/// What was found.
pub(crate) enum Home {
    /// Somebody works on it.
    Busy,
    /// Nobody does, nor can while this is held. A home that nobody ever worked on has no lock.
    Alone(#[expect(dead_code, reason = "what matters is that it is held")] Option<File>),
}

/// Takes the lock of a home's log, where nobody has it.
pub(crate) fn take(home: &Path) -> Result<Home, Failure> {
    let path = home.join("log").join(LOCK_FILE);
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Home::Alone(None)),
        Err(e) => return Err(Failure::store(anyhow::anyhow!("{}: {e}", path.display()))),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Home::Alone(Some(file))),
        Err(Errno::WOULDBLOCK) => Ok(Home::Busy),
        Err(e) => Err(Failure::store(anyhow::anyhow!("{}: {e}", path.display()))),
    }
}
