//! The check: from texts to findings.

use std::collections::BTreeSet;

use serde::Deserialize;

/// `spec/refusals.json`.
#[derive(Deserialize)]
pub(crate) struct Refusals {
    refusals: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    code: String,
    name: String,
}

/// One file of vectors.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "type")]
    kind: String,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(rename = "tcId")]
    number: usize,
    result: String,
    refusal: Option<String>,
}

/// `conformance/black-box.json`.
#[derive(Deserialize)]
pub(crate) struct BlackBox {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    code: String,
    file: String,
    case: String,
    accept: String,
    /// What stands in the file where neither the code nor the variant does.
    shown_as: Option<String>,
}

/// Where the texts of files come from.
pub(crate) trait Texts {
    fn text(&self, path: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Texts for F {
    fn text(&self, path: &str) -> Option<String> {
        self(path)
    }
}

/// What is wrong, in words that say what to do.
pub(crate) fn findings(
    refusals: &Refusals,
    vectors: &[(String, Vectors)],
    black_box: &BlackBox,
    texts: &impl Texts,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut met = BTreeSet::new();
    let row = |code: &str| refusals.refusals.iter().find(|r| r.code == code);
    for (name, file) in vectors {
        found.extend(of_file(name, file));
        for test in file.test_groups.iter().flat_map(|g| &g.tests) {
            if let Some(code) = &test.refusal {
                met.insert(code.as_str());
                if row(code).is_none() {
                    found.push(format!("{name} {}: {code} stands not in spec/refusals.json", test.number));
                }
            }
        }
    }
    for case in &black_box.cases {
        met.insert(case.code.as_str());
        let faults = match row(&case.code) {
            Some(row) => of_case(case, row, texts),
            None => vec![format!("{} stands not in spec/refusals.json", case.code)],
        };
        found.extend(faults.into_iter().map(|fault| format!("conformance/black-box.json: {fault}")));
    }
    let unmet = refusals.refusals.iter().filter(|r| !met.contains(r.code.as_str()));
    found.extend(unmet.map(|r| {
        format!(
            "{} has no case: make a vector of it in conformance/generator (and its nearest accept), or name the test \
             that meets it in conformance/black-box.json",
            r.code
        )
    }));
    found
}

fn of_file(name: &str, file: &Vectors) -> Vec<String> {
    let mut found = Vec::new();
    let tests: Vec<&Test> = file.test_groups.iter().flat_map(|g| &g.tests).collect();
    if tests.len() != file.number_of_tests {
        found.push(format!("{name}: {} tests, where {} are announced", tests.len(), file.number_of_tests));
    }
    if let Some((i, test)) = tests.iter().enumerate().find(|(i, t)| t.number != i + 1) {
        found.push(format!(
            "{name}: the tests are not numbered from 1, in order: {} stands where {} belongs",
            test.number,
            i + 1
        ));
    }
    for group in &file.test_groups {
        if !group.tests.iter().any(|t| t.result == "valid") {
            found.push(format!(
                "{name}: group {} has no test that is accepted; put the nearest accept beside its refusals",
                group.kind
            ));
        }
    }
    found
}

fn of_case(case: &Case, row: &Row, texts: &impl Texts) -> Vec<String> {
    let Case { code, file, .. } = case;
    let Some(text) = texts.text(file) else { return vec![format!("{code}: there is no {file}")] };
    let mut found = Vec::new();
    for function in [&case.case, &case.accept] {
        if !["fn", "def"].iter().any(|word| text.contains(&format!("{word} {function}("))) {
            found.push(format!("{code}: {file} has no `{function}`"));
        }
    }
    let variant = format!("Refusal::{}", row.name);
    let shown = match &case.shown_as {
        Some(shown) => text.contains(shown),
        None => text.contains(code.as_str()) || text.contains(&variant),
    };
    if !shown {
        found.push(format!("{code}: {file} does not show it: neither {code} nor {variant} stands there"));
    }
    found
}
