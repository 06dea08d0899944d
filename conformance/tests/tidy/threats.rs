//! The threat model names the tests that keep it: each claim of what is protected ends with a paragraph
//!
//! ```text
//! Tests: `path/of/a/file.rs`: `name_of_a_test`, `another_one`; `path/of/another.rs`: `its_test`.
//! ```
//!
//! and every name in it is a test of that file.

use super::tree::{Finding, Tree};

const MODEL: &str = "docs/threat-model.md";
/// The chapter whose claims are kept by tests.
const CHAPTER: &str = "## Protected";
/// What a claim begins with.
const CLAIM: &str = "**";
/// What names its tests.
const TESTS: &str = "Tests:";

/// A paragraph, with the number of its first line.
struct Paragraph {
    line: usize,
    text: String,
}

fn threats(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut claim: Option<(usize, String)> = None;
    let chapter = chapter(tree.text(MODEL));
    if chapter.is_empty() {
        findings.push(Finding::new(MODEL, 0, format!("there is no chapter {CHAPTER}")));
    }
    for paragraph in chapter {
        if let Some(rest) = paragraph.text.strip_prefix(CLAIM) {
            findings.extend(claim.take().map(unkept));
            claim = Some((paragraph.line, rest.split(CLAIM).next().unwrap_or_default().to_owned()));
        } else if paragraph.text.starts_with(TESTS) {
            claim = None;
            findings.extend(unknown(tree, &paragraph));
        }
    }
    findings.extend(claim.map(unkept));
    findings
}

fn unkept((line, claim): (usize, String)) -> Finding {
    Finding::new(
        MODEL,
        line,
        format!("{claim} No test is named that keeps this; say which, or that it is not protected"),
    )
}

/// The paragraphs of the chapter.
fn chapter(text: &str) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let lines = (1..).zip(text.lines()).skip_while(|(_, line)| *line != CHAPTER).skip(1);
    let mut begun = false;
    for (n, line) in lines.take_while(|(_, line)| !line.starts_with("## ")) {
        match paragraphs.last_mut() {
            _ if line.is_empty() => begun = false,
            Some(last) if begun => {
                last.text.push(' ');
                last.text.push_str(line);
            }
            _ => {
                begun = true;
                paragraphs.push(Paragraph { line: n, text: line.to_owned() });
            }
        }
    }
    paragraphs
}

/// What a paragraph of tests names and the tree does not have.
fn unknown(tree: &Tree, paragraph: &Paragraph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fault = |what: String| findings.push(Finding::new(MODEL, paragraph.line, what));
    let mut file = None;
    let mut named = 0;
    for span in paragraph.text.split('`').skip(1).step_by(2) {
        if span.contains('/') {
            file = Some(span);
            if tree.text(span).is_empty() {
                fault(format!("there is no {span}"));
            }
            continue;
        }
        named += 1;
        match file {
            None => fault(format!("no file stands before {span}")),
            Some(path) if tree.text(path).is_empty() => {}
            Some(path) if !is_test(tree.text(path), span) => fault(format!("{path} has no test {span}")),
            Some(_) => {}
        }
    }
    if named == 0 {
        fault("names no test".to_owned());
    }
    findings
}

/// Whether a function of this name is a test: an attribute above it says so, or it is one of a script.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let of_rust = format!("fn {name}(");
    let (of_python, plain) = (format!("def {name}("), lines.iter());
    plain.clone().any(|line| line.starts_with(&of_python))
        || plain.enumerate().any(|(at, line)| {
            let above =
                lines.iter().take(at).rev().take_while(|l| l.starts_with("#[") || l.starts_with("//"));
            line.contains(&of_rust) && above.into_iter().any(|l| l.starts_with("#[") && l.contains("test"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    #[test]
    fn every_test_that_the_threat_model_names_is_there() {
        assert_clean(&threats(&Tree::read()));
    }

    #[test]
    fn a_claim_without_a_test_and_a_test_that_is_gone_are_found() {
        let tree = Tree::of(&[
            (
                MODEL,
                "**Before.** Nothing.\n\n## Protected\n\n**One.** Kept,\nindeed.\n\nTests: `a/b.rs`: `kept`,\n`also_kept`; `c/d.py`: `kept`.\n\n\
                 **Two.** Said only.\n\n**Three.** Gone.\n\nTests: `a/b.rs`: `helper`, `gone`; `a/none.rs`: `kept`.\n\n\
                 **Four.** Nameless.\n\nTests: `a/b.rs`.\n\n**Five.**\n\nTests: `kept`.\n\n**Six.** Last.\n\n## Not protected\n\n**After.** Nothing.\n",
            ),
            (
                "a/b.rs",
                "#[test]\nfn kept() {}\n\n#[tokio::test]\n// Why.\nasync fn also_kept() {}\n\nfn helper() {}\n",
            ),
            ("c/d.py", "def kept(x):\n    pass\n"),
        ]);
        let want = "No test is named that keeps this; say which, or that it is not protected";
        assert_eq!(
            lines(&threats(&tree)),
            [
                &format!("docs/threat-model.md:11: Two. {want}"),
                "docs/threat-model.md:15: a/b.rs has no test helper",
                "docs/threat-model.md:15: a/b.rs has no test gone",
                "docs/threat-model.md:15: there is no a/none.rs",
                "docs/threat-model.md:19: names no test",
                "docs/threat-model.md:23: no file stands before kept",
                &format!("docs/threat-model.md:25: Six. {want}"),
            ]
        );
        assert_eq!(
            lines(&threats(&Tree::of(&[]))),
            ["docs/threat-model.md:0: there is no chapter ## Protected"]
        );
    }
}
