//! The node's own log: its half of the record.

use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::payload::Payload;

use crate::config::{NodeConfig, NodeError};

/// The origin of a node's log, which is the name of its log key.
#[must_use]
pub fn log_origin(node: &NodeId) -> String {
    format!("counterfoil/node/{node}")
}

/// Opens the log under the node's home, or begins it.
pub(crate) fn open(config: &NodeConfig) -> Result<LogWriter, NodeError> {
    let identity = &config.identity;
    let origin = log_origin(&identity.key.public().node_id());
    let note = NoteSigner::new(&origin, Arc::clone(&identity.log_key))?;
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
    Ok(writer)
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

/// Appends without waiting; `done` runs on the log's own thread once the entry is durable.
pub(crate) fn append_then(log: &LogWriter, entry: NewEntry, done: impl FnOnce() + Send + 'static) {
    let kind = entry.payload.name();
    log.append_then(
        vec![entry],
        Box::new(move |result| match result {
            Ok(_) => done(),
            Err(error) => tracing::error!(kind, %error, "not logged"),
        }),
    );
}
