//! The manifest: one JSON object a line, in one form.
//!
//! ```text
//! {"counterfoil_export":1,"format":…,"file":…,"origin":…,"log_vkey":…,"from":…,"to":…,"leaves_from":…,
//!  "checkpoint":…,"left":[…],"right":[…]}
//! {"entry":…,"leaf_hash":…,"row":…}        row only where the entry has one
//! {"entries":…,"rows":…,"bytes":…,"sha256":…}
//! ```

use counterfoil_spec::ids::Hash;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::export::edges::MAX_SIDE;
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::trust::TrustsNotes;

/// The version of the export's own form.
const VERSION: u64 = 1;
/// The longest header: a note whose every byte is escaped, and two sides of hashes.
pub(crate) const MAX_HEADER_BYTES: usize = 6 * MAX_NOTE_BYTES + 2 * MAX_SIDE * 67 + 4096;
/// The longest other line.
pub(crate) const MAX_LINE_BYTES: usize = 512;

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    counterfoil_export: u64,
    /// The format's name.
    pub format: String,
    /// The rows file.
    pub file: String,
    /// The log.
    pub origin: String,
    /// Its verifier key, as its first entry says.
    pub log_vkey: String,
    /// The first entry of the range.
    pub from: u64,
    /// The entry after the last one.
    pub to: u64,
    /// The first entry of the leaves file.
    pub leaves_from: u64,
    /// The signed note.
    pub checkpoint: String,
    /// Complete subtrees before `leaves_from`.
    pub left: Vec<Hash>,
    /// Complete subtrees from `to` on.
    pub right: Vec<Hash>,
}

/// What a header is made from.
pub(crate) struct Scope {
    pub(crate) format: &'static str,
    pub(crate) file: &'static str,
    pub(crate) log_vkey: String,
    pub(crate) range: std::ops::Range<u64>,
    pub(crate) leaves_from: u64,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: String,
}

impl Header {
    pub(crate) fn new(scope: Scope, left: Vec<Hash>, right: Vec<Hash>) -> Self {
        Self {
            counterfoil_export: VERSION,
            format: scope.format.to_owned(),
            file: scope.file.to_owned(),
            origin: scope.checkpoint.origin,
            log_vkey: scope.log_vkey,
            from: scope.range.start,
            to: scope.range.end,
            leaves_from: scope.leaves_from,
            checkpoint: scope.note,
            left,
            right,
        }
    }

    /// The checkpoint, whoever signed it.
    ///
    /// # Errors
    /// `MalformedNote`.
    pub fn head(&self) -> Result<Checkpoint, NoteError> {
        Checkpoint::parse(&Note::parse(self.checkpoint.as_bytes())?.text)
    }

    pub(crate) fn signed_head<K: TrustsNotes>(&self, key: &K) -> Result<Checkpoint, NoteError> {
        Checkpoint::open(self.checkpoint.as_bytes(), key)
    }

    /// Reads the first line of a manifest; the text names what is wrong.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let header: Self = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        if header.counterfoil_export != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", header.counterfoil_export));
        }
        if header.line() != line {
            return Err("it is not in the one form that a header has".to_owned());
        }
        if header.left.len() > MAX_SIDE || header.right.len() > MAX_SIDE {
            return Err(format!("it has more than {MAX_SIDE} hashes at one side"));
        }
        if header.from >= header.to || header.leaves_from > header.from {
            return Err("its range is empty, or begins before its leaves".to_owned());
        }
        Ok(header)
    }

    /// The line, with its end.
    pub(crate) fn line(&self) -> Vec<u8> {
        to_line(self)
    }
}

#[derive(Serialize)]
struct EntryLine {
    entry: u64,
    leaf_hash: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
}

/// One entry's line.
pub(crate) fn entry_line(entry: u64, leaf_hash: Hash, row: Option<u64>) -> Vec<u8> {
    to_line(&EntryLine { entry, leaf_hash, row })
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    pub(crate) entries: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: Hash,
}

impl End {
    pub(crate) fn line(&self) -> Vec<u8> {
        to_line(self)
    }
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys into memory: neither the value nor the writer can fail.
    #[expect(clippy::expect_used, reason = "infallible writer")]
    let mut line = serde_json::to_vec(value).expect("a structure of texts and numbers");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            counterfoil_export: 1,
            format: "jsonl".to_owned(),
            file: "entries.jsonl".to_owned(),
            origin: "a".to_owned(),
            log_vkey: "a+0+b".to_owned(),
            from: 1,
            to: 3,
            leaves_from: 1,
            checkpoint: "a\n".to_owned(),
            left: vec![Hash::from_bytes([7; 32])],
            right: Vec::new(),
        }
    }

    #[test]
    fn header_reads_back_and_no_other_form_does() {
        let line = header().line();
        assert_eq!(Header::parse(&line), Ok(header()));
        let text = String::from_utf8(line).unwrap();
        for (from, to, why) in [
            ("\"from\":1", "\"from\": 1", "it is not in the one form that a header has"),
            (":1,\"format\"", ":2,\"format\"", "it is of version 2, not 1"),
            ("\"from\":1", "\"from\":3", "its range is empty, or begins before its leaves"),
            ("\"leaves_from\":1", "\"leaves_from\":2", "its range is empty, or begins before its leaves"),
        ] {
            assert_eq!(Header::parse(text.replace(from, to).as_bytes()), Err(why.to_owned()));
        }
        let mut wide = header();
        wide.right = vec![Hash::from_bytes([0; 32]); MAX_SIDE + 1];
        assert_eq!(Header::parse(&wide.line()), Err("it has more than 128 hashes at one side".to_owned()));
        assert!(Header::parse(b"{}\n").is_err_and(|e| e.starts_with("missing field")));
    }

    #[test]
    fn lines_are_in_one_form() {
        let hash = Hash::from_bytes([0xab; 32]);
        let line = |row| String::from_utf8(entry_line(5, hash, row)).unwrap();
        assert_eq!(line(Some(2)), format!("{{\"entry\":5,\"leaf_hash\":\"{hash}\",\"row\":2}}\n"));
        assert_eq!(line(None), format!("{{\"entry\":5,\"leaf_hash\":\"{hash}\"}}\n"));
    }
}
