//! Exports: what a log says in the form of another program, held to the log row by row.
//!
//! ```text
//! <rows file>      the rows, in the form of the format's name
//! leaves.bin       { u16be length ‖ leaf }…
//! manifest.jsonl   a header, a line for each entry with its leaf hash, an end with the rows file's SHA-256
//! ```
//!
//! `spec/export.md` is the normative text. Nothing here knows what an entry means: a [`Format`] comes in through its
//! trait, and makes the same rows for whoever writes an export and for whoever checks it.

mod check;
mod compare;
mod edges;
mod findings;
mod leaves;
mod manifest;
mod write;

use std::io;
use std::path::Path;

use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::Hash;

use crate::error::LogError;
use crate::note::NoteError;

pub use check::{Maker, Pins, check};
pub use findings::{Checked, ExportFault, FaultName};
pub use manifest::Header;
pub use write::{Destination, Range, Written, write};

/// The manifest's file.
pub const MANIFEST_FILE: &str = "manifest.jsonl";
/// The leaves that the rows follow from.
pub const LEAVES_FILE: &str = "leaves.bin";
/// The longest row in a format of text: a leaf's bytes in hexadecimal more than once, and what stands around them.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// One entry on its way into an export.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its index.
    pub index: u64,
    /// The hash under which the tree commits to it.
    pub leaf_hash: Hash,
    /// Its leaf as it stands in the log.
    pub bytes: &'a [u8],
    /// The same, read.
    pub leaf: &'a Leaf,
    /// The body inside the leaf.
    pub body: &'a Body,
}

/// What a piece of a rows file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// No row's: columns, opening balances, a file's foot.
    Frame,
    /// One row, whole, or in a format that is not text a part of one.
    Row {
        /// Its number.
        row: u64,
        /// Its entry.
        entry: u64,
    },
    /// What several rows have together in a format that lies by column.
    Rows {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
}

/// Where the pieces of a rows file go, in order.
pub trait Sink {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`ExportError`] where it cannot be written.
    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), ExportError>;
}

/// How records of a rows file are told apart by somebody who reads it without knowing what it should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Each ends with a line feed.
    Lines,
    /// Each ends with an empty line.
    Paragraphs,
    /// They cannot; the file is compared byte by byte.
    Opaque,
}

/// Makes the rows of one format from entries: always the same bytes from the same entries and header.
pub trait Format {
    /// What an export is asked for by.
    fn name(&self) -> &'static str;

    /// The rows file's name.
    fn file(&self) -> &'static str;

    /// How its records are told apart.
    fn records(&self) -> Records;

    /// Whether [`Format::before`] has to see every entry before the first row.
    fn looks_back(&self) -> bool {
        false
    }

    /// What stands before the entries.
    ///
    /// # Errors
    /// What the sink says.
    fn head(&mut self, header: &Header, out: &mut dyn Sink) -> Result<(), ExportError>;

    /// An entry before the range, for a format that looks back.
    ///
    /// # Errors
    /// [`ExportError::NotApplicable`].
    fn before(&mut self, entry: &Entry<'_>) -> Result<(), ExportError> {
        let _ = entry;
        Ok(())
    }

    /// Makes the entry's row, whose number it would be; says whether there is one.
    ///
    /// # Errors
    /// [`ExportError::NotApplicable`], and what the sink says.
    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError>;

    /// What stands behind the entries.
    ///
    /// # Errors
    /// What the sink says.
    fn foot(&mut self, out: &mut dyn Sink) -> Result<(), ExportError>;
}

/// Why an export was not written or could not be checked to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The checkpoint of the log.
    #[error("{file}: {source}", file = crate::checkpoint::FILE)]
    Checkpoint {
        /// What is wrong with it.
        #[from]
        source: NoteError,
    },
    /// An entry that the format's own account of the log refuses.
    #[error("entry {index} cannot be exported: {reason}; `counterfoil audit verify` tells more")]
    NotApplicable {
        /// Which.
        index: u64,
        /// Why.
        reason: String,
    },
    /// An entry that is not there any more, so that its row cannot be written and the rest would be less than was asked for.
    #[error(
        "entry {index} was removed when its time was over, so an export with it would be short; choose a range behind what \
         was removed with --from, or export from a copy of the log from before"
    )]
    Removed {
        /// Which.
        index: u64,
    },
    /// Entries that nobody has signed for.
    #[error("the checkpoint covers {signed} entries; an export cannot end at {asked}")]
    Unsigned {
        /// How many it covers.
        signed: u64,
        /// Where the export was to end.
        asked: u64,
    },
    /// The range ends before it begins.
    #[error("an export from entry {from} to entry {to} has nothing in it")]
    EmptyRange {
        /// The first entry.
        from: u64,
        /// The entry after the last one.
        to: u64,
    },
    /// The leaves do not lead to the root that was signed.
    #[error(
        "the log's entries do not give the root that its checkpoint signs; run `counterfoil audit verify`"
    )]
    InconsistentTree,
    /// A row that is longer than any checker takes.
    #[error("the row of entry {index} is longer than {MAX_ROW_BYTES} bytes")]
    RowTooLong {
        /// Which.
        index: u64,
    },
    /// The folder holds something already.
    #[error("{path} is there already; export to a folder that is not")]
    Exists {
        /// Which.
        path: String,
    },
    /// A signature could not be made.
    #[error(transparent)]
    Sign(#[from] counterfoil_identity::SignFault),
    /// A statement that the log's author did not sign.
    #[error("the statement is not signed by the key that the log's first entry introduces")]
    BadStatementSignature,
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
    let path = path.display().to_string();
    move |source| ExportError::Io { path, source }
}
