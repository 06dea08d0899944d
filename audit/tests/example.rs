//! The worked example of `spec/audit-log.md`, byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fmt::Write as _;
use std::sync::Arc;

use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use counterfoil_audit::{LogReader, LogWriter, NewEntry};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::KeyRevoked;
use counterfoil_spec::time::Millis;
use data_encoding::HEXLOWER;
use support::{Home, key, signer};

fn hex(out: &mut String, name: &str, bytes: &[u8]) {
    writeln!(out, "{name}").unwrap();
    for line in bytes.chunks(48) {
        writeln!(out, "  {}", HEXLOWER.encode(line)).unwrap();
    }
}

fn example() -> String {
    let mut home = Home::new();
    home.options.segment_bytes = 1 << 20;
    let now = Arc::new(|| Millis(1_790_000_000_000));
    let (log, _) = LogWriter::open(home.config(), now).unwrap();
    let serial: Serial = "00112233445566778899aabbccddeeff".parse().unwrap();
    log.append(vec![NewEntry::new(serial, KeyRevoked { key_id: serial })]).unwrap();
    log.close().unwrap();
    let mut options = VerifyOptions::new(home.dir());
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    assert_eq!(verify_plain(&options).unwrap().faults, []);

    let mut out = String::new();
    writeln!(out, "network id\n  {}", key(1).public().net_id()).unwrap();
    writeln!(out, "log vkey\n  {}", signer().vkey()).unwrap();
    let reader = LogReader::open(&home.dir()).unwrap();
    hex(&mut out, "leaf 0", &reader.leaf(0).unwrap());
    hex(&mut out, "leaf 1", &reader.leaf(1).unwrap());
    let read = |name: &str| std::fs::read(home.dir().join(name)).unwrap();
    hex(&mut out, "tile/0/000.p/2, the two leaf hashes", &read("tile/0/000.p/2"));
    let segment = read("seg/00000000000000000000.log");
    hex(&mut out, "the segment's header", &segment[..52]);
    hex(&mut out, "the segment's last commit frame", &segment[segment.len() - 48..]);
    writeln!(out, "state/signed").unwrap();
    for line in String::from_utf8(read("state/signed")).unwrap().lines() {
        writeln!(out, "  {line}").unwrap();
    }
    writeln!(out, "checkpoint, its last line").unwrap();
    writeln!(out, "  {}", String::from_utf8(read("checkpoint")).unwrap().lines().last().unwrap()).unwrap();
    out
}

#[test]
fn worked_example_is_what_is_written() {
    let text = include_str!("../../spec/audit-log.md");
    let (_, stated) = text.split_once("## Worked example").unwrap();
    let stated = stated.split("```").nth(1).unwrap().strip_prefix("text\n").unwrap();
    assert_eq!(stated, example(), "\n{}", example());
}
