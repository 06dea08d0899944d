//! COSE_Sign1 (RFC 9052) by hand, in the one form that a consent token has.
//!
//! ```text
//! d2 84                                    tag 18, array of 4
//!    58 xx  { 1: -19, 4: node_id, 16: "application/counterfoil-consent+cwt" }   protected, as a byte string
//!    a0                                    unprotected, empty
//!    59 xxxx  claims                       payload
//!    58 40  signature
//! signature = Ed25519(["Signature1", protected, external_aad, payload])
//! external_aad = "counterfoil/consent/v1\0" ‖ net_id
//! ```
//!
//! By hand, because the library for it cannot tell canonical input from any other.

use counterfoil_spec::encode::signing_input;
use counterfoil_spec::ids::{NetId, NodeId, Signature};
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder, decode, encode};

/// The algorithm: Ed25519, fully specified (RFC 9864).
pub(crate) const ALG: i64 = -19;
/// The content type of a consent token.
pub(crate) const TYPE: &str = "application/counterfoil-consent+cwt";

/// A header's value, of the two kinds that the registries allow there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    Number(i64),
    Text(String),
}

/// The protected header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protected {
    pub(crate) alg: Label,
    pub(crate) kid: Vec<u8>,
    pub(crate) typ: Label,
}

impl Protected {
    pub(crate) fn of(node: &NodeId) -> Self {
        Self { alg: Label::Number(ALG), kid: node.as_bytes().to_vec(), typ: Label::Text(TYPE.to_owned()) }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        written(|e| {
            e.map(3)?.u8(1)?;
            label(e, &self.alg)?;
            e.u8(4)?.bytes(&self.kid)?.u8(16)?;
            label(e, &self.typ)
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, decode::Error> {
        let mut d = Decoder::new(bytes);
        let keyed = |d: &mut Decoder<'_>, want: u8| {
            if d.u8()? == want { Ok(()) } else { Err(decode::Error::message("header keys are 1, 4 and 16")) }
        };
        if d.map()? != Some(3) {
            return Err(decode::Error::message("the protected header has three members"));
        }
        keyed(&mut d, 1)?;
        let alg = read_label(&mut d)?;
        keyed(&mut d, 4)?;
        let kid = d.bytes()?.to_vec();
        keyed(&mut d, 16)?;
        let read = Self { alg, kid, typ: read_label(&mut d)? };
        if read.to_bytes() == bytes { Ok(read) } else { Err(decode::Error::message("header not canonical")) }
    }
}

/// The four members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sign1 {
    pub(crate) protected: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Signature,
}

impl Sign1 {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        written(|e| {
            e.tag(Tag::new(18))?.array(4)?.bytes(&self.protected)?.map(0)?;
            e.bytes(&self.payload)?.bytes(self.signature.as_bytes())?;
            Ok(())
        })
    }

    /// Reads both levels; refuses whatever would be written otherwise.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Protected), decode::Error> {
        let mut d = Decoder::new(bytes);
        if d.tag()? != Tag::new(18) || d.array()? != Some(4) {
            return Err(decode::Error::message("not a COSE_Sign1 with tag 18"));
        }
        let protected = d.bytes()?.to_vec();
        if d.map()? != Some(0) {
            return Err(decode::Error::message("the unprotected header is not empty"));
        }
        let payload = d.bytes()?.to_vec();
        let signature = Signature::from_slice(d.bytes()?)
            .ok_or_else(|| decode::Error::message("the signature is not 64 bytes"))?;
        let read = Self { protected, payload, signature };
        if read.to_bytes() != bytes {
            return Err(decode::Error::message("not in canonical form"));
        }
        let protected = Protected::read(&read.protected)?;
        Ok((read, protected))
    }
}

/// The bytes under the signature.
pub(crate) fn signed_bytes(protected: &[u8], net_id: &NetId, payload: &[u8]) -> Vec<u8> {
    let aad = signing_input("consent", net_id, &[]);
    written(|e| {
        e.array(4)?.str("Signature1")?.bytes(protected)?.bytes(&aad)?.bytes(payload)?;
        Ok(())
    })
}

type Writing = Result<(), encode::Error<core::convert::Infallible>>;

fn written(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Writing) -> Vec<u8> {
    let mut out = Vec::new();
    #[expect(clippy::expect_used, reason = "infallible writer")]
    write(&mut Encoder::new(&mut out)).expect("encoding into memory");
    out
}

fn label(e: &mut Encoder<&mut Vec<u8>>, label: &Label) -> Writing {
    match label {
        Label::Number(n) => e.i64(*n)?,
        Label::Text(t) => e.str(t)?,
    };
    Ok(())
}

fn read_label(d: &mut Decoder<'_>) -> Result<Label, decode::Error> {
    match d.datatype()? {
        minicbor::data::Type::String => Ok(Label::Text(d.str()?.to_owned())),
        _ => Ok(Label::Number(d.i64()?)),
    }
}
