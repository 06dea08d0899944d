//! The tables as they are, and one wrong row of each.

use super::*;
use crate::tree::{assert_clean, lines};

#[test]
fn kinds_agree() {
    assert_clean(&kinds(&Tree::read()));
}

#[test]
fn other_kind_is_found() {
    let tree = Tree::of(&[
        (
            "spec/src/payload.rs",
            "\npayloads! {\n    /// A.\n    Lot = 1, \"lot\";\n    /// B.\n    Work = 2, \"work\";\n}\n",
        ),
        (
            REGISTRY,
            r#"{"kinds": [{"number": 1, "name": "plot", "type": "Lot"}, {"number": 3, "name": "late", "type": null}]}"#,
        ),
    ]);
    assert_eq!(
        lines(&kinds(&tree)),
        [
            "spec/registry.json:0: kind 1 is \"plot | Lot\" in the table and \"lot | Lot\" in the code",
            "spec/registry.json:0: kind 2 is nothing in the table and \"work | Work\" in the code",
        ]
    );
}

#[test]
fn a_check_that_reads_no_code_fails() {
    let tree = Tree::of(&[(REGISTRY, "{}"), (REFUSALS, "{}")]);
    assert_eq!(lines(&kinds(&tree)), ["spec/registry.json:0: no kind was found in the code"]);
    assert_eq!(lines(&roles(&tree)), ["spec/registry.json:0: no role was found in the code"]);
    assert_eq!(lines(&refusals(&tree)), ["spec/refusals.json:0: no refusal was found in the code"]);
    assert_eq!(lines(&claims(&tree)), ["spec/registry.json:0: no claim was found in the code"]);
    assert_eq!(
        lines(&bits(&tree, "Purposes", "purposes")),
        ["spec/registry.json:0: no purposes was found in the code"]
    );
}

#[test]
fn kind_numbers_and_names_are_used_once() {
    assert_clean(&kinds_are_distinct(&Tree::read()));
}

#[test]
fn kind_used_twice_or_without_author_is_found() {
    let text = r#"{"roles": [{"number": 1, "name": "root"}], "kinds": [
        {"number": 1, "name": "a", "authors": ["root"]},
        {"number": 1, "name": "b", "authors": ["clerk"]},
        {"number": 2, "name": "a", "authors": []}]}"#;
    assert_eq!(
        lines(&kinds_are_distinct(&Tree::of(&[(REGISTRY, text)]))),
        [
            "spec/registry.json:0: kind 1 stands there twice",
            "spec/registry.json:0: kind \"b\" has no author, or one that is no role",
            "spec/registry.json:0: kind \"a\" stands there twice",
            "spec/registry.json:0: kind \"a\" has no author, or one that is no role",
        ]
    );
}

#[test]
fn roles_agree() {
    assert_clean(&roles(&Tree::read()));
}

#[test]
fn other_role_is_found() {
    let tree = Tree::of(&[
        (
            "spec/src/entry.rs",
            "fn number(self) -> u8 {\n match self {\n  Self::Root => 1,\n  Self::Node => 3,\n }\n    }\n",
        ),
        (REGISTRY, r#"{"roles": [{"number": 1, "name": "root"}, {"number": 2, "name": "node"}]}"#),
    ]);
    assert_eq!(
        lines(&roles(&tree)),
        [
            "spec/registry.json:0: role 2 is \"node\" in the table and nothing in the code",
            "spec/registry.json:0: role 3 is nothing in the table and \"node\" in the code",
        ]
    );
}

#[test]
fn refusals_agree() {
    assert_clean(&refusals(&Tree::read()));
}

#[test]
fn other_refusal_is_found() {
    let tree = Tree::of(&[
        ("spec/src/refusal.rs", "\nrefusals! {\n    /// Late.\n    Deadline = 308, \"R_DEADLINE\";\n}\n"),
        (
            REFUSALS,
            r#"{"refusals": [{"number": 308, "code": "R_DEADLINE", "name": "Deadline", "meaning": "Early."}]}"#,
        ),
    ]);
    assert_eq!(
        lines(&refusals(&tree)),
        [concat!(
            "spec/refusals.json:0: refusal 308 is \"R_DEADLINE | Deadline | Early.\" in the table ",
            "and \"R_DEADLINE | Deadline | Late.\" in the code"
        )]
    );
}

#[test]
fn refusals_in_cddl_agree() {
    assert_clean(&refusals_in_cddl(&Tree::read()));
}

#[test]
fn other_numbers_in_cddl_are_found() {
    let row = |n: u32| format!(r#"{{"number": {n}}}"#);
    let table = format!(r#"{{"refusals": [{}, {}, {}]}}"#, row(1), row(2), row(5));
    let tree = Tree::of(&[(CDDL, "\nrefusal = 1 / 4..5  ; spec/refusals.json\n"), (REFUSALS, &table)]);
    assert_eq!(
        lines(&refusals_in_cddl(&tree)),
        [
            "spec/counterfoil.cddl:0: number 2 is \"a refusal\" in the table and nothing in the code",
            "spec/counterfoil.cddl:0: number 4 is nothing in the table and \"a refusal\" in the code",
        ]
    );
}

#[test]
fn purposes_and_ways_of_serving_agree() {
    let tree = Tree::read();
    assert_clean(&bits(&tree, "Purposes", "purposes"));
    assert_clean(&bits(&tree, "Serving", "serving"));
}

#[test]
fn other_purpose_is_found() {
    let tree = Tree::of(&[
        (
            "spec/src/claims.rs",
            "bits! {\n    Purposes {\n        /// Talk.\n        CHAT = 0, \"chat\";\n    }\n}\n",
        ),
        (REGISTRY, r#"{"purposes": [{"bit": 1, "name": "chat", "meaning": "Talk."}]}"#),
    ]);
    assert_eq!(
        lines(&bits(&tree, "Purposes", "purposes")),
        [
            "spec/registry.json:0: purposes 0 is nothing in the table and \"chat | Talk.\" in the code",
            "spec/registry.json:0: purposes 1 is \"chat | Talk.\" in the table and nothing in the code",
        ]
    );
}

#[test]
fn claims_agree() {
    assert_clean(&claims(&Tree::read()));
}

#[test]
fn missing_claim_is_found() {
    let tree = Tree::of(&[
        ("spec/src/claims.rs", "const KEYS: [i64; 17] = [\n    1, -70001,\n];\n"),
        (REGISTRY, r#"{"claims": [{"key": 1, "name": "iss"}]}"#),
    ]);
    assert_eq!(
        lines(&claims(&tree)),
        ["spec/registry.json:0: claim -70001 is nothing in the table and \"a claim\" in the code"]
    );
}

#[test]
fn domains_are_registered() {
    assert_clean(&domains(&Tree::read()));
}

#[test]
fn domain_without_registration_is_found() {
    let tree = Tree::of(&[
        (
            REGISTRY,
            r#"{"hash_contexts": [{"context": "counterfoil v1 a"}], "signature_purposes": [{"name": "entry"}]}"#,
        ),
        (
            "x/src/y.rs",
            "derive(\"counterfoil v1 a\");\nderive(\"counterfoil v1 b\");\nsigning_input(\n  \"entry\",);\n\
             signing_input(\"exit\", n);\nb\"counterfoil/other/v1\\0\"; \"counterfoil/<purpose>/v1\\0\"\n",
        ),
    ]);
    assert_eq!(
        lines(&domains(&tree)),
        [
            "x/src/y.rs:2: the hash context \"counterfoil v1 b\" is not in spec/registry.json",
            "x/src/y.rs:5: the signature purpose \"exit\" is not in spec/registry.json",
            "x/src/y.rs:6: the signature purpose \"other\" is not in spec/registry.json",
        ]
    );
}

#[test]
fn documents_name_refusals_that_exist() {
    assert_clean(&named_codes(&Tree::read()));
}

#[test]
fn document_with_an_unknown_refusal_is_found() {
    let tree = Tree::of(&[
        (REFUSALS, r#"{"refusals": [{"code": "T_AUD"}]}"#),
        ("spec/consent.md", "Refused as `T_AUD`, `T_AUDIENCE`; a T_ODD word; `T_Aud`.\n"),
    ]);
    assert_eq!(
        lines(&named_codes(&tree)),
        ["spec/consent.md:1: T_AUDIENCE is no refusal of spec/refusals.json"]
    );
}
