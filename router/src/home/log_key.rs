//! The files of the log's key in a router's home, and of the key that is to follow it.
//!
//! ```text
//! identity/log.key         signs the log's heads
//! identity/next-log.key    the key that follows; it signs beside the other from the entry on that says so
//! ```
//!
//! A key may be an agent's. Which of them sign, the log says; here is only what is at hand. The log goes first: once an entry has
//! retired the older key, the files follow, at once or at the next start, and the older key is gone with that.

use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_identity::key_file::{self, Keyring};
use counterfoil_identity::{Signer, VerifyKey};

use super::authority::{Step, sync};
use super::{HomeError, RouterHome};

/// Where a home keeps them.
pub(super) struct LogKeyFiles<'a> {
    pub(super) folder: PathBuf,
    pub(super) keys: &'a Keyring,
}

impl RouterHome {
    /// Every key of the log that is at hand, whether it signs or not; that in the place of the key in use comes first.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn log_keys(&self) -> Result<Vec<Arc<dyn Signer>>, HomeError> {
        self.log_key_files().all()
    }

    /// The key that is to follow, or that does so already while the older one signs too.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn next_log_key(&self) -> Result<Option<Arc<dyn Signer>>, HomeError> {
        let (files, next) = (self.log_key_files(), self.log_key_files().at(NEXT_KEY));
        if key_file::is_there(&next) { Ok(Some(files.keys.signer(&next)?)) } else { Ok(None) }
    }

    /// The same, made where there is none.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn make_next_log_key(&self) -> Result<Arc<dyn Signer>, HomeError> {
        let files = self.log_key_files();
        Ok(files.keys.signer_or_create(&files.at(NEXT_KEY))?)
    }

    /// The log says that this key alone signs: it takes the place of the one before, whose file is removed.
    ///
    /// # Errors
    /// [`HomeError`] names the file.
    pub fn settle_log_key(&self, alone: &VerifyKey) -> Result<(), HomeError> {
        self.log_key_files().settle(alone)
    }

    fn log_key_files(&self) -> LogKeyFiles<'_> {
        LogKeyFiles { folder: self.path.join("identity"), keys: &self.keys }
    }
}

impl LogKeyFiles<'_> {
    fn all(&self) -> Result<Vec<Arc<dyn Signer>>, HomeError> {
        let mut found: Vec<Arc<dyn Signer>> = Vec::new();
        for (key, _) in PLACES {
            for signer in self.in_place(key)?.into_iter().flatten() {
                if !found.iter().any(|known| known.public() == signer.public()) {
                    found.push(signer);
                }
            }
        }
        Ok(found)
    }

    /// The keys in one place: that of the file, and that of the agent.
    fn in_place(&self, name: &str) -> Result<[Option<Arc<dyn Signer>>; 2], HomeError> {
        let path = self.at(name);
        let file: Option<Arc<dyn Signer>> =
            if path.exists() { Some(self.keys.load(&path)?.into()) } else { None };
        Ok([file, self.keys.agent(&path)?])
    }

    fn settle(&self, alone: &VerifyKey) -> Result<(), HomeError> {
        for step in self.steps(alone)? {
            step.carry_out()?;
            sync(&self.folder)?;
        }
        Ok(())
    }

    /// What is still to be done. What comes to its place comes before what leaves it, so that the key is at hand after each step.
    fn steps(&self, alone: &VerifyKey) -> Result<Vec<Step>, HomeError> {
        let [(own, own_agent), (next, next_agent)] = PLACES;
        let (mut moves, mut removes) = (Vec::new(), Vec::new());
        let (here, coming) = (self.in_place(own)?, self.in_place(next)?);
        let is_it = |signer: &Option<Arc<dyn Signer>>| signer.as_ref().map(|s| s.public() == *alone);
        let places = [(next, own), (next_agent, own_agent)];
        for ((from, to), (here, coming)) in places.into_iter().zip(here.iter().zip(&coming)) {
            if is_it(coming) == Some(true) {
                moves.push(Step::Move(self.at(from), self.at(to)));
            } else if is_it(here) == Some(false) {
                removes.push(Step::Remove(self.at(to)));
            }
        }
        let stays = here.iter().any(|signer| is_it(signer) == Some(true));
        // Nothing is removed where the key that signs is not there to take the place.
        if moves.is_empty() && !stays {
            removes.clear();
        }
        moves.extend(removes);
        Ok(moves)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A key and the agent in its place: of the key in use, and of the one that follows.
const PLACES: [(&str, &str); 2] = [("log.key", "log.agent"), (NEXT_KEY, "next-log.agent")];
const NEXT_KEY: &str = "next-log.key";

#[cfg(test)]
mod tests;
