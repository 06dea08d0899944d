//! `statement`: an in-toto statement over the checkpoint in a DSSE envelope, signed by the key that the log's first
//! entry introduces as its author.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_audit::note::Note;
use counterfoil_identity::{Signer, VerifyKey};
use counterfoil_spec::ids::Signature;
use counterfoil_spec::payload::Payload;
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::lines::to_line;
use crate::dsse::{self, STATEMENT_TYPE};

/// The type of what is said of the checkpoint.
const PREDICATE_TYPE: &str = "https://counterfoil.example/checkpoint/v1";
/// The rows file.
const FILE: &str = "checkpoint.dsse.json";
/// The longest envelope: a note is at most 16 KiB long.
const MAX_ENVELOPE_BYTES: u64 = 256 * 1024;

/// One envelope.
#[derive(Debug)]
pub(crate) struct Statement {
    signature: Source,
    payload: Vec<u8>,
}

/// Where the signature comes from.
#[derive(Debug)]
enum Source {
    /// It is made.
    Signer(Option<Arc<dyn Signer>>),
    /// It is read from an export and checked.
    Export(PathBuf),
}

impl Statement {
    pub(super) fn to_sign(signer: Option<Arc<dyn Signer>>) -> Self {
        Self { signature: Source::Signer(signer), payload: Vec::new() }
    }

    pub(super) fn to_check(folder: &Path) -> Self {
        Self { signature: Source::Export(folder.join(FILE)), payload: Vec::new() }
    }

    fn signature(&self, author: &VerifyKey) -> Result<Signature, ExportError> {
        let signed = dsse::pre_authentication(&self.payload);
        let signature = match &self.signature {
            Source::Signer(Some(signer)) => Some(signer.sign(&signed)?),
            Source::Signer(None) => None,
            Source::Export(path) => read_signature(path),
        };
        let right = signature.filter(|s| author.verify(&signed, s).is_ok());
        right.ok_or(ExportError::BadStatementSignature)
    }
}

impl Format for Statement {
    fn name(&self) -> &'static str {
        "statement"
    }

    fn file(&self) -> &'static str {
        FILE
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, header: &Header, _out: &mut dyn Sink) -> Result<(), ExportError> {
        let head = header.head()?;
        let text = Note::parse(header.checkpoint.as_bytes())?.text;
        let statement = json!({
            "_type": STATEMENT_TYPE,
            "subject": [{
                "name": header.origin,
                "digest": { "sha256": HEXLOWER.encode(&Sha256::digest(text.as_bytes())) },
            }],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "origin": head.origin, "size": head.head.size, "root": head.head.root, "log_vkey": header.log_vkey,
                "checkpoint": header.checkpoint,
            },
        });
        self.payload = statement.to_string().into_bytes();
        Ok(())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let Payload::Genesis(genesis) = &entry.body.payload else { return Ok(false) };
        let author =
            VerifyKey::from_wire(genesis.author_key).map_err(|_| ExportError::BadStatementSignature)?;
        let line = to_line(&dsse::envelope(&self.payload, &author.kid(), &self.signature(&author)?));
        out.piece(Piece::Row { row, entry: entry.index }, &line)?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

/// The signature in an envelope, whatever else it says: every byte of it is compared with the one that it should be.
fn read_signature(path: &Path) -> Option<Signature> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_ENVELOPE_BYTES).read_to_end(&mut text).ok()?;
    dsse::read(&text).map(|envelope| envelope.signature)
}
