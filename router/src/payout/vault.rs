//! Where providers' money goes, beside the log: accounts and addresses are personal, so the log has commitments to them.
//!
//! ```text
//! vault/payouts/<commitment>   JSON { rail, reference, salt }, mode 0600; durable before the entry that names it
//! commitment = BLAKE3.derive_key("counterfoil v1 payout-destination", salt(32) ‖ reference)
//! ```

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use counterfoil_identity::digest::{context, derive};
use counterfoil_identity::random;
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::Rail;
use serde::{Deserialize, Serialize};

use super::folder;

#[derive(Serialize, Deserialize)]
struct Kept {
    rail: Rail,
    reference: String,
    salt: Hash,
}

/// Why a destination cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("the destination {path}: {reason}")]
pub struct DestinationError {
    path: PathBuf,
    reason: String,
}

/// The account or address of a commitment.
pub(super) fn read(home: &Path, commitment: &Hash) -> Result<String, DestinationError> {
    let path = folder(home).join(commitment.to_string());
    let fault = |reason: String| DestinationError { path: path.clone(), reason };
    let bytes = std::fs::read(&path).map_err(|e| fault(e.to_string()))?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| fault(e.to_string()))?;
    if commit(&kept.salt, &kept.reference) != *commitment {
        return Err(fault("it is not what the log commits to".to_owned()));
    }
    Ok(kept.reference)
}

/// Keeps an account or address and returns its commitment.
pub(super) fn keep(home: &Path, rail: Rail, reference: &str) -> Result<Hash, DestinationError> {
    let salt = random::hash();
    let commitment = commit(&salt, reference);
    let folder = folder(home);
    let path = folder.join(commitment.to_string());
    let fault = |e: std::io::Error| DestinationError { path: path.clone(), reason: e.to_string() };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fault)?;
    let kept = Kept { rail, reference: reference.to_owned(), salt };
    let text = serde_json::to_vec(&kept).map_err(|e| fault(e.into()))?;
    let fresh = path.with_extension("new");
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = opened.map_err(fault)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(fault)?;
    std::fs::rename(&fresh, &path).map_err(fault)?;
    std::fs::File::open(&folder).and_then(|f| f.sync_all()).map_err(fault)?;
    Ok(commitment)
}

fn commit(salt: &Hash, reference: &str) -> Hash {
    derive(context::PAYOUT_DESTINATION, &[salt.as_bytes(), reference.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_was_changed_is_not() {
        let home = tempfile::tempdir().unwrap();
        let one = keep(home.path(), Rail::Paypal, "node@example.com").unwrap();
        let two = keep(home.path(), Rail::Paypal, "node@example.com").unwrap();
        assert_ne!(one, two);
        assert_eq!(read(home.path(), &one).unwrap(), "node@example.com");
        let path = folder(home.path()).join(one.to_string());
        let text = std::fs::read_to_string(&path).unwrap().replace("node@", "mine@");
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(home.path(), &one).unwrap_err().reason, "it is not what the log commits to");
        assert!(read(home.path(), &Hash::from_bytes([0; 32])).is_err());
    }
}
