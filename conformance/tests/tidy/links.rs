//! Every relative link in a document leads to something that is there.

use super::tree::{Finding, Tree};

fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with("md") {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (n, line) in (1..).zip(file.text.lines()) {
            let targets =
                line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
            for target in targets.filter(|t| !t.contains("://") && !t.starts_with('#')) {
                let path = resolve(folder, target.split('#').next().unwrap_or_default());
                if !tree.has(&path) {
                    findings.push(Finding::new(&file.path, n, format!("{target} leads nowhere")));
                }
            }
        }
    }
    findings
}

/// A path from the root, without `.` and `..`.
fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn links_lead_somewhere() {
        assert_clean(&links(&Tree::read()));
    }

    #[test]
    fn link_to_nothing_is_found() {
        let tree = Tree::of(&[
            (
                "docs/a.md",
                "[b](b.md) [r](../README.md#x) [s](../spec/) [w](https://example.org/x) [t](#top)\n[c](c.md)\n",
            ),
            ("docs/b.md", ""),
            ("README.md", "[d](docs) [e](b.md)\n"),
            ("spec/x.json", ""),
        ]);
        assert_eq!(
            lines(&links(&tree)),
            ["docs/a.md:2: c.md leads nowhere", "README.md:1: b.md leads nowhere"]
        );
    }
}
