//! A disk without space: a tmpfs of 1 MiB in a namespace of its own, where the system allows one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::process::Command;

use counterfoil_audit::LogError;
use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use support::{Home, entries};

const INSIDE: &str = "COUNTERFOIL_TEST_SMALL_DISK";
const MOUNT: &str = r#"mount -t tmpfs -o size=1m none "$1" && shift && exec "$@""#;

#[test]
fn full_disk_is_named_the_log_stays_whole_and_space_lets_it_go_on() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return fill(std::path::Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut probe = Command::new("unshare");
    probe.args(["-rm", "sh", "-c", MOUNT, "sh"]).arg(folder.path()).arg("true");
    if !probe.output().is_ok_and(|o| o.status.success()) {
        println!("skipped: no namespace with a tmpfs can be made here");
        return;
    }
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", MOUNT, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "full_disk_is_named_the_log_stays_whole_and_space_lets_it_go_on", "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn fill(folder: &std::path::Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 640 << 10]).unwrap();
    let mut home = Home::new();
    home.folder = tempfile::tempdir_in(folder).unwrap();
    home.options.segment_bytes = 100 << 10;
    let (log, _) = home.open().unwrap();
    let mut next = 0;
    let refused = loop {
        let before = log.head();
        match log.append(entries(next..next + 40)) {
            Ok(_) => next += 40,
            Err(e) => {
                assert_eq!(log.head(), before);
                break e;
            }
        }
    };
    assert!(matches!(refused, LogError::DiskFull { .. }), "{refused:?}");
    assert!(matches!(log.publish(), Err(LogError::DiskFull { .. })));
    let options = VerifyOptions::new(home.dir());
    let report = verify_plain(&options).unwrap();
    assert_eq!((report.faults, report.committed, report.torn_bytes), (Vec::new(), 1 + next, 0));

    std::fs::remove_file(ballast).unwrap();
    assert_eq!(log.append(entries(next..next + 1)).unwrap().first, 1 + next);
    let head = log.close().unwrap();
    let report = verify_plain(&options).unwrap();
    assert_eq!((report.faults, report.size), (Vec::new(), head.size));
}
