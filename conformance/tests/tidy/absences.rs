//! What a crate must not know: its dependencies and the words of its code that would break a stated absence.

use super::rust::{code, line_of, words};
use super::tree::{Finding, Tree};

/// (crate, why, packages it must not depend on, words that must not stand in its code).
const ABSENT: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "spec",
        "spec has no IO, no crypto and no clock",
        &["tokio", "blake3", "sha2", "ed25519-dalek", "getrandom", "rustix", "sled"],
        &["SystemTime", "Instant", "async", "fs"],
    ),
    (
        "identity",
        "identity has no clock and no network of its own",
        &["tokio", "quinn", "axum", "sled"],
        &["SystemTime", "Instant", "async", "UdpSocket", "TcpStream"],
    ),
    (
        "consent",
        "consent is pure and has no clock",
        &["tokio", "quinn", "axum", "sled"],
        &["SystemTime", "Instant", "async", "fs"],
    ),
    ("audit", "audit knows no database", &["sled", "tokio", "quinn", "axum"], &["async"]),
    (
        "ledger",
        "ledger is pure, has no clock, no database and no floats",
        &["tokio", "sled", "quinn", "axum", "getrandom", "rustix"],
        &["SystemTime", "Instant", "async", "fs", "f32", "f64"],
    ),
    ("model", "model knows no network", &["tokio", "quinn", "axum", "reqwest"], &["UdpSocket", "TcpStream"]),
    ("node", "a node has no database and no HTTP server", &["sled", "axum"], &[]),
];

/// Only the program and tests may have errors without a type.
const ANYHOW: &[&str] = &["cli", "conformance"];

fn absences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, why, packages, _) in ABSENT {
        let path = format!("{name}/Cargo.toml");
        for (n, line) in (1..).zip(tree.text(&path).lines()) {
            let key: String =
                line.chars().take_while(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
            if packages.contains(&key.as_str()) {
                findings.push(Finding::new(&path, n, format!("{key}: {why}")));
            }
        }
    }
    for file in tree.with("rs").filter(|f| f.path.contains("/src/")) {
        let Some((_, why, _, banned)) = ABSENT.iter().find(|(name, ..)| *name == file.top()) else {
            continue;
        };
        let code = code(&file.text);
        for word in *banned {
            let hits = words(&code, word).map(|at| line_of(&code, at));
            findings.extend(hits.map(|n| Finding::new(&file.path, n, format!("{word}: {why}"))));
        }
    }
    findings
}

fn untyped_errors(tree: &Tree) -> Vec<Finding> {
    let manifests =
        tree.files.iter().filter(|f| f.path.ends_with("/Cargo.toml") && !ANYHOW.contains(&f.top()));
    let mut findings = Vec::new();
    for file in manifests {
        let normal = file.text.split("[dev-dependencies]").next().unwrap_or_default();
        for (n, line) in (1..).zip(normal.lines()) {
            if line.starts_with("anyhow") {
                findings.push(Finding::new(&file.path, n, "anyhow is for the program and for tests"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn nothing_is_known_that_must_not_be() {
        assert_clean(&absences(&Tree::read()));
    }

    #[test]
    fn clock_in_the_ledger_and_database_in_audit_are_found() {
        let tree = Tree::of(&[
            ("ledger/src/a.rs", "// SystemTime in a comment\nfn f(x: f64) { SystemTime::now(); }\n"),
            ("audit/Cargo.toml", "[dependencies]\nsled.workspace = true\nsledge = \"1\"\n"),
            ("router/src/b.rs", "async fn f() { SystemTime::now(); }\n"),
        ]);
        assert_eq!(
            lines(&absences(&tree)),
            [
                "audit/Cargo.toml:2: sled: audit knows no database",
                "ledger/src/a.rs:2: SystemTime: ledger is pure, has no clock, no database and no floats",
                "ledger/src/a.rs:2: f64: ledger is pure, has no clock, no database and no floats",
            ]
        );
    }

    #[test]
    fn libraries_have_typed_errors() {
        assert_clean(&untyped_errors(&Tree::read()));
    }

    #[test]
    fn library_with_anyhow_is_found() {
        let tree = Tree::of(&[
            ("cli/Cargo.toml", "anyhow = \"1\"\n"),
            ("audit/Cargo.toml", "[dev-dependencies]\nanyhow = \"1\"\n"),
            ("node/Cargo.toml", "[dependencies]\nanyhow = \"1\"\n"),
        ]);
        assert_eq!(
            lines(&untyped_errors(&tree)),
            ["node/Cargo.toml:2: anyhow is for the program and for tests"]
        );
    }
}
