//! A policy as it is pasted: more cosignatures never make a quorum fail.
#![no_main]

use counterfoil_audit::note::Note;
use counterfoil_audit::policy::{MAX_POLICY_LINES, Policy};
use counterfoil_audit_fuzz::{hashes, note, witness};
use counterfoil_spec::time::Seconds;

const WITNESSES: u8 = 3;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(policy) = text.parse::<Policy>() {
        assert!(policy.logs().len().max(policy.witnesses().len()) <= MAX_POLICY_LINES);
        grows(&policy);
    }
    // What came, behind witnesses that exist.
    let lines: String = (0..WITNESSES).map(|n| format!("witness w{n} {}\n", witness(n).public())).collect();
    if let Ok(policy) = format!("{lines}{text}").parse::<Policy>() {
        grows(&policy);
    }
});

fn grows(policy: &Policy) {
    let mut whole = note(&hashes(3, 0, b"x"));
    let text = Note::parse(whole.as_bytes()).expect("a note").text;
    let mut met = false;
    for n in 0..WITNESSES {
        whole.push_str(&witness(n).cosign(&text, Seconds(1)).expect("a key in memory signs"));
        let found = policy.judge(&Note::parse(whole.as_bytes()).expect("a note"));
        assert!(found.quorum_met || !met, "the quorum was met before");
        met = found.quorum_met;
    }
}
