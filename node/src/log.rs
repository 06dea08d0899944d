//! The node's own log: its half of the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::peer::PeerLog;
use counterfoil_audit::{
    GenesisFacts, LogConfig, LogError, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner, NoteVerifier,
};
use counterfoil_consent::claimed;
use counterfoil_identity::keep_home_format;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{ManifestId, NodeId, Serial};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_CONSENT_LIFE_S};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::{Millis, Seconds};
use tokio::sync::watch;

use crate::config::{NodeConfig, NodeError};
use crate::outstanding::Outstanding;

/// The origin of a node's log, which is the name of its log key.
#[must_use]
pub fn log_origin(node: &NodeId) -> String {
    format!("counterfoil/node/{node}")
}

/// The open log, and whether it can still be written.
#[derive(Clone)]
pub(crate) struct OwnLog {
    writer: LogWriter,
    vkey: Arc<str>,
    lost: Arc<watch::Sender<Option<LogError>>>,
}

impl OwnLog {
    /// Appends and waits until the entry is durable. Blocks.
    pub(crate) fn append(&self, entry: NewEntry) -> Result<(), LogError> {
        self.writer.append(vec![entry]).map(drop).inspect_err(|error| self.lose(error))
    }

    /// Appends several and waits until they are durable. Blocks.
    pub(crate) fn append_all(&self, entries: Vec<NewEntry>) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.writer.append(entries).map(drop).inspect_err(|error| self.lose(error))
    }

    /// Appends what can also be left out where the disk is full, and gives the checkpoint that covers it once that is published.
    /// Blocks.
    pub(crate) fn append_and_publish(&self, entry: NewEntry) -> Result<String, LogError> {
        self.writer.append(vec![entry]).inspect_err(|error| {
            if !matches!(error, LogError::DiskFull { .. }) {
                self.lose(error);
            }
        })?;
        self.writer.publish()
    }

    /// The verifier key of the log's heads.
    pub(crate) fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Appends without waiting; `done` runs on the log's own thread once the entry is durable.
    pub(crate) fn append_then(&self, entry: NewEntry, done: impl FnOnce() + Send + 'static) {
        // Without a handle on the log: were the last one dropped on its own thread, nobody would wait for its end.
        let lost = Arc::clone(&self.lost);
        let then = move |result: Result<_, LogError>| match result {
            Ok(_) => done(),
            Err(error) => drop(lost.send_replace(Some(error))),
        };
        self.writer.append_then(vec![entry], Box::new(then));
    }

    /// Resolves when an entry could not be written: what a node cannot log it does not do.
    pub(crate) async fn lost(&self) -> LogError {
        let mut lost = self.lost.subscribe();
        let found = lost.wait_for(Option::is_some).await;
        // The sender lives in `self`, so the wait cannot fail.
        found.ok().and_then(|error| error.clone()).unwrap_or(LogError::Closed)
    }

    /// Publishes the last head and lets the log go. Blocks.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        self.writer.close().map(drop)
    }

    fn lose(&self, error: &LogError) {
        self.lost.send_replace(Some(error.clone()));
    }
}

/// Opens the log under the node's home, or begins it.
pub(crate) fn open(config: &NodeConfig) -> Result<OwnLog, NodeError> {
    // A home that was enrolled before homes of nodes said it.
    keep_home_format(&config.home)?;
    let identity = &config.identity;
    let origin = log_origin(&identity.key.public().node_id());
    let note = NoteSigner::new(&origin, Arc::clone(&identity.log_key))?;
    let vkey = note.vkey().into();
    let log = LogConfig {
        dir: config.home.join("log"),
        net_id: identity.domain.net_id(),
        author: Arc::clone(&identity.key),
        role: Role::Node,
        note,
        genesis: GenesisFacts {
            root_spki: identity.domain.root_key().spki_der(),
            next_root_hash: None,
            currency: config.currency.clone(),
            root: None,
        },
        options: LogOptions::default(),
    };
    let (writer, opened) = LogWriter::open(log, Arc::clone(&config.now))?;
    tracing::info!(size = opened.size, torn_bytes = opened.torn_bytes, "the node's log is open");
    Ok(OwnLog { writer, vkey, lost: Arc::new(watch::channel(None).0) })
}

/// Entries that are looked through at first for those of the last days.
const LAST_ENTRIES: u64 = 4096;

/// Tokens that orders took by UTC day, since the day before an instant, as far as leases are logged.
pub(crate) fn leased(home: &Path, now: Millis) -> Result<BTreeMap<u64, u64>, NodeError> {
    const DAY_MS: u64 = 86_400_000;
    let reader = LogReader::open(&home.join("log"))?;
    let since = (now.0 / DAY_MS).saturating_sub(1).saturating_mul(DAY_MS);
    let from = first_since(&reader, Millis(since))?;
    let mut orders = BTreeMap::new();
    reader.for_each(from, |_, _, body| {
        if let Payload::QuotaLease(lease) = &body.payload
            && lease.opened.0 >= since
        {
            let tokens = lease.used.unwrap_or(lease.leased).0;
            orders.insert(lease.order, (lease.opened.0 / DAY_MS, tokens));
        }
    })?;
    let mut days = BTreeMap::new();
    for (day, tokens) in orders.into_values() {
        let total: &mut u64 = days.entry(day).or_default();
        *total = total.saturating_add(tokens);
    }
    Ok(days)
}

/// An entry before which all are older than an instant.
fn first_since(reader: &LogReader, since: Millis) -> Result<u64, NodeError> {
    let mut back = LAST_ENTRIES;
    let mut from = reader.size().saturating_sub(back);
    while from > 0 && reader.entry(from)?.1.time >= since {
        back = back.saturating_mul(4);
        from = reader.size().saturating_sub(back);
    }
    Ok(from)
}

/// The consent tokens that are neither over nor withdrawn.
pub(crate) fn outstanding(home: &Path, now: Seconds) -> Result<Outstanding, NodeError> {
    let reader = LogReader::open(&home.join("log"))?;
    // A token that is older than any may become is over.
    let since = Seconds(now.0.saturating_sub(MAX_CONSENT_LIFE_S + MAX_CLOCK_SKEW_S)).millis();
    let mut outstanding = Outstanding::default();
    reader.for_each(first_since(&reader, since)?, |_, _, body| match &body.payload {
        // The node signed it itself.
        Payload::ConsentGranted(granted) => {
            claimed(&granted.token).into_iter().for_each(|claims| outstanding.add(claims, now));
        }
        Payload::ConsentRevoked(revoked) => drop(outstanding.remove(&revoked.cti)),
        _ => {}
    })?;
    Ok(outstanding)
}

/// A consent token as the node's own log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The models that it names.
    pub(crate) models: Vec<ManifestId>,
    pub(crate) expires: Seconds,
    pub(crate) withdrawn: bool,
}

/// All consent tokens that the node signed and a router welcomed.
pub(crate) fn given(home: &Path) -> Result<BTreeMap<Serial, Given>, NodeError> {
    let mut given = BTreeMap::new();
    LogReader::open(&home.join("log"))?.for_each(0, |_, _, body| match &body.payload {
        Payload::ConsentGranted(granted) => {
            // The node signed it itself.
            if let Some(claims) = claimed(&granted.token) {
                let mut models: Vec<_> = claims.ranges.iter().map(|r| r.manifest).collect();
                models.dedup();
                given.insert(granted.cti, Given { models, expires: claims.expires, withdrawn: false });
            }
        }
        Payload::ConsentRevoked(revoked) => {
            if let Some(given) = given.get_mut(&revoked.cti) {
                given.withdrawn = true;
            }
        }
        _ => {}
    })?;
    Ok(given)
}

/// The router's log, as the heads of it say that were kept.
pub(crate) fn peer(home: &Path) -> Result<Option<PeerLog>, NodeError> {
    let mut known: Option<PeerLog> = None;
    LogReader::open(&home.join("log"))?.for_each(0, |_, _, body| {
        let Payload::PeerAnchor(anchor) = &body.payload else { return };
        if let Some(key) = anchor.vkey.as_ref().and_then(|vkey| vkey.parse::<NoteVerifier>().ok()) {
            let log = known.get_or_insert_with(|| PeerLog::new(key.clone(), None));
            // A key without the succession that leads to it was never taken.
            let _ = log.follow(&key, anchor.succession.as_deref());
        }
        // One that contradicts those before it is evidence, and not the newest head.
        let _ = known.as_mut().map(|log| log.take(&anchor.note));
    })?;
    Ok(known)
}

/// The serials of the work entries among these.
pub(crate) fn logged_work(home: &Path, wanted: &[Serial]) -> Result<Vec<Serial>, NodeError> {
    let mut found = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    LogReader::open(&home.join("log"))?.for_each(0, |_, _, body| {
        if matches!(body.payload, Payload::Work(_)) && wanted.contains(&body.serial) {
            found.push(body.serial);
        }
    })?;
    Ok(found)
}
