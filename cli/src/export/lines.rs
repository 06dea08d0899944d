//! `jsonl`: every entry whole, as `audit show --json` prints it.

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_spec::entry::{Body, EntrySignature};
use counterfoil_spec::ids::Hash;
use serde::Serialize;

/// One line for each entry.
#[derive(Debug)]
pub(crate) struct Lines;

#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    leaf_hash: Hash,
    bytes: usize,
    signatures: &'a [EntrySignature],
    body: &'a Body,
}

impl Format for Lines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn file(&self) -> &'static str {
        "entries.jsonl"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, _header: &Header, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let line = Row {
            index: entry.index,
            leaf_hash: entry.leaf_hash,
            bytes: entry.bytes.len(),
            signatures: &entry.leaf.signatures,
            body: entry.body,
        };
        out.piece(Piece::Row { row, entry: entry.index }, &to_line(&line))?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

/// A value as JSON on a line of its own.
pub(super) fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys into memory: neither the value nor the writer can fail.
    #[expect(clippy::expect_used, reason = "infallible writer")]
    let mut line = serde_json::to_vec(value).expect("texts, numbers and lists of them");
    line.push(b'\n');
    line
}
