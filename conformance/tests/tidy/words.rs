//! Words that must not stand in the project: unfinished work, numbers of tasks, one machine's paths, registry hosts.

use super::rust::{is_word, line_of, test_code, words};
use super::tree::{File, Finding, Tree};

/// This file and its neighbours name what they look for.
const OWN: &str = "conformance/tests/tidy";

/// Marks of unfinished work.
const UNFINISHED: &[&str] =
    &["TODO", "FIXME", "XXX", "HACK", "todo!", "unimplemented!", "placeholder", "stub", "stubs"];
/// Folders that exist on somebody's machine only.
const MACHINE: &[&str] = &["/work/", "/root/", "/home/", "/tmp/", "/Users/", "C:\\Users"];
/// Hosts and settings that bind a build to one registry or mirror.
const REGISTRY: &[&str] = &[
    "index.crates.io",
    "static.crates.io",
    "pypi.org",
    "pythonhosted.org",
    "registry.npmjs.org",
    "index-url",
    "find-links",
    "artifactory",
    "[source.",
    "replace-with",
];
/// The one source of packages that a lock file may name.
const LOCKED: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
/// Words that a number of a task follows.
const TASKS: &[&str] = &["issue", "task", "ticket", "PR", "pull request"];

/// The lines that these checks look at: all text but the lock file and these checks themselves.
fn texts(tree: &Tree) -> impl Iterator<Item = (&File, usize, &str)> {
    let files = tree.files.iter().filter(|f| !f.is("lock") && !f.path.starts_with(OWN));
    files.flat_map(|f| (1..).zip(f.text.lines()).map(move |(n, line)| (f, n, line)))
}

/// Prose may say what others' placeholders were, and a form field has one; code and scripts have none.
fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, n, line) in texts(tree).filter(|(f, ..)| ["rs", "py", "sh", "toml"].iter().any(|e| f.is(e))) {
        for word in UNFINISHED.iter().filter(|w| !(**w == "placeholder" && line.contains("placeholder="))) {
            let found = match word.strip_suffix('!') {
                Some(name) => line.contains(&format!("{name}!(")),
                None => words(line, word).next().is_some(),
            };
            if found {
                findings.push(Finding::new(&file.path, n, format!("{word} is a mark of unfinished work")));
            }
        }
    }
    findings
}

fn task_numbers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, n, line) in texts(tree) {
        // A colour in a style sheet and a type in CDDL begin with # too.
        let hashes = !["css", "html", "cddl", "json"].iter().any(|e| file.is(e));
        if TASKS.iter().any(|t| numbered(line, t)) || (hashes && hash_number(line)) {
            findings.push(Finding::new(&file.path, n, "the number of a task means nothing to a reader"));
        }
    }
    findings
}

/// Whether `word` stands here as a word, followed by spaces, perhaps a `#`, and a digit.
fn numbered(line: &str, word: &str) -> bool {
    words(line, word).any(|at| {
        let rest = line.get(at + word.len()..).unwrap_or_default();
        let digits = rest.trim_start().trim_start_matches('#');
        rest.starts_with([' ', '#']) && digits.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Whether `#` and a number stand here between spaces or brackets.
fn hash_number(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let rest = line.get(at + 1..).unwrap_or_default();
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let after = rest.chars().nth(digits);
        digits > 0
            && before.is_some_and(|c| c == ' ' || c == '(')
            && !after.is_some_and(|c| is_word(c) || c == '-')
    })
}

fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, n, line) in texts(tree) {
        for path in MACHINE {
            let here = line.match_indices(path).any(|(at, _)| {
                let before = line.get(..at).and_then(|s| s.chars().next_back());
                !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '}' | '>' | '/' | '-'))
            });
            if here {
                findings.push(Finding::new(&file.path, n, format!("{path} is a folder of one machine")));
            }
        }
    }
    findings
}

fn registries(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, n, line) in texts(tree) {
        for word in REGISTRY.iter().filter(|w| line.contains(**w)) {
            findings.push(Finding::new(&file.path, n, format!("{word} binds the build to one registry")));
        }
    }
    for file in tree.with("lock") {
        for (n, line) in (1..).zip(file.text.lines()) {
            if line.starts_with("source = ") && line != LOCKED {
                findings.push(Finding::new(&file.path, n, "not from the public registry"));
            }
        }
    }
    findings
}

/// Tests wait for what happens, never for time to pass.
fn sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let files = tree.files.iter().filter(|f| !f.path.starts_with(OWN));
    for file in files {
        let code = if file.is("rs") {
            test_code(file)
        } else if file.path.starts_with(".ci/") {
            file.text.clone()
        } else {
            continue;
        };
        for at in words(&code, "sleep") {
            findings.push(Finding::new(
                &file.path,
                line_of(&code, at),
                "a test waits for an event, not for time",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn nothing_is_unfinished() {
        assert_clean(&unfinished(&Tree::read()));
    }

    #[test]
    fn mark_of_unfinished_work_is_found() {
        let tree = Tree::of(&[
            ("a/src/a.rs", "// TODO: later\nfn f() { todo!() }\nfn stubborn() {}\n"),
            (
                "a/src/b.rs",
                "const P: &str = \"placeholder\";\nconst H: &str = \"<input placeholder='x'>\";\n",
            ),
            ("README.md", "Theirs returns a placeholder.\n"),
        ]);
        assert_eq!(
            lines(&unfinished(&tree)),
            [
                "a/src/a.rs:1: TODO is a mark of unfinished work",
                "a/src/a.rs:2: todo! is a mark of unfinished work",
                "a/src/b.rs:1: placeholder is a mark of unfinished work",
            ]
        );
    }

    #[test]
    fn no_task_is_numbered() {
        assert_clean(&task_numbers(&Tree::read()));
    }

    #[test]
    fn numbered_task_is_found() {
        let tree = Tree::of(&[
            ("a/src/a.rs", "// See issue 12.\n#[n(1)]\n// task: 3 parts\n"),
            ("README.md", "# 1 heading\n(#42)\n[x](#4-y)\nissue #7\n"),
            ("a/a.cddl", "x = #6.18(y)\n"),
        ]);
        assert_eq!(
            lines(&task_numbers(&tree)),
            [
                "a/src/a.rs:1: the number of a task means nothing to a reader",
                "README.md:2: the number of a task means nothing to a reader",
                "README.md:4: the number of a task means nothing to a reader",
            ]
        );
    }

    #[test]
    fn no_machine_is_named() {
        assert_clean(&machine_paths(&Tree::read()));
    }

    #[test]
    fn folder_of_one_machine_is_found() {
        let tree =
            Tree::of(&[("a/src/a.rs", "\"/tmp/x\"\n\"log/root/x\"\n\"{home}/home/x\"\n// at /root/y\n")]);
        assert_eq!(
            lines(&machine_paths(&tree)),
            [
                "a/src/a.rs:1: /tmp/ is a folder of one machine",
                "a/src/a.rs:4: /root/ is a folder of one machine"
            ]
        );
    }

    #[test]
    fn no_registry_is_named() {
        assert_clean(&registries(&Tree::read()));
    }

    #[test]
    fn registry_is_found() {
        let tree = Tree::of(&[
            ("a.toml", "[source.mirror]\n"),
            (
                "Cargo.lock",
                "source = \"git+https://example.org/x\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
            ),
        ]);
        assert_eq!(
            lines(&registries(&tree)),
            [
                "a.toml:1: [source. binds the build to one registry",
                "Cargo.lock:1: not from the public registry"
            ]
        );
    }

    #[test]
    fn no_test_sleeps() {
        assert_clean(&sleeps(&Tree::read()));
    }

    #[test]
    fn sleeping_test_is_found() {
        let tree = Tree::of(&[
            (
                "a/src/a.rs",
                "fn f() { sleep(d) }\n#[cfg(test)]\nmod tests {\n fn g() { thread::sleep(d) }\n}\n",
            ),
            ("a/tests/b.rs", "// sleep\nfn g() { tokio::time::sleep(d) }\n"),
            (".ci/c.py", "time.sleep(1)\n"),
        ]);
        assert_eq!(
            lines(&sleeps(&tree)),
            [
                "a/src/a.rs:4: a test waits for an event, not for time",
                "a/tests/b.rs:2: a test waits for an event, not for time",
                ".ci/c.py:1: a test waits for an event, not for time",
            ]
        );
    }
}
