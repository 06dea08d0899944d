//! `spec/counterfoil.cddl` against the wire types: every map, array and number of the one is a member of the other.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Finding, Tree};

const CDDL: &str = "spec/counterfoil.cddl";

/// What a type is on the wire: a line per member, as both sides are brought to.
///
/// ```text
/// map     "3: serial"  "? 9: anchor"      key, `?` where it may be absent, name
/// array   "manifest"                      name, in order
/// numbers "1"                             one of an enumeration
/// ```
type Shape = Vec<String>;

/// Every struct and every plain enumeration under `spec/src` that derives the encoding.
fn types(tree: &Tree) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    for file in tree.files.iter().filter(|f| f.path.starts_with("spec/src/") && f.is("rs")) {
        let mut attributes = String::new();
        let mut lines = file.text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("#[") {
                attributes.push_str(line);
                continue;
            }
            let head = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
            if let Some(name) = head.and_then(|h| h.strip_suffix(" {"))
                && attributes.contains("Encode")
            {
                let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "}").map(str::trim).collect();
                let shape = if line.contains("enum") && !attributes.contains("index_only") {
                    alternatives(&body)
                } else {
                    members(&body, attributes.contains("cbor(map)"))
                };
                found.insert(kebab(name), shape);
            }
            if !line.starts_with("///") {
                attributes.clear();
            }
        }
    }
    found
}

/// The members of a struct, or the numbers of an enumeration without fields.
fn members(body: &[&str], map: bool) -> Shape {
    let mut shape = Vec::new();
    let mut key = None;
    for line in body {
        if line.starts_with("#[") {
            key = number_in(line).or(key);
        } else if let Some((name, kind)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": ")) {
            let optional = if kind.starts_with("Option<") { "? " } else { "" };
            match key.take() {
                Some(n) if map => shape.push(format!("{optional}{n}: {name}")),
                _ => shape.push(name.to_owned()),
            }
        } else if line.ends_with(',')
            && let Some(n) = key.take()
        {
            shape.push(n.to_string());
        }
    }
    shape
}

/// The variants of an enumeration with fields, as `[number, [count of fields]]`.
fn alternatives(body: &[&str]) -> Shape {
    let mut shape = Vec::new();
    let mut key = None;
    for line in body.iter().filter(|l| !l.starts_with("//")) {
        if line.starts_with("#[") {
            key = number_in(line);
        } else if let Some(n) = key.take() {
            let fields = line.matches("#[").count();
            shape.push(format!(
                "[{n}, {fields}] {}",
                kebab(line.split(['(', ',']).next().unwrap_or_default())
            ));
        }
    }
    shape
}

/// The number in `#[n(7)]` or `#[cbor(n(7), …)]`.
fn number_in(attribute: &str) -> Option<u32> {
    attribute.split_once("n(")?.1.split_once(')')?.0.parse().ok()
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Every rule of the CDDL file, in the same form.
fn rules(text: &str) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((name, rest)) = line.split_once(" =").filter(|(n, _)| !n.contains([' ', ';'])) else {
            continue;
        };
        let (value, _) = rest.split_once(';').unwrap_or((rest, ""));
        let close = match value.trim() {
            "{" => "}",
            "[" => "]",
            "" => "",
            _ => {
                found.insert(name.to_owned(), value.split('/').map(|v| v.trim().to_owned()).collect());
                continue;
            }
        };
        let body = lines.by_ref().take_while(|l| *l != close).filter(|l| !l.trim().is_empty());
        found.insert(name.to_owned(), body.filter_map(|l| member(l, close)).collect());
    }
    found
}

/// One line inside a rule.
fn member(line: &str, close: &str) -> Option<String> {
    let (code, comment) = line.split_once(';').map_or((line, ""), |(c, n)| (c.trim(), n.trim()));
    match close {
        "}" => Some(format!("{}: {comment}", code.trim().split_once(':')?.0)),
        "]" => Some(code.trim().split_once(':')?.0.to_owned()),
        _ => {
            let (n, fields) = code.trim().strip_prefix('[')?.split_once(", [")?;
            let fields = fields.split_once(']')?.0;
            let count = fields.split(',').filter(|f| !f.trim().is_empty()).count();
            Some(format!("[{n}, {count}] {comment}"))
        }
    }
}

fn shapes(tree: &Tree) -> Vec<Finding> {
    let rules = rules(tree.text(CDDL));
    let types = types(tree);
    let mut findings = Vec::new();
    if types.is_empty() {
        findings.push(Finding::new(CDDL, 0, "no wire type was found in the code"));
    }
    for (name, shape) in types {
        let written = rules.get(&name).cloned().unwrap_or_default();
        let (there, here): (BTreeSet<_>, BTreeSet<_>) = (written.iter().collect(), shape.iter().collect());
        for line in there.symmetric_difference(&here) {
            let side = if here.contains(line) { "only in the code" } else { "only in the CDDL" };
            findings.push(Finding::new(CDDL, 0, format!("{name}: {line:?} stands {side}")));
        }
        if there == here && written != shape {
            findings.push(Finding::new(CDDL, 0, format!("{name}: another order than in the code")));
        }
    }
    findings
}

/// The choice of payloads has every kind under its number.
fn kinds(tree: &Tree) -> Vec<Finding> {
    let payload = tree.text("spec/src/payload.rs");
    let block =
        payload.split_once("\npayloads! {").and_then(|(_, b)| b.split_once("\n}")).map_or("", |(b, _)| b);
    let here: BTreeSet<String> = block
        .lines()
        .filter_map(|l| l.trim().split_once(" = "))
        .filter_map(|(name, rest)| Some(format!("(2: {}, 8: {})", rest.split_once(',')?.0, kebab(name))))
        .collect();
    let text = tree.text(CDDL);
    let choice =
        text.split_once("entry-kind = (\n").and_then(|(_, b)| b.split_once("\n)")).map_or("", |(b, _)| b);
    let there: BTreeSet<String> =
        choice.lines().map(|l| l.trim().trim_end_matches(" //").to_owned()).collect();
    let differing = there.symmetric_difference(&here);
    differing.map(|k| Finding::new(CDDL, 0, format!("{k} is here or in the code only"))).collect()
}

/// The claims of a consent token are those of the registry, by number and name.
fn claims(tree: &Tree) -> Vec<Finding> {
    let registry: serde_json::Value =
        serde_json::from_str(tree.text("spec/registry.json")).unwrap_or(serde_json::Value::Null);
    let rows = registry.get("claims").and_then(|c| c.as_array()).cloned().unwrap_or_default();
    let registered: BTreeSet<String> = rows
        .iter()
        .filter_map(|r| Some(format!("{}: {}", r.get("key")?.as_i64()?, r.get("name")?.as_str()?)))
        .collect();
    let written = rules(tree.text(CDDL)).remove("consent-claims").unwrap_or_default();
    let written: BTreeSet<String> = written.into_iter().collect();
    let differing = registered.symmetric_difference(&written);
    differing.map(|c| Finding::new(CDDL, 0, format!("claim {c} is here or in the registry only"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_clean, lines};

    const CODE: &str = "#[derive(Encode, Decode)]\n#[cbor(map)]\npub struct AskMore {\n    /// Doc.\n    #[n(1)]\n    \
        pub when: Millis,\n    #[cbor(n(2), with = \"x\")]\n    pub body: Option<Vec<u8>>,\n}\n\n\
        #[derive(Encode)]\npub struct Pair {\n    #[n(0)]\n    pub left: u8,\n    #[n(1)]\n    pub right: u8,\n}\n\n\
        #[derive(Encode)]\n#[cbor(index_only)]\npub enum Side {\n    #[n(1)]\n    Left,\n    #[n(2)]\n    Right,\n}\n\n\
        #[derive(Encode)]\npub enum Say {\n    #[n(1)]\n    Yes(#[n(0)] Pair, #[n(1)] u8),\n    #[n(2)]\n    No,\n}\n\n\
        #[derive(Debug)]\npub struct Local {\n    pub x: u8,\n}\n";

    const TEXT: &str = "ask-more = {\n  1: millis,  ; when\n  ? 2: bstr,  ; body\n}\n\npair = [\n  left: uint,\n  \
        right: uint,\n]\n\nside = 1 / 2  ; left, right\n\nsay =\n  [1, [pair, uint]] /  ; yes\n  [2, []]  ; no\n\n";

    #[test]
    fn types_and_rules_agree() {
        assert_clean(&shapes(&Tree::read()));
    }

    #[test]
    fn same_shapes_are_accepted() {
        assert_eq!(lines(&shapes(&Tree::of(&[("spec/src/a.rs", CODE), (CDDL, TEXT)]))), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_found() {
        let text = TEXT
            .replace("? 2: bstr,  ; body", "2: bstr,  ; body")
            .replace("  left: uint,\n  right: uint,", "  right: uint,\n  left: uint,")
            .replace("1 / 2", "1 / 3")
            .replace("[2, []]", "[2, [uint]]");
        assert_eq!(
            lines(&shapes(&Tree::of(&[("spec/src/a.rs", CODE), (CDDL, &text)]))),
            [
                "spec/counterfoil.cddl:0: ask-more: \"2: body\" stands only in the CDDL",
                "spec/counterfoil.cddl:0: ask-more: \"? 2: body\" stands only in the code",
                "spec/counterfoil.cddl:0: pair: another order than in the code",
                "spec/counterfoil.cddl:0: say: \"[2, 0] no\" stands only in the code",
                "spec/counterfoil.cddl:0: say: \"[2, 1] no\" stands only in the CDDL",
                "spec/counterfoil.cddl:0: side: \"2\" stands only in the code",
                "spec/counterfoil.cddl:0: side: \"3\" stands only in the CDDL",
            ]
        );
    }

    #[test]
    fn code_without_types_is_found() {
        assert_eq!(
            lines(&shapes(&Tree::of(&[(CDDL, TEXT)]))),
            ["spec/counterfoil.cddl:0: no wire type was found in the code"]
        );
    }

    #[test]
    fn choice_of_payloads_has_every_kind() {
        assert_clean(&kinds(&Tree::read()));
    }

    #[test]
    fn kind_missing_from_the_choice_is_found() {
        let tree = Tree::of(&[
            (
                "spec/src/payload.rs",
                "\npayloads! {\n    Lot = 17, \"lot\";\n    WorkDone = 21, \"work\";\n}\n",
            ),
            (CDDL, "entry-kind = (\n  (2: 17, 8: lot) //\n  (2: 20, 8: work-done)\n)\n"),
        ]);
        assert_eq!(
            lines(&kinds(&tree)),
            [
                "spec/counterfoil.cddl:0: (2: 20, 8: work-done) is here or in the code only",
                "spec/counterfoil.cddl:0: (2: 21, 8: work-done) is here or in the code only",
            ]
        );
    }

    #[test]
    fn claims_are_those_of_the_registry() {
        assert_clean(&claims(&Tree::read()));
    }

    #[test]
    fn claim_of_another_name_is_found() {
        let tree = Tree::of(&[
            (
                "spec/registry.json",
                r#"{"claims": [{"key": -70008, "name": "epoch"}, {"key": 1, "name": "iss"}]}"#,
            ),
            (CDDL, "consent-claims = {\n  1: tstr,       ; iss\n  -70008: uint,  ; age\n}\n"),
        ]);
        assert_eq!(
            lines(&claims(&tree)),
            [
                "spec/counterfoil.cddl:0: claim -70008: age is here or in the registry only",
                "spec/counterfoil.cddl:0: claim -70008: epoch is here or in the registry only",
            ]
        );
    }
}
