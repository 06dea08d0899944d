//! The format of a home: what a program must know before it reads or writes the files there.
//!
//! ```text
//! home.json    { "format": 1 }
//! ```
//!
//! A home without the file is one that was made before there was a second format to tell apart, so it has the first.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::key_file::{make_folder, sync_folder};

/// The format that this program reads and writes.
pub const HOME_FORMAT: u64 = 1;
const FILE: &str = "home.json";
const MAX_SHOWN: usize = 80;

/// Why a home is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum HomeFormatFault {
    /// A later version made it, or changed it.
    #[error(
        "{path} says that this home has format {found}; this program reads format {HOME_FORMAT}. A newer version made it: use that one, \
         or another --home. Nothing was changed"
    )]
    Newer {
        /// Where it says so.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// An earlier version made it.
    #[error(
        "{path} says that this home has format {found}; this program reads format {HOME_FORMAT} and does not turn one into the other. An \
         older version made it: use that one, or another --home. Nothing was changed"
    )]
    Older {
        /// Where it says so.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// Not what a home says.
    #[error(
        "{path} does not say which format this home has: {text:?}. Put the file back from a copy; as this program writes it, it is \
         {{ \"format\": {HOME_FORMAT} }}. Nothing was changed"
    )]
    Unclear {
        /// Where.
        path: PathBuf,
        /// How it begins.
        text: String,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

/// Whether a home that is there says its format. A folder without the file, or that is not there, passes.
///
/// # Errors
/// [`HomeFormatFault`] for any other format than [`HOME_FORMAT`].
pub fn check_home_format(home: &Path) -> Result<bool, HomeFormatFault> {
    let path = home.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        Err(source) => return Err(HomeFormatFault::Io { path, source }),
    };
    match format(&text) {
        Some(HOME_FORMAT) => Ok(true),
        Some(found) if found > HOME_FORMAT => Err(HomeFormatFault::Newer { path, found }),
        Some(found) => Err(HomeFormatFault::Older { path, found }),
        None => Err(HomeFormatFault::Unclear { path, text: text.chars().take(MAX_SHOWN).collect() }),
    }
}

/// Lets a home that does not say its format say it; a folder that is not there is made.
///
/// # Errors
/// [`HomeFormatFault`]; a home of another format is left as it is.
pub fn keep_home_format(home: &Path) -> Result<(), HomeFormatFault> {
    if check_home_format(home)? {
        return Ok(());
    }
    let (path, fresh) = (home.join(FILE), home.join("home.new"));
    let written = || {
        make_folder(home)?;
        let mut file = File::create(&fresh)?;
        file.write_all(format!("{{ \"format\": {HOME_FORMAT} }}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        sync_folder(home)
    };
    written().map_err(|source| HomeFormatFault::Io { path: path.clone(), source })
}

/// The number in `{ "format": N }` with whatever white space, and nothing else beside it.
fn format(text: &str) -> Option<u64> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (key, value) = inside.split_once(':')?;
    let value = value.trim();
    let digits = key.trim() == "\"format\"" && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_says_its_format_once_it_is_kept() {
        let home = tempfile::tempdir().unwrap();
        assert!(!check_home_format(home.path()).unwrap());
        assert!(!check_home_format(&home.path().join("not/there")).unwrap());
        keep_home_format(home.path()).unwrap();
        assert!(check_home_format(home.path()).unwrap());
        assert_eq!(std::fs::read_to_string(home.path().join(FILE)).unwrap(), "{ \"format\": 1 }\n");
        keep_home_format(home.path()).unwrap();
        std::fs::write(home.path().join(FILE), "{\"format\":1}").unwrap();
        assert!(check_home_format(home.path()).unwrap());
    }

    #[test]
    fn any_other_format_is_refused_in_its_own_words_and_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        for (text, words) in [
            (
                "{ \"format\": 2 }\n",
                "has format 2; this program reads format 1. A newer version made it: use that one",
            ),
            ("{ \"format\": 0 }", "An older version made it: use that one"),
            ("{ \"format\": \"1\" }", "does not say which format this home has"),
            ("{ \"format\": -1 }", "does not say which format this home has"),
            ("{ \"form\": 1 }", "does not say which format this home has"),
            ("", "Put the file back from a copy"),
        ] {
            std::fs::write(&path, text).unwrap();
            for refused in [check_home_format(home.path()).map(drop), keep_home_format(home.path())] {
                let said = refused.unwrap_err().to_string();
                assert!(said.contains(words) && said.ends_with("Nothing was changed"), "{text:?}: {said}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
