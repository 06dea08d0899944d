//! The record and what follows from it: one log writer, and the projections that have taken every durable entry.
//!
//! Nothing here is true before it is in the log. An append returns once its entries are durable *and* applied, so
//! that whoever appended reads their effect.

mod found;
mod log_key;
mod prove;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_audit::cost::evidence;
use counterfoil_audit::{
    Appended, GenesisFacts, LogConfig, LogError, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner,
    Opened,
};
use counterfoil_identity::{Signer, random};
use counterfoil_ledger::{Ledger, LedgerError};
use counterfoil_spec::entry::{Body, Role};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::receipt::Receipt;
use counterfoil_spec::time::{Millis, Now};

use crate::home::{HomeError, RouterHome};
use crate::projection::{Projection, ProjectionError};
use crate::roster::{Denied, Roster};
use crate::vault::erasure::Tombstones;

/// Why the record could not be opened, written or followed.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// The log said no.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry in the log that the ledger cannot take.
    #[error("entry {index} cannot be applied: {source}; `counterfoil audit verify` tells more")]
    Ledger {
        /// Which.
        index: u64,
        /// Why.
        source: LedgerError,
    },
    /// The log is gone and its keys are not: a new one would contradict the heads that were signed.
    #[error(
        "{0} is gone, and the key that signed its heads is still here: restore the folder from a copy, or begin another \
         network with another --home"
    )]
    LogGone(String),
    /// A new log whose first entry the root cannot sign.
    #[error(
        "{0} lacks root.key or next-root.key, and a new log begins with what both say: put them there until the log is begun"
    )]
    RootAway(String),
    /// The marker of a begun log cannot be written.
    #[error("{path}: {source}")]
    Marker {
        /// Where.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The index said no.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The log's key cannot sign under the log's name.
    #[error("the log's key: {0}")]
    LogKey(String),
    /// The writer went away before it answered.
    #[error("the log is closed")]
    Closed,
}

/// What follows from the log.
pub(crate) struct Books {
    /// Accounts, lots, holds.
    pub(crate) ledger: Ledger,
    /// Members, join tokens, models.
    pub(crate) roster: Roster,
    /// What was erased.
    pub(crate) tombstones: Tombstones,
    /// None once the log is closed.
    projection: Option<Projection>,
    reader: LogReader,
    applied: u64,
}

/// The router's record.
#[derive(Debug)]
pub struct Office {
    log: LogWriter,
    log_folder: PathBuf,
    identity: Arc<dyn Signer>,
    now: Now0,
    /// Guards the projections; held for lookups and while entries are applied, never across an await.
    books: Mutex<Books>,
    opened: Opened,
    /// Held by whoever decides something from the books and appends it, so that nobody decides twice.
    deciding: Mutex<()>,
    lost: tokio::sync::watch::Sender<bool>,
    denied: tokio::sync::watch::Sender<Arc<Denied>>,
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Books({} entries)", self.applied)
    }
}

/// A clock that can stand in a struct which derives `Debug`.
struct Now0(Now);

impl std::fmt::Debug for Now0 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Now")
    }
}

impl Office {
    /// Opens a home's log, writing its first entries where it is new, and follows it to its end.
    ///
    /// # Errors
    /// [`OfficeError`]; a log that another process writes is [`LogError::Locked`].
    pub fn open(home: &RouterHome, currency: &str, now: Now) -> Result<Self, OfficeError> {
        let log_folder = home.path().join("log");
        let origin = home.origin();
        let marker = home.path().join("identity/log-began");
        let has_segments = std::fs::read_dir(log_folder.join("seg")).is_ok_and(|mut d| d.next().is_some());
        if marker.exists() && !has_segments {
            return Err(OfficeError::LogGone(log_folder.join("seg").display().to_string()));
        }
        if !has_segments && (home.root().is_none() || home.next_root_hash().is_none()) {
            return Err(OfficeError::RootAway(home.path().join("identity").display().to_string()));
        }
        let signer = |key| NoteSigner::new(&origin, key).map_err(|e| OfficeError::LogKey(e.to_string()));
        let note = signer(Arc::clone(home.log_key()))?;
        let more = home.log_keys()?.into_iter().map(signer).collect::<Result<_, _>>()?;
        let (log, opened) = LogWriter::open_with(
            LogConfig {
                dir: log_folder.clone(),
                net_id: home.net_id(),
                author: Arc::clone(home.identity()),
                role: Role::Router,
                note,
                genesis: GenesisFacts {
                    root_spki: home.domain().root_key().spki_der(),
                    next_root_hash: home.next_root_hash(),
                    currency: currency.to_owned(),
                    root: home.root().map(|root| Arc::clone(root.key())),
                },
                options: LogOptions::default(),
            },
            more,
            Arc::clone(&now),
        )?;
        if !marker.exists() {
            std::fs::write(&marker, b"")
                .map_err(|source| OfficeError::Marker { path: marker.display().to_string(), source })?;
        }
        let reader = LogReader::open(&log_folder)?;
        let projection = Projection::open(&home.path().join("projections/requests"), &reader)?;
        let books = Books {
            ledger: Ledger::default(),
            roster: Roster::default(),
            tombstones: Tombstones::default(),
            projection: Some(projection),
            reader,
            applied: 0,
        };
        let office = Self {
            log,
            log_folder,
            identity: Arc::clone(home.identity()),
            now: Now0(now),
            books: Mutex::new(books),
            opened,
            deciding: Mutex::new(()),
            lost: tokio::sync::watch::Sender::new(false),
            denied: tokio::sync::watch::Sender::default(),
        };
        office.follow()?;
        office.found(home)?;
        office.settle_log_key(home)?;
        Ok(office)
    }

    /// What was found when the log was opened.
    #[must_use]
    pub const fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The log's folder.
    #[must_use]
    pub fn log_folder(&self) -> &Path {
        &self.log_folder
    }

    /// The router identity key.
    #[must_use]
    pub const fn identity(&self) -> &Arc<dyn Signer> {
        &self.identity
    }

    /// Whether the log's disk has room for what is under way and no more: who asks now is better sent away than
    /// answered and not billed. Where the system does not say how much is free, the log itself will.
    pub(crate) fn is_short_of_room(&self) -> bool {
        counterfoil_audit::free_bytes(&self.log_folder).is_ok_and(|free| free < MIN_FREE_BYTES)
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Millis {
        (self.now.0)()
    }

    /// The clock, for whoever outlives one call.
    #[must_use]
    pub fn clock(&self) -> Now {
        Arc::clone(&self.now.0)
    }

    /// The projections as they stand.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the ledger as it stands.
    pub fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.books().ledger)
    }

    /// Appends entries as one group and waits until they are durable and applied.
    ///
    /// # Errors
    /// [`OfficeError`]; after [`LogError::DurabilityLost`] the process must stop.
    pub async fn append(&self, entries: Vec<NewEntry>) -> Result<Appended, OfficeError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.log.append_then(entries, Box::new(move |result| drop(tell.send(result))));
        let appended = self.watch(told.await.map_err(|_| OfficeError::Closed)?)?;
        self.follow()?;
        Ok(appended)
    }

    /// The same, for callers outside the runtime.
    ///
    /// # Errors
    /// As [`Office::append`].
    pub fn append_blocking(&self, entries: Vec<NewEntry>) -> Result<Appended, OfficeError> {
        let appended = self.watch(self.log.append(entries))?;
        self.follow()?;
        Ok(appended)
    }

    /// Notes that the disk no longer keeps what it says, or that a long log was found damaged after it had opened; nothing
    /// may be promised after that.
    fn watch(&self, result: Result<Appended, LogError>) -> Result<Appended, OfficeError> {
        let ends = matches!(
            result,
            Err(LogError::DurabilityLost { .. }
                | LogError::Corrupt { .. }
                | LogError::SignedStateDiffers { .. })
        );
        if ends {
            self.lost.send_replace(true);
        }
        Ok(result?)
    }

    /// Takes what was appended. The entries are durable whatever comes of this: the router stops, and its next start
    /// says what is wrong.
    fn follow(&self) -> Result<(), OfficeError> {
        let mut books = self.books();
        evidence(|| books.catch_up()).inspect_err(|e| {
            tracing::error!(error = %e, "the books cannot follow the log");
            self.lost.send_replace(true);
        })?;
        let denied = books.roster.denied();
        self.denied.send_if_modified(|told| {
            let changed = told.epoch != denied.epoch;
            if changed {
                told.clone_from(denied);
            }
            changed
        });
        Ok(())
    }

    /// What is denied, now and from now on.
    pub(crate) fn denied(&self) -> tokio::sync::watch::Receiver<Arc<Denied>> {
        self.denied.subscribe()
    }

    /// Resolves once the record can no longer be relied on.
    pub async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        if lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Keeps others from deciding until the guard is dropped.
    pub(crate) fn decide(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries are durable.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        self.log.head().size
    }

    /// Publishes the last checkpoint and closes the log.
    ///
    /// # Errors
    /// What the log says.
    pub fn close(&self) -> Result<(), OfficeError> {
        // Whoever dies before it is closed leaves it to be made anew.
        drop(self.books().projection.take());
        self.log.close()?;
        Ok(())
    }
}

impl Books {
    fn catch_up(&mut self) -> Result<(), OfficeError> {
        self.reader.refresh()?;
        let (ledger, roster, applied) = (&mut self.ledger, &mut self.roster, &mut self.applied);
        let (projection, tombstones) = (&mut self.projection, &mut self.tombstones);
        let mut fault = None;
        self.reader.for_each(*applied, |index, _leaf, body: &Body| {
            if fault.is_some() {
                return;
            }
            // What lies between was removed.
            ledger.pass_over(index);
            if let Err(source) = ledger.apply(index, body) {
                fault = Some(OfficeError::Ledger { index, source });
                return;
            }
            if let Some(projection) = projection {
                projection.apply(index, body);
            }
            roster.apply(body);
            tombstones.apply(body);
            *applied = index + 1;
        })?;
        fault.map_or(Ok(()), Err)
    }

    /// The bytes of one entry's leaf.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn leaf(&self, index: u64) -> Result<Vec<u8>, LogError> {
        self.reader.leaf(index)
    }

    /// The entry of a request.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub(crate) fn entry_of(&self, request: &Serial) -> Result<Option<u64>, ProjectionError> {
        let found = self.projection.as_ref().map_or(Ok(None), |p| p.entry_of(request))?;
        Ok(found.filter(|index| self.is_there(*index)))
    }

    /// Whether an entry was not removed. The index of requests is not made anew for those that were.
    fn is_there(&self, index: u64) -> bool {
        !matches!(self.reader.leaf(index), Err(LogError::Removed { .. }))
    }

    /// The receipt in the log with this serial.
    #[must_use]
    pub(crate) fn receipt(&self, serial: &Serial) -> Option<Receipt> {
        let index = self.projection.as_ref()?.work_of(serial).ok().flatten()?;
        match self.reader.entry(index).ok()?.1.payload {
            Payload::Work(work) => Some(work.receipt),
            _ => None,
        }
    }
}

/// An entry with a fresh serial.
pub(crate) fn entry(payload: impl Into<Payload>) -> NewEntry {
    NewEntry::new(random::serial(), payload)
}

/// The currency of a network made by this program, ISO 4217.
pub const CURRENCY: &str = "USD";

/// What is kept free on the log's disk: an entry of the longest kind for each request that may run, with its receipts, its
/// tiles and the index (at most 64 at once by default, 61,440 bytes each), and a segment's worth of smaller ones.
const MIN_FREE_BYTES: u64 = 16 << 20;
