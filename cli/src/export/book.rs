//! `hledger` and `beancount`: the ledger's books.

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_ledger::LedgerError;
use counterfoil_ledger::journal::{Dialect, Journal};

/// A transaction for each entry that posts.
#[derive(Debug)]
pub(crate) struct BookText {
    dialect: Dialect,
    journal: Journal,
    opened: bool,
}

impl BookText {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, journal: Journal::new(dialect), opened: false }
    }
}

fn refused(index: u64) -> impl FnOnce(LedgerError) -> ExportError {
    move |e| ExportError::NotApplicable { index, reason: e.to_string() }
}

impl Format for BookText {
    fn name(&self) -> &'static str {
        match self.dialect {
            Dialect::Hledger => "hledger",
            Dialect::Beancount => "beancount",
        }
    }

    fn file(&self) -> &'static str {
        match self.dialect {
            Dialect::Hledger => "book.journal",
            Dialect::Beancount => "book.beancount",
        }
    }

    fn records(&self) -> Records {
        Records::Paragraphs
    }

    fn looks_back(&self) -> bool {
        true
    }

    fn head(&mut self, header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        out.piece(Piece::Frame, self.journal.head(&header.origin).as_bytes())
    }

    fn before(&mut self, entry: &Entry<'_>) -> Result<(), ExportError> {
        self.journal.before(entry.index, entry.body).map_err(refused(entry.index))
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        if !self.opened {
            self.opened = true;
            let opening = self.journal.opening(entry.body.time.seconds()).map_err(refused(entry.index))?;
            out.piece(Piece::Frame, opening.as_bytes())?;
        }
        let made = self.journal.entry(entry.index, &entry.leaf_hash, entry.body);
        let Some(text) = made.map_err(refused(entry.index))? else { return Ok(false) };
        out.piece(Piece::Row { row, entry: entry.index }, text.as_bytes())?;
        Ok(true)
    }

    fn foot(&mut self, out: &mut dyn Sink) -> Result<(), ExportError> {
        let foot = self.journal.foot().map_err(refused(self.journal.seen()))?;
        out.piece(Piece::Frame, foot.as_bytes())
    }
}
