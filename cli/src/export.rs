//! The forms in which a log is exported. `spec/export.md` lists them; the files around them are `audit`'s.

mod book;
mod columns;
mod comma;
mod events;
mod instant;
mod lines;
mod parquet;
mod record;
mod statement;

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use counterfoil_audit::export::{Format, Header};
use counterfoil_identity::Signer;
use counterfoil_ledger::journal::Dialect;

pub(crate) use instant::{Place, rfc3339};

/// A format by the name that it is asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// Every entry whole, a JSON object on a line
    Jsonl,
    /// Subjects and figures in columns, the whole payload in the last
    Csv,
    /// The same columns for data tools
    Parquet,
    /// What a record of use under Regulation (EU) 2024/1689 may be made from; it claims no compliance
    Records,
    /// Requests and the operator's changes as OCSF API Activity events
    Ocsf,
    /// The books for hledger, with a balance assertion behind each posting
    Hledger,
    /// The books for beancount, with balance directives
    Beancount,
    /// A signed in-toto statement over the checkpoint
    Statement,
}

impl FormatName {
    /// The format; a statement is signed with the key that is given.
    pub(crate) fn writing(self, signer: Option<Arc<dyn Signer>>) -> Box<dyn Format> {
        match self {
            Self::Jsonl => Box::new(lines::Lines),
            Self::Csv => Box::new(comma::Comma::default()),
            Self::Parquet => Box::new(parquet::Parquet::default()),
            Self::Records => Box::new(record::Record),
            Self::Ocsf => Box::new(events::Events::default()),
            Self::Hledger => Box::new(book::BookText::new(Dialect::Hledger)),
            Self::Beancount => Box::new(book::BookText::new(Dialect::Beancount)),
            Self::Statement => Box::new(statement::Statement::to_sign(signer)),
        }
    }

    /// The format that an export's header names, for its rows to be made anew; none that is not known here.
    pub(crate) fn checking(header: &Header, folder: &Path) -> Option<Box<dyn Format>> {
        match Self::from_str(&header.format, false).ok()? {
            Self::Statement => Some(Box::new(statement::Statement::to_check(folder))),
            name => Some(name.writing(None)),
        }
    }
}
