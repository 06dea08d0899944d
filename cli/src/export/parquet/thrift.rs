//! The structures of `parquet.thrift` that a file of plain columns has, in Thrift's compact protocol.
//!
//! ```text
//! field      u8: id − the id before it « 4 | type, then the value; 00 ends a structure
//! i32, i64   varint of n « 1 ^ n » 63 (zigzag)      string   varint length ‖ bytes
//! list       u8: size « 4 | type, or f0 | type ‖ varint size where there are more than 14
//! ```

use super::{Fill, Kind};

/// Where a column of one group lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A row group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    pub(super) chunks: Vec<Chunk>,
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Physical types: INT64 and BYTE_ARRAY.
const fn physical(kind: Kind) -> u64 {
    if kind.is_text() { 6 } else { 2 }
}

/// Converted types: UTF8, TIMESTAMP_MILLIS; a plain number has none.
const fn converted(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Text => Some(0),
        Kind::Time => Some(9),
        Kind::Number => None,
    }
}

/// One structure while it is written.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    last: u8,
}

impl Fields<'_> {
    fn field(&mut self, id: u8, kind: u8) {
        // Ids rise by at most six in what is written here.
        self.out.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    fn i32(&mut self, id: u8, n: u64) {
        self.field(id, I32);
        varint(n << 1, self.out);
    }

    fn i64(&mut self, id: u8, n: u64) {
        self.field(id, I64);
        varint(n << 1, self.out);
    }

    fn text(&mut self, id: u8, text: &str) {
        self.field(id, BINARY);
        string(text, self.out);
    }

    fn structure(&mut self, id: u8, fill: impl FnOnce(&mut Fields<'_>)) {
        self.field(id, STRUCT);
        structure(self.out, fill);
    }

    fn list(&mut self, id: u8, kind: u8, len: usize) {
        self.field(id, LIST);
        match u8::try_from(len) {
            Ok(len) if len < 15 => self.out.push(len << 4 | kind),
            _ => {
                self.out.push(0xf0 | kind);
                varint(len as u64, self.out);
            }
        }
    }
}

fn structure(out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
    fill(&mut Fields { out, last: 0 });
    out.push(0);
}

fn string(text: &str, out: &mut Vec<u8>) {
    varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(mut n: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = n.to_le_bytes();
        n >>= 7;
        if n == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// `PageHeader` of a data page with this many values, empty ones counted.
pub(super) fn page_header(values: u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    structure(&mut out, |page| {
        page.i32(1, 0);
        page.i32(2, bytes as u64);
        page.i32(3, bytes as u64);
        page.structure(5, |header| {
            header.i32(1, values);
            header.i32(2, PLAIN);
            header.i32(3, RLE);
            header.i32(4, RLE);
        });
    });
    out
}

/// `FileMetaData`.
pub(super) fn footer(columns: &[(&str, Kind, Fill)], groups: &[Group]) -> Vec<u8> {
    let mut out = Vec::new();
    structure(&mut out, |file| {
        file.i32(1, 1);
        file.list(2, STRUCT, columns.len() + 1);
        structure(file.out, |root| {
            root.text(4, "entries");
            root.i32(5, columns.len() as u64);
        });
        for (name, kind, fill) in columns {
            structure(file.out, |column| {
                column.i32(1, physical(*kind));
                column.i32(3, u64::from(*fill == Fill::Sometimes));
                column.text(4, name);
                if let Some(converted) = converted(*kind) {
                    column.i32(6, converted);
                }
            });
        }
        file.i64(3, groups.iter().map(|g| g.rows).sum());
        file.list(4, STRUCT, groups.len());
        for group in groups {
            structure(file.out, |out| row_group(columns, group, out));
        }
        file.text(6, "counterfoil export 1");
    });
    out
}

fn row_group(columns: &[(&str, Kind, Fill)], group: &Group, out: &mut Fields<'_>) {
    out.list(1, STRUCT, group.chunks.len());
    for ((name, kind, _), chunk) in columns.iter().zip(&group.chunks) {
        structure(out.out, |column| {
            column.i64(2, chunk.offset);
            column.structure(3, |facts| {
                facts.i32(1, physical(*kind));
                facts.list(2, I32, 2);
                varint(PLAIN << 1, facts.out);
                varint(RLE << 1, facts.out);
                facts.list(3, BINARY, 1);
                string(name, facts.out);
                facts.i32(4, UNCOMPRESSED);
                facts.i64(5, group.rows);
                facts.i64(6, chunk.bytes);
                facts.i64(7, chunk.bytes);
                facts.i64(9, chunk.offset);
            });
        });
    }
    out.i64(2, group.chunks.iter().map(|c| c.bytes).sum());
    out.i64(3, group.rows);
}

const PLAIN: u64 = 0;
const RLE: u64 = 3;
const UNCOMPRESSED: u64 = 0;
