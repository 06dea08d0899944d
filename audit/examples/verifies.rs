//! Verification on request, for `audit/compare/beside_tlog.py`: `verifies LOG ENTRIES` writes a log of so many entries of
//! 300 bytes where there is none, prints the log's key, and answers each line with nanoseconds: `plain` and `signed` for one
//! verification without and with signatures, `bare` for as many checks of a signature, `proof` for a thousand checks of
//! inclusion proofs at the log's size, `open` for opening the log for writing.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_audit::bench::measured_entry;
use counterfoil_audit::merkle::{leaf_hash, verify_inclusion};
use counterfoil_audit::proof::{prove, published};
use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogReader, LogWriter, NoteSigner, checkpoint};
use counterfoil_identity::SecretKey;
use counterfoil_spec::entry::{Role, entry_signing_input};
use counterfoil_spec::time::Millis;

/// Entries in one append.
const GROUP: u64 = 4096;
/// Proofs that are checked for one answer.
const PROOFS: u64 = 1000;

fn open(dir: &Path) -> LogWriter {
    let [root, author, log_key] = [1, 2, 3].map(|seed| Arc::new(SecretKey::from_seed([seed; 32])));
    let config = LogConfig {
        dir: dir.to_owned(),
        net_id: root.public().net_id(),
        author,
        role: Role::Node,
        note: NoteSigner::new("bench.invalid/log", log_key).unwrap(),
        genesis: GenesisFacts {
            root_spki: root.public().spki_der(),
            next_root_hash: None,
            currency: "USD".to_owned(),
            root: None,
        },
        options: LogOptions::default(),
    };
    LogWriter::open(config, Arc::new(|| Millis(1_790_000_000_000))).unwrap().0
}

fn write(dir: &Path, entries: u64) {
    let log = open(dir);
    for first in (1..entries).step_by(usize::try_from(GROUP).unwrap()) {
        log.append((first..entries.min(first + GROUP)).map(measured_entry).collect()).unwrap();
    }
    assert_eq!(log.close().unwrap().size, entries);
}

fn verify(dir: &Path, entries: u64, signatures: bool) -> u128 {
    let mut options = VerifyOptions::new(dir);
    options.signatures = signatures;
    let begun = Instant::now();
    let report = verify_plain(&options).unwrap();
    let took = begun.elapsed();
    assert_eq!((report.size, report.faults.len()), (entries, 0));
    took.as_nanos()
}

/// As many checks of signatures as the log has entries, on as many threads as there are cores.
fn bare(entries: u64) -> u128 {
    let key = SecretKey::from_seed([2; 32]);
    let public = key.public();
    let input =
        entry_signing_input(&public.net_id(), "bench.invalid/log", Role::Node, &public.kid(), &[7; 215]);
    let signature = key.sign(&input);
    let threads = std::thread::available_parallelism().unwrap().get();
    let each = entries.div_ceil(u64::try_from(threads).unwrap());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..each).for_each(|_| public.verify(&input, &signature).unwrap()));
        }
    });
    begun.elapsed().as_nanos()
}

fn proofs(dir: &Path, entries: u64) -> u128 {
    let head = published(dir, checkpoint::FILE).unwrap().unwrap().1.head;
    let index = entries / 3;
    let proof = prove(dir, index).unwrap();
    let leaf = leaf_hash(&LogReader::open(dir).unwrap().leaf(index).unwrap());
    let begun = Instant::now();
    for _ in 0..PROOFS {
        let leaf = std::hint::black_box(&leaf);
        verify_inclusion(index, head.size, leaf, &proof.path, &head.root).unwrap();
    }
    begun.elapsed().as_nanos()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (folder, entries) = (args.next().unwrap(), args.next().unwrap().parse::<u64>().unwrap());
    let dir = Path::new(&folder);
    if !dir.exists() {
        write(dir, entries);
    }
    println!(
        "{}",
        NoteSigner::new("bench.invalid/log", Arc::new(SecretKey::from_seed([3; 32]))).unwrap().vkey()
    );
    for line in std::io::stdin().lines() {
        let nanos = match line.unwrap().as_str() {
            "plain" => verify(dir, entries, false),
            "signed" => verify(dir, entries, true),
            "bare" => bare(entries),
            "proof" => proofs(dir, entries),
            _ => {
                let begun = Instant::now();
                let log = open(dir);
                let took = begun.elapsed();
                log.close().unwrap();
                took.as_nanos()
            }
        };
        println!("{nanos}");
        std::io::stdout().flush().unwrap();
    }
}
