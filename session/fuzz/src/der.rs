//! Certificates whose signature is made anew.
//!
//! ```text
//! certificate = SEQUENCE { to be signed SEQUENCE, 1.3.101.112, BIT STRING of 64 bytes }
//! ```

use counterfoil_identity::SecretKey;

/// The certificate with its first part as it came and a signature of this key; nothing where there is no such part.
#[must_use]
pub fn signed_again(der: &[u8], key: &SecretKey) -> Option<Vec<u8>> {
    let (start, _) = element(der)?;
    let inside = der.get(start..)?;
    let (head, length) = element(inside)?;
    let signed = inside.get(..head + length)?;
    let mut body = signed.to_vec();
    body.extend_from_slice(ALGORITHM);
    body.extend_from_slice(&[0x03, 65, 0]);
    body.extend_from_slice(key.sign(signed).as_bytes());
    let length = u16::try_from(body.len()).ok().filter(|length| *length >= 256)?;
    let mut out = vec![0x30, 0x82];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
    Some(out)
}

/// Where the content of a SEQUENCE begins, and its length.
fn element(der: &[u8]) -> Option<(usize, usize)> {
    match der {
        [0x30, 0x82, high, low, ..] => Some((4, usize::from(u16::from_be_bytes([*high, *low])))),
        [0x30, 0x81, length, ..] => Some((3, usize::from(*length))),
        _ => None,
    }
}

const ALGORITHM: &[u8] = &[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70];
