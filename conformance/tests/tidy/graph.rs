//! Who may import whom: the table below is the design, every manifest and every source file must agree with it.

use std::collections::BTreeSet;

use super::rust::{code, is_word, line_of};
use super::tree::{Finding, Tree};

/// Each crate with those of ours that it depends on. A new edge is a commit of its own.
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("identity", &["spec"]),
    ("consent", &["spec", "identity"]),
    ("audit", &["spec", "identity"]),
    ("ledger", &["spec"]),
    ("model", &["spec"]),
    ("session", &["spec", "identity", "consent"]),
    ("session/https", &[]),
    ("node", &["spec", "identity", "consent", "audit", "model", "session", "https"]),
    ("router", &["spec", "identity", "consent", "audit", "ledger", "model", "session", "https", "payouts"]),
    (
        "cli",
        &[
            "spec", "identity", "consent", "audit", "ledger", "model", "session", "https", "node", "router",
            "payouts",
        ],
    ),
    ("router/payouts", &["https"]),
    ("conformance", &[]),
    ("conformance/paysim", &[]),
];

/// What stands in for others in the tests of a crate.
const IN_TESTS: &[(&str, &str)] = &[("router", "paysim"), ("router/payouts", "paysim"), ("cli", "paysim")];

/// The folder of the crate that a file belongs to: the longest of the table that it lies in.
pub(crate) fn home(path: &str) -> Option<&'static str> {
    let inside = |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    EDGES.iter().map(|(name, _)| *name).filter(|name| inside(name)).max_by_key(|name| name.len())
}

/// What a crate is called in manifests and code: the last part of its folder.
fn called(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// The prefix of our package names.
const PREFIX: &str = "counterfoil";

/// Every manifest depends on exactly the crates that the table gives it; its tests may use no others.
fn manifests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, allowed) in EDGES {
        let path = format!("{name}/Cargo.toml");
        let manifest = tree.text(&path);
        let normal = dependencies(manifest, &["dependencies"]);
        let others = dependencies(manifest, &["dev-dependencies", "build-dependencies"]);
        for edge in allowed.iter().filter(|e| !normal.contains(**e)) {
            findings.push(Finding::new(&path, 0, format!("does not depend on {edge}, as the table says")));
        }
        let tested =
            |edge: &str| others.contains(edge) && !normal.contains(edge) && IN_TESTS.contains(&(*name, edge));
        for edge in normal.union(&others).filter(|e| !allowed.contains(&e.as_str()) && !tested(e)) {
            findings.push(Finding::new(&path, 0, format!("depends on {edge}, which the table does not say")));
        }
    }
    findings
}

/// The table names every member of the workspace and nothing else.
fn members(tree: &Tree) -> Vec<Finding> {
    let root = tree.text("Cargo.toml");
    let list =
        root.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(l, _)| l);
    let members: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    let named: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let differing = members.symmetric_difference(&named);
    differing
        .map(|m| Finding::new("Cargo.toml", 0, format!("{m} is a member here or in the table only")))
        .collect()
}

/// No source file names a crate of ours that its own crate must not import.
fn imports(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with("rs") {
        let Some((own, allowed)) = EDGES.iter().find(|(name, _)| Some(*name) == home(&file.path)) else {
            findings.push(Finding::new(&file.path, 0, "stands outside every crate of the table"));
            continue;
        };
        let code = code(&file.text);
        for (at, _) in code.match_indices("counterfoil_") {
            let name: String =
                code.get(at..).unwrap_or_default().chars().take_while(|c| is_word(*c)).collect();
            let name = name.strip_prefix("counterfoil_").unwrap_or_default();
            let known = EDGES.iter().any(|(n, _)| called(n) == name);
            let tested = file.path.contains("/tests/") && IN_TESTS.contains(&(own, name));
            if known && name != called(own) && !allowed.contains(&name) && !tested {
                findings.push(Finding::new(&file.path, line_of(&code, at), format!("{own} imports {name}")));
            }
        }
    }
    findings
}

/// Our crates among the dependencies in the named sections, target-specific ones too.
fn dependencies(manifest: &str, sections: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let last = section.rsplit('.').next().unwrap_or(section);
            inside = sections.contains(&last);
            // The long form: [dependencies.counterfoil-spec]
            if let Some(name) = last.strip_prefix(PREFIX).and_then(|n| n.strip_prefix('-'))
                && sections.iter().any(|s| section.contains(s))
            {
                found.insert(name.to_owned());
            }
        } else if inside && let Some(rest) = line.strip_prefix(PREFIX).and_then(|n| n.strip_prefix('-')) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            found.insert(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn manifests_agree_with_the_table() {
        assert_clean(&manifests(&Tree::read()));
    }

    #[test]
    fn manifest_with_another_edge_is_found() {
        let good: Vec<(String, String)> = EDGES
            .iter()
            .map(|(name, edges)| {
                let edges: String =
                    edges.iter().map(|e| format!("counterfoil-{e}.workspace = true\n")).collect();
                (format!("{name}/Cargo.toml"), format!("[dependencies]\n{edges}"))
            })
            .collect();
        let mut files: Vec<(&str, &str)> = good.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        assert_clean(&manifests(&Tree::of(&files)));
        files[4].1 = "[dependencies.counterfoil-audit]\npath = \"../audit\"\n[dev-dependencies]\ncounterfoil-node = {}\n";
        assert_eq!(
            lines(&manifests(&Tree::of(&files))),
            [
                "ledger/Cargo.toml:0: does not depend on spec, as the table says",
                "ledger/Cargo.toml:0: depends on audit, which the table does not say",
                "ledger/Cargo.toml:0: depends on node, which the table does not say",
            ]
        );
    }

    #[test]
    fn table_names_every_member() {
        assert_clean(&members(&Tree::read()));
    }

    #[test]
    fn member_outside_the_table_is_found() {
        let names: Vec<String> = EDGES.iter().skip(1).map(|(n, _)| format!("\"{n}\"")).collect();
        let root = format!("members = [{}, \"extra\"]", names.join(", "));
        assert_eq!(
            lines(&members(&Tree::of(&[("Cargo.toml", &root)]))),
            [
                "Cargo.toml:0: extra is a member here or in the table only",
                "Cargo.toml:0: spec is a member here or in the table only",
            ]
        );
    }

    #[test]
    fn sources_import_along_the_table() {
        assert_clean(&imports(&Tree::read()));
    }

    #[test]
    fn import_against_the_table_is_found() {
        let tree = Tree::of(&[
            ("router/payouts/tests/a.rs", "use counterfoil_paysim::Simulator;\n"),
            ("router/payouts/src/a.rs", "use counterfoil_paysim::Simulator;\n"),
            (
                "node/src/a.rs",
                "use counterfoil_spec::ids;\n// counterfoil_router\nuse counterfoil_router::x;\n",
            ),
            ("router/src/b.rs", "fn f() { counterfoil_node::serve() }\n"),
            ("conformance/src/c.rs", "use counterfoil_spec::ids;\n"),
            ("loose/src/d.rs", ""),
        ]);
        assert_eq!(
            lines(&imports(&tree)),
            [
                "router/payouts/src/a.rs:1: router/payouts imports paysim",
                "node/src/a.rs:3: node imports router",
                "router/src/b.rs:1: router imports node",
                "conformance/src/c.rs:1: conformance imports spec",
                "loose/src/d.rs:0: stands outside every crate of the table",
            ]
        );
    }
}
