//! `statement`: an in-toto statement over the checkpoint in a DSSE envelope, signed by the key that the log's first
//! entry introduces as its author.
//!
//! ```text
//! envelope  { payloadType, payload: base64(statement), signatures: [{ keyid, sig: base64 }] }
//! signed    "DSSEv1" 20 "28" 20 "application/vnd.in-toto+json" 20 decimal length of statement 20 statement
//! ```
//!
//! DSSE is secure-systems-lab/dsse, protocol.md, v1.0; the statement is in-toto/attestation, spec/v1/statement.md.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::export::{Entry, ExportError, Format, Header, Piece, Records, Sink};
use counterfoil_audit::note::Note;
use counterfoil_identity::{Signer, VerifyKey};
use counterfoil_spec::ids::{Kid, Signature};
use counterfoil_spec::payload::Payload;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::lines::to_line;

/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The statement's type.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
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
        let signed = pre_authentication(&self.payload);
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
        let line = envelope(&self.payload, &author.kid(), &self.signature(&author)?);
        out.piece(Piece::Row { row, entry: entry.index }, &line)?;
        Ok(true)
    }

    fn foot(&mut self, _out: &mut dyn Sink) -> Result<(), ExportError> {
        Ok(())
    }
}

fn envelope(payload: &[u8], kid: &Kid, signature: &Signature) -> Vec<u8> {
    to_line(&json!({
        "payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(payload),
        "signatures": [{ "keyid": kid, "sig": BASE64.encode(signature.as_ref()) }],
    }))
}

/// What is signed; it begins otherwise than everything else that a key of ours signs.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// The signature in an envelope, whatever else it says: every byte of it is compared with the one that it should be.
fn read_signature(path: &Path) -> Option<Signature> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_ENVELOPE_BYTES).read_to_end(&mut text).ok()?;
    let envelope: Value = serde_json::from_slice(&text).ok()?;
    let sig = envelope.pointer("/signatures/0/sig")?.as_str()?;
    Signature::from_slice(&BASE64.decode(sig.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the protocol's own document, with our type in the place of its.
    #[test]
    fn what_is_signed_has_both_lengths_in_front() {
        assert_eq!(PAYLOAD_TYPE.len(), 28);
        assert_eq!(
            pre_authentication(b"hello world"),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }
}
