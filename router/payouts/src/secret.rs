//! Keys of payment providers: out of a file that only its owner may read, wiped when they are dropped, never printed.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A key file, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024;

/// A key or a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others may read the file, or it is none.
    #[error("{path}: {reason}; a key lies in a file of mode 0600")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no text that could stand in a header.
    #[error("{0} holds no key: one word in visible ASCII is one")]
    Empty(String),
}

impl Secret {
    /// A secret as text; `None` for one that cannot stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let visible = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        visible.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Every line of a file is a secret.
    ///
    /// # Errors
    /// [`SecretError`] names the file, never what it holds.
    pub fn lines_of(path: &Path) -> Result<Vec<Self>, SecretError> {
        let fault = |reason: String| SecretError::File { path: path.to_path_buf(), reason };
        let file = std::fs::File::open(path).map_err(|e| fault(e.to_string()))?;
        let facts = file.metadata().map_err(|e| fault(e.to_string()))?;
        if !facts.is_file() || facts.mode() & 0o077 != 0 {
            return Err(fault("others may read it".to_owned()));
        }
        if facts.len() > MAX_FILE_BYTES {
            return Err(fault("larger than any key".to_owned()));
        }
        // All at once, so that no piece of it is left behind where a buffer grew.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE_BYTES).unwrap_or(0)));
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|e| fault(e.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| fault("not text".to_owned()))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty()).map(Self::new);
        let lines: Option<Vec<Self>> = lines.collect();
        lines.filter(|all| !all.is_empty()).ok_or_else(|| SecretError::Empty(path.display().to_string()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new(" sk_live_1\n").unwrap();
        assert_eq!(secret.text(), "sk_live_1");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(Secret::new("two words"), None);
        assert_eq!(Secret::new("  "), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stripe.key");
        std::fs::write(&path, "one\n\ntwo\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        let refused = Secret::lines_of(&path).unwrap_err();
        assert!(matches!(&refused, SecretError::File { .. }), "{refused}");
        assert!(!refused.to_string().contains("one"));
        mode(0o600);
        let read = Secret::lines_of(&path).unwrap();
        assert_eq!(read.iter().map(Secret::text).collect::<Vec<_>>(), ["one", "two"]);
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::lines_of(&path), Err(SecretError::Empty(_))));
    }
}
