//! Measures a log on the disk and cores at hand, beside the floor under each figure: as many bytes written with one
//! `fdatasync` per group, bare signing and bare signature checks. Entries whose signatures cost nothing are appended too, as
//! other stores have none.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::{SecretKey, SignFault, Signer, VerifyKey};
use counterfoil_spec::entry::{Role, entry_signing_input};
use counterfoil_spec::ids::{NodeId, Serial, Signature};
use counterfoil_spec::payload::ConsentGranted;
use counterfoil_spec::time::Millis;
use serde::Serialize;

use crate::chain::NewEntry;
use crate::error::LogError;
use crate::merkle::{leaf_hash, verify_inclusion};
use crate::note::NoteSigner;
use crate::proof::prove;
use crate::reader::LogReader;
use crate::scan::wide;
use crate::segment;
use crate::verify::{VerifyError, VerifyOptions, verify_plain};
use crate::writer::{GenesisFacts, LogConfig, LogOptions, LogWriter};

/// Entries in one append, as measured.
pub const BATCHES: [usize; 3] = [1, 64, 1024];
/// What makes a leaf 300 bytes long.
const TOKEN_BYTES: usize = 81;
/// Checks of an inclusion proof.
const PROOF_CHECKS: u64 = 10_000;

/// How much to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// A folder that does not exist yet; it is made, and deleted at the end.
    pub dir: PathBuf,
    /// Entries of the log that is verified.
    pub entries: u64,
    /// Appends for each batch size.
    pub appends: u64,
    /// Threads that verify; 0 for as many as there are cores.
    pub threads: usize,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// What was measured.
    pub what: String,
    /// How many in a second.
    pub per_second: u64,
    /// Thousandths of the floor under it, where there is one.
    pub permille_of_floor: Option<u64>,
}

/// Why nothing was measured.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BenchError {
    /// The folder is there already.
    #[error("{0} exists; name a folder that does not, it is deleted at the end")]
    Exists(String),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The verifier failed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The log that was just written does not verify.
    #[error("the log that was just written does not verify: {0}")]
    Unsound(String),
}

/// Measures and tells each figure as it comes.
///
/// # Errors
/// [`BenchError`].
pub fn run(options: &BenchOptions, told: &mut dyn FnMut(&Rate)) -> Result<Vec<Rate>, BenchError> {
    if options.dir.exists() {
        return Err(BenchError::Exists(options.dir.display().to_string()));
    }
    let bench = Bench { options, author: Arc::new(SecretKey::generate()) };
    let outcome = bench.measure(told);
    // What is left behind is in a folder that the caller named; the figures count all the same.
    let _ = std::fs::remove_dir_all(&options.dir);
    outcome
}

/// Entries in a second.
struct Appends {
    signed: u64,
    unsigned: u64,
    raw: u64,
}

/// A key whose signatures cost nothing and are none.
#[derive(Debug)]
struct Unsigned(VerifyKey);

impl Signer for Unsigned {
    fn public(&self) -> VerifyKey {
        self.0
    }

    fn sign(&self, _: &[u8]) -> Result<Signature, SignFault> {
        Ok(Signature::from_bytes([7; 64]))
    }
}

struct Bench<'a> {
    options: &'a BenchOptions,
    author: Arc<SecretKey>,
}

fn per_second(count: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

fn rate(what: String, per_second: u64, floor: Option<u64>) -> Rate {
    Rate { what, per_second, permille_of_floor: floor.map(|f| per_second.saturating_mul(1000) / f.max(1)) }
}

/// The entry that is measured with: its leaf has 300 bytes.
#[must_use]
pub fn measured_entry(number: u64) -> NewEntry {
    let mut serial = [0; 16];
    for (to, from) in serial.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    let cti = Serial::from_bytes(serial);
    let token = vec![7; TOKEN_BYTES];
    NewEntry::new(cti, ConsentGranted { node: NodeId::from_bytes([5; 32]), cti, token })
}

impl Bench<'_> {
    fn measure(&self, told: &mut dyn FnMut(&Rate)) -> Result<Vec<Rate>, BenchError> {
        let mut rates = Vec::new();
        let mut tell = |rate: Rate| {
            told(&rate);
            rates.push(rate);
        };
        let signing =
            self.on_all_threads(|key, _, input, _| key.sign(input).as_ref().first().copied() == Some(0));
        tell(rate("bare Ed25519 signing".to_owned(), signing, None));
        for batch in BATCHES {
            let dir = self.options.dir.join(format!("batch-{batch}"));
            let Appends { signed, unsigned, raw } = self.append(&dir, batch)?;
            tell(rate(format!("raw write and fdatasync of the same bytes, {batch} entries each"), raw, None));
            let floor = raw.saturating_mul(signing) / raw.saturating_add(signing).max(1);
            tell(rate(
                format!("durable append, {batch} entries each, over writing and signing"),
                signed,
                Some(floor),
            ));
            tell(rate(
                format!("durable append without signatures, {batch} entries each, over writing"),
                unsigned,
                Some(raw),
            ));
        }
        let dir = self.options.dir.join("verify");
        let log = self.open(&dir, self.author.clone())?;
        for from in (0..self.options.entries).step_by(1024) {
            log.append((from..self.options.entries.min(from + 1024)).map(measured_entry).collect())?;
        }
        let size = log.close()?.size;
        let begun = Instant::now();
        let log = self.open(&dir, self.author.clone())?;
        tell(rate("open the log, entries".to_owned(), per_second(size, begun.elapsed()), None));
        log.close()?;
        tell(rate(format!("check of an inclusion proof at {size} entries"), self.proofs(&dir, size)?, None));
        tell(rate("verify without signatures, entries".to_owned(), self.verify(&dir, false)?, None));
        let bare = self.on_all_threads(|_, public, input, signature| public.verify(input, signature).is_ok());
        tell(rate("bare verify_strict".to_owned(), bare, None));
        tell(rate("verify with signatures, entries".to_owned(), self.verify(&dir, true)?, Some(bare)));
        Ok(rates)
    }

    fn open(&self, dir: &Path, author: Arc<dyn Signer>) -> Result<LogWriter, LogError> {
        let root = SecretKey::from_seed([1; 32]);
        let note = NoteSigner::new("bench.invalid/log", Arc::new(SecretKey::from_seed([2; 32])));
        let note = note.map_err(|_| LogError::BadOrigin { origin: "bench.invalid/log".to_owned() })?;
        let config = LogConfig {
            dir: dir.to_owned(),
            net_id: root.public().net_id(),
            author,
            role: Role::Node,
            note,
            genesis: GenesisFacts {
                root_spki: root.public().spki_der(),
                next_root_hash: None,
                currency: "USD".to_owned(),
                root: None,
            },
            options: LogOptions::default(),
        };
        Ok(LogWriter::open(config, Arc::new(|| Millis(1_790_000_000_000)))?.0)
    }

    /// Entries in a second through the writer, with signatures and without, and as bare writes of as many bytes. The three
    /// take turns, so that what else the disk and the cores do falls on all of them.
    fn append(&self, dir: &Path, batch: usize) -> Result<Appends, BenchError> {
        let logs = [
            self.open(&dir.join("signed"), self.author.clone())?,
            self.open(&dir.join("unsigned"), Arc::new(Unsigned(self.author.public())))?,
        ];
        let [signed, _] = &logs;
        signed.append(vec![measured_entry(u64::MAX)])?;
        let leaf = LogReader::open(&dir.join("signed"))?.leaf(1)?;
        let mut frames = Vec::new();
        for _ in 0..batch {
            segment::push_entry(&mut frames, &leaf);
        }
        frames.extend_from_slice(&[0; segment::COMMIT_BYTES]);
        let path = self.options.dir.join("raw");
        let store = |e| LogError::store("write", &path)(e);
        let mut file = File::create(&path).map_err(store)?;
        let (appends, batch) = (self.options.appends, wide(batch));
        let mut took = [Duration::ZERO; 3];
        let [ours @ .., raw] = &mut took;
        for n in 0..appends {
            for (log, took) in logs.iter().zip(&mut *ours) {
                let entries = (n * batch..(n + 1) * batch).map(measured_entry).collect();
                let begun = Instant::now();
                log.append(entries)?;
                *took += begun.elapsed();
            }
            let begun = Instant::now();
            file.write_all(&frames).and_then(|()| file.sync_data()).map_err(store)?;
            *raw += begun.elapsed();
        }
        for log in logs {
            log.close()?;
        }
        let [signed, unsigned, raw] = took.map(|took| per_second(appends * batch, took));
        Ok(Appends { signed, unsigned, raw })
    }

    /// Checks of one proof in a second.
    fn proofs(&self, dir: &Path, size: u64) -> Result<u64, BenchError> {
        let index = size / 3;
        let reader = LogReader::open(dir)?;
        let (proof, leaf, root) = (prove(dir, index)?, leaf_hash(&reader.leaf(index)?), reader.head().root);
        let begun = Instant::now();
        for _ in 0..PROOF_CHECKS {
            let leaf = std::hint::black_box(&leaf);
            verify_inclusion(index, size, leaf, &proof.path, &root)
                .map_err(|e| BenchError::Unsound(e.to_string()))?;
        }
        Ok(per_second(PROOF_CHECKS, begun.elapsed()))
    }

    fn verify(&self, dir: &Path, signatures: bool) -> Result<u64, BenchError> {
        let mut options = VerifyOptions::new(dir);
        options.signatures = signatures;
        options.threads = self.options.threads;
        let begun = Instant::now();
        let report = verify_plain(&options)?;
        let took = begun.elapsed();
        match report.faults.first() {
            Some(fault) => Err(BenchError::Unsound(format!("{fault:?}"))),
            None => Ok(per_second(report.size, took)),
        }
    }

    /// How often in a second something is done with a signature, on as many threads as the verifier has.
    fn on_all_threads(&self, work: impl Fn(&SecretKey, &VerifyKey, &[u8], &Signature) -> bool + Sync) -> u64 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if self.options.threads == 0 { cores } else { self.options.threads };
        let public = self.author.public();
        let body = [7; 200];
        let input =
            entry_signing_input(&public.net_id(), "bench.invalid/log", Role::Node, &public.kid(), &body);
        let signature = SecretKey::sign(&self.author, &input);
        let each = self.options.entries.div_ceil(wide(threads));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..each {
                        let input = std::hint::black_box(input.as_slice());
                        std::hint::black_box(work(&self.author, &public, input, &signature));
                    }
                });
            }
        });
        per_second(each * wide(threads), begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_spec::entry::Leaf;

    #[test]
    fn every_figure_is_told_and_the_folder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("bench");
        let options = BenchOptions { dir: dir.clone(), entries: 20, appends: 1, threads: 1 };
        let mut told = Vec::new();
        let rates = run(&options, &mut |r| told.push(r.clone())).unwrap();
        assert_eq!(rates.len(), 15);
        assert_eq!(told, rates);
        assert!(!dir.exists());
    }

    #[test]
    fn folder_that_exists_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let options = BenchOptions { dir, entries: 1, appends: 1, threads: 1 };
        assert!(matches!(run(&options, &mut |_| {}), Err(BenchError::Exists(_))));
    }

    #[test]
    fn measured_leaf_is_three_hundred_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("bench");
        let options = BenchOptions { dir: dir.clone(), entries: 1, appends: 1, threads: 1 };
        let bench = Bench { options: &options, author: Arc::new(SecretKey::from_seed([1; 32])) };
        let log = bench.open(&dir, bench.author.clone()).unwrap();
        log.append(vec![measured_entry(300)]).unwrap();
        let leaf = LogReader::open(&dir).unwrap().leaf(1).unwrap();
        assert_eq!(leaf.len(), 300);
        Leaf::read(&leaf).unwrap();
    }
}
