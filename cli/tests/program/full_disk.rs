//! A home on a disk that fills: a tmpfs of 64 MiB in a namespace of its own, where the system allows one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Home, Program};
use crate::http::{Reply, ask, question};

const INSIDE: &str = "COUNTERFOIL_TEST_FILLING_DISK";
const MOUNT: &str = r#"mount -t tmpfs -o size=64m none "$1" && shift && exec "$@""#;
const NAME: &str =
    "full_disk::disk_of_the_log_that_fills_refuses_new_requests_and_goes_on_once_there_is_space";

#[test]
fn disk_of_the_log_that_fills_refuses_new_requests_and_goes_on_once_there_is_space() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return fill(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let within = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", MOUNT, "sh"]).arg(folder.path()).arg(program);
        command
    };
    if !within(Path::new("true")).output().is_ok_and(|o| o.status.success()) {
        println!("skipped: no namespace with a tmpfs can be made here");
        return;
    }
    let output = within(&std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{output:?}");
}

/// Takes all space but so much.
fn leave(folder: &Path, free: u64) -> PathBuf {
    let disk = rustix::fs::statvfs(folder).unwrap();
    let ballast = folder.join(format!("ballast-{free}"));
    let mut left = (disk.f_bavail * disk.f_frsize).checked_sub(free).unwrap();
    let (file, chunk, mut at) = (File::create(&ballast).unwrap(), vec![7; 64 << 10], 0);
    while left > 0 {
        let len = left.min(64 << 10);
        file.write_all_at(&chunk[..usize::try_from(len).unwrap()], at).unwrap();
        (left, at) = (left - len, at + len);
    }
    ballast
}

fn short(program: &Program) -> Reply {
    ask(program.address(), None, &question(&json!({ "max_tokens": 3 })))
}

/// What a router says of a request with an `Idempotency-Key`.
fn keyed(program: &Program, repeat: &str) -> Reply {
    let key = format!("none\r\nidempotency-key: {repeat}");
    ask(program.address(), Some(&key), &question(&json!({ "max_tokens": 3 })))
}

fn fill(folder: &Path) {
    let home = Home::new();
    assert!(home.path().starts_with(folder));
    let program = home.run(&[]);
    let first = short(&program);
    assert_eq!(first.status, 200);

    // Room for what is under way, and for nothing new.
    let ballast = leave(folder, 12 << 20);
    let requests = home.payloads("inference").len();
    assert_eq!(short(&program).fault(), (503, Some("unavailable".to_owned())));
    assert_eq!(home.payloads("inference").len(), requests);
    // No room for anything.
    let rest = leave(folder, 0);
    assert_eq!(short(&program).fault(), (503, Some("unavailable".to_owned())));
    assert_eq!(keyed(&program, "k").fault(), (503, Some("unavailable".to_owned())));
    let report = home.json(&["audit", "verify"]);
    assert_eq!((&report["ok"], &report["torn_bytes"]), (&json!(true), &json!(0)), "{report}");

    std::fs::remove_file(rest).unwrap();
    std::fs::remove_file(ballast).unwrap();
    let again = short(&program);
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert!(again.entry() > first.entry());
    assert_eq!(keyed(&program, "k").text(), first.text());
    assert_eq!(keyed(&program, "k").header("idempotent-replayed"), Some("true"));
    program.stop();
    home.assert_logs_verify();
}
