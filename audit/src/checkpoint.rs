//! Checkpoints: a log's signed heads (C2SP tlog-checkpoint, without extension lines).
//!
//! ```text
//! <origin>\n<size, decimal>\n<base64 root>\n      then a signed note's signature lines
//! ```

use counterfoil_identity::SignFault;
use counterfoil_spec::ids::Hash;
use data_encoding::BASE64;

use crate::merkle::Head;
use crate::note::{Note, NoteError, NoteSigner, is_name};
use crate::trust::TrustsNotes;

/// The file's name, relative to the log's folder.
pub const FILE: &str = "checkpoint";

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// Its size and root.
    pub head: Head,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.head.size, BASE64.encode(self.head.root.as_bytes()))
    }

    /// The signed note.
    ///
    /// # Errors
    /// [`SignFault`] where the key does not sign.
    pub fn sign(&self, signer: &NoteSigner) -> Result<String, SignFault> {
        signer.sign(&self.text())
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// `MalformedNote` for anything that [`Checkpoint::text`] does not write.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut lines = text.split('\n');
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let root = BASE64.decode(root.as_bytes()).ok()?;
            let head = Head { size: size.parse().ok()?, root: Hash::from_slice(&root)? };
            let out = Self { origin: origin.to_owned(), head };
            (is_name(origin) && out.text() == text).then_some(out)
        };
        read().ok_or(NoteError::MalformedNote("not a checkpoint of three lines"))
    }

    /// The note with a line of each of these keys.
    ///
    /// # Errors
    /// [`SignFault`] where one of them does not sign.
    pub fn sign_by(&self, signers: &[NoteSigner]) -> Result<String, SignFault> {
        let text = self.text();
        let lines = signers.iter().map(|signer| signer.line(&text)).collect::<Result<String, _>>()?;
        Ok(format!("{text}\n{lines}"))
    }

    /// Reads a note and checks the signature of the key that is trusted, or of one of those that are.
    ///
    /// # Errors
    /// [`NoteError`]; `NoTrustedSignature` also where the origin is not the key's name.
    pub fn open<K: TrustsNotes + ?Sized>(note: &[u8], key: &K) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        let out = Self::parse(&note.text)?;
        if out.origin != key.origin() {
            return Err(NoteError::NoTrustedSignature(key.words()));
        }
        key.check(&note)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "a.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

    #[test]
    fn text_reads_back() {
        let head = Head { size: 0, root: crate::merkle::empty_root() };
        let checkpoint = Checkpoint { origin: "a.example/log".to_owned(), head };
        assert_eq!(checkpoint.text(), EMPTY);
        assert_eq!(Checkpoint::parse(EMPTY), Ok(checkpoint));
    }

    #[test]
    fn other_forms_are_refused() {
        let refused = Err(NoteError::MalformedNote("not a checkpoint of three lines"));
        for text in [
            EMPTY.replace("\n0\n", "\n00\n"),
            EMPTY.replace("\n0\n", "\n+0\n"),
            EMPTY.replace("FU=", "FV="),
            format!("{EMPTY}extension\n"),
            EMPTY.trim_end().to_owned(),
            EMPTY.replace("a.example/log", ""),
        ] {
            assert_eq!(Checkpoint::parse(&text), refused, "{text}");
        }
    }
}
