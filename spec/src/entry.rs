//! Log entries: bodies chained per author inside leaves that an RFC 6962 tree commits to.
//!
//! ```text
//! leaf = [ body: bstr, [ [role: uint, kid: bstr(8), sig: bstr(64)], … ] ]
//! body = { 1: version, 2: kind, 3: author kid, 4: seq, 5: prev(32), 6: time ms, 7: serial(16), 8: payload,
//!          9: [origin, size, root]? }
//! sig  = Ed25519("counterfoil/entry/v1\0" ‖ net_id ‖ u16be(len origin) ‖ origin ‖ role ‖ kid ‖ body)
//! ```
//!
//! `prev` is BLAKE3 derive_key("counterfoil v1 author-chain", the author's previous body in this log), or zeros at
//! seq 0. `role` is one byte in the signed input.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::Serialize;

use crate::encode::{DecodeError, append_canonical, from_canonical, signing_input};
use crate::ids::{Hash, Kid, NetId, Serial, Signature};
use crate::limits::{MAX_LEAF_BYTES, MAX_LEAF_SIGNATURES};
use crate::payload::Payload;
use crate::time::Millis;

/// The entry version that this crate reads and writes.
pub const ENTRY_VERSION: u64 = 1;

/// In what capacity a key signed an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The network root.
    Root,
    /// The router's identity key.
    Router,
    /// A node's identity key.
    Node,
    /// The key of the log itself, which signs beside the author where another one follows it.
    Log,
}

impl Role {
    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Router => 2,
            Self::Node => 3,
            Self::Log => 4,
        }
    }

    /// Reads a number; `None` for one that is not assigned.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Root),
            2 => Some(Self::Router),
            3 => Some(Self::Node),
            4 => Some(Self::Log),
            _ => None,
        }
    }
}

/// Another log's head as this entry's author knew it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Anchor {
    /// The other log.
    #[n(0)]
    pub origin: String,
    /// Its size.
    #[n(1)]
    pub size: u64,
    /// Its RFC 6962 root.
    #[n(2)]
    pub root: Hash,
}

/// One entry before it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Body {
    /// Always [`ENTRY_VERSION`].
    pub version: u64,
    /// Whose chain it continues.
    pub author: Kid,
    /// Its place in that chain.
    pub seq: u64,
    /// The hash of the chain's previous body.
    pub prev: Hash,
    /// When it was written; never earlier than the entry before it.
    pub time: Millis,
    /// Unique in the log for its kind.
    pub serial: Serial,
    /// What happened.
    pub payload: Payload,
    /// What its author had last seen of another log.
    pub anchor: Option<Anchor>,
}

impl<C> Encode<C> for Body {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(if self.anchor.is_some() { 9 } else { 8 })?;
        e.u8(1)?.u64(self.version)?;
        e.u8(2)?.u16(self.payload.kind())?;
        e.u8(3)?;
        self.author.encode(e, ctx)?;
        e.u8(4)?.u64(self.seq)?;
        e.u8(5)?;
        self.prev.encode(e, ctx)?;
        e.u8(6)?;
        self.time.encode(e, ctx)?;
        e.u8(7)?;
        self.serial.encode(e, ctx)?;
        e.u8(8)?;
        self.payload.encode_inner(e, ctx)?;
        if let Some(anchor) = &self.anchor {
            e.u8(9)?;
            anchor.encode(e, ctx)?;
        }
        Ok(())
    }
}

fn key(d: &mut Decoder<'_>, want: u8) -> Result<(), decode::Error> {
    let at = d.position();
    if d.u8()? == want { Ok(()) } else { Err(decode::Error::message("entry keys out of order").at(at)) }
}

impl<'b, C> Decode<'b, C> for Body {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let len = d.map()?;
        if !matches!(len, Some(8 | 9)) {
            return Err(decode::Error::message("an entry has eight or nine members"));
        }
        key(d, 1)?;
        let version = d.u64()?;
        if version != ENTRY_VERSION {
            return Err(decode::Error::message(format!("entry version {version} is not known here")));
        }
        key(d, 2)?;
        let kind = d.u16()?;
        key(d, 3)?;
        let author = Kid::decode(d, ctx)?;
        key(d, 4)?;
        let seq = d.u64()?;
        key(d, 5)?;
        let prev = Hash::decode(d, ctx)?;
        key(d, 6)?;
        let time = Millis::decode(d, ctx)?;
        key(d, 7)?;
        let serial = Serial::decode(d, ctx)?;
        key(d, 8)?;
        let payload = Payload::decode_inner(kind, d, ctx)?;
        let anchor = if len == Some(9) {
            key(d, 9)?;
            Some(Anchor::decode(d, ctx)?)
        } else {
            None
        };
        Ok(Self { version, author, seq, prev, time, serial, payload, anchor })
    }
}

/// One signature on an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EntrySignature {
    /// In what capacity.
    pub role: Role,
    /// By which key.
    pub kid: Kid,
    /// The signature.
    pub sig: Signature,
}

impl<C> Encode<C> for EntrySignature {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?.u8(self.role.number())?;
        self.kid.encode(e, ctx)?;
        self.sig.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for EntrySignature {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(3) {
            return Err(decode::Error::message("a signature has three members"));
        }
        let role = Role::from_number(d.u8()?)
            .ok_or_else(|| decode::Error::message("a role that is not assigned"))?;
        Ok(Self { role, kid: Kid::decode(d, ctx)?, sig: Signature::decode(d, ctx)? })
    }
}

/// What the tree commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Canonical bytes of a [`Body`].
    pub body: Vec<u8>,
    /// At least one, at most [`MAX_LEAF_SIGNATURES`]; the first is the author's.
    pub signatures: Vec<EntrySignature>,
}

impl<C> Encode<C> for Leaf {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        LeafParts { body: &self.body, signatures: &self.signatures }.encode(e, ctx)
    }
}

struct LeafParts<'a> {
    body: &'a [u8],
    signatures: &'a [EntrySignature],
}

impl<C> Encode<C> for LeafParts<'_> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?.bytes(self.body)?;
        self.signatures.encode(e, ctx)
    }
}

/// Appends the canonical form of the [`Leaf`] that has these parts.
pub fn append_leaf(body: &[u8], signatures: &[EntrySignature], out: &mut Vec<u8>) {
    append_canonical(&LeafParts { body, signatures }, out);
}

impl<'b, C> Decode<'b, C> for Leaf {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(2) {
            return Err(decode::Error::message("a leaf has two members"));
        }
        let body = d.bytes()?.to_vec();
        let len = d.array()?.and_then(|n| usize::try_from(n).ok());
        let Some(len @ 1..=MAX_LEAF_SIGNATURES) = len else {
            return Err(decode::Error::message("a leaf has one to four signatures"));
        };
        let signatures = (0..len).map(|_| EntrySignature::decode(d, ctx)).collect::<Result<_, _>>()?;
        Ok(Self { body, signatures })
    }
}

impl Leaf {
    /// Reads a leaf and the body inside it, both in canonical form.
    ///
    /// # Errors
    /// [`DecodeError`] for the first of the two that is wrong.
    pub fn read(bytes: &[u8]) -> Result<(Self, Body), DecodeError> {
        let leaf: Self = from_canonical(bytes, MAX_LEAF_BYTES)?;
        let body = from_canonical(&leaf.body, MAX_LEAF_BYTES)?;
        Ok((leaf, body))
    }
}

/// What a signature on an entry covers.
#[must_use]
pub fn entry_signing_input(net_id: &NetId, origin: &str, role: Role, kid: &Kid, body: &[u8]) -> Vec<u8> {
    // An origin is at most MAX_ORIGIN_BYTES long where it is made and where it is pinned.
    let len = u16::try_from(origin.len()).unwrap_or(u16::MAX);
    signing_input(
        "entry",
        net_id,
        &[&len.to_be_bytes(), origin.as_bytes(), &[role.number()], kid.as_bytes(), body],
    )
}
