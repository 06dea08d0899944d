//! `counterfoil conform`: this program, and other commands, against the vectors.

use std::fs;

use serde_json::Value;

use crate::harness::{Ended, ask, repository};

const PROGRAM: &str = env!("CARGO_BIN_EXE_counterfoil");

fn conform(arguments: &[&str]) -> (Ended, Value) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().display().to_string();
    let ended = ask(&[&["conform", "--json", "--home", &home], arguments].concat());
    let report = serde_json::from_str(&ended.out).unwrap_or(Value::Null);
    (ended, report)
}

/// A folder with one file of vectors, changed.
fn changed(from: &str, to: &str) -> tempfile::TempDir {
    let text = fs::read_to_string(format!("{}/receipts.json", repository("conformance/vectors"))).unwrap();
    assert!(text.contains(from));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("receipts.json"), text.replacen(from, to, 1)).unwrap();
    folder
}

#[test]
fn every_vector_comes_out_as_it_must_here_and_line_by_line() {
    let (here, report) = conform(&[]);
    assert_eq!(here.code, 0, "{here:?}");
    let told = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((told("failed"), told("skipped")), (0, 0));
    assert_eq!(told("passed"), told("accepts") + told("refusals"));
    let mut announced = 0;
    for entry in fs::read_dir(repository("conformance/vectors")).unwrap() {
        let file: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        announced += file["numberOfTests"].as_u64().unwrap();
    }
    assert_eq!(told("passed"), announced);
    let (asked, answered) = conform(&["--command", PROGRAM, "conform", "--answer"]);
    assert_eq!((asked.code, answered), (0, report), "{}", asked.err);
}

#[test]
fn a_case_that_comes_out_otherwise_is_named_and_fails() {
    let folder = changed(r#""result": "valid""#, r#""result": "invalid", "refusal": "R_GRANT""#);
    let (ended, report) = conform(&["--vectors", &folder.path().display().to_string()]);
    assert_eq!((ended.code, &report["failed"]), (1, &1.into()), "{ended:?}");
    let failure = &report["failures"][0];
    assert_eq!(failure["tcId"], 1);
    assert_eq!((&failure["expected"], &failure["got"]), (&"invalid R_GRANT".into(), &"valid".into()));
    let folder = changed(r#""numberOfTests": "#, r#""numberOfTests": 1"#);
    assert_eq!(conform(&["--vectors", &folder.path().display().to_string()]).0.code, 2);
}

#[test]
fn a_command_that_accepts_all_fails_and_one_that_says_nothing_is_an_error() {
    let yes = r#"while read -r line; do echo '{"result": "valid"}'; done"#;
    let (ended, report) = conform(&["--command", "sh", "-c", yes]);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(report["refusals"], 0);
    assert_eq!(report["passed"], report["accepts"]);
    let skips = r#"while read -r line; do echo '{"result": "skipped"}'; done"#;
    let (ended, report) = conform(&["--command", "sh", "-c", skips]);
    assert_eq!((ended.code, &report["passed"], &report["failed"]), (1, &0.into(), &0.into()));
    let (ended, _) = conform(&["--command", "true"]);
    assert_eq!(ended.code, 4, "{ended:?}");
}
