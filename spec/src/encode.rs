//! One canonical encoding: RFC 8949 §4.2.1 deterministic CBOR, and the inputs of signatures.
//!
//! ```text
//! signed bytes = "counterfoil/<purpose>/v1\0" ‖ net_id (32 bytes) ‖ parts…
//! ```
//!
//! A decoder accepts a byte string only if encoding the decoded value gives the same bytes back, so two different
//! byte strings never stand for one value.

use minicbor::{Decode, Encode};

use crate::ids::NetId;

/// Why a byte string was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than the type allows.
    #[error("{len} bytes, more than the limit of {limit}")]
    TooLong {
        /// What arrived.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not the structure that the type has.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The right structure in a form that the canonical encoder would not produce, or with bytes left over.
    #[error("not in canonical form")]
    NonCanonical,
}

/// Encodes a value; the types of this crate encode deterministically.
#[must_use]
pub fn to_canonical<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    append_canonical(value, &mut out);
    out
}

/// Appends to `out` what [`to_canonical`] gives.
pub fn append_canonical<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and no encoder of ours reports an error of its own.
    #[expect(clippy::expect_used, reason = "infallible writer")]
    minicbor::encode(value, out).expect("encoding into memory");
}

/// Decodes at most `limit` bytes and refuses whatever does not encode back to them.
///
/// # Errors
/// [`DecodeError`] names the first thing that was wrong.
pub fn from_canonical<'b, T>(bytes: &'b [u8], limit: usize) -> Result<T, DecodeError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { len: bytes.len(), limit });
    }
    let value: T = minicbor::decode(bytes).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    let mut rest = Same(bytes);
    match minicbor::encode(&value, &mut rest) {
        Ok(()) if rest.0.is_empty() => Ok(value),
        _ => Err(DecodeError::NonCanonical),
    }
}

/// Takes what an encoder writes for as long as these bytes begin with it.
struct Same<'b>(&'b [u8]);

impl minicbor::encode::Write for Same<'_> {
    type Error = DecodeError;

    fn write_all(&mut self, written: &[u8]) -> Result<(), DecodeError> {
        self.0 = self.0.strip_prefix(written).ok_or(DecodeError::NonCanonical)?;
        Ok(())
    }
}

/// What a signature of ours covers. `purpose` is one of the names in `spec/registry.json`.
#[must_use]
pub fn signing_input(purpose: &str, net_id: &NetId, parts: &[&[u8]]) -> Vec<u8> {
    let body: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = Vec::with_capacity(purpose.len() + body + 48);
    out.extend_from_slice(b"counterfoil/");
    out.extend_from_slice(purpose.as_bytes());
    out.extend_from_slice(b"/v1\0");
    out.extend_from_slice(net_id.as_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Sample {
        #[n(1)]
        first: u64,
        #[n(2)]
        second: Option<u64>,
    }

    #[test]
    fn absent_option_is_an_absent_key() {
        assert_eq!(to_canonical(&Sample { first: 1, second: None }), [0xa1, 0x01, 0x01]);
    }

    #[test]
    fn long_integer_form_is_refused() {
        assert_eq!(from_canonical::<Sample>(&[0xa1, 0x01, 0x18, 0x01], 64), Err(DecodeError::NonCanonical));
    }

    #[test]
    fn unknown_key_is_refused() {
        assert_eq!(
            from_canonical::<Sample>(&[0xa2, 0x01, 0x01, 0x09, 0x01], 64),
            Err(DecodeError::NonCanonical)
        );
    }

    #[test]
    fn trailing_byte_is_refused() {
        assert_eq!(from_canonical::<Sample>(&[0xa1, 0x01, 0x01, 0x00], 64), Err(DecodeError::NonCanonical));
    }

    #[test]
    fn length_is_checked_first() {
        assert_eq!(
            from_canonical::<Sample>(&[0xff; 65], 64),
            Err(DecodeError::TooLong { len: 65, limit: 64 })
        );
    }

    #[test]
    fn purpose_and_network_separate_signatures() {
        let net = NetId::from_bytes([7; 32]);
        let mut want = b"counterfoil/entry/v1\0".to_vec();
        want.extend_from_slice(&[7; 32]);
        want.extend_from_slice(b"ab");
        assert_eq!(signing_input("entry", &net, &[b"a", b"b"]), want);
    }
}
