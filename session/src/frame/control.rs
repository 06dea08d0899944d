//! Control frames: a header and the canonical CBOR of a message.

use bytes::Bytes;
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use minicbor::{Decode, Encode};

use super::header::{FrameError, FrameHeader, HEADER_BYTES};
use super::words::count32;

/// A whole control frame.
///
/// # Errors
/// [`FrameError::TooLong`] where the message does not fit.
pub fn encode_control<T: Encode<()>>(message: &T) -> Result<Bytes, FrameError> {
    let body = to_canonical(message);
    if body.len() > MAX_CONTROL_BYTES {
        return Err(FrameError::TooLong {
            len: u64::try_from(body.len()).unwrap_or(u64::MAX),
            limit: MAX_CONTROL_BYTES,
        });
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&FrameHeader::control(count32(body.len())).to_bytes());
    out.extend_from_slice(&body);
    Ok(Bytes::from(out))
}

/// Reads the body of a control frame.
///
/// # Errors
/// [`FrameError::Control`] where it is not the canonical form of a message.
pub fn decode_control<'b, T>(body: &'b [u8]) -> Result<T, FrameError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    Ok(from_canonical(body, MAX_CONTROL_BYTES)?)
}
