//! Where a fault of a configuration was found, and how numbers in it are read.

use std::path::Path;

use serde::Deserialize;

use crate::error::LoadError;

/// Reads JSON and names the file where it cannot.
pub(crate) fn json<'a, T: Deserialize<'a>>(file: &Path, bytes: &'a [u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|e| At(file).malformed(e.to_string()))
}

/// The file that a configuration is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a>(pub(crate) &'a Path);

impl At<'_> {
    /// The file says what cannot be.
    pub(crate) fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { file: self.0.to_path_buf(), reason }
    }

    /// The file says what is not computed.
    pub(crate) fn unsupported(&self, key: &'static str, found: &str, expected: &str) -> LoadError {
        LoadError::Unsupported {
            file: self.0.to_path_buf(),
            key,
            found: found.chars().take(80).collect(),
            expected: expected.to_owned(),
        }
    }

    /// A number from 1 to `limit`.
    pub(crate) fn size(&self, what: &'static str, found: u64, limit: usize) -> Result<usize, LoadError> {
        match usize::try_from(found) {
            Ok(0) => Err(self.malformed(format!("{what} is 0"))),
            Ok(size) if size <= limit => Ok(size),
            _ => Err(self.too_large(what, found, u64::try_from(limit).unwrap_or(u64::MAX))),
        }
    }

    /// A number from 1 to `limit`.
    pub(crate) fn count(&self, what: &'static str, found: u64, limit: u32) -> Result<u32, LoadError> {
        match u32::try_from(found) {
            Ok(0) => Err(self.malformed(format!("{what} is 0"))),
            Ok(count) if count <= limit => Ok(count),
            _ => Err(self.too_large(what, found, limit.into())),
        }
    }

    /// A float that the arithmetic uses as an f32.
    pub(crate) fn narrow(&self, what: &'static str, found: f64) -> Result<f32, LoadError> {
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is f32; checked to be finite")]
        let narrow = found as f32;
        if narrow.is_finite() {
            Ok(narrow)
        } else {
            Err(self.malformed(format!("{what} {found} is not a number of 32 bits")))
        }
    }

    /// Refuses a key that is present with a value that is not computed.
    pub(crate) fn only<T: PartialEq + std::fmt::Debug>(
        &self,
        key: &'static str,
        found: Option<&T>,
        allowed: &T,
    ) -> Result<(), LoadError> {
        match found {
            Some(found) if found != allowed => {
                let plain = |value: &T| format!("{value:?}").replace('"', "");
                Err(self.unsupported(key, &plain(found), &plain(allowed)))
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self, what: &'static str, found: u64, limit: u64) -> LoadError {
        LoadError::TooLarge { file: self.0.to_path_buf(), what, found, limit }
    }
}
