//! Sizes and outlines: files, functions, `lib.rs`, names.

use super::rust::{closed, code, is_word, line_of, words};
use super::tree::{Finding, Tree};

/// Lines in one source file.
const MAX_FILE_LINES: usize = 400;
/// Lines in one function, from `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Lines of tests inside the file that they test; longer ones move to a sibling `tests.rs`.
const MAX_INLINE_TEST_LINES: usize = 100;
/// Names that say nothing.
const BANNED: &[&str] = &["util", "helper", "manager", "common", "misc", "data", "info"];
/// What an item of `lib.rs` may begin with.
const OUTLINE: &[&str] = &["mod ", "pub mod ", "pub(crate) mod ", "use ", "pub use ", "pub(crate) use "];

fn long_files(tree: &Tree) -> Vec<Finding> {
    let long = tree.with("rs").map(|f| (f, f.text.lines().count())).filter(|(_, n)| *n > MAX_FILE_LINES);
    long.map(|(f, n)| Finding::new(&f.path, n, format!("{n} lines, more than {MAX_FILE_LINES}"))).collect()
}

fn long_functions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with("rs") {
        let code = code(&file.text);
        for at in words(&code, "fn") {
            let name = next_word(&code, at + 2);
            let Some(end) = closed(&code, at, '{', '}').filter(|_| !name.is_empty()) else { continue };
            let (first, last) = (line_of(&code, at), line_of(&code, end));
            let n = last - first + 1;
            if n > MAX_FUNCTION_LINES {
                let what = format!("{name} has {n} lines, more than {MAX_FUNCTION_LINES}");
                findings.push(Finding::new(&file.path, first, what));
            }
        }
    }
    findings
}

fn long_inline_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with("rs").filter(|f| f.path.contains("/src/")) {
        let code = code(&file.text);
        for (at, _) in code.match_indices("#[cfg(test)]") {
            let Some(end) = closed(&code, at + 12, '{', '}') else { continue };
            let n = line_of(&code, end) - line_of(&code, at);
            if n > MAX_INLINE_TEST_LINES {
                let what =
                    format!("{n} lines of tests, more than {MAX_INLINE_TEST_LINES}: move them to tests.rs");
                findings.push(Finding::new(&file.path, line_of(&code, at), what));
            }
        }
    }
    findings
}

/// `lib.rs` holds modules and re-exports only.
fn logic_in_lib(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|f| f.path.ends_with("/src/lib.rs")) {
        let code = without_attributes(&code(&file.text));
        let mut start = 0;
        for item in code.split_inclusive(';') {
            let text = item.trim_start();
            let at = start + (item.len() - text.len());
            start += item.len();
            if !text.is_empty() && !OUTLINE.iter().any(|o| text.starts_with(o)) || inline_module(text) {
                findings.push(Finding::new(
                    &file.path,
                    line_of(&code, at),
                    "only modules and re-exports belong here",
                ));
            }
        }
    }
    findings
}

fn inline_module(item: &str) -> bool {
    let head = item.split('{').next().unwrap_or_default();
    item.contains('{') && words(head, "mod").next().is_some()
}

/// Blanks `#[…]` and `#![…]`.
fn without_attributes(code: &str) -> String {
    let mut out = code.to_owned();
    for (at, _) in code.match_indices('#') {
        let rest = code.get(at..).unwrap_or_default();
        if !(rest.starts_with("#[") || rest.starts_with("#![")) {
            continue;
        }
        if let Some(end) = closed(code, at, '[', ']')
            && let Some(attribute) = code.get(at..end)
        {
            let blank: String = attribute.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
            out.replace_range(at..end, &blank);
        }
    }
    out
}

/// Files, modules and types whose name holds a banned part, and `get_…` functions.
fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for part in file.path.split('/').filter(|p| banned(p.split('.').next().unwrap_or(p))) {
            findings.push(Finding::new(&file.path, 0, format!("the name {part} says nothing")));
        }
        if !file.is("rs") {
            continue;
        }
        let code = code(&file.text);
        for keyword in ["mod", "struct", "enum", "trait", "type", "union"] {
            for at in words(&code, keyword) {
                let name = next_word(&code, at + keyword.len());
                if banned(&name) {
                    let what = format!("the name {name} says nothing");
                    findings.push(Finding::new(&file.path, line_of(&code, at), what));
                }
            }
        }
        for at in words(&code, "fn") {
            let name = next_word(&code, at + 2);
            if name.starts_with("get_") {
                findings.push(Finding::new(
                    &file.path,
                    line_of(&code, at),
                    format!("{name}: leave out get_"),
                ));
            }
        }
    }
    findings
}

/// The identifier after `from`, where white space alone stands between.
fn next_word(code: &str, from: usize) -> String {
    code.get(from..).unwrap_or_default().trim_start().chars().take_while(|c| is_word(*c)).collect()
}

/// Whether one part of a snake-case, kebab-case or camel-case name is banned, in singular or plural.
fn banned(name: &str) -> bool {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c == '-' || c.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| c.is_alphanumeric()) {
            last.extend(c.to_lowercase());
        }
    }
    parts
        .iter()
        .any(|p| BANNED.contains(&p.as_str()) || p.strip_suffix('s').is_some_and(|p| BANNED.contains(&p)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn files_are_short() {
        assert_clean(&long_files(&Tree::read()));
    }

    #[test]
    fn file_of_one_line_too_many_is_found() {
        let (most, more) = ("\n".repeat(400), "\n".repeat(401));
        let tree = Tree::of(&[("a/src/a.rs", &most), ("a/src/b.rs", &more)]);
        assert_eq!(lines(&long_files(&tree)), ["a/src/b.rs:401: 401 lines, more than 400"]);
    }

    #[test]
    fn functions_are_short() {
        assert_clean(&long_functions(&Tree::read()));
    }

    #[test]
    fn function_of_one_line_too_many_is_found() {
        let text = format!("fn most() {{{}}}\nfn more() {{{}}}\n", "\n".repeat(69), "\n".repeat(70));
        assert_eq!(
            lines(&long_functions(&Tree::of(&[("a/src/a.rs", &text)]))),
            ["a/src/a.rs:71: more has 71 lines, more than 70"]
        );
    }

    #[test]
    fn long_tests_have_their_own_file() {
        assert_clean(&long_inline_tests(&Tree::read()));
    }

    #[test]
    fn long_inline_test_module_is_found() {
        let text = format!("#[cfg(test)]\nmod tests {{{}}}\n", "\n".repeat(100));
        assert_eq!(
            lines(&long_inline_tests(&Tree::of(&[("a/src/a.rs", &text)]))),
            ["a/src/a.rs:1: 101 lines of tests, more than 100: move them to tests.rs"]
        );
    }

    #[test]
    fn lib_holds_no_logic() {
        assert_clean(&logic_in_lib(&Tree::read()));
    }

    #[test]
    fn function_inline_module_and_constant_in_lib_are_found() {
        let text = "//! A crate.\n#![expect(x, reason = \"a;b\")]\n\npub mod a;\npub use a::{B, C};\nconst D: u8 = 1;\n\
                    mod e { fn f() {} }\nfn g() {}\n";
        assert_eq!(
            lines(&logic_in_lib(&Tree::of(&[("a/src/lib.rs", text), ("a/src/a.rs", "fn f() {}")]))),
            [
                "a/src/lib.rs:6: only modules and re-exports belong here",
                "a/src/lib.rs:7: only modules and re-exports belong here",
            ]
        );
    }

    #[test]
    fn names_say_something() {
        assert_clean(&names(&Tree::read()));
    }

    #[test]
    fn name_that_says_nothing_is_found() {
        let tree = Tree::of(&[
            ("a/src/utils.rs", ""),
            (
                "a/src/metadata.rs",
                "struct Metadata;\nstruct NodeInfo;\nmod misc;\nfn get_x() {}\nfn target_y() {}\n",
            ),
        ]);
        assert_eq!(
            lines(&names(&tree)),
            [
                "a/src/utils.rs:0: the name utils.rs says nothing",
                "a/src/metadata.rs:3: the name misc says nothing",
                "a/src/metadata.rs:2: the name NodeInfo says nothing",
                "a/src/metadata.rs:4: get_x: leave out get_",
            ]
        );
    }
}
