//! What a check finds, by name.

use serde::Serialize;

use crate::export::compare::Difference;
use crate::export::manifest::Header;
use crate::export::{ExportError, LEAVES_FILE, MANIFEST_FILE, Piece};

/// Faults that are kept; the others are counted.
const MAX_FAULTS: usize = 100;

/// What is wrong with an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum FaultName {
    /// A record that no entry has.
    RowAdded,
    /// An entry's row that is not there.
    RowDropped,
    /// An entry's row with other bytes.
    RowEdited,
    /// What stands before, between or after the rows.
    FrameEdited,
    /// A line of the manifest that no entry has.
    LineAdded,
    /// An entry's line, or the end, that is not there.
    LineDropped,
    /// An entry's line, or the end, with other bytes.
    LineEdited,
    /// A leaf that is not the log's.
    LeafEdited,
    /// A file that is missing, too short, too long, or not in its form.
    Unreadable,
    /// An entry that the format's own account of the log refuses.
    NotApplicable,
    /// The leaves do not lead to the signed root.
    InconsistentTree,
    /// The log has fewer entries than the export's checkpoint signs for.
    Rollback,
    /// The key's signature on the checkpoint is wrong.
    BadLogSignature,
    /// The checkpoint has no signature of the key.
    NoTrustedSignature,
    /// The checkpoint is none.
    MalformedNote,
    /// Another log, or another key, than the one pinned.
    OriginNotPinned,
    /// The statement is not signed by the log's author.
    BadStatementSignature,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportFault {
    /// Its name.
    pub fault: FaultName,
    /// Which file of the export.
    pub file: String,
    /// The row's number, or the number of the row before which something was added.
    pub row: Option<u64>,
    /// The entry.
    pub entry: Option<u64>,
    /// What a person reads.
    pub detail: String,
}

/// What a check found, and what it was able to hold the export against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Nothing is wrong.
    pub ok: bool,
    /// The format that its header names.
    pub format: String,
    /// The first entry of its range.
    pub from: u64,
    /// The entry after the last one.
    pub to: u64,
    /// The rows that it should have.
    pub rows: u64,
    /// How many entries the checkpoint signs for.
    pub size: u64,
    /// Whether the key came from elsewhere, or from the log.
    pub vkey_pinned: bool,
    /// Whether the leaves came from the log.
    pub held_to_log: bool,
    /// At most 100 of them.
    pub faults: Vec<ExportFault>,
    /// How many more there are.
    pub faults_left_out: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    faults: Vec<ExportFault>,
    left_out: u64,
    /// What the export was held against.
    pub(crate) vkey_pinned: bool,
    pub(crate) held_to_log: bool,
    /// Where the statement lies, in a format that is one.
    pub(crate) rows_file: String,
}

/// Where a finding is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) row: Option<u64>,
    pub(crate) entry: Option<u64>,
}

impl Findings {
    pub(crate) fn add(&mut self, fault: FaultName, file: &str, at: Place, detail: String) {
        if self.faults.len() < MAX_FAULTS {
            let Place { row, entry } = at;
            self.faults.push(ExportFault { fault, file: file.to_owned(), row, entry, detail });
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn unreadable(&mut self, file: &str, detail: String) {
        self.add(FaultName::Unreadable, file, Place::default(), detail);
    }

    /// Notes what the rows file has otherwise than a piece that it should have.
    pub(crate) fn row(&mut self, file: &str, differs: Difference, piece: Piece) {
        let (at, what) = match piece {
            Piece::Row { row, entry } => (
                Place { row: Some(row), entry: Some(entry) },
                format!("row {row}, which entry {entry} gives,"),
            ),
            Piece::Rows { first, last } => (
                Place { row: Some(first), entry: None },
                format!("what rows {first} to {last} have together"),
            ),
            Piece::Frame => (Place::default(), "what stands beside the rows".to_owned()),
        };
        let is_row = matches!(piece, Piece::Row { .. });
        match differs {
            Difference::Added(offset) => {
                let detail = format!("what stands at byte {offset}, before {what} is no row of this export");
                self.add(FaultName::RowAdded, file, at, detail);
            }
            Difference::Dropped if is_row => {
                self.add(FaultName::RowDropped, file, at, format!("{what} is not there"));
            }
            Difference::Edited if is_row => {
                self.add(FaultName::RowEdited, file, at, format!("{what} has other bytes"));
            }
            Difference::Dropped | Difference::Edited => {
                self.add(FaultName::FrameEdited, file, at, format!("{what} has other bytes"));
            }
        }
    }

    /// Notes what stands behind the last row.
    pub(crate) fn behind(&mut self, file: &str, differs: Difference, rows: u64) {
        if let Difference::Added(offset) = differs {
            let at = Place { row: Some(rows), entry: None };
            let detail =
                format!("what stands at byte {offset}, behind the last row, is no row of this export");
            self.add(FaultName::RowAdded, file, at, detail);
        }
    }

    /// Notes what the manifest has otherwise than a line that it should have: an entry's, or the end.
    pub(crate) fn line(&mut self, differs: Difference, entry: Option<u64>) {
        let what = entry.map_or("the end".to_owned(), |e| format!("the line of entry {e}"));
        let at = Place { row: None, entry };
        let (name, detail) = match differs {
            Difference::Added(offset) => {
                (FaultName::LineAdded, format!("what stands at byte {offset} is no line of this manifest"))
            }
            Difference::Dropped => (FaultName::LineDropped, format!("{what} is not there")),
            Difference::Edited => (FaultName::LineEdited, format!("{what} has other bytes")),
        };
        self.add(name, MANIFEST_FILE, at, detail);
    }

    /// Notes that a format does not take an entry; any other error ends the check.
    pub(crate) fn refused(&mut self, error: ExportError) -> Result<(), ExportError> {
        let detail = error.to_string();
        match error {
            ExportError::NotApplicable { index, .. } => {
                let at = Place { row: None, entry: Some(index) };
                self.add(FaultName::NotApplicable, LEAVES_FILE, at, detail);
            }
            ExportError::BadStatementSignature => {
                let file = self.rows_file.clone();
                self.add(FaultName::BadStatementSignature, &file, Place::default(), detail);
            }
            other => return Err(other),
        }
        Ok(())
    }

    /// What was found, of an export with this header whose checkpoint signs for `size` entries.
    pub(crate) fn report(self, header: Option<&Header>, rows: u64, size: u64) -> Checked {
        Checked {
            ok: self.faults.is_empty(),
            format: header.map_or_else(String::new, |h| h.format.clone()),
            from: header.map_or(0, |h| h.from),
            to: header.map_or(0, |h| h.to),
            rows,
            size,
            vkey_pinned: self.vkey_pinned,
            held_to_log: self.held_to_log,
            faults: self.faults,
            faults_left_out: self.left_out,
        }
    }
}
