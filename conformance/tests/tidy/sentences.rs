//! One sentence per crate, the same in its manifest, at the head of its source and in the README's code map.

use super::graph::EDGES;
use super::tree::{Finding, Tree};

/// The document with the table of imports.
const MAP: &str = "docs/architecture.md";

fn sentences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let readme = tree.text("README.md");
    for (name, _) in EDGES {
        let manifest = format!("{name}/Cargo.toml");
        let Some(sentence) = description(tree.text(&manifest)) else {
            findings.push(Finding::new(&manifest, 0, "has no description"));
            continue;
        };
        let lib = format!("{name}/src/lib.rs");
        let root = if tree.text(&lib).is_empty() { format!("{name}/src/main.rs") } else { lib };
        let first = tree.text(&root).lines().next().unwrap_or_default();
        if plain(first.strip_prefix("//! ").unwrap_or_default()) != sentence {
            findings.push(Finding::new(&root, 1, format!("must begin with //! {sentence}")));
        }
        let row = readme.lines().find(|l| cells(l).first().is_some_and(|c| c == name));
        if row.and_then(|l| cells(l).get(1).cloned()).as_deref() != Some(sentence.as_str()) {
            findings.push(Finding::new(
                "README.md",
                0,
                format!("the code map must say of {name}: {sentence}"),
            ));
        }
    }
    findings
}

/// The table of imports in the architecture document is the one that the graph check holds.
fn import_table(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, edges) in EDGES {
        let row = tree.text(MAP).lines().find(|l| cells(l).first().is_some_and(|c| c == name));
        let said = row.and_then(|l| cells(l).last().cloned()).unwrap_or_default();
        let want = if edges.is_empty() { "nothing".to_owned() } else { edges.join(", ") };
        if said != want {
            findings.push(Finding::new(MAP, 0, format!("{name} imports {want}, the table says {said:?}")));
        }
    }
    findings
}

fn description(manifest: &str) -> Option<String> {
    manifest.lines().find_map(|l| Some(plain(l.strip_prefix("description = \"")?.strip_suffix('"')?)))
}

/// Without the backticks, which a manifest has no use for.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// The cells of a row of a Markdown table, a link reduced to its text; nothing for another line.
fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line.trim().strip_prefix('|').and_then(|l| l.strip_suffix('|')) else {
        return Vec::new();
    };
    let text = |cell: &str| match cell.split_once("](") {
        Some((name, _)) => plain(name.trim().trim_start_matches('[')),
        None => plain(cell.trim()),
    };
    inner.split('|').map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    fn sample(lib: &str, readme_sentence: &str) -> Vec<String> {
        let mut files = vec![("README.md".to_owned(), format!("| [`spec`](spec) | {readme_sentence} |\n"))];
        for (name, _) in EDGES {
            files.push((format!("{name}/Cargo.toml"), "description = \"Says one thing.\"\n".to_owned()));
            files.push((format!("{name}/src/lib.rs"), "//! Says one thing.\n".to_owned()));
            if *name != "spec" {
                files[0].1.push_str(&format!("| `{name}` | Says one thing. |\n"));
            }
        }
        files[2].1 = lib.to_owned();
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        lines(&sentences(&Tree::of(&files)))
    }

    #[test]
    fn every_crate_has_one_sentence() {
        assert_clean(&sentences(&Tree::read()));
    }

    #[test]
    fn another_sentence_is_found() {
        assert_eq!(sample("//! Says `one` thing.\n", "Says one thing."), Vec::<String>::new());
        assert_eq!(
            sample("//! Says another thing.\n", "Says a third thing."),
            [
                "spec/src/lib.rs:1: must begin with //! Says one thing.",
                "README.md:0: the code map must say of spec: Says one thing.",
            ]
        );
    }

    #[test]
    fn documented_imports_are_the_real_ones() {
        assert_clean(&import_table(&Tree::read()));
    }

    #[test]
    fn wrong_documented_import_is_found() {
        let rows: String = EDGES
            .iter()
            .map(|(name, edges)| match (*name, edges.is_empty()) {
                ("ledger", _) => "| `ledger` | x | spec, audit |\n".to_owned(),
                (_, true) => format!("| `{name}` | x | nothing |\n"),
                (_, false) => format!("| `{name}` | x | {} |\n", edges.join(", ")),
            })
            .collect();
        assert_eq!(
            lines(&import_table(&Tree::of(&[(MAP, &rows)]))),
            ["docs/architecture.md:0: ledger imports spec, the table says \"spec, audit\""]
        );
    }
}
