//! Statements in DSSE envelopes.
//!
//! ```text
//! envelope  { payloadType, payload: base64(statement), signatures: [{ keyid, sig: base64 }] }
//! signed    "DSSEv1" 20 "28" 20 "application/vnd.in-toto+json" 20 decimal length of statement 20 statement
//! ```
//!
//! DSSE is secure-systems-lab/dsse, protocol.md, v1.0; the statement is in-toto/attestation, spec/v1/statement.md.

use counterfoil_spec::ids::{Kid, Signature};
use data_encoding::BASE64;
use serde_json::{Value, json};

/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The statement's type.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// An envelope whose signature was not checked.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Signature,
}

/// An envelope with one signature.
pub(crate) fn envelope(payload: &[u8], kid: &Kid, signature: &Signature) -> Value {
    json!({
        "payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(payload),
        "signatures": [{ "keyid": kid, "sig": BASE64.encode(signature.as_ref()) }],
    })
}

/// What is signed; it begins otherwise than everything else that a key of ours signs.
pub(crate) fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Reads an envelope; `None` where it is none with a payload of this type and a signature.
pub(crate) fn read(text: &[u8]) -> Option<Envelope> {
    let envelope: Value = serde_json::from_slice(text).ok()?;
    if envelope.pointer("/payloadType")?.as_str()? != PAYLOAD_TYPE {
        return None;
    }
    let bytes = |at: &str| BASE64.decode(envelope.pointer(at)?.as_str()?.as_bytes()).ok();
    Some(Envelope {
        payload: bytes("/payload")?,
        signature: Signature::from_slice(&bytes("/signatures/0/sig")?)?,
    })
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
