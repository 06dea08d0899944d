//! Public Ed25519 vectors, where the folder that holds them is at hand; the project stands without them.

use counterfoil_spec::ids::{PublicKey, Signature};
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::{BadSignature, VerifyKey};

fn vectors(name: &str) -> Option<Value> {
    let path = format!("{}/../../shared/vectors/ed25519/{name}", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(e) => {
            println!("NOT CHECKED: {path}: {e}");
            None
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn wycheproof_verdicts_are_ours() {
    let Some(file) = vectors("wycheproof.json") else { return };
    let mut checked = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let key: PublicKey = text(&group["publicKey"], "pk").parse().unwrap();
        let key = VerifyKey::from_wire(key).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let message = HEXLOWER.decode(text(case, "msg").as_bytes()).unwrap();
            let valid =
                text(case, "sig").parse::<Signature>().is_ok_and(|s| key.verify(&message, &s) == Ok(()));
            assert_eq!(valid, text(case, "result") == "valid", "{}", case["tcId"]);
            checked += 1;
        }
    }
    assert_eq!(checked, 151);
}

#[test]
fn edge_case_keys_are_weak_and_edge_case_signatures_bad() {
    let Some(file) = vectors("cctv.json") else { return };
    let (mut weak, mut good, mut bad) = (0, 0, 0);
    for case in file.as_array().unwrap() {
        let flags: Vec<&str> =
            case["flags"].as_array().into_iter().flatten().map(|f| f.as_str().unwrap()).collect();
        let of_key = |f: &&str| matches!(*f, "low_order_A" | "non_canonical_A" | "low_order_component_A");
        let key = VerifyKey::from_wire(text(case, "key").parse().unwrap());
        assert_eq!(key.is_err(), flags.iter().any(of_key), "{}", case["number"]);
        let Ok(key) = key else {
            weak += 1;
            continue;
        };
        let verdict = key.verify(text(case, "msg").as_bytes(), &text(case, "sig").parse().unwrap());
        assert_eq!(verdict, if flags.is_empty() { Ok(()) } else { Err(BadSignature) }, "{}", case["number"]);
        if flags.is_empty() { good += 1 } else { bad += 1 }
    }
    println!("{weak} weak keys, {good} good and {bad} bad signatures");
    assert_eq!(weak + good + bad, 914);
}

#[test]
fn speccheck_keys_without_prime_order_are_weak() {
    let Some(file) = vectors("speccheck.json") else { return };
    let weak: Vec<usize> = file
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .filter(|(_, case)| VerifyKey::from_wire(text(case, "pub_key").parse().unwrap()).is_err())
        .map(|(i, _)| i)
        .collect();
    assert_eq!(weak, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]);
}
