//! `csv`: RFC 4180, with a line of names first. No cell begins with what a spreadsheet would take for a formula: texts
//! that people chose stand inside the JSON of the last column.

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_spec::time::Millis;

use super::columns::{COLUMNS, Cell, Kind, cells};
use super::instant::rfc3339;

/// One line for each entry.
#[derive(Debug, Default)]
pub(crate) struct Comma {
    line: String,
}

impl Format for Comma {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn file(&self) -> &'static str {
        "entries.csv"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, _header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, ..)| *name).collect();
        out.piece(Piece::Frame, format!("{}\r\n", names.join(",")).as_bytes())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        self.line.clear();
        for ((_, kind, _), cell) in COLUMNS.iter().zip(cells(entry)) {
            if !self.line.is_empty() {
                self.line.push(',');
            }
            match cell {
                Cell::Empty => {}
                Cell::Number(n) if *kind == Kind::Time => self.line.push_str(&rfc3339(Millis(n))),
                Cell::Number(n) => self.line.push_str(&n.to_string()),
                Cell::Text(text) => quote(&text, &mut self.line),
            }
        }
        self.line.push_str("\r\n");
        out.piece(Piece::Row { row, entry: entry.index }, self.line.as_bytes())?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

fn quote(text: &str, out: &mut String) {
    if text.contains(['"', ',', '\r', '\n']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_cell_is_quoted() {
        let quoted = |text| {
            let mut out = String::new();
            quote(text, &mut out);
            out
        };
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("{\"a\":1}"), "\"{\"\"a\"\":1}\"");
        assert_eq!(quoted("a,b\nc"), "\"a,b\nc\"");
    }
}
