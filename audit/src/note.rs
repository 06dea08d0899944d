//! C2SP signed notes, their keys, and the log's own signature type (01: Ed25519 over the text).
//!
//! ```text
//! note   = text (ends with \n) ‖ "\n" ‖ { "— " name " " base64(key id (4) ‖ signature) "\n" }
//! vkey   = name "+" key id as 8 hex digits "+" base64(type ‖ public key)
//! key id = SHA-256(name ‖ 0A ‖ type ‖ public key), its first 4 bytes
//! ```

mod cosignature;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use counterfoil_identity::{SignFault, Signer, VerifyKey};
use counterfoil_spec::ids::{PublicKey, Signature};
use counterfoil_spec::limits::MAX_ORIGIN_BYTES;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

pub use cosignature::{TYPE_COSIGNATURE, WitnessKey, WitnessSigner};

/// The signature type of a log's own key.
pub const TYPE_LOG: u8 = 0x01;
/// A whole note, in bytes.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Signatures on one note.
pub const MAX_NOTE_SIGNATURES: usize = 32;
const SIGNATURE_PREFIX: &str = "\u{2014} ";
const BAD_NAME: NoteError =
    NoteError::MalformedKey("the name is empty, too long, or has a space or a plus sign");

/// Why a note, or a key of one, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("malformed note: {0}")]
    MalformedNote(&'static str),
    /// A verifier key that cannot be read.
    #[error("malformed verifier key: {0}")]
    MalformedKey(&'static str),
    /// A key that anybody can sign for.
    #[error("the verifier key is weak")]
    WeakKey,
    /// None of the signatures is by the key that is trusted.
    #[error("no signature by the trusted key {0}")]
    NoTrustedSignature(String),
    /// The trusted key's signature does not verify.
    #[error("the signature by {0} does not verify")]
    BadLogSignature(String),
    /// A line that bears a witness's name and key id is no cosignature of this note by it.
    #[error("the cosignature by {0} does not verify")]
    BadCosignature(String),
}

/// Whether a text can be the name of a key, and so an origin.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=MAX_ORIGIN_BYTES).contains(&name.len())
        && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

fn key_id(name: &str, kind: u8, key: &PublicKey) -> [u8; 4] {
    let mut h = Sha256::new();
    h.update(name.as_bytes());
    h.update([b'\n', kind]);
    h.update(key.as_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(h.finalize());
    [a, b, c, d]
}

fn write_vkey(f: &mut fmt::Formatter<'_>, name: &str, kind: u8, key: &PublicKey) -> fmt::Result {
    let typed = [&[kind], key.as_bytes().as_slice()].concat();
    write!(f, "{name}+{}+{}", HEXLOWER.encode(&key_id(name, kind, key)), BASE64.encode(&typed))
}

/// Reads a verifier key of one signature type; `other` says what a key of another type is not.
fn read_vkey<'a>(text: &'a str, kind: u8, other: &'static str) -> Result<(&'a str, VerifyKey), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::MalformedKey("it has the form <name>+<key id>+<base64>"));
    };
    let key = BASE64.decode(key.as_bytes()).map_err(|_| NoteError::MalformedKey("the key is not base64"))?;
    let key = key.strip_prefix(&[kind]).ok_or(NoteError::MalformedKey(other))?;
    let key = PublicKey::from_slice(key).ok_or(NoteError::MalformedKey("the key is not 32 bytes long"))?;
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    if HEXLOWER.encode(&key_id(name, kind, &key)) != id {
        return Err(NoteError::MalformedKey("the key id does not match"));
    }
    Ok((name, VerifyKey::from_wire(key).map_err(|_| NoteError::WeakKey)?))
}

/// The public half of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    id: [u8; 4],
    key: VerifyKey,
}

impl NoteVerifier {
    /// A key under a name.
    ///
    /// # Errors
    /// `MalformedKey` where the name cannot be one.
    pub fn new(name: &str, key: VerifyKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(BAD_NAME);
        }
        let id = key_id(name, TYPE_LOG, &key.wire());
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// The key's name, which is the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &VerifyKey {
        &self.key
    }

    pub(crate) const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Checks this key's signature on a note.
    ///
    /// # Errors
    /// `NoTrustedSignature` where there is none, `BadLogSignature` where it does not verify.
    pub fn verify(&self, note: &Note) -> Result<(), NoteError> {
        let mut mine =
            note.signatures.iter().filter(|s| s.name == self.name && s.key_id == self.id).peekable();
        if mine.peek().is_none() {
            return Err(NoteError::NoTrustedSignature(self.to_string()));
        }
        let good = |s: &NoteSignature| {
            Signature::from_slice(&s.signature)
                .is_some_and(|s| self.key.verify(note.text.as_bytes(), &s).is_ok())
        };
        if mine.all(good) { Ok(()) } else { Err(NoteError::BadLogSignature(self.name.clone())) }
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_vkey(f, &self.name, TYPE_LOG, &self.key.wire())
    }
}

impl serde::Serialize for NoteVerifier {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl FromStr for NoteVerifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = read_vkey(text, TYPE_LOG, "not an Ed25519 log key (type 01)")?;
        Self::new(name, key)
    }
}

/// A log's key with its name.
#[derive(Clone)]
pub struct NoteSigner {
    key: Arc<dyn Signer>,
    verifier: NoteVerifier,
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("vkey", &self.vkey()).finish_non_exhaustive()
    }
}

impl NoteSigner {
    /// A key under a name.
    ///
    /// # Errors
    /// `MalformedKey` where the name cannot be one.
    pub fn new(name: &str, key: Arc<dyn Signer>) -> Result<Self, NoteError> {
        let verifier = NoteVerifier::new(name, key.public())?;
        Ok(Self { key, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The public half as text: what a verifier pins.
    #[must_use]
    pub fn vkey(&self) -> String {
        self.verifier.to_string()
    }

    /// Signs a text that ends with a newline and gives the whole note.
    ///
    /// # Errors
    /// [`SignFault`] where the key does not sign.
    pub fn sign(&self, text: &str) -> Result<String, SignFault> {
        Ok(format!("{text}\n{}", self.line(text)?))
    }

    /// The key's signature line under a text.
    pub(crate) fn line(&self, text: &str) -> Result<String, SignFault> {
        let signature = self.key.sign(text.as_bytes())?;
        Ok(signature_line(&self.verifier.name, self.verifier.id, signature.as_ref()))
    }
}

/// One signature line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: [u8; 4],
    /// What follows the key id; its form is the key type's.
    pub signature: Vec<u8>,
}

/// A note taken apart; nothing of it is checked but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with its last newline.
    pub text: String,
    /// At least one.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Takes a note apart.
    ///
    /// # Errors
    /// `MalformedNote`.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::MalformedNote("longer than 16 KiB"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError::MalformedNote("not UTF-8"))?;
        if all.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::MalformedNote("a control character"));
        }
        let at = all.rfind("\n\n").ok_or(NoteError::MalformedNote("no empty line before the signatures"))?;
        let (text, lines) = all.split_at(at + 1);
        let lines = lines.strip_prefix('\n').and_then(|l| l.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::MalformedNote("it does not end with a signature line"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_NOTE_SIGNATURES {
                return Err(NoteError::MalformedNote("more than 32 signatures"));
            }
            signatures.push(parse_signature(line).ok_or(NoteError::MalformedNote("a bad signature line"))?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

impl Note {
    /// The signature lines of one key, as they are written.
    pub(crate) fn lines_of(&self, name: &str, id: [u8; 4]) -> String {
        let of_key = self.signatures.iter().filter(|s| s.name == name && s.key_id == id);
        of_key.map(|s| signature_line(&s.name, s.key_id, &s.signature)).collect()
    }
}

fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    format!("{SIGNATURE_PREFIX}{name} {}\n", BASE64.encode(&[&id, signature].concat()))
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, blob) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let blob = BASE64.decode(blob.as_bytes()).ok()?;
    let (key_id, signature) = blob.split_first_chunk::<4>()?;
    (is_name(name) && !signature.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests;
