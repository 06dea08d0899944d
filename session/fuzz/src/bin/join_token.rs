//! A join token as it is pasted, and the 89 bytes under its check.
#![no_main]

use counterfoil_identity::digest::{context, derive};
use counterfoil_identity::enrol::JoinToken;
use counterfoil_session_fuzz::mark;
use data_encoding::BASE32_NOPAD;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        pasted(text);
    }
    let mut bytes = input.to_vec();
    bytes.extend_from_slice(&derive(context::JOIN_TOKEN, &[input]).as_bytes()[..4]);
    let text = format!("cfjoin1{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase());
    let right = input.len() == 89 && input[0] == 1;
    assert_eq!(pasted(&text), right, "{} bytes", input.len());
});

/// Whether it is a token; if it is, it is written as it was read, and no other by one character.
fn pasted(text: &str) -> bool {
    let Ok(token) = text.parse::<JoinToken>() else { return false };
    let written = token.to_secret_string();
    assert_eq!(written.as_str(), text.trim());
    let at = mark(text.as_bytes()) % written.len();
    for other in "abcdefghijklmnopqrstuvwxyz234567".chars().filter(|c| !written[at..].starts_with(*c)) {
        let changed = format!("{}{other}{}", &written[..at], &written[at + 1..]);
        assert!(changed.parse::<JoinToken>().is_err(), "{other} at {at}");
    }
    true
}
