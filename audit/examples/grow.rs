//! Writes a log to be measured with, or adds to one: `grow FOLDER ENTRIES`. Its entries are refusals, which no rule has anything
//! to say about. Says how long opening took.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use std::sync::Arc;
use std::time::Instant;

use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogWriter, NewEntry, NoteSigner};
use counterfoil_identity::{SecretKey, random};
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::RefusalSeen;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

/// Entries in one append.
const GROUP: u64 = 1024;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap().into();
    let entries: u64 = args.next().unwrap().parse().unwrap();
    let [root, author, log_key] = [1, 2, 3].map(|seed| Arc::new(SecretKey::from_seed([seed; 32])));
    let refused = RefusalSeen { refusal: Refusal::Busy, node: None, by: author.public().router_id() };
    let config = LogConfig {
        dir,
        net_id: root.public().net_id(),
        author,
        role: Role::Router,
        note: NoteSigner::new("grown.example/log", log_key).unwrap(),
        genesis: GenesisFacts {
            root_spki: root.public().spki_der(),
            next_root_hash: None,
            currency: "USD".to_owned(),
            root: Some(root),
        },
        options: LogOptions::default(),
    };
    let begun = Instant::now();
    let (log, opened) = LogWriter::open(config, Arc::new(|| Millis(1_790_000_000_000))).unwrap();
    let (took, unchecked) = (begun.elapsed().as_millis(), opened.unchecked);
    println!("opened with {} entries in {took} ms, {unchecked} to be checked behind the start", opened.size);
    for first in (1..entries).step_by(1024) {
        let count = GROUP.min(entries - first);
        let group = (0..count).map(|_| NewEntry::new(random::serial(), refused.clone())).collect();
        log.append(group).unwrap();
    }
    println!("{} entries", log.close().unwrap().size);
}
