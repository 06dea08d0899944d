//! Writes, proves and verifies the hash-chained log; segment files, checkpoints, proofs, witnesses, exports.
//!
//! `spec/audit-log.md` is the normative text. The record is the segment files ([`segment`]); tiles and checkpoints
//! are published from what was read back from them. [`verify`] judges a log from its bytes and imports nothing of
//! what writes them.

pub mod archive;
pub mod bench;
mod chain;
pub mod checkpoint;
pub mod commitment;
pub mod cost;
mod disk;
mod error;
pub mod export;
mod glance;
mod gone;
pub mod growth;
pub mod halves;
mod history;
mod kinds;
pub mod log_keys;
pub mod merkle;
pub mod note;
mod owner;
pub mod peer;
pub mod policy;
pub mod proof;
pub mod proofs;
pub mod prune;
mod publish;
mod reader;
mod rebuilt;
mod recover;
mod room;
mod scan;
pub mod segment;
mod sorted;
mod source;
mod stage;
pub mod state;
mod store;
pub mod succession;
pub mod tile;
pub mod trust;
pub mod verify;
pub mod witness;
pub mod witnessed;
mod writer;

pub use chain::NewEntry;
pub use error::LogError;
pub use glance::chain_hash;
pub use kinds::may_author;
pub use log_keys::LogKeys;
pub use merkle::Head;
pub use note::{NoteSigner, NoteVerifier};
pub use owner::{MAX_APPEND_BYTES, MAX_APPEND_ENTRIES};
pub use reader::{LogReader, Stored};
pub use rebuilt::rebuild;
pub use recover::LOCK_FILE;
pub use room::free_bytes;
pub use source::{Published, PublishedFolder, Shared};
pub use succession::Succession;
pub use trust::{TrustedKeys, TrustsNotes};
pub use writer::{Appended, GenesisFacts, LogConfig, LogOptions, LogWriter, MAX_QUEUED_APPENDS, Opened};
