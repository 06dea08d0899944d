//! Every refusal is met somewhere with its exact code, beside something that is accepted: by a vector, or by a test or
//! script that `conformance/black-box.json` names. Nothing here knows the code that refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "refusals/table.rs"]
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use table::{BlackBox, Refusals, Texts, Vectors, findings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn vectors() -> Vec<(String, Vectors)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(root().join("conformance/vectors")).unwrap() {
        let path = entry.unwrap().path();
        out.push((path.file_name().unwrap().to_string_lossy().into_owned(), read(&path)));
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

struct Tree;

impl Texts for Tree {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(root().join(path)).ok()
    }
}

#[test]
fn every_refusal_has_a_case_and_every_case_an_accept_beside_it() {
    let refusals: Refusals = read(&root().join("spec/refusals.json"));
    let black_box: BlackBox = read(&root().join("conformance/black-box.json"));
    let found = findings(&refusals, &vectors(), &black_box, &Tree);
    assert_eq!(found, Vec::<String>::new(), "{}", found.join("\n"));
}

#[test]
fn what_is_missing_is_named_with_what_to_add() {
    let refusals: Refusals = serde_json::from_str(
        r#"{"refusals": [{"code": "A_ONE", "name": "One"}, {"code": "A_TWO", "name": "Two"}, {"code": "A_THREE", "name": "Three"}]}"#,
    )
    .unwrap();
    let vectors: Vectors = serde_json::from_str(
        r#"{"numberOfTests": 3, "testGroups": [{"type": "T", "tests": [
            {"tcId": 1, "result": "invalid", "refusal": "A_ONE"}, {"tcId": 1, "result": "invalid", "refusal": "A_NONE"}]}]}"#,
    )
    .unwrap();
    let black_box: BlackBox = serde_json::from_str(
        r#"{"cases": [{"code": "A_TWO", "file": "a.rs", "case": "refused", "accept": "taken"},
            {"code": "A_TWO", "file": "b.rs", "case": "refused", "accept": "taken"},
            {"code": "A_FOUR", "file": "a.rs", "case": "refused", "accept": "refused"}]}"#,
    )
    .unwrap();
    let texts = |path: &str| (path == "a.rs").then(|| "fn refused() { Refusal::Three }".to_owned());
    let found = findings(&refusals, &[("v.json".to_owned(), vectors)], &black_box, &texts);
    assert_eq!(
        found,
        [
            "v.json: 2 tests, where 3 are announced",
            "v.json: the tests are not numbered from 1, in order: 1 stands where 2 belongs",
            "v.json: group T has no test that is accepted; put the nearest accept beside its refusals",
            "v.json 1: A_NONE stands not in spec/refusals.json",
            "conformance/black-box.json: A_TWO: a.rs has no `taken`",
            "conformance/black-box.json: A_TWO: a.rs does not show it: neither A_TWO nor Refusal::Two stands there",
            "conformance/black-box.json: A_TWO: there is no b.rs",
            "conformance/black-box.json: A_FOUR stands not in spec/refusals.json",
            "A_THREE has no case: make a vector of it in conformance/generator (and its nearest accept), or name the test that meets it in conformance/black-box.json",
        ]
    );
}
