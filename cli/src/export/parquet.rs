//! `parquet`: the columns of `csv`, as Apache Parquet (format 2.x, its `parquet.thrift`), uncompressed and plain.
//!
//! ```text
//! "PAR1" { a row group: for each column { page header ‖ definition levels ‖ values } }… footer ‖ u32le its length ‖ "PAR1"
//! value        INT64: 8 bytes, little-endian; BYTE_ARRAY: u32le length ‖ UTF-8
//! levels       of a column that may be empty: u32le length ‖ runs { varint 2 × count ‖ 1 or 0 }
//! ```
//!
//! Written here and not by the `parquet` crate for two reasons. The same leaves have to give the same bytes whoever makes
//! them, and with which version, since a checker makes them anew and names the row in which they differ; a library
//! promises the values, not the bytes. And without default features that crate brings 17 others and 50 s of compiling
//! on one core of the machine that this was measured on, for the small part of the format that plain columns need.

mod thrift;

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};

use self::thrift::{Chunk, Group, footer, page_header};
use super::columns::{COLUMNS, COUNT, Cell, Fill, Kind, cells};

/// What a file begins and ends with.
const MAGIC: &[u8] = b"PAR1";
/// Rows in one group at most.
const MAX_GROUP_ROWS: usize = 1024;
/// Bytes of text in one group after which it is closed.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// Gathers rows and writes them by column.
#[derive(Debug, Default)]
pub(crate) struct Parquet {
    offset: u64,
    first_row: u64,
    entries: Vec<u64>,
    rows: Vec<[Cell; COUNT]>,
    bytes: usize,
    groups: Vec<Group>,
}

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn file(&self) -> &'static str {
        "entries.parquet"
    }

    fn records(&self) -> Records {
        Records::Opaque
    }

    fn head(&mut self, _header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        self.put(Piece::Frame, MAGIC, out)
    }

    fn entry(&mut self, _row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let row = cells(entry);
        self.bytes += row.iter().map(|c| if let Cell::Text(t) = c { t.len() } else { 8 }).sum::<usize>();
        self.entries.push(entry.index);
        self.rows.push(row);
        if self.rows.len() == MAX_GROUP_ROWS || self.bytes > MAX_GROUP_BYTES {
            self.group(out)?;
        }
        Ok(true)
    }

    fn foot(&mut self, out: &mut dyn Sink) -> Result<(), ExportError> {
        self.group(out)?;
        let mut foot = footer(&COLUMNS, &self.groups);
        // A footer has some kilobytes for each million rows.
        let len = u32::try_from(foot.len()).unwrap_or(u32::MAX);
        foot.extend_from_slice(&len.to_le_bytes());
        foot.extend_from_slice(MAGIC);
        self.put(Piece::Frame, &foot, out)
    }
}

impl Parquet {
    fn put(&mut self, piece: Piece, bytes: &[u8], out: &mut dyn Sink) -> Result<(), ExportError> {
        self.offset += bytes.len() as u64;
        out.piece(piece, bytes)
    }

    /// Writes the rows that were gathered.
    fn group(&mut self, out: &mut dyn Sink) -> Result<(), ExportError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (rows, entries) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.entries));
        let count = rows.len() as u64;
        let all = Piece::Rows { first: self.first_row, last: self.first_row + count - 1 };
        let mut group = Group { rows: count, chunks: Vec::with_capacity(COUNT) };
        for (column, (_, _, fill)) in COLUMNS.iter().enumerate() {
            let cells = || rows.iter().filter_map(|row| row.get(column));
            let levels = match fill {
                Fill::Always => Vec::new(),
                Fill::Sometimes => levels(cells().map(|c| *c != Cell::Empty)),
            };
            let values: usize = cells().map(|c| plain(c).len()).sum();
            let header = page_header(count, levels.len() + values);
            let chunk = Chunk { offset: self.offset, bytes: (header.len() + levels.len() + values) as u64 };
            group.chunks.push(chunk);
            self.put(all, &header, out)?;
            self.put(all, &levels, out)?;
            for ((row, entry), cell) in (self.first_row..).zip(&entries).zip(cells()) {
                self.put(Piece::Row { row, entry: *entry }, &plain(cell), out)?;
            }
        }
        self.groups.push(group);
        self.first_row += count;
        self.bytes = 0;
        Ok(())
    }
}

/// A value in plain encoding; nothing for an empty one.
fn plain(cell: &Cell) -> Vec<u8> {
    match cell {
        Cell::Empty => Vec::new(),
        // Counts beyond 2⁶³ come from no log that verifies.
        Cell::Number(n) => i64::try_from(*n).unwrap_or(i64::MAX).to_le_bytes().to_vec(),
        Cell::Text(text) => {
            // A row's JSON is made from a leaf of at most 61,440 bytes.
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            [&len.to_le_bytes(), text.as_bytes()].concat()
        }
    }
}

/// Which rows have a value, in runs.
fn levels(there: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut runs: Vec<(u64, bool)> = Vec::new();
    for there in there {
        match runs.last_mut() {
            Some((count, value)) if *value == there => *count += 1,
            _ => runs.push((1, there)),
        }
    }
    let mut out = Vec::new();
    for (count, value) in runs {
        thrift::varint(count << 1, &mut out);
        out.push(u8::from(value));
    }
    let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), out.as_slice()].concat()
}

impl Kind {
    const fn is_text(self) -> bool {
        matches!(self, Self::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_runs_of_rows_with_and_without_a_value() {
        let some = [true, true, false, true];
        assert_eq!(levels(some.into_iter()), [6, 0, 0, 0, 4, 1, 2, 0, 2, 1]);
        let many = levels(std::iter::repeat_n(false, 100));
        assert_eq!(many, [3, 0, 0, 0, 0xc8, 1, 0]);
    }

    #[test]
    fn values_are_plain() {
        assert_eq!(plain(&Cell::Empty), Vec::<u8>::new());
        assert_eq!(plain(&Cell::Number(258)), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(plain(&Cell::Text("ab".to_owned())), [2, 0, 0, 0, b'a', b'b']);
    }
}
