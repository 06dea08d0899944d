//! The JSON tables of `spec` against the types: kinds, roles, refusals, purposes, claims, domains and contexts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rust::line_of;
use super::tree::{Finding, Tree};

const REGISTRY: &str = "spec/registry.json";
const REFUSALS: &str = "spec/refusals.json";
const CDDL: &str = "spec/counterfoil.cddl";
/// What every context of `derive_key` begins with.
const CONTEXT: &str = "counterfoil v1 ";

/// A row of a table by its number: what stands beside it, in one string.
type Rows = BTreeMap<i64, String>;

/// Reads `"number": n` (or `key`) and the named texts of each object in a list of a JSON file.
fn json_rows(tree: &Tree, path: &str, list: &str, number: &str, texts: &[&str]) -> Rows {
    let value: Value = serde_json::from_str(tree.text(path)).unwrap_or(Value::Null);
    let rows = value.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |row: &Value, key: &&str| row.get(*key).and_then(Value::as_str).map(str::to_owned);
    let rows = rows.iter().filter_map(|row| {
        let parts: Option<Vec<String>> = texts.iter().map(|key| text(row, key)).collect();
        Some((row.get(number)?.as_i64()?, parts?.join(" | ")))
    });
    rows.collect()
}

/// Rows that one side has otherwise, or not at all.
fn differences(path: &str, what: &str, table: &Rows, code: &Rows) -> Vec<Finding> {
    let mut findings = Vec::new();
    let numbers: BTreeSet<i64> = table.keys().chain(code.keys()).copied().collect();
    if code.is_empty() {
        findings.push(Finding::new(path, 0, format!("no {what} was found in the code")));
    }
    for n in numbers {
        let (there, here) = (table.get(&n), code.get(&n));
        if there != here {
            let show = |row: Option<&String>| row.map_or("nothing".to_owned(), |r| format!("{r:?}"));
            let text = format!("{what} {n} is {} in the table and {} in the code", show(there), show(here));
            findings.push(Finding::new(path, 0, text));
        }
    }
    findings
}

/// The block of a macro call, from its name to a line that closes it.
fn block<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(block, _)| block)
}

/// `/// doc` and `Name = 1, "text";` as (doc, name, number, text).
fn macro_rows(block: &str) -> Vec<(String, String, i64, String)> {
    let mut rows = Vec::new();
    let mut doc = String::new();
    for line in block.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc = text.to_owned();
        } else if let Some((name, rest)) = line.split_once(" = ")
            && let Some((number, text)) = rest.split_once(", \"")
            && let (Ok(number), Some(text)) = (number.parse(), text.strip_suffix("\";"))
        {
            rows.push((doc.clone(), name.to_owned(), number, text.to_owned()));
        }
    }
    rows
}

fn kinds(tree: &Tree) -> Vec<Finding> {
    let rows = macro_rows(block(tree.text("spec/src/payload.rs"), "\npayloads! {", "\n}"));
    let code = rows.into_iter().map(|(_, name, n, text)| (n, format!("{text} | {name}"))).collect();
    // A reserved kind has no type, so its row is not read.
    let table = json_rows(tree, REGISTRY, "kinds", "number", &["name", "type"]);
    differences(REGISTRY, "kind", &table, &code)
}

/// No number and no name of a kind twice, reserved ones included, and every author is a role.
fn kinds_are_distinct(tree: &Tree) -> Vec<Finding> {
    let value: Value = serde_json::from_str(tree.text(REGISTRY)).unwrap_or(Value::Null);
    let roles: BTreeSet<String> =
        json_rows(tree, REGISTRY, "roles", "number", &["name"]).into_values().collect();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for row in value.get("kinds").and_then(Value::as_array).into_iter().flatten() {
        for key in ["number", "name"] {
            let text = row.get(key).unwrap_or(&Value::Null).to_string();
            if !seen.insert(text.clone()) {
                findings.push(Finding::new(REGISTRY, 0, format!("kind {text} stands there twice")));
            }
        }
        let authors = row.get("authors").and_then(Value::as_array).cloned().unwrap_or_default();
        if authors.is_empty() || !authors.iter().all(|a| a.as_str().is_some_and(|a| roles.contains(a))) {
            let name = row.get("name").unwrap_or(&Value::Null);
            findings.push(Finding::new(
                REGISTRY,
                0,
                format!("kind {name} has no author, or one that is no role"),
            ));
        }
    }
    findings
}

fn roles(tree: &Tree) -> Vec<Finding> {
    let body = block(tree.text("spec/src/entry.rs"), "fn number(self)", "\n    }");
    let row = |line: &str| {
        let (name, n) = line.trim().strip_prefix("Self::")?.strip_suffix(',')?.split_once(" => ")?;
        Some((n.parse().ok()?, name.to_lowercase()))
    };
    let code = body.lines().filter_map(row).collect();
    differences(REGISTRY, "role", &json_rows(tree, REGISTRY, "roles", "number", &["name"]), &code)
}

fn refusals(tree: &Tree) -> Vec<Finding> {
    let rows = macro_rows(block(tree.text("spec/src/refusal.rs"), "\nrefusals! {", "\n}"));
    let code = rows.into_iter().map(|(doc, name, n, text)| (n, format!("{text} | {name} | {doc}"))).collect();
    let table = json_rows(tree, REFUSALS, "refusals", "number", &["code", "name", "meaning"]);
    differences(REFUSALS, "refusal", &table, &code)
}

fn bits(tree: &Tree, name: &str, list: &str) -> Vec<Finding> {
    let sources: Vec<&str> = tree.with("rs").filter(|f| f.top() == "spec").map(|f| f.text.as_str()).collect();
    let rows: Vec<_> =
        sources.iter().flat_map(|s| macro_rows(block(s, &format!("    {name} {{\n"), "\n    }"))).collect();
    let code = rows.into_iter().map(|(doc, _, n, text)| (n, format!("{text} | {doc}"))).collect();
    differences(REGISTRY, list, &json_rows(tree, REGISTRY, list, "bit", &["name", "meaning"]), &code)
}

fn claims(tree: &Tree) -> Vec<Finding> {
    let keys = block(tree.text("spec/src/claims.rs"), "const KEYS: [i64; 17] = [", "]");
    let code = keys.split(',').filter_map(|k| Some((k.trim().parse().ok()?, "a claim".to_owned()))).collect();
    let table = json_rows(tree, REGISTRY, "claims", "key", &["name"]);
    let table = table.into_keys().map(|k| (k, "a claim".to_owned())).collect();
    differences(REGISTRY, "claim", &table, &code)
}

/// Names of one key in a list of the registry.
fn registered(tree: &Tree, list: &str, key: &str) -> BTreeSet<String> {
    let value: Value = serde_json::from_str(tree.text(REGISTRY)).unwrap_or(Value::Null);
    let rows = value.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    rows.iter().filter_map(|r| r.get(key)?.as_str().map(str::to_owned)).collect()
}

/// Every hash context and signature purpose that the code names is registered.
fn domains(tree: &Tree) -> Vec<Finding> {
    let contexts = registered(tree, "hash_contexts", "context");
    let purposes = registered(tree, "signature_purposes", "name");
    let mut findings = Vec::new();
    for file in tree.with("rs").filter(|f| f.path.contains("/src/")) {
        let text = &file.text;
        let after = |at: usize| text.get(at..).unwrap_or_default();
        for (at, _) in text.match_indices(&format!("\"{CONTEXT}")) {
            let context = after(at + 1).split('"').next().unwrap_or_default();
            if !contexts.contains(context) {
                let what = format!("the hash context {context:?} is not in {REGISTRY}");
                findings.push(Finding::new(&file.path, line_of(text, at), what));
            }
        }
        let called = text.match_indices("signing_input(").filter_map(|(at, call)| {
            let argument = after(at + call.len()).trim_start().strip_prefix('"')?;
            Some((at, argument.split('"').next()?))
        });
        let spelled = text.match_indices("\"counterfoil/").filter_map(|(at, start)| {
            Some((at, after(at + start.len()).split('"').next()?.strip_suffix("/v1\\0")?))
        });
        for (at, purpose) in called.chain(spelled) {
            if !purposes.contains(purpose) && purpose != "<purpose>" {
                let what = format!("the signature purpose {purpose:?} is not in {REGISTRY}");
                findings.push(Finding::new(&file.path, line_of(text, at), what));
            }
        }
    }
    findings
}

/// The numbers that the CDDL gives to refusals are those of the table.
fn refusals_in_cddl(tree: &Tree) -> Vec<Finding> {
    let said = block(tree.text(CDDL), "\nrefusal = ", "  ;");
    let numbers = said.split(" / ").flat_map(|part| {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to): (i64, i64) = (from.parse().unwrap_or(0), to.parse().unwrap_or(-1));
        (from..=to).map(|n| (n, "a refusal".to_owned()))
    });
    let table = json_rows(tree, REFUSALS, "refusals", "number", &[]);
    let table = table.into_keys().map(|n| (n, "a refusal".to_owned())).collect();
    differences(CDDL, "number", &table, &numbers.collect())
}

/// Every refusal code that a document names exists.
fn named_codes(tree: &Tree) -> Vec<Finding> {
    let value: Value = serde_json::from_str(tree.text(REFUSALS)).unwrap_or(Value::Null);
    let rows = value.get("refusals").and_then(Value::as_array).cloned().unwrap_or_default();
    let codes: BTreeSet<&str> = rows.iter().filter_map(|r| r.get("code")?.as_str()).collect();
    let mut findings = Vec::new();
    for file in tree.with("md") {
        for (n, line) in (1..).zip(file.text.lines()) {
            let parts = line.split('`').skip(1).step_by(2).flat_map(|p| p.split([' ', ',', '/']));
            let shaped = |p: &&str| {
                let (head, rest) = p.split_at_checked(2).unwrap_or_default();
                let upper = |c: char| c.is_ascii_uppercase() || c == '_';
                ["C_", "E_", "T_", "R_", "S_", "F_"].contains(&head)
                    && !rest.is_empty()
                    && rest.chars().all(upper)
            };
            for code in parts.filter(shaped).filter(|p| !codes.contains(p)) {
                findings.push(Finding::new(&file.path, n, format!("{code} is no refusal of {REFUSALS}")));
            }
        }
    }
    findings
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
