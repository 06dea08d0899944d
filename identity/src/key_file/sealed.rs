//! Keys under a passphrase: PKCS#8 `EncryptedPrivateKeyInfo` (RFC 5958 §3) with PBES2 (RFC 8018 §6.2).
//!
//! ```text
//! SEQUENCE
//!   SEQUENCE
//!     OID 1.2.840.113549.1.5.13                              PBES2
//!     SEQUENCE
//!       SEQUENCE OID 1.2.840.113549.1.5.12                   PBKDF2
//!                SEQUENCE OCTET STRING salt, INTEGER iterations, SEQUENCE { OID 1.2.840.113549.2.9, NULL }   HMAC-SHA-256
//!       SEQUENCE OID 2.16.840.1.101.3.4.1.42, OCTET STRING iv(16)                                            AES-256-CBC
//!   OCTET STRING ciphertext                                  of PKCS#8 version 1, padded
//! ```
//!
//! OpenSSL reads and writes it (`openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000`). The cipher has
//! no authentication, so a wrong passphrase shows as bytes that are not a key.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, AES_256_KEY_LEN, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use zeroize::Zeroizing;

use crate::key::SecretKey;
use crate::random;

/// Iterations of the keys that are sealed here: what OWASP asks of PBKDF2 with HMAC-SHA-256 (2023).
pub(super) const ITERATIONS: u32 = 600_000;
/// Iterations of keys that are opened: enough of them to be worth it, and no more than a start may wait for.
const ITERATIONS_READ: std::ops::RangeInclusive<u32> = 1_000..=4_000_000;
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// Why a sealed key was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// Sealed in another way.
    #[error(
        "not sealed with PBES2, PBKDF2 with HMAC-SHA-256 (1,000 to 4,000,000 iterations) and AES-256-CBC"
    )]
    Scheme,
    /// The passphrase does not open it.
    #[error("the passphrase does not open it, or the file is damaged")]
    Passphrase,
    /// The cryptographic library failed, which it does for want of memory only.
    #[error("the cipher failed")]
    Cipher,
}

/// Seals a key.
pub(super) fn seal(key: &SecretKey, passphrase: &[u8], iterations: u32) -> Result<Vec<u8>, SealFault> {
    let (salt, iv) = (random::bytes::<16>(), random::bytes::<16>());
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher_key(passphrase, &salt, iterations)?)
        .map_err(|_| SealFault::Cipher)?;
    let mut text: Vec<u8> = key.to_pkcs8_der().to_vec();
    cipher
        .less_safe_encrypt(&mut text, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|_| SealFault::Cipher)?;
    let count: Vec<u8> = iterations.to_be_bytes().iter().copied().skip_while(|byte| *byte == 0).collect();
    // An INTEGER whose first bit is set would be negative.
    let count =
        if count.first().is_some_and(|byte| *byte >= 0x80) { [&[0], &*count].concat() } else { count };
    let function = [tlv(OID, PBKDF2), {
        let prf = tlv(SEQUENCE, &[tlv(OID, HMAC_SHA256), tlv(NULL, &[])].concat());
        tlv(SEQUENCE, &[tlv(OCTETS, &salt), tlv(INTEGER, &count), prf].concat())
    }];
    let encryption = [tlv(OID, AES_256_CBC), tlv(OCTETS, &iv)];
    let scheme = [tlv(SEQUENCE, &function.concat()), tlv(SEQUENCE, &encryption.concat())];
    let algorithm = [tlv(OID, PBES2), tlv(SEQUENCE, &scheme.concat())];
    Ok(tlv(SEQUENCE, &[tlv(SEQUENCE, &algorithm.concat()), tlv(OCTETS, &text)].concat()))
}

/// Opens a sealed key.
pub(super) fn open(der: &[u8], passphrase: &[u8]) -> Result<SecretKey, SealFault> {
    let Parsed { salt, iterations, iv, ciphertext } = parse(der).ok_or(SealFault::Scheme)?;
    let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher_key(passphrase, salt, iterations)?)
        .map_err(|_| SealFault::Cipher)?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = cipher.decrypt(&mut text, context).map_err(|_| SealFault::Passphrase)?;
    SecretKey::from_pkcs8_der(plain).map_err(|_| SealFault::Passphrase)
}

fn cipher_key(passphrase: &[u8], salt: &[u8], iterations: u32) -> Result<UnboundCipherKey, SealFault> {
    let iterations = NonZeroU32::new(iterations).ok_or(SealFault::Scheme)?;
    let mut key = Zeroizing::new([0; AES_256_KEY_LEN]);
    derive(PBKDF2_HMAC_SHA256, iterations, salt, passphrase, key.as_mut_slice());
    UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(|_| SealFault::Cipher)
}

struct Parsed<'a> {
    salt: &'a [u8],
    iterations: u32,
    iv: [u8; 16],
    ciphertext: &'a [u8],
}

fn parse(der: &[u8]) -> Option<Parsed<'_>> {
    let mut whole = Der(der).only(SEQUENCE)?;
    let mut algorithm = Der(whole.take(SEQUENCE)?);
    let ciphertext = whole.last(OCTETS)?;
    algorithm.expect(OID, PBES2)?;
    let mut scheme = Der(algorithm.last(SEQUENCE)?);
    let (mut function, mut encryption) = (Der(scheme.take(SEQUENCE)?), Der(scheme.last(SEQUENCE)?));
    function.expect(OID, PBKDF2)?;
    let mut parameters = Der(function.last(SEQUENCE)?);
    let salt = parameters.take(OCTETS).filter(|salt| SALT_BYTES.contains(&salt.len()))?;
    let iterations = number(parameters.take(INTEGER)?).filter(|n| ITERATIONS_READ.contains(n))?;
    let mut prf = Der(parameters.last(SEQUENCE)?);
    prf.expect(OID, HMAC_SHA256)?;
    prf.last(NULL).filter(|null| null.is_empty())?;
    encryption.expect(OID, AES_256_CBC)?;
    let iv = encryption.last(OCTETS)?.try_into().ok()?;
    Some(Parsed { salt, iterations, iv, ciphertext })
}

fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 4 || bytes.first().is_some_and(|first| *first >= 0x80) {
        return None;
    }
    Some(bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

/// DER elements, one after the other; lengths of up to 255 bytes, which is more than a sealed key has.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (length, rest) = match self.0 {
            [found, 0x81, length, rest @ ..] if *found == tag && *length >= 0x80 => (*length, rest),
            [found, length, rest @ ..] if *found == tag && *length < 0x80 => (*length, rest),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(content)
    }

    fn last(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.take(tag).filter(|_| self.0.is_empty())
    }

    fn only(mut self, tag: u8) -> Option<Self> {
        self.last(tag).map(Self)
    }

    fn expect(&mut self, tag: u8, content: &[u8]) -> Option<()> {
        self.take(tag).filter(|found| *found == content).map(|_| ())
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    // Nothing that is written here is longer than 255 bytes: the ciphertext has 64, salt and iv 16.
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let mut out = vec![tag];
    if length >= 0x80 {
        out.push(0x81);
    }
    out.push(length);
    out.extend_from_slice(content);
    out
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: u32 = 1_000;

    fn key() -> SecretKey {
        SecretKey::from_seed([7; 32])
    }

    #[test]
    fn sealed_key_opens_with_its_passphrase_and_no_other() {
        let sealed = seal(&key(), b"correct horse", FEW).unwrap();
        assert_eq!(open(&sealed, b"correct horse").map(|k| *k.seed()), Ok([7; 32]));
        assert_eq!(open(&sealed, b"correct horsf").map(|_| ()), Err(SealFault::Passphrase));
        assert_eq!(open(&sealed, b"").map(|_| ()), Err(SealFault::Passphrase));
    }

    #[test]
    fn nothing_of_a_sealed_key_shows_and_no_two_are_equal() {
        let (one, two) = (seal(&key(), b"p", FEW).unwrap(), seal(&key(), b"p", FEW).unwrap());
        assert_ne!(one, two);
        assert!(!one.windows(8).any(|part| part == [7; 8]));
        assert_eq!(one.len(), two.len());
    }

    #[test]
    fn other_schemes_and_changed_structure_are_refused() {
        let sealed = seal(&key(), b"p", FEW).unwrap();
        assert_eq!(open(&key().to_pkcs8_der(), b"p").map(|_| ()), Err(SealFault::Scheme));
        for end in 0..sealed.len() {
            assert_eq!(open(&sealed[..end], b"p").map(|_| ()), Err(SealFault::Scheme), "cut at {end}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(open(&longer, b"p").map(|_| ()), Err(SealFault::Scheme));
        // HMAC-SHA-1 (2.7) in the place of HMAC-SHA-256 (2.9).
        let at = sealed.windows(HMAC_SHA256.len()).position(|w| w == HMAC_SHA256).unwrap();
        let mut other = sealed.clone();
        other[at + HMAC_SHA256.len() - 1] = 7;
        assert_eq!(open(&other, b"p").map(|_| ()), Err(SealFault::Scheme));
    }

    #[test]
    fn iterations_beyond_what_a_start_may_wait_for_are_refused() {
        for (iterations, fault) in [(999, SealFault::Scheme), (1_000, SealFault::Passphrase)] {
            let sealed = seal(&key(), b"p", iterations).unwrap();
            assert_eq!(open(&sealed, b"q").map(|_| ()), Err(fault), "{iterations}");
        }
        let sealed = seal(&key(), b"p", 0x8000).unwrap();
        assert_eq!(open(&sealed, b"p").map(|k| *k.seed()), Ok([7; 32]));
        // The same file, saying 4,000,001.
        let mut many = seal(&key(), b"p", 0x01_0000).unwrap();
        let at = many.windows(5).position(|w| w == [2, 3, 1, 0, 0]).unwrap();
        many[at + 2..at + 5].copy_from_slice(&[0x3d, 0x09, 0x01]);
        assert_eq!(open(&many, b"p").map(|_| ()), Err(SealFault::Scheme));
    }
}
