//! Cosignatures: what a witness says of a checkpoint (C2SP tlog-cosignature, Ed25519, type 04).
//!
//! ```text
//! line     "— " name " " base64(key id (4) ‖ u64be time ‖ signature (64)) "\n"
//! signed   "cosignature/v1\ntime <t>\n" ‖ the checkpoint's text
//! key id   SHA-256(name ‖ 0A ‖ 04 ‖ public key), its first 4 bytes
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use counterfoil_identity::{SignFault, Signer, VerifyKey};
use counterfoil_spec::ids::Signature;
use counterfoil_spec::time::Seconds;

use super::{BAD_NAME, Note, NoteError, is_name, key_id, read_vkey, signature_line, write_vkey};

/// The signature type of a witness's key.
pub const TYPE_COSIGNATURE: u8 = 0x04;
/// The standard's last instant; the first is 1, as a witness must state a time.
const MAX_TIME: u64 = i64::MAX.unsigned_abs();

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The public half of a witness's key.
#[derive(Debug, Clone)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    key: VerifyKey,
}

impl WitnessKey {
    /// A key under a name.
    ///
    /// # Errors
    /// `MalformedKey` where the name cannot be one.
    pub fn new(name: &str, key: VerifyKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(BAD_NAME);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, TYPE_COSIGNATURE, &key.wire()), key })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &VerifyKey {
        &self.key
    }

    /// When this witness cosigned a note; `None` where it did not. Of several cosignatures the latest counts.
    ///
    /// # Errors
    /// `BadCosignature` where a line bears this key's name and id and does not verify.
    pub fn time_of(&self, note: &Note) -> Result<Option<Seconds>, NoteError> {
        let mut latest = None;
        for line in note.signatures.iter().filter(|s| s.name == self.name && s.key_id == self.id) {
            let time = self.check(&line.signature, &note.text);
            latest = latest.max(Some(time.ok_or_else(|| NoteError::BadCosignature(self.name.clone()))?));
        }
        Ok(latest)
    }

    /// The line by which this witness cosigned a text, out of an answer that may have others beside it; of several the
    /// latest. `None` where it has none.
    ///
    /// # Errors
    /// `MalformedNote` where the answer is not signature lines, `BadCosignature` where its own does not verify.
    pub fn line_in(&self, text: &str, answer: &str) -> Result<Option<String>, NoteError> {
        let note = Note::parse(format!("{text}\n{answer}").as_bytes())?;
        if note.text != text {
            return Err(NoteError::MalformedNote("the answer has an empty line"));
        }
        let Some(time) = self.time_of(&note)? else { return Ok(None) };
        let mine = note.signatures.iter().find(|s| {
            s.name == self.name && s.key_id == self.id && s.signature.starts_with(&time.0.to_be_bytes())
        });
        Ok(mine.map(|s| signature_line(&s.name, s.key_id, &s.signature)))
    }

    fn check(&self, signature: &[u8], text: &str) -> Option<Seconds> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature)?;
        self.key.verify(message(time, text).as_bytes(), &signature).ok()?;
        (1..=MAX_TIME).contains(&time).then_some(Seconds(time))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_vkey(f, &self.name, TYPE_COSIGNATURE, &self.key.wire())
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = read_vkey(text, TYPE_COSIGNATURE, "not an Ed25519 witness key (type 04)")?;
        Self::new(name, key)
    }
}

/// A witness's key with its name.
#[derive(Clone)]
pub struct WitnessSigner {
    key: Arc<dyn Signer>,
    public: WitnessKey,
}

impl fmt::Debug for WitnessSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitnessSigner").field("vkey", &self.public.to_string()).finish_non_exhaustive()
    }
}

impl WitnessSigner {
    /// A key under a name.
    ///
    /// # Errors
    /// `MalformedKey` where the name cannot be one.
    pub fn new(name: &str, key: Arc<dyn Signer>) -> Result<Self, NoteError> {
        let public = WitnessKey::new(name, key.public())?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &WitnessKey {
        &self.public
    }

    /// The line by which this witness says that it saw a checkpoint at a time, 1 or later.
    ///
    /// # Errors
    /// [`SignFault`] where the key does not sign.
    pub fn cosign(&self, text: &str, time: Seconds) -> Result<String, SignFault> {
        let time = time.0.clamp(1, MAX_TIME);
        let signature = self.key.sign(message(time, text).as_bytes())?;
        let blob = [time.to_be_bytes().as_slice(), signature.as_ref()].concat();
        Ok(signature_line(&self.public.name, self.public.id, &blob))
    }
}
