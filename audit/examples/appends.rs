//! Durable appends on request, for `audit/compare/beside_sqlite.py`: `appends FOLDER BATCH` answers each line `signing` or
//! `unsigned` with the nanoseconds that one append of so many leaves of 300 bytes took.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_audit::bench::measured_entry;
use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogWriter, NoteSigner};
use counterfoil_identity::{SecretKey, SignFault, Signer, VerifyKey};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::Signature;
use counterfoil_spec::time::Millis;

/// A key whose signatures cost nothing and are none.
#[derive(Debug)]
struct Free(SecretKey);

impl Signer for Free {
    fn public(&self) -> VerifyKey {
        self.0.public()
    }

    fn sign(&self, _: &[u8]) -> Result<Signature, SignFault> {
        Ok(Signature::from_bytes([7; 64]))
    }
}

fn open(dir: &Path, author: Arc<dyn Signer>) -> LogWriter {
    let root = SecretKey::generate();
    let config = LogConfig {
        dir: dir.to_owned(),
        net_id: root.public().net_id(),
        author,
        role: Role::Node,
        note: NoteSigner::new("bench.invalid/log", Arc::new(SecretKey::generate())).unwrap(),
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

fn main() {
    let mut args = std::env::args().skip(1);
    let (folder, batch) = (args.next().unwrap(), args.next().unwrap().parse::<u64>().unwrap());
    let folder = Path::new(&folder);
    let signing = open(&folder.join("signing"), Arc::new(SecretKey::generate()));
    let unsigned = open(&folder.join("unsigned"), Arc::new(Free(SecretKey::generate())));
    for (turn, line) in std::io::stdin().lines().enumerate() {
        let log = if line.unwrap() == "signing" { &signing } else { &unsigned };
        let first = u64::try_from(turn).unwrap() * batch;
        let entries = (first..first + batch).map(measured_entry).collect();
        let begun = Instant::now();
        log.append(entries).unwrap();
        println!("{}", begun.elapsed().as_nanos());
        std::io::stdout().flush().unwrap();
    }
}
