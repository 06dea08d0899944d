//! Receipts that this node signed and that the router has not countersigned, or whose two halves are not logged yet.
//!
//! ```text
//! unsettled/<serial> = canonical CBOR { 1: request serial, 2: [ [ receipt body: bstr, node signature ], … ] }
//! ```
//!
//! Of one order the latest receipts are kept, the last one last: the router may have countersigned one before it. A file is written before its receipt is sent and removed after the countersigned receipt is durable in the log.
//! It is not synced: it survives the end of the process, not of the machine's power.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::{Serial, Signature};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::time::Millis;
use minicbor::{Decode, Encode};

use crate::config::NodeError;

/// Receipts that are kept at most; beyond that the ones with the lowest serials are given up.
pub(crate) const MAX_UNSETTLED_KEPT: usize = 1024;

/// Receipts of one order that are kept at most.
const MAX_HALVES: usize = 4;
/// How long a receipt is kept, in milliseconds after its close. A router that countersigned it in time has logged it
/// long before.
const KEEP_MS: u64 = 86_400_000;

/// The receipts of one order, and the request that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Kept {
    /// The request.
    #[n(1)]
    pub(crate) request: Serial,
    /// The latest ones; at least one.
    #[n(2)]
    pub(crate) halves: Vec<Half>,
}

/// A receipt's first half.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Half {
    /// Canonical bytes of a receipt body.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) body: Vec<u8>,
    /// The node's half.
    #[n(1)]
    pub(crate) node_sig: Signature,
}

impl Kept {
    fn is_old(&self, now: Millis) -> bool {
        let last = self.halves.last();
        let body = last.and_then(|half| from_canonical::<ReceiptBody>(&half.body, MAX_CONTROL_BYTES).ok());
        body.is_none_or(|body| body.closed.plus(KEEP_MS) < now)
    }
}

/// The receipts of one node, by serial.
#[derive(Debug)]
pub(crate) struct Unsettled {
    dir: PathBuf,
    kept: BTreeMap<Serial, Kept>,
}

impl Unsettled {
    /// Reads what an earlier process left. A file that cannot be read as a receipt is left alone.
    pub(crate) fn open(home: &Path) -> Result<Self, NodeError> {
        let dir = home.join("unsettled");
        let fault = |source| NodeError::Io { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(fault)?;
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(fault)?.take(MAX_UNSETTLED_KEPT) {
            let path = entry.map_err(fault)?.path();
            let serial = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<Serial>().ok());
            let bytes = read_limited(&path).map_err(fault)?;
            if let (Some(serial), Ok(receipt)) = (serial, from_canonical::<Kept>(&bytes, MAX_CONTROL_BYTES)) {
                kept.insert(serial, receipt);
            }
        }
        Ok(Self { dir, kept })
    }

    pub(crate) fn serials(&self) -> Vec<Serial> {
        self.kept.keys().copied().collect()
    }

    /// The last receipt of each order.
    pub(crate) fn last_halves(&self) -> impl Iterator<Item = (&Serial, &Half)> {
        self.kept.iter().filter_map(|(serial, kept)| Some((serial, kept.halves.last()?)))
    }

    /// Gives up what is too old to be countersigned any more.
    pub(crate) fn drop_old(&mut self, now: Millis) {
        let old: Vec<Serial> = self.kept.iter().filter(|(_, k)| k.is_old(now)).map(|(s, _)| *s).collect();
        for serial in old {
            tracing::warn!(%serial, "a receipt that the router never countersigned is given up");
            if let Some(file) = self.settle(&serial) {
                remove(&file);
            }
        }
    }

    pub(crate) fn find(&self, serial: &Serial) -> Option<&Kept> {
        self.kept.get(serial)
    }

    /// Keeps one more receipt of an order.
    pub(crate) fn keep(&mut self, serial: Serial, request: Serial, half: Half) -> io::Result<()> {
        if self.kept.len() >= MAX_UNSETTLED_KEPT
            && !self.kept.contains_key(&serial)
            && let Some((lost, _)) = self.kept.pop_first()
        {
            tracing::warn!(serial = %lost, "too many receipts without the router's half; one is given up");
            fs::remove_file(self.path(&lost))?;
        }
        let mut receipt = self.kept.remove(&serial).unwrap_or_else(|| Kept { request, halves: Vec::new() });
        if receipt.halves.len() >= MAX_HALVES {
            receipt.halves.remove(0);
        }
        receipt.halves.push(half);
        let path = self.path(&serial);
        let part = self.dir.join("part");
        fs::write(&part, to_canonical(&receipt))?;
        fs::rename(part, path)?;
        self.kept.insert(serial, receipt);
        Ok(())
    }

    /// Forgets a receipt here; its file stays until [`remove`] is called with the path.
    pub(crate) fn settle(&mut self, serial: &Serial) -> Option<PathBuf> {
        self.kept.remove(serial).map(|_| self.path(serial))
    }

    fn path(&self, serial: &Serial) -> PathBuf {
        self.dir.join(serial.to_string())
    }
}

/// Removes the file of a receipt that is logged.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        // It is sent once more after the next start, and then found in the log.
        tracing::warn!(path = %path.display(), %error, "a settled receipt's file stays");
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_CONTROL_BYTES).unwrap_or(u64::MAX);
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_spec::ids::{Hash, ManifestId, NodeId, RouterId};

    fn serial(n: u8) -> Serial {
        Serial::from_bytes([n; 16])
    }

    fn half(n: u8) -> Half {
        Half { body: vec![n], node_sig: Signature::from_bytes([n; 64]) }
    }

    #[test]
    fn a_new_process_finds_what_was_kept_and_not_what_was_settled() {
        let home = tempfile::tempdir().unwrap();
        let mut first = Unsettled::open(home.path()).unwrap();
        first.keep(serial(2), serial(200), half(2)).unwrap();
        for n in 1..=5 {
            first.keep(serial(1), serial(200), half(n)).unwrap();
        }
        remove(&first.settle(&serial(2)).unwrap());
        let second = Unsettled::open(home.path()).unwrap();
        assert_eq!(second.serials(), [serial(1)]);
        let want = Kept { request: serial(200), halves: (2..=5).map(half).collect() };
        assert_eq!(second.find(&serial(1)), Some(&want));
        assert_eq!(second.last_halves().collect::<Vec<_>>(), [(&serial(1), &half(5))]);
    }

    #[test]
    fn a_damaged_file_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        Unsettled::open(home.path()).unwrap();
        let path = home.path().join("unsettled").join(serial(3).to_string());
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(Unsettled::open(home.path()).unwrap().serials(), []);
        assert!(path.exists());
    }

    #[test]
    fn a_receipt_is_given_up_after_a_day() {
        let home = tempfile::tempdir().unwrap();
        let mut kept = Unsettled::open(home.path()).unwrap();
        let body = ReceiptBody {
            serial: serial(1),
            open_hash: Hash::from_bytes([0; 32]),
            node: NodeId::from_bytes([0; 32]),
            router: RouterId::from_bytes([0; 32]),
            manifest: ManifestId::from_bytes([0; 32]),
            cti: serial(2),
            forwards: 1,
            made: 1,
            transcript: Hash::from_bytes([0; 32]),
            opened: Millis(0),
            closed: Millis(5),
            compute_us: 0,
        };
        let half = Half { body: to_canonical(&body), node_sig: Signature::from_bytes([0; 64]) };
        kept.keep(serial(1), serial(200), half).unwrap();
        kept.drop_old(Millis(5 + KEEP_MS));
        assert_eq!(kept.serials(), [serial(1)]);
        kept.drop_old(Millis(6 + KEEP_MS));
        assert_eq!(kept.serials(), []);
        assert_eq!(Unsettled::open(home.path()).unwrap().serials(), []);
    }
}
